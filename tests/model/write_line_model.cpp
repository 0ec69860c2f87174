// The line of an accumulator, as threads use it: adders that wait for room, writers that wait for batches, or for their time, and ends.
#include "support/suite.hpp"

#include "support/model_timers.hpp"

#include <penstock/batch/detail/write_line.hpp>

#include <array>
#include <cstdint>

// The mutex has a model of its own (parker_model.cpp). Here it is relacy's, which is one step.
template <>
class penstock::detail::polled_mutex<model::model_sync> : public model::mutex {};

namespace {

using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::detail::never;
using penstock::detail::outcome;

using line = penstock::detail::write_line<int, model_sync>;
using room_wait = penstock::detail::blocking_wait<line, line::room_node>;
using work_wait = penstock::detail::blocking_wait<line, line::work_node>;
using end_wait = penstock::detail::blocking_wait<line, line::end_node>;
using deadline = penstock::detail::basic_deadline<model_sync>;

constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

template <class Derived, int Threads>
struct line_suite : model::suite<Derived, Threads> {
  explicit line_suite(std::size_t capacity, std::size_t capacity_bytes = unlimited, std::int64_t max_delay = 0)
      : l{{.max_items = max_delay != 0 ? std::size_t{2} : 1,
           .max_bytes = unlimited,
           .capacity = capacity,
           .capacity_bytes = capacity_bytes,
           .max_delay = max_delay,
           .max_idle = never,
           .max_in_flight = 2},
          &clock} {}

  outcome add(int i, std::size_t bytes = 0) {
    given[i] = i + 1;
    room_wait w{l, &l, &i, nullptr, bytes};
    return w.run();
  }
  // The last one of those who call it closes.
  void leave(int n) {
    if (left.fetch_add(1, std::memory_order_acq_rel) + 1 == n) l.close();
  }
  void write_all() {
    line::turn t;
    for (;;) {
      t.taken = nullptr;
      work_wait w{l, &t};
      const outcome how = t.until == never ? w.run() : w.run(stop_token{}, deadline{t.until, clock});
      if (how == outcome::closed) return;
      if (t.taken == nullptr) continue;
      auto& b = *t.taken;
      for (const int i : b.items) {
        require(given[i] == i + 1, "what was written before it was added");
        written[i] = written[i] + 1;
      }
      const std::size_t n = b.items.size();
      b.clear();
      l.finish(b, n, 1);
    }
  }
  void expect_written(int n) {
    for (int i = 0; i < n; ++i) require(written[i] == 1, "it was written once");
  }
  void after() {
    require(clock.none_pending(), "no timer is left");
    struct {
      std::uint64_t added, acknowledged, failed, batches, attempts;
      std::array<std::uint64_t, 6> refused;
      std::size_t held, queued, held_bytes, in_flight, waiting;
    } s;
    l.snapshot(s);
    require(s.added == s.acknowledged && s.held == 0 && s.held_bytes == 0 && s.waiting == 0, "all is over");
  }

  model::timers clock;
  line l;
  var<int> given[4] = {var<int>{0}, var<int>{0}, var<int>{0}, var<int>{0}};
  var<int> written[4] = {var<int>{0}, var<int>{0}, var<int>{0}, var<int>{0}};
  model_sync::atomic<int> left{0};
};

// One place: who adds waits for the writer, and the writer for who adds.
struct one_place : line_suite<one_place, 3> {
  one_place() : line_suite{1} {}
  void thread(unsigned index) {
    if (index == 0) return write_all();
    require(add(static_cast<int>(index)) == outcome::granted, "added");
    if (index == 1) require(add(0) == outcome::granted, "added");
    leave(2);
  }
  void after() {
    expect_written(3);
    line_suite::after();
  }
};

// Who drains sees what was written.
struct drained : line_suite<drained, 2> {
  drained() : line_suite{2} {}
  void thread(unsigned index) {
    if (index == 0) return write_all();
    require(add(0) == outcome::granted && add(1) == outcome::granted, "added");
    end_wait w{l, l.flush()};
    require(w.run() == outcome::granted, "drained");
    expect_written(2);
    leave(1);
  }
};

// The first in line is too heavy, and is stopped: the one behind it has room.
struct stopped : line_suite<stopped, 3> {
  model::stop_state stop;

  stopped() : line_suite{4, 10} {}
  void before() { require(add(0, 5) == outcome::granted, "room"); }
  void thread(unsigned index) {
    if (index == 0) {
      given[1] = 2;
      int item = 1;
      room_wait w{l, &l, &item, nullptr, std::size_t{9}};
      require(w.run(stop_token{stop}, never) == outcome::cancelled, "stopped");
    } else if (index == 1) {
      require(add(2, 5) == outcome::granted, "added");
    } else {
      stop.request_stop();
    }
  }
  void after() {
    l.close();
    write_all();
    line_suite::after();
  }
};

// Those who wait for room are told, though nobody makes any.
struct closed : line_suite<closed, 3> {
  closed() : line_suite{1} {}
  void before() { require(add(0) == outcome::granted, "room"); }
  void thread(unsigned index) {
    if (index == 2) {
      l.close();
    } else {
      require(add(static_cast<int>(index) + 1) == outcome::closed, "closed");
    }
  }
  void after() {
    write_all();
    expect_written(1);
    line_suite::after();
  }
};

// Batches that leave when their time has come; the first item of each lets a writer watch it.
template <int Writers>
struct delayed : line_suite<delayed<Writers>, Writers + 1> {
  using base = line_suite<delayed<Writers>, Writers + 1>;
  delayed() : base{4, unlimited, 10} {}
  void thread(unsigned index) {
    if (index < Writers) return this->write_all();
    for (int i = 0; i < 2; ++i) {
      require(this->add(i) == outcome::granted, "added");
      this->clock.advance_to(model::the_world.time + 10);
      end_wait w{this->l, static_cast<std::uint64_t>(i) + 1};
      require(w.run() == outcome::granted, "it has left at its time");
      require(this->written[i] == 1, "it was written");
    }
    this->leave(1);
  }
};

// The time comes, and a second item fills the batch, at once: the writer that watched the time is out of line for a moment, another one is in it.
struct filled : line_suite<filled, 4> {
  filled() : line_suite{4, unlimited, 10} {}
  void before() { require(add(0) == outcome::granted, "added"); }
  void thread(unsigned index) {
    if (index < 2) return write_all();
    if (index == 2) {
      require(add(1) == outcome::granted, "added");
    } else {
      clock.advance_to(10);
    }
    leave(2);
  }
  void after() {
    expect_written(2);
    line_suite::after();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"write_line", argc, argv};
  session.random<one_place>("one place");
  session.random<drained>("drained");
  session.random<stopped>("the first in line is stopped");
  session.random<closed>("add and close");
  session.random<delayed<1>>("delayed, one writer");
  session.random<delayed<2>>("delayed, two writers");
  session.random<filled>("full at its time");
  return session.result();
}
