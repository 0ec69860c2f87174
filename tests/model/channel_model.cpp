// The channel: the lock-free ring with its lines, and the locked one.
#include "support/frame.hpp"
#include "support/suite.hpp"

#include <penstock/channel/channel.hpp>

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::detail::outcome;

// Makes the channel take its lock per operation.
struct heavy {
  heavy(int v) : value{v} {}
  heavy(heavy&& other) noexcept(false) : value{other.value} {}
  heavy& operator=(heavy&& other) noexcept(false) {
    value = other.value;
    return *this;
  }
  operator int() const { return value; }
  int value;
};

template <class Derived, int Threads, class T, int Capacity>
struct channel_suite : model::suite<Derived, Threads> {
  using channel = penstock::basic_channel<T, model_sync>;
  std::unique_ptr<channel> c;

  void before() { c = std::make_unique<channel>(Capacity); }
  void push(int item) { require(c->push(T{item}).has_value(), "pushed"); }
  int pop() {
    auto r = c->pop();
    require(r.has_value(), "popped");
    return r ? static_cast<int>(*r) : 0;
  }
  void left(std::size_t n) {
    require(c->size() == n, "no item was lost or made");
    c.reset();
  }
};

// What was written before a push is visible after the pop.
template <class T>
struct push_pop : channel_suite<push_pop<T>, 2, T, 1> {
  var<int> data{0};

  void thread(unsigned index) {
    if (index == 0) {
      require(this->pop() == 7 && data == 42, "the item, and what was written before it");
    } else {
      data = 42;
      this->push(7);
    }
  }
  void after() { this->left(0); }
};

// The producer waits for room.
template <class T>
struct push_waits : channel_suite<push_waits<T>, 2, T, 1> {
  void thread(unsigned index) {
    if (index == 0) {
      this->push(1);
      this->push(2);
    } else {
      require(this->pop() == 1 && this->pop() == 2, "in order");
    }
  }
  void after() { this->left(0); }
};

template <class T>
struct two_and_two : channel_suite<two_and_two<T>, 4, T, 1> {
  var<int> got[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index < 2) {
      this->push(1 << index);
    } else {
      got[index - 2] = this->pop();
    }
  }
  void after() {
    require((got[0] | got[1]) == 3 && got[0] != got[1], "each item came out once");
    this->left(0);
  }
};

// Laps: a producer and two consumers, one of which does not wait.
template <class T>
struct laps : channel_suite<laps<T>, 3, T, 2> {
  var<int> sum[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 1; i <= 4; ++i) this->push(i);
      this->c->close();
    } else if (index == 1) {
      int last = 0;
      while (auto item = this->c->pop()) {
        require(*item > last, "in order");
        last = *item;
        sum[0] += last;
      }
    } else if (auto item = this->c->try_pop()) {
      sum[1] = *item;
    }
  }
  void after() {
    require(sum[0] + sum[1] == 10, "everything came out once");
    require(ended_with(this->c->pop(), errc::closed), "closed and drained");
    this->left(0);
  }
};

// Closing reaches who waits for an item; what went in before comes out.
template <class T>
struct close_pop : channel_suite<close_pop<T>, 3, T, 1> {
  var<bool> pushed{false};
  var<bool> popped{false};

  void thread(unsigned index) {
    if (index == 0) {
      auto r = this->c->pop();
      require(r || ended_with(r, errc::closed), "an item or closed");
      popped = r.has_value();
    } else if (index == 1) {
      pushed = this->c->push(T{1}).has_value();
    } else {
      this->c->close();
    }
  }
  void after() { this->left(pushed && !popped ? 1 : 0); }
};

// Closing reaches who waits for room, and its item is untouched.
template <class T>
struct close_push : channel_suite<close_push<T>, 3, T, 1> {
  var<int> inside{1};

  void before() {
    channel_suite<close_push, 3, T, 1>::before();
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      T item{2};
      const auto r = this->c->push(std::move(item));
      require(r.has_value() || (r.error() == errc::closed && item == 2), "pushed or closed");
      if (r) inside = 2;
    } else if (index == 1) {
      this->pop();
    } else {
      this->c->close();
    }
  }
  void after() { this->left(inside - 1); }
};

// One item goes round; it reaches the consumer that stays, whenever the other one is stopped.
template <class T>
struct pop_stop : channel_suite<pop_stop<T>, 4, T, 1> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      auto r = this->c->pop(stop_token{stop});
      require(r || ended_with(r, errc::cancelled), "popped or cancelled");
      if (r) this->push(*r);
    } else if (index == 1) {
      this->push(this->pop());
    } else if (index == 2) {
      this->push(1);
      if (auto r = this->c->try_pop()) this->push(*r);  // a newcomer may leave a woken waiter with nothing
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(1); }
};

// The same for room.
template <class T>
struct push_stop : channel_suite<push_stop<T>, 4, T, 1> {
  model::stop_state stop;

  void before() {
    channel_suite<push_stop, 4, T, 1>::before();
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const auto r = this->c->push(stop_token{stop}, T{2});
      require(r || ended_with(r, errc::cancelled), "pushed or cancelled");
      if (r) this->pop();
    } else if (index == 1) {
      this->push(3);
      this->pop();
    } else if (index == 2) {
      this->pop();
      if (this->c->try_push(T{4})) this->pop();
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(0); }
};

// The same with a deadline: the waiter withdraws by itself.
template <class T>
struct pop_timeout : channel_suite<pop_timeout<T>, 3, T, 1> {
  using channel = penstock::basic_channel<T, model_sync>;
  using wait = penstock::detail::blocking_wait<channel, typename channel::pop_node>;

  void thread(unsigned index) {
    if (index == 0) {
      wait w{*this->c};
      const outcome how = w.run(10);
      require(how == outcome::granted || how == outcome::timeout, "popped or timed out");
      if (how == outcome::granted) this->push(*w.item);
    } else if (index == 1) {
      this->push(this->pop());
    } else {
      this->push(1);
    }
  }
  void after() { this->left(1); }
};

// Coroutines in the line, resumed on a thread of their own, where they look again.
template <class T>
struct async_pop : channel_suite<async_pop<T>, 4, T, 1> {
  using channel = penstock::basic_channel<T, model_sync>;
  using waiting = model::frame<channel, typename channel::pop_node, async_pop>;
  model::stop_state stop;
  model::mailbox box;
  model::atomic<int> ends{0};

  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, stop_token{stop}, {}, model::scheduler{&box}, *this->c);
      waiting::begin(*this, {}, {}, model::scheduler{&box}, *this->c);
    } else if (index == 1) {
      this->push(1);
    } else if (index == 2) {
      stop.request_stop();
    } else {
      box.run();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::cancelled, "popped or cancelled");
    if (how == outcome::granted) this->push(1);
    if (ends.fetch_add(1) == 1) box.close();
  }
  void after() {
    require(ends.load() == 2, "both ended");
    this->left(1);
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"channel", argc, argv};
  session.bounded<push_pop<int>, 3>("push and pop");
  session.bounded<push_waits<int>, 2>("push waits for room");
  session.random<two_and_two<int>>("two producers and two consumers");
  session.random<laps<int>>("laps");
  session.random<close_pop<int>>("close, push and pop");
  session.random<close_push<int>>("close and push into a full one");
  session.random<pop_stop<int>>("pop, stop and a follower");
  session.random<push_stop<int>>("push, stop and a follower");
  session.random<pop_timeout<int>>("pop, timeout and a follower");
  session.random<async_pop<int>>("coroutines pop, stop and a follower");
  session.bounded<push_pop<heavy>, 3>("locked ring: push and pop");
  session.random<two_and_two<heavy>>("locked ring: two producers and two consumers");
  session.random<close_pop<heavy>>("locked ring: close, push and pop");
  session.random<pop_stop<heavy>>("locked ring: pop, stop and a follower");
  session.random<push_stop<heavy>>("locked ring: push, stop and a follower");
  return session.result();
}
