// The broadcast: its ring under copies, evictions and last readers; its two lines; its turns. Items are watched for races.
#include "support/frame.hpp"
#include "support/suite.hpp"

#include <penstock/channel/broadcast.hpp>

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::slow_subscriber;
using penstock::detail::outcome;

// Reading and writing it are events, so a copy beside a destruction is a race. Moved from: 0.
template <bool Throws>
struct basic_item {
  basic_item(int v) : value{v} {}
  basic_item(const basic_item& other) : value{static_cast<int>(other.value)} {}
  basic_item(basic_item&& other) noexcept(!Throws) : value{static_cast<int>(other.value)} {
    if (Throws && value == 13) throw 13;
    other.value = 0;
  }
  ~basic_item() { value = -1; }
  operator int() const { return value; }
  var<int> value;
};
using item = basic_item<false>;
using heavy = basic_item<true>;

template <class Derived, int Threads, class T = item>
struct broadcast_suite : model::suite<Derived, Threads> {
  using broadcast = penstock::basic_broadcast<T, model_sync>;
  using subscription = typename broadcast::subscription;
  std::unique_ptr<broadcast> b;
  std::optional<subscription> s[2];

  void begin(std::size_t capacity, int subscribers, slow_subscriber policy = slow_subscriber::wait) {
    b = std::make_unique<broadcast>(capacity, penstock::broadcast_options{policy});
    for (int i = 0; i < subscribers; ++i) s[i].emplace(b->subscribe());
  }
  void publish(int v) { require(b->publish(T{v}).has_value(), "published"); }
  void pop(int reader, int v) {
    const auto r = s[reader]->pop();
    require(r.has_value() && *r == v, "every item, in order");
  }
  // Everything from `next` to `last` comes or is told as lost, in order; then the broadcast is closed.
  void account(subscription& from, int next, int last) {
    for (;;) {
      const auto r = from.pop();
      if (r) {
        require(*r == next, "gaps are what was told as lost");
        ++next;
      } else if (r.error() == errc::lagged) {
        require(from.lost() > 0, "something was lost");
        next += static_cast<int>(from.lost());
      } else {
        require(ended_with(r, errc::closed), "closed");
        break;
      }
    }
    require(next == last + 1, "nothing is missing at the end");
  }
  void end() {
    s[0].reset();
    s[1].reset();
    require(b->subscribers() == 0, "all have left");
    if (!b->is_closed()) {
      s[0].emplace(b->subscribe());
      for (std::size_t i = b->capacity(); i > 0; --i) require(b->try_publish(T{1}).has_value(), "no item was left inside");
      s[0].reset();
    }
    b.reset();
  }
};

// What was written before a publication is visible after the pop.
struct publish_pop : broadcast_suite<publish_pop, 2> {
  var<int> data{0};
  void before() { begin(1, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      pop(0, 7);
      require(data == 42, "what was written before");
    } else {
      data = 42;
      publish(7);
    }
  }
  void after() { end(); }
};

// Both see everything; the publisher waits for the slower one, the last reader takes the item.
struct two_readers : broadcast_suite<two_readers, 3> {
  void before() { begin(1, 2); }
  void thread(unsigned index) {
    if (index == 2) {
      for (int i = 1; i <= 3; ++i) publish(i);
    } else {
      for (int i = 1; i <= 3; ++i) pop(static_cast<int>(index), i);
    }
  }
  void after() { end(); }
};

// Slots get vacant in any order; publishers in line are called for each.
struct two_publishers : broadcast_suite<two_publishers, 4> {
  var<int> sum[2] = {var<int>{0}, var<int>{0}};
  void before() {
    begin(2, 2);
    publish(1);
    publish(2);
  }
  void thread(unsigned index) {
    if (index < 2) {
      publish(index == 0 ? 4 : 8);
    } else {
      const int reader = static_cast<int>(index) - 2;
      pop(reader, 1);
      pop(reader, 2);
      int order = 0;
      for (int i = 0; i < 2; ++i) order = order * 16 + static_cast<int>(*s[reader]->pop());
      sum[reader] = order;
    }
  }
  void after() {
    require(sum[0] == sum[1] && (sum[0] == 0x48 || sum[0] == 0x84), "one order for all");
    end();
  }
};

// A place that gets vacant while a publisher has its turn is the next one's.
struct room_in_a_turn : broadcast_suite<room_in_a_turn, 3> {
  void before() {
    begin(2, 1);
    publish(1);
    publish(2);
  }
  void thread(unsigned index) {
    if (index < 2) {
      publish(4);
    } else {
      pop(0, 1);
      pop(0, 2);
    }
  }
  void after() {
    pop(0, 4);
    pop(0, 4);
    end();
  }
};

// The subscriber that holds the publisher back goes away.
struct slow_one_leaves : broadcast_suite<slow_one_leaves, 3> {
  void before() {
    begin(1, 2);
    publish(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      publish(2);
      publish(3);
    } else if (index == 1) {
      for (int i = 1; i <= 3; ++i) pop(0, i);
    } else {
      s[1].reset();
    }
  }
  void after() { end(); }
};

// Nobody is left: publishers in line and those under way succeed.
struct last_one_leaves : broadcast_suite<last_one_leaves, 3> {
  void before() {
    begin(1, 1);
    publish(1);
  }
  void thread(unsigned index) {
    if (index < 2) {
      publish(2);
    } else {
      s[0].reset();
    }
  }
  void after() { end(); }
};

// The only subscriber leaves while an item is moved in: it is published to nobody, and leaves no trace.
struct leaves_in_a_turn : broadcast_suite<leaves_in_a_turn, 2> {
  void before() { begin(1, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      publish(1);
    } else {
      s[0].reset();
    }
  }
  void after() { end(); }
};

// A publisher that leaves the line, or was called and is stopped, takes nobody's room.
struct publish_stop : broadcast_suite<publish_stop, 4> {
  model::stop_state stop;
  void before() {
    begin(1, 1);
    publish(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      item mine{2};
      const auto r = b->publish(stop_token{stop}, std::move(mine));
      require(r.has_value() ? mine == 0 : r.error() == errc::cancelled && mine == 2, "published, or untouched");
      if (!r) publish(2);
    } else if (index == 1) {
      publish(3);
    } else if (index == 2) {
      pop(0, 1);
      require(*s[0]->pop() + *s[0]->pop() == 5, "both came");
    } else {
      stop.request_stop();
    }
  }
  void after() { end(); }
};

// The same with a deadline, which the publisher watches itself.
struct publish_timeout : broadcast_suite<publish_timeout, 3> {
  using wait = penstock::detail::blocking_wait<broadcast, typename broadcast::publish_node>;
  void before() {
    begin(1, 1);
    publish(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      item mine{2};
      wait w{*b, mine};
      const outcome how = w.run(10);
      require(how == outcome::granted || (how == outcome::timeout && mine == 2), "published or timed out");
      if (how == outcome::timeout) publish(2);
    } else if (index == 1) {
      publish(3);
    } else {
      pop(0, 1);
      require(*s[0]->pop() + *s[0]->pop() == 5, "both came");
    }
  }
  void after() { end(); }
};

// A publisher whose move throws was called for room that it does not take.
struct publish_throws : broadcast_suite<publish_throws, 3, heavy> {
  void before() {
    begin(1, 1);
    publish(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      heavy thirteen{13};
      bool thrown = false;
      try {
        static_cast<void>(b->publish(std::move(thirteen)));
      } catch (int) {
        thrown = true;
      }
      require(thrown && thirteen == 13, "the exception reaches the caller");
    } else if (index == 1) {
      publish(3);
    } else {
      pop(0, 1);
      pop(0, 3);
    }
  }
  void after() { end(); }
};

// Closing reaches who waits for an item; what was published before comes out.
struct close_pop : broadcast_suite<close_pop, 3> {
  var<bool> published{false};
  void before() { begin(1, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      auto r = s[0]->pop();
      const bool got = r.has_value();
      require(got || ended_with(r, errc::closed), "an item or closed");
      if (got) r = s[0]->pop();
      require(ended_with(r, errc::closed), "closed in the end, and nothing after it");
      require(ended_with(s[0]->pop(), errc::closed), "for good");
    } else if (index == 1) {
      published = b->publish(item{1}).has_value();
    } else {
      b->close();
    }
  }
  void after() { end(); }
};

// Closing reaches who waits for room, and its item is untouched.
struct close_publish : broadcast_suite<close_publish, 3> {
  void before() {
    begin(1, 1);
    publish(1);
  }
  void thread(unsigned index) {
    if (index < 2) {
      item mine{2};
      const auto r = b->publish(std::move(mine));
      require(ended_with(r, errc::closed) && mine == 2, "closed, and untouched");
    } else {
      b->close();
    }
  }
  void after() {
    pop(0, 1);
    end();
  }
};

// Whoever subscribes meanwhile sees an end of the sequence without a gap.
struct subscribe_meanwhile : broadcast_suite<subscribe_meanwhile, 3> {
  void before() { begin(1, 1); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 1; i <= 2; ++i) publish(i);
      b->close();
    } else if (index == 1) {
      account(*s[0], 1, 2);
    } else {
      auto late = b->subscribe();
      int last = 0;
      while (auto r = late.pop()) {
        require(last == 0 || *r == last + 1, "no gap");
        last = *r;
      }
      require(last == 0 || last == 2, "to the end");
    }
  }
  void after() { end(); }
};

// A copy that is under way is not evicted; what is lost is told.
template <int Capacity, int Readers>
struct lossy : broadcast_suite<lossy<Capacity, Readers>, 1 + Readers> {
  static constexpr int items = Capacity + 2;
  void before() { this->begin(Capacity, Readers, slow_subscriber::lose_oldest); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 1; i <= items; ++i) this->publish(i);
      this->b->close();
    } else {
      this->account(*this->s[index - 1], 1, items);
    }
  }
  void after() { this->end(); }
};

// A subscriber that leaves passes what is still there and leaves alone what is not.
struct lossy_leave : broadcast_suite<lossy_leave, 3> {
  void before() {
    begin(2, 2, slow_subscriber::lose_oldest);
    publish(1);
    publish(2);
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 3; i <= 5; ++i) publish(i);
      b->close();
    } else if (index == 1) {
      s[0].reset();
    } else {
      account(*s[1], 1, 5);
    }
  }
  void after() { end(); }
};

struct disconnects : broadcast_suite<disconnects, 2> {
  void before() { begin(1, 1, slow_subscriber::disconnect); }
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 1; i <= 3; ++i) publish(i);
      b->close();
    } else {
      int next = 1;
      for (;;) {
        const auto r = s[0]->pop();
        if (!r && r.error() == errc::disconnected) {
          require(s[0]->lost() > 0 && ended_with(s[0]->pop(), errc::disconnected), "for good");
          break;
        }
        if (!r) {
          require(ended_with(r, errc::closed) && next == 4, "closed after everything");
          break;
        }
        require(*r == next++, "no gap");
      }
    }
  }
  void after() { end(); }
};

// Coroutines in both lines, resumed on a thread of their own; the stopped one loses nothing.
struct coroutines : broadcast_suite<coroutines, 4> {
  using popping = model::frame<broadcast, typename broadcast::pop_node, coroutines>;
  model::stop_state stop;
  model::mailbox box;
  model::atomic<int> ends{0};
  void before() { begin(1, 2); }
  void thread(unsigned index) {
    if (index == 0) {
      popping::begin(*this, stop_token{stop}, {}, model::scheduler{&box}, *b, &*s[0]);
      popping::begin(*this, {}, {}, model::scheduler{&box}, *b, &*s[1]);
    } else if (index == 1) {
      publish(1);
    } else if (index == 2) {
      stop.request_stop();
    } else {
      box.run();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::cancelled, "popped or cancelled");
    if (ends.fetch_add(1) == 1) box.close();
  }
  void after() {
    for (auto& each : s) {
      const auto r = each->try_pop();
      require(r.has_value() && *r == 1, "the item is there");
    }
    end();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"broadcast", argc, argv};
  session.bounded<publish_pop, 3>("publish and pop");
  session.random<two_readers>("two readers and a publisher that waits");
  session.random<two_publishers>("two publishers and two readers");
  session.random<room_in_a_turn>("room for two publishers");
  session.random<slow_one_leaves>("the slow subscriber leaves");
  session.random<last_one_leaves>("the last subscriber leaves");
  session.bounded<leaves_in_a_turn, 3>("the last subscriber leaves in a turn");
  session.random<publish_stop>("publish, stop and a follower");
  session.random<publish_timeout>("publish, timeout and a follower");
  session.random<publish_throws>("a move that throws, and a follower");
  session.random<close_pop>("close, publish and pop");
  session.random<close_publish>("close and a publisher that waits");
  session.random<subscribe_meanwhile>("subscribe meanwhile");
  session.bounded<lossy<1, 1>, 3>("lossy: one reader");
  session.random<lossy<1, 1>>("lossy: one reader, random");
  session.random<lossy<1, 2>>("lossy: two readers");
  session.random<lossy<2, 2>>("lossy: two readers, two places");
  session.random<lossy_leave>("lossy: a subscriber leaves");
  session.random<disconnects>("disconnect");
  session.random<coroutines>("coroutines, and stop");
  return session.result();
}
