// select over the real channel: by threads and by what stands for coroutines.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/channel/channel.hpp>
#include <penstock/channel/detail/select_waits.hpp>

namespace penstock::inline v0_1::detail {

// Each beginning is a branch of the search.
template <>
struct select_turn<model::model_sync> {
  static std::uint32_t below(std::uint32_t n) noexcept { return rl::rand(n); }
};

}  // namespace penstock::inline v0_1::detail

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
namespace detail = penstock::detail;

using channel = penstock::basic_channel<int, penstock::channel_policy::mpmc, model_sync>;
using pop = detail::pop_spec<channel>;
using push = detail::push_spec<channel>;
using stopped = detail::stop_spec<model_sync>;
using timed = detail::time_spec<model_sync>;

template <class... Specs>
using blocking = detail::blocking_selection<model_sync, Specs...>;

template <class Derived, int Threads>
struct select_suite : model::suite<Derived, Threads> {
  std::unique_ptr<channel> a, b;

  void before() {
    a = std::make_unique<channel>(1);
    b = std::make_unique<channel>(1);
  }
  // The index, and the item.
  std::pair<std::size_t, int> pop_one(channel& first, channel& second) {
    blocking<pop, pop> s{pop{&first}, pop{&second}};
    const std::size_t i = s.run();
    const auto item = i == 0 ? s.template at<0>().take_result() : s.template at<1>().take_result();
    require(item.has_value(), "an item");
    return {i, item ? *item : 0};
  }
  static void push_to(channel& c, int item) { require(c.push(std::move(item)).has_value(), "pushed"); }
  static int pop_from(channel& c) {
    auto r = c.pop();
    require(r.has_value(), "popped");
    return r ? *r : 0;
  }
  void left(std::size_t in_a, std::size_t in_b) {
    require(a->size() == in_a && b->size() == in_b, "no item was lost or taken twice");
    a.reset();
    b.reset();
  }
  void left(std::size_t all) {
    require(a->size() + b->size() == all, "no item was lost or taken twice");
    a.reset();
    b.reset();
  }
};

// What was written before either push is visible, and each item comes once.
struct pop_pop : select_suite<pop_pop, 3> {
  var<int> data[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 2; ++i) {
        const auto [which, item] = pop_one(*a, *b);
        require(item == static_cast<int>(which) + 1 && data[which] == 42, "the item of that channel");
      }
    } else {
      data[index - 1] = 42;
      push_to(index == 1 ? *a : *b, static_cast<int>(index));
    }
  }
  void after() { left(0); }
};

// One push, and the frame of the select is gone at once: what it linked elsewhere must not be touched any more.
struct pop_then_gone : select_suite<pop_then_gone, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      pop_one(*a, *b);
      push_to(*b, 2);  // finds no node of the select
    } else {
      push_to(*a, 1);
    }
  }
  void after() { left(0, 1); }
};

// A wake that reached a select which does something else goes to the follower.
struct pop_passes_on : select_suite<pop_passes_on, 4> {
  var<std::size_t> in_a{0};

  void thread(unsigned index) {
    if (index == 0) {
      const auto [which, item] = pop_one(*a, *b);
      if (which == 1) push_to(*b, item);
      in_a = which;
    } else if (index == 1) {
      pop_from(*b);
    } else {
      push_to(index == 2 ? *a : *b, 1);
    }
  }
  void after() { left(in_a, 0); }
};

// Woken in vain: what it was woken for is gone, and the next item comes by the same channel.
struct pop_thief : select_suite<pop_thief, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      pop_one(*a, *b);
    } else if (index == 1) {
      push_to(*a, 1);
    } else {
      if (a->try_pop()) push_to(*a, 2);
    }
  }
  void after() { left(0); }
};

// The same for room.
struct push_passes_on : select_suite<push_passes_on, 4> {
  void before() {
    select_suite::before();
    push_to(*a, 1);
    push_to(*b, 2);
  }
  void thread(unsigned index) {
    if (index == 0) {
      int item = 3;
      blocking<push, push> s{push{a.get(), &item}, push{b.get(), &item}};
      const std::size_t i = s.run();
      require((i == 0 ? s.at<0>().take_result() : s.at<1>().take_result()).has_value(), "pushed");
      if (i == 1) pop_from(*b);  // makes room again
    } else if (index == 1) {
      push_to(*b, 4);
    } else {
      pop_from(index == 2 ? *a : *b);
    }
  }
  void after() {
    require(a->size() <= 1 && b->size() == 1, "pushed once");
    left(a->size() + 1);
  }
};

// Two selects that name the channels in opposite orders.
struct two_selects : select_suite<two_selects, 4> {
  void thread(unsigned index) {
    if (index == 0) {
      pop_one(*a, *b);
    } else if (index == 1) {
      pop_one(*b, *a);
    } else {
      push_to(index == 2 ? *a : *b, 1);
    }
  }
  void after() { left(0); }
};

// The same channel twice: both nodes stand in one line.
struct twice : select_suite<twice, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      pop_one(*a, *a);
    } else if (index == 1) {
      pop_from(*a);
    } else {
      push_to(*a, 1);
      push_to(*a, 2);
    }
  }
  void after() { left(0); }
};

// Pushing and popping the same channel: two selects exchange an item through it, or each fetches its own.
struct both_ways : select_suite<both_ways, 2> {
  var<int> pushed[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    int item = 5;
    blocking<push, pop> s{push{a.get(), &item}, pop{a.get()}};
    pushed[index] = s.run() == 0 ? 1 : -1;
  }
  void after() {
    require(pushed[0] + pushed[1] >= 0, "nothing came out that did not go in");
    left(static_cast<std::size_t>(pushed[0] + pushed[1]) / 2, 0);
  }
};

// Closing one of the channels is an event; the other's item stays for who comes.
struct close_one : select_suite<close_one, 3> {
  var<int> taken{0};

  void thread(unsigned index) {
    if (index == 0) {
      blocking<pop, pop> s{pop{a.get()}, pop{b.get()}};
      if (s.run() == 0) {
        require(ended_with(s.at<0>().take_result(), errc::closed), "closed");
      } else {
        require(s.at<1>().take_result().has_value(), "an item");
        taken = 1;
      }
    } else if (index == 1) {
      a->close();
    } else {
      push_to(*b, 1);
    }
  }
  void after() { left(0, static_cast<std::size_t>(1 - taken)); }
};

// A stop request against an item that a follower waits for, too.
struct pop_stop : select_suite<pop_stop, 4> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      blocking<stopped, pop, pop> s{stopped{stop_token{stop}}, pop{a.get()}, pop{b.get()}};
      const std::size_t i = s.run();
      require(i < 2, "nothing was pushed to b");
      if (i == 1) push_to(*a, *s.at<1>().take_result());
    } else if (index == 1) {
      push_to(*a, pop_from(*a));
    } else if (index == 2) {
      push_to(*a, 1);
      if (auto r = a->try_pop()) push_to(*a, *r);  // a newcomer may leave a woken waiter with nothing
    } else {
      stop.request_stop();
    }
  }
  void after() { left(1, 0); }
};

// The thread's own deadline: it withdraws by itself.
struct pop_timeout : select_suite<pop_timeout, 4> {
  void thread(unsigned index) {
    if (index == 0) {
      blocking<pop, pop, timed> s{pop{a.get()}, pop{b.get()}, timed{.timeout = 10}};
      const std::size_t i = s.run();
      if (i == 0) push_to(*a, *s.at<0>().take_result());
      if (i == 1) push_to(*b, *s.at<1>().take_result());
    } else if (index == 1) {
      push_to(*a, pop_from(*a));
    } else {
      push_to(index == 2 ? *a : *b, 1);
    }
  }
  void after() { left(1, 1); }
};

// A deadline by a clock that has timers.
struct pop_timer : select_suite<pop_timer, 3> {
  model::timers clock;

  void thread(unsigned index) {
    if (index == 0) {
      blocking<pop, timed> s{pop{a.get()}, timed{.timeout = 10, .timers = &clock}};
      if (s.run() == 0) push_to(*a, *s.at<0>().take_result());
    } else if (index == 1) {
      push_to(*a, 1);
    } else {
      clock.advance_to(20);
      clock.advance_to(40);
    }
  }
  void after() {
    require(clock.none_pending(), "the timer is gone");
    left(1, 0);
  }
};
// Otherwise it might begin to wait when the clock has stopped: the thread that moves it comes last.
struct pop_timer_only : select_suite<pop_timer_only, 2> {
  model::timers clock;
  model::atomic<int> armed{0};

  void thread(unsigned index) {
    if (index == 0) {
      const auto at = detail::basic_deadline<model_sync>{10, clock};
      blocking<pop, timed> s{pop{a.get()}, timed{.at = at}};
      require(s.run() == 1, "nothing was pushed");
    } else {
      clock.advance_to(10);
    }
  }
  void after() {
    require(clock.none_pending(), "the timer is gone");
    left(0, 0);
  }
};

// A select in a frame that its end frees, as a coroutine's.
template <class Test, class... Specs>
class frame : public detail::completion_selection<model_sync, model::scheduler, Specs...> {
 public:
  using base = detail::completion_selection<model_sync, model::scheduler, Specs...>;

  static void begin(Test& test, const stop_token& stop, model::scheduler where, const Specs&... specs) {
    auto* const f = new frame{test, specs...};
    if (f->start(stop, {}, where, [](base& b) noexcept { end(static_cast<frame&>(b)); })) end(*f);
  }

 private:
  explicit frame(Test& test, const Specs&... specs) : base{specs...}, test_{test} {}
  static void end(frame& f) noexcept {
    f.disarm();
    const std::size_t happened = f.chosen();
    Test& test = f.test_;
    delete &f;
    test.ended(happened);
  }

  Test& test_;
};

// Resumed by whoever pushes, on its thread.
struct async_pop : select_suite<async_pop, 3> {
  model::atomic<int> ends{0};

  void thread(unsigned index) {
    if (index == 0) {
      frame<async_pop, pop, pop>::begin(*this, {}, {}, pop{a.get()}, pop{b.get()});
    } else {
      push_to(index == 1 ? *a : *b, 1);
    }
  }
  void ended(std::size_t happened) {
    require(happened < 2, "popped");
    ends.fetch_add(1);
  }
  void after() {
    require(ends.load() == 1, "it ended once");
    left(1);
  }
};

// Resumed on a thread of their own, with a stop request and a follower.
struct async_pop_stop : select_suite<async_pop_stop, 4> {
  model::stop_state stop;
  model::mailbox box;
  model::atomic<int> ends{0};

  void thread(unsigned index) {
    if (index == 0) {
      frame<async_pop_stop, pop, pop>::begin(*this, stop_token{stop}, model::scheduler{&box}, pop{a.get()}, pop{b.get()});
      frame<async_pop_stop, pop, pop>::begin(*this, {}, model::scheduler{&box}, pop{b.get()}, pop{a.get()});
    } else if (index == 1) {
      push_to(*a, 1);
    } else if (index == 2) {
      stop.request_stop();
    } else {
      box.run();
    }
  }
  // Both name `a`, at different places: the channel tells which it was.
  void ended(std::size_t happened) {
    require(happened <= 2, "popped, or stopped");
    if (happened < 2) push_to(*a, 1);
    if (ends.fetch_add(1) == 1) box.close();
  }
  void after() {
    require(ends.load() == 2, "both ended");
    left(1, 0);
  }
};

// A thread that selects and a frame that does, in the same lines.
struct async_and_thread : select_suite<async_and_thread, 4> {
  model::mailbox box;

  void thread(unsigned index) {
    if (index == 0) {
      frame<async_and_thread, pop, pop>::begin(*this, {}, model::scheduler{&box}, pop{a.get()}, pop{b.get()});
      box.run();
    } else if (index == 1) {
      pop_one(*b, *a);
    } else {
      push_to(index == 2 ? *a : *b, 1);
    }
  }
  void ended(std::size_t happened) {
    require(happened < 2, "popped");
    box.close();
  }
  void after() { left(0); }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"select", argc, argv};
  session.random<pop_pop>("pop of two channels");
  session.bounded<pop_then_gone, 2>("pop of two channels, one push");
  session.random<pop_passes_on>("pop and a follower");
  session.random<pop_thief>("pop and a thief");
  session.random<push_passes_on>("push and a follower");
  session.random<two_selects>("two selects");
  session.random<twice>("the same channel twice");
  session.random<both_ways>("push and pop of the same channel");
  session.random<close_one>("close, push and pop");
  session.random<pop_stop>("pop, stop and a follower");
  session.random<pop_timeout>("pop, timeout and a follower");
  session.random<pop_timer>("pop and timer");
  session.random<pop_timer_only>("timer alone");
  session.random<async_pop>("a coroutine pops, resumed in place");
  session.random<async_pop_stop>("coroutines pop, stop and a follower");
  session.random<async_and_thread>("a coroutine and a thread");
  return session.result();
}
