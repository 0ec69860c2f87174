// The channel: its three rings with their lines, and what options and reservations add.
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

// What a channel is made of.
template <class T, penstock::channel_policy Policy = penstock::channel_policy::mpmc>
struct plain {
  using item = T;
  using channel = penstock::basic_channel<T, Policy, model_sync>;
  static std::unique_ptr<channel> make(std::size_t capacity) { return std::make_unique<channel>(capacity); }
};
using lock_free = plain<int>;
using locked = plain<heavy>;
using spsc = plain<int, penstock::channel_policy::spsc>;
// The same, with pushes under the channel's lock.
template <class Shape>
struct with_options : Shape {
  using channel = typename Shape::channel;
  static std::unique_ptr<channel> make(std::size_t capacity) {
    penstock::channel_options<typename Shape::item> o;
    o.capacity = capacity;
    o.high_water = capacity;
    o.metrics = true;
    return std::make_unique<channel>(std::move(o));
  }
};
// The same, counted without the lock.
template <class Shape>
struct with_metrics : Shape {
  using channel = typename Shape::channel;
  static std::unique_ptr<channel> make(std::size_t capacity) {
    penstock::channel_options<typename Shape::item> o;
    o.capacity = capacity;
    o.metrics = true;
    return std::make_unique<channel>(std::move(o));
  }
};

template <class Derived, int Threads, class Shape, int Capacity>
struct channel_suite : model::suite<Derived, Threads> {
  using T = typename Shape::item;
  using channel = typename Shape::channel;
  std::unique_ptr<channel> c;

  void before() { c = Shape::make(Capacity); }
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
template <class Shape>
struct push_pop : channel_suite<push_pop<Shape>, 2, Shape, 1> {
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
template <class Shape>
struct push_waits : channel_suite<push_waits<Shape>, 2, Shape, 1> {
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

template <class Shape>
struct two_and_two : channel_suite<two_and_two<Shape>, 4, Shape, 1> {
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
template <class Shape>
struct laps : channel_suite<laps<Shape>, 3, Shape, 2> {
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
template <class Shape>
struct close_pop : channel_suite<close_pop<Shape>, 3, Shape, 1> {
  var<bool> pushed{false};
  var<bool> popped{false};

  void thread(unsigned index) {
    if (index == 0) {
      auto r = this->c->pop();
      require(r || ended_with(r, errc::closed), "an item or closed");
      popped = r.has_value();
    } else if (index == 1) {
      pushed = this->c->push(typename Shape::item{1}).has_value();
    } else {
      this->c->close();
    }
  }
  void after() { this->left(pushed && !popped ? 1 : 0); }
};

// Closing reaches who waits for room, and its item is untouched.
template <class Shape>
struct close_push : channel_suite<close_push<Shape>, 3, Shape, 1> {
  var<int> inside{1};

  void before() {
    channel_suite<close_push, 3, Shape, 1>::before();
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      typename Shape::item item{2};
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

// The same where nobody else makes room.
template <class Shape>
struct close_full : channel_suite<close_full<Shape>, 2, Shape, 1> {
  void before() {
    channel_suite<close_full, 2, Shape, 1>::before();
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      typename Shape::item item{2};
      require(ended_with(this->c->push(std::move(item)), errc::closed) && item == 2, "closed, and the item is untouched");
    } else {
      this->c->close();
    }
  }
  void after() { this->left(1); }
};

// One item goes round; it reaches the consumer that stays, whenever the other one is stopped.
template <class Shape>
struct pop_stop : channel_suite<pop_stop<Shape>, 4, Shape, 1> {
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
template <class Shape>
struct push_stop : channel_suite<push_stop<Shape>, 4, Shape, 1> {
  model::stop_state stop;

  void before() {
    channel_suite<push_stop, 4, Shape, 1>::before();
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const auto r = this->c->push(stop_token{stop}, typename Shape::item{2});
      require(r || ended_with(r, errc::cancelled), "pushed or cancelled");
      if (r) this->pop();
    } else if (index == 1) {
      this->push(3);
      this->pop();
    } else if (index == 2) {
      this->pop();
      if (this->c->try_push(typename Shape::item{4})) this->pop();
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(0); }
};

// The same with a deadline: the waiter withdraws by itself.
template <class Shape>
struct pop_timeout : channel_suite<pop_timeout<Shape>, 3, Shape, 1> {
  using channel = typename Shape::channel;
  using wait = penstock::detail::blocking_wait<channel, typename channel::pop_node>;

  void thread(unsigned index) {
    if (index == 0) {
      wait w{*this->c, this->c.get()};
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
template <class Shape>
struct async_pop : channel_suite<async_pop<Shape>, 4, Shape, 1> {
  using channel = typename Shape::channel;
  using waiting = model::frame<channel, typename channel::pop_node, async_pop>;
  model::stop_state stop;
  model::mailbox box;
  model::atomic<int> ends{0};

  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, stop_token{stop}, {}, model::scheduler{&box}, *this->c, this->c.get());
      waiting::begin(*this, {}, {}, model::scheduler{&box}, *this->c, this->c.get());
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

// One producer and one consumer, several laps, closed by a third.
struct one_and_one : channel_suite<one_and_one, 3, spsc, 2> {
  var<int> pushed{0};
  var<int> popped{0};

  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 1; i <= 4; ++i) {
        int item = i;
        const auto r = c->push(std::move(item));
        require(r.has_value() || (r.error() == errc::closed && item == i), "pushed or closed");
        if (!r) break;
        pushed = i;
      }
    } else if (index == 1) {
      while (auto item = c->pop()) {
        require(*item == popped + 1, "in order");
        popped = *item;
      }
    } else {
      c->close();
    }
  }
  void after() {
    require(pushed == popped, "what went in before the end came out");
    left(0);
  }
};

// Places for two are kept for one while another pushes.
template <class Shape>
struct reserve : channel_suite<reserve<Shape>, 3, Shape, 2> {
  using wait = penstock::detail::blocking_wait<typename Shape::channel, typename Shape::channel::reserve_node>;
  var<int> sum{0};

  void before() {
    channel_suite<reserve, 3, Shape, 2>::before();
    require(this->c->try_reserve(2).has_value(), "an empty channel has two places");
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      wait w{*this->c, this->c.get(), 2U, 0U};
      auto slots = w.take_result(w.run());
      require(slots.has_value(), "reserved");
      require(slots->push(2).has_value() && slots->push(4).has_value(), "what is reserved finds room");
      require(slots->places() == 0, "both are used");
    } else if (index == 1) {
      this->push(8);
    } else {
      for (int i = 0; i < 3; ++i) sum += this->pop();
    }
  }
  void after() {
    require(sum + this->pop() == 15, "every item came out");
    this->left(0);
  }
};

// The first in line wants more than there is, and is stopped: the one behind it gets what there is.
template <class Shape>
struct reserve_stop : channel_suite<reserve_stop<Shape>, 3, Shape, 2> {
  using wait = penstock::detail::blocking_wait<typename Shape::channel, typename Shape::channel::reserve_node>;
  model::stop_state stop;

  void before() {
    channel_suite<reserve_stop, 3, Shape, 2>::before();
    require(this->c->try_reserve(1).has_value(), "an empty channel has a place");
    this->push(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      wait w{*this->c, this->c.get(), 2U, 0U};
      require(ended_with(w.take_result(w.run(stop_token{stop}, penstock::detail::never)), errc::cancelled), "cancelled");
    } else if (index == 1) {
      this->push(2);
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(2); }
};

// A slot outlives close(): its item comes out before the end.
template <class Shape>
struct slot_and_close : channel_suite<slot_and_close<Shape>, 3, Shape, 2> {
  std::optional<typename Shape::channel::slots> held;
  var<int> got{0};

  void before() {
    channel_suite<slot_and_close, 3, Shape, 2>::before();
    auto r = this->c->try_reserve();
    require(r.has_value(), "an empty channel has a place");
    held.emplace(*std::move(r));
  }
  void thread(unsigned index) {
    if (index == 0) {
      require(held->push(7).has_value(), "a slot finds room");
    } else if (index == 1) {
      while (auto item = this->c->pop()) got += *item;
    } else {
      this->c->close();
    }
  }
  void after() {
    require(got == 7, "it came out");
    held.reset();
    this->left(0);
  }
};

// Or is given back, and consumers learn that nothing will come.
template <class Shape>
struct slot_given_back : channel_suite<slot_given_back<Shape>, 3, Shape, 1> {
  std::optional<typename Shape::channel::slots> held;

  void before() {
    channel_suite<slot_given_back, 3, Shape, 1>::before();
    auto r = this->c->try_reserve();
    require(r.has_value(), "an empty channel has a place");
    held.emplace(*std::move(r));
  }
  void thread(unsigned index) {
    if (index == 0) {
      held->release();
    } else if (index == 1) {
      require(ended_with(this->c->pop(), errc::closed), "closed, and nothing came");
    } else {
      this->c->close();
    }
  }
  void after() {
    held.reset();
    this->left(0);
  }
};

// Two producers and a consumer, counted without the lock: nothing is missed, and the peak is one that can have been.
template <class Shape>
struct counted : channel_suite<counted<Shape>, 3, Shape, 2> {
  void thread(unsigned index) {
    if (index < 2) {
      this->push(1);
    } else {
      this->pop();
    }
  }
  void after() {
    const penstock::channel_stats s = this->c->stats();
    require(s.pushed == 2 && s.popped == 1 && s.depth == 1, "each item is counted once");
    require(s.peak_depth == 1 || s.peak_depth == 2, "the peak is right");
  }
};

// Two producers, the oldest is dropped, and a consumer that does not wait: everything is accounted for.
struct drop_oldest : channel_suite<drop_oldest, 3, lock_free, 1> {
  var<int> popped{0};

  void before() {
    penstock::channel_options<int> o;
    o.capacity = 1;
    o.when_full = penstock::when_full::drop_oldest;
    o.metrics = true;
    c = std::make_unique<channel>(std::move(o));
  }
  void thread(unsigned index) {
    if (index < 2) {
      require(c->try_push(1).has_value(), "there is always room");
      require(c->push(1).has_value(), "there is always room");
    } else {
      for (int i = 0; i < 2; ++i) {
        if (c->try_pop()) popped += 1;
      }
    }
  }
  void after() {
    const auto told = c->stats();
    require(told.pushed == 4 && told.popped == static_cast<std::size_t>(static_cast<int>(popped)),
            "what is told is what was done");
    require(told.pushed == told.popped + told.dropped_oldest + c->size(), "every item came out or was dropped");
    left(c->size());
  }
};

// Batches: claimed in one step, against single operations and a closing.
struct batches : model::suite<batches, 3> {
  using ring = penstock::detail::ring<int, model_sync>;
  using step = penstock::detail::ring_step;
  std::unique_ptr<ring> r;
  var<int> data{0};
  var<int> sum{0};
  var<int> pushed{0};

  void before() {
    r = std::make_unique<ring>(3);
    int one = 1;
    require(r->try_push(one) == step::done, "pushed");  // so that a batch goes round the end
    std::optional<int> out;
    require(r->try_pop(out) == step::done, "popped");
  }
  void thread(unsigned index) {
    if (index == 0) {
      data = 42;
      int items[] = {1, 2, 4};
      step why;
      pushed = static_cast<int>(r->try_push_n(items, 3, why));
    } else if (index == 1) {
      int item = 8;
      if (r->try_push(item) == step::done) sum = sum - 8;  // taken off again below
      r->close();
    } else {
      for (int looks = 0; looks < 2; ++looks) {
        r->try_pop_n(2, [this](int&& i) noexcept {
          if (i < 8) require(data == 42, "what was written before the push");
          sum_of_consumer = sum_of_consumer + i;
        });
      }
    }
  }
  var<int> sum_of_consumer{0};
  void after() {
    int all = sum_of_consumer + sum;
    std::optional<int> out;
    while (r->try_pop(out) == step::done) all += *out;
    const int expected[] = {0, 1, 3, 7};
    require(all == expected[static_cast<int>(pushed)], "everything came out once");
    r.reset();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"channel", argc, argv};
  session.bounded<push_pop<lock_free>, 3>("push and pop");
  session.bounded<push_waits<lock_free>, 2>("push waits for room");
  session.random<two_and_two<lock_free>>("two producers and two consumers");
  session.random<laps<lock_free>>("laps");
  session.random<close_pop<lock_free>>("close, push and pop");
  session.random<close_push<lock_free>>("close and push into a full one");
  session.bounded<close_full<lock_free>, 3>("close while one waits for room");
  session.random<pop_stop<lock_free>>("pop, stop and a follower");
  session.random<push_stop<lock_free>>("push, stop and a follower");
  session.random<pop_timeout<lock_free>>("pop, timeout and a follower");
  session.random<async_pop<lock_free>>("coroutines pop, stop and a follower");
  session.random<batches>("batches");
  session.bounded<push_pop<spsc>, 3>("spsc ring: push and pop");
  session.bounded<push_waits<spsc>, 2>("spsc ring: push waits for room");
  session.random<one_and_one>("spsc ring: laps and close");
  session.random<close_pop<spsc>>("spsc ring: close, push and pop");
  session.random<close_push<spsc>>("spsc ring: close and push into a full one");
  session.random<slot_and_close<spsc>>("spsc ring: a slot is used after close");
  session.bounded<push_pop<locked>, 3>("locked ring: push and pop");
  session.random<two_and_two<locked>>("locked ring: two producers and two consumers");
  session.random<close_pop<locked>>("locked ring: close, push and pop");
  session.random<pop_stop<locked>>("locked ring: pop, stop and a follower");
  session.random<push_stop<locked>>("locked ring: push, stop and a follower");
  session.bounded<push_waits<with_options<lock_free>>, 2>("with options: push waits for room");
  session.random<two_and_two<with_options<lock_free>>>("with options: two producers and two consumers");
  session.random<close_push<with_options<lock_free>>>("with options: close and push into a full one");
  session.bounded<close_full<with_options<lock_free>>, 3>("with options: close while one waits for room");
  session.random<push_stop<with_options<lock_free>>>("with options: push, stop and a follower");
  session.bounded<push_pop<with_metrics<lock_free>>, 3>("with metrics: push and pop");
  session.bounded<push_waits<with_metrics<lock_free>>, 2>("with metrics: push waits for room");
  session.bounded<push_pop<with_metrics<spsc>>, 3>("with metrics, spsc ring: push and pop");
  session.random<close_pop<with_metrics<lock_free>>>("with metrics: close, push and pop");
  session.random<counted<with_metrics<lock_free>>>("with metrics: what is counted");
  session.random<counted<with_metrics<locked>>>("with metrics, locked ring: what is counted");
  session.random<push_stop<with_options<locked>>>("with options, locked ring: push, stop and a follower");
  session.random<reserve<lock_free>>("reserve, push and pop");
  session.random<reserve<with_options<lock_free>>>("with options: reserve, push and pop");
  session.random<reserve_stop<lock_free>>("reserve, stop and a follower");
  session.random<slot_and_close<lock_free>>("a slot is used after close");
  session.random<slot_given_back<lock_free>>("a slot is given back after close");
  session.random<drop_oldest>("the oldest is dropped");
  return session.result();
}
