// Records what threads do with a channel and searches for an order of the calls that explains every answer: short histories completely,
// long ones by their values.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/sync_wait.hpp>

#include "support/linearizability.hpp"
#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using linearizability::answer;
using operation = linearizability::queue_operation;
using kind = operation::kind;

// An item whose move may throw, as far as the type says: such channels are made of another ring.
struct careful_item {
  careful_item(int v) noexcept : value{v} {}
  careful_item(careful_item&& other) noexcept(false) : value{other.value} {}
  operator int() const noexcept { return value; }
  int value;
};

answer answer_of(const std::error_code& error) {
  if (error == penstock::errc::closed) return answer::closed;
  if (error == penstock::errc::empty) return answer::empty;
  if (error == penstock::errc::full) return answer::full;
  return answer::gave_up;
}

template <class Channel>
class session {
 public:
  using T = typename Channel::value_type;

  // `in_turn`: pushes take their turn, for the channel has options or places are reserved; otherwise a push that comes just then may be quicker.
  session(stress::context& c, std::size_t capacity, bool in_turn, stress::random& random, int threads)
      : context_{c},
        in_turn_{in_turn},
        channel_{options(capacity, in_turn && random.one_in(2))},
        record_{threads},
        start_{threads} {}

  // Every way to push, or only the one that does not wait.
  void push(int thread, int value, bool wait, stress::random& random) {
    record_(thread, {kind::push, value}, [&](operation& o) {
      T item{value};
      const penstock::result<void> r = !wait ? channel_.try_push(std::move(item)) : push_waiting(std::move(item), random);
      o.got = r ? answer::ok : answer_of(r.error());
    });
  }
  answer pop(int thread, bool wait, stress::random& random) {
    answer got = answer::ok;
    record_(thread, {kind::pop}, [&](operation& o) {
      const penstock::result<T> r = !wait ? channel_.try_pop() : pop_waiting(random);
      o.got = got = r ? answer::ok : answer_of(r.error());
      if (r) o.value = *r;
    });
    return got;
  }
  void close(int thread) {
    record_(thread, {kind::close}, [&](operation&) { channel_.close(); });
  }
  void begin_together() { start_.wait(); }

  // After the threads have ended.
  void judge(bool completely) {
    auto calls = record_.take();
    if (in_turn_) {
      for (auto& a : calls) {
        if (a.operation.got != answer::full) continue;
        for (const auto& b : calls) {
          const bool overlap = b.invoked < a.responded && a.invoked < b.responded;
          if (overlap && b.thread != a.thread && b.operation.what == kind::push) a.operation.others_come_first = true;
        }
      }
    }
    auto wrong = linearizability::check_queue_values(calls);
    if (!wrong && completely) wrong = linearizability::check(calls, linearizability::queue_model{channel_.capacity()});
    context_.check(!wrong, wrong.value_or(""));
  }

 private:
  penstock::result<void> push_waiting(T&& item, stress::random& random) {
    switch (random.below(6)) {
      case 0:
        return channel_.push(std::move(item));
      case 5: {
        if (!in_turn_) return channel_.push(std::move(item));
        auto slots = channel_.reserve();
        return slots ? slots->push(std::move(item)) : penstock::result<void>{slots.error()};
      }
      case 1:
        return channel_.try_push(std::move(item));
      case 2:
        return channel_.try_push_for(random.below(100) * 1us, std::move(item));
      case 3:
        return penstock::sync_wait(channel_.async_push(std::move(item)));
      default:
        return penstock::sync_wait(channel_.async_push(std::move(item)) | penstock::with_timeout(random.below(100) * 1us));
    }
  }
  penstock::result<T> pop_waiting(stress::random& random) {
    switch (random.below(6)) {
      case 0:
        return channel_.pop();
      case 1:
        return channel_.try_pop();
      case 2:
        return channel_.try_pop_for(random.below(100) * 1us);
      case 3:
        return penstock::sync_wait(channel_.async_pop());
      case 4: {
        std::stop_source stop;
        std::jthread stopper{[&stop, wait = random.below(100) * 1us] {
          std::this_thread::sleep_for(wait);
          stop.request_stop();
        }};
        return channel_.pop(stop.get_token());
      }
      default:
        return penstock::sync_wait(channel_.async_pop() | penstock::with_timeout(random.below(100) * 1us));
    }
  }

  static penstock::channel_options<T> options(std::size_t capacity, bool with_options) {
    return {.capacity = capacity, .metrics = with_options};
  }

  stress::context& context_;
  const bool in_turn_;
  Channel channel_;
  linearizability::recorder<operation> record_;
  stress::start_line start_;
};

// Producers and as many consumers, who wait; the last producer closes. In every other session there are reservations among the pushes: the
// first one turns a plain channel into one that takes its lock.
template <class Channel>
void producers_and_consumers(stress::context& c, std::uint64_t number, int items, bool completely, int side) {
  stress::random choose = c.generator(number * 100);
  session<Channel> s{c, 1 + choose.below<std::size_t>(3), choose.one_in(2), choose, 2 * side};
  std::atomic<int> producers{side};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2 * side; ++t) {
      threads.emplace_back([&, t, random = c.generator(number * 100 + static_cast<std::uint64_t>(t) + 1)]() mutable {
        s.begin_together();
        if (t < side) {
          for (int i = 0; i < items; ++i) s.push(t, t * 10'000'000 + i, true, random);
          if (--producers == 0) s.close(t);
        } else {
          while (s.pop(t, true, random) != answer::closed) {
          }
        }
      });
    }
  }
  s.judge(completely);
}

// Everybody pushes and pops and nobody waits, so "full" and "empty" are told often; somebody may close in the middle.
template <class Channel>
void without_waiting(stress::context& c, std::uint64_t number) {
  constexpr int calls = 30;
  stress::random choose = c.generator(number * 100);
  session<Channel> s{c, 1 + choose.below<std::size_t>(3), choose.one_in(3), choose, 4};
  const bool closes = choose.one_in(2);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t, random = c.generator(number * 100 + static_cast<std::uint64_t>(t) + 1)]() mutable {
        s.begin_together();
        for (int i = 0; i < calls; ++i) {
          if (random.one_in(2)) {
            s.push(t, t * 10'000'000 + i, false, random);
          } else {
            s.pop(t, false, random);
          }
          if (closes && t == 0 && i == calls / 2) s.close(t);
          if (random.one_in(8)) std::this_thread::yield();
        }
      });
    }
  }
  s.judge(true);
}

void delays(std::uint64_t number, bool wanted) {
  if (wanted) {
    park_delay::enable(number, 50'000);
  } else {
    park_delay::disable();
  }
}

template <class Channel>
void waiting_scenarios(stress::run& run, const std::string& items, int side) {
  run.scenario("producers and consumers wait, " + items, 600ms, [side](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) {
      delays(i, i % 2 == 0);
      producers_and_consumers<Channel>(c, i, 20, true, side);
    }
    delays(0, false);
  });
  run.scenario("long histories, " + items, 300ms, [side](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) producers_and_consumers<Channel>(c, i, 1000, false, side);
  });
}

template <class Channel>
void scenarios(stress::run& run, const std::string& items) {
  run.scenario("nobody waits, " + items, 400ms, [](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) without_waiting<Channel>(c, i);
  });
  waiting_scenarios<Channel>(run, items, 2);
}

}  // namespace

int main() {
  stress::run run{"channel_history"};
  scenarios<penstock::channel<int>>(run, "items that move without throwing");
  scenarios<penstock::channel<careful_item>>(run, "items whose move may throw");
  waiting_scenarios<penstock::channel<int, penstock::channel_policy::spsc>>(run, "one producer and one consumer", 1);
  // [hazard-13]: on a single processor whoever polls keeps the processor from those that it waits for.
  run.again_on_one_processor();
  return run.finish();
}
