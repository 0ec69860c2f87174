// penstock/channel/broadcast.hpp: every subscriber sees every item that is published after it subscribed, in one order for all.
//
//   penstock::broadcast<quote> quotes{1024, {.when_slow = slow_subscriber::lose_oldest}};
//   auto mine = quotes.subscribe();
//   std::jthread feed{[&] { while (auto q = read()) if (!quotes.publish(*q)) break; quotes.close(); }};
//   for (const quote& q : mine) show(q);   // until closed and drained; mine.total_lost() tells what it was too slow for
//
// Invariants     at the most capacity() items are inside, each stored once. A subscriber gets every position from where it subscribed on, once
//                and in order, or is told how many it lost. The one publisher whose turn it is (busy_) writes the slot at the end; end_,
//                busy_, subscribers_ and both lines change under lock_ only. No subscriber waits unless it is at the end; without
//                subscribers no publisher waits.
// User code      copies, moves and destructors of T run under no lock: readers copy beside each other from a slot that cannot be reused meanwhile
//                (detail/broadcast_ring.hpp argues it), a publisher moves in its turn, for which others wait by polling as they do for
//                a claimed slot of a channel. The destructor of an item may use the broadcast (if moving T cannot throw); its copy and
//                move constructors must not.
// Fairness       publishers that wait for room are woken in order of arrival; one that comes just then may be quicker. Subscribers that wait
//                are all woken by one publication, in one locked step, and completed outside it in the order in which they came to wait.
// Thread safety  every member may be called concurrently, but for construction and destruction. A subscription belongs to one consumer at a
//                time. A broadcast may be destroyed when its subscriptions are gone, no member runs and every wait has resumed.
// Cancellation   a wait that is stopped or times out takes nothing and loses nothing; room that a stopped publisher was called for is the next one's.
// Cost           publish: two short locks, and one step per subscriber that waits. pop of what is there: no lock, one copy and one (wait) or
//                three atomic read-modify-writes. The number of subscribers that do not wait costs nothing. All memory is allocated at
//                construction; neither subscribing nor waiting allocates. For big items publish std::shared_ptr<const X>.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <limits>
#include <mutex>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/channel/detail/broadcast_ring.hpp>
#include <penstock/channel/detail/turn.hpp>
#include <penstock/channel/detail/waiting_side.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// What becomes of a subscriber that is capacity() items behind when the next one is published.
enum class slow_subscriber : std::uint8_t {
  wait,         ///< it holds the publisher back: publish() waits, try_publish() says errc::full
  lose_oldest,  ///< it loses its oldest item; its next pop says errc::lagged, once, and lost() tells how many
  disconnect,   ///< it is cut off: its pops say errc::disconnected from now on
};

/// Publications that came to nothing, by what they returned.
struct broadcast_refusals {
  std::uint64_t full = 0;       ///< try_publish(): a subscriber held it back
  std::uint64_t timeout = 0;    ///< waited in vain
  std::uint64_t cancelled = 0;  ///< were stopped
  std::uint64_t closed = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return full + timeout + cancelled + closed; }
};

struct broadcast_stats {
  // now
  std::size_t subscribers = 0;
  std::size_t capacity = 0;
  std::size_t waiting_publishers = 0;

  // since the beginning
  std::uint64_t published = 0;
  std::uint64_t unheard = 0;  ///< of these, what nobody had subscribed to
  broadcast_refusals refused;
  std::uint64_t lost = 0;          ///< items that subscribers were told that they lost, each of each of them
  std::uint64_t disconnected = 0;  ///< subscribers that were told that they were cut off
};

/// What a registry sees of a broadcast (observe/registry.hpp).
template <class = void>
void describe(const broadcast_stats& s, metric_sink& to) {
  to.kind("broadcast");
  to.gauge(metrics::capacity, s.capacity);
  to.gauge(metrics::waiters, s.waiting_publishers);
  to.gauge({"subscribers", "Subscriptions now."}, s.subscribers);
  to.counter(metrics::accepted, s.published);
  detail::describe_refusals(s.refused, to);
  to.counter(metrics::dropped, s.unheard, {"reason", "unheard"});
  to.counter({"lost", "Items that subscribers were too slow for, each of each of them."}, s.lost);
  to.counter({"disconnected", "Subscribers that were cut off, for they were too slow."}, s.disconnected);
}

struct broadcast_options {
  slow_subscriber when_slow = slow_subscriber::wait;
};

template <std::copy_constructible T, class Sync = detail::std_sync>
class basic_broadcast {
 public:
  using sync = Sync;
  using value_type = T;
  using stop_token = typename Sync::stop_token;
  class subscription;

  /// All memory is allocated here. Throws std::invalid_argument unless 0 < capacity and its size in bytes can be counted.
  explicit basic_broadcast(std::size_t capacity, broadcast_options options = {})
      : items_{capacity, options.when_slow != slow_subscriber::wait}, when_slow_{options.when_slow} {}
  basic_broadcast(const basic_broadcast&) = delete;
  basic_broadcast& operator=(const basic_broadcast&) = delete;
  /// Nothing is inside: the last reader of each item takes it out, and the subscriptions are gone.
  ~basic_broadcast() {
    assert(subscribers_.load() == 0 && "a broadcast was destroyed before its subscriptions");
    assert(room_.idle() && readers_.empty() && "a broadcast was destroyed while somebody waits in it");
  }

  /// Sees what is published from now on, by publications that begin later at least. On a closed broadcast: nothing.
  [[nodiscard]] subscription subscribe() noexcept { return subscription{*this}; }

  /// Waits until the slowest subscriber leaves room (slow_subscriber::wait; otherwise never). errc::closed if the broadcast is or gets closed;
  /// then, and in every other case of failure, `item` is untouched. Without subscribers it succeeds and the item is gone. May run resumed
  /// coroutines on this thread unless they have a scheduler.
  result<void> publish(T&& item) {
    publish_wait wait{*this, item};
    return end(wait, wait.run());
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<void> publish(const stop_token& stop, T&& item) {
    publish_wait wait{*this, item};
    return end(wait, wait.run(stop, detail::never));
  }
  /// Also ends at a deadline, with errc::timeout; if there is room, it is used even after the deadline.
  result<void> publish(const wait_limits& limits, T&& item) {
    publish_wait wait{*this, item};
    return end(wait, wait.run(limits.stop, limits.deadline));
  }
  /// Never waits for room: errc::full if a subscriber holds the publisher back.
  result<void> try_publish(T&& item) {
    switch (publish_now(item)) {
      case progress::done:
        return {};
      case progress::closed:
        refused_.closed.add();
        return errc::closed;
      default:
        refused_.full.add();
        return errc::full;
    }
  }
  template <class Rep, class Period>
  result<void> try_publish_for(std::chrono::duration<Rep, Period> timeout, T&& item) {
    return publish({.deadline = deadline::after(timeout)}, std::move(item));
  }
  result<void> try_publish_until(deadline until, T&& item) { return publish({.deadline = until}, std::move(item)); }
  /// `co_await b.async_publish(std::move(item))` is a result<void>. It refers to the caller's object, which must live until then.
  auto async_publish(T&& item) {
    return detail::async_operation<basic_broadcast, publish_node, basic_broadcast*, T*>{*this, this, &item};
  }

  /// The same for an item that the caller keeps: a copy is published.
  result<void> publish(const T& item) { return publish(T(item)); }
  result<void> publish(const stop_token& stop, const T& item) { return publish(stop, T(item)); }
  result<void> publish(const wait_limits& limits, const T& item) { return publish(limits, T(item)); }
  result<void> try_publish(const T& item) { return try_publish(T(item)); }
  template <class Rep, class Period>
  result<void> try_publish_for(std::chrono::duration<Rep, Period> timeout, const T& item) {
    return try_publish_for(timeout, T(item));
  }
  result<void> try_publish_until(deadline until, const T& item) { return try_publish_until(until, T(item)); }

  /// Nothing is published any more; what is inside can still be popped, and then pops say `why`. Publishers that wait get errc::closed. Only
  /// the first close counts.
  void close(std::error_code why = errc::closed) noexcept;

  // relaxed, in both: a snapshot that may be out of date when it is looked at
  [[nodiscard]] bool is_closed() const noexcept { return (end_.load(std::memory_order_relaxed) & closed) != 0; }
  /// How many subscriptions there are, less those that know that they were disconnected.
  [[nodiscard]] std::size_t subscribers() const noexcept { return subscribers_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t capacity() const noexcept { return items_.capacity(); }
  /// How many publishers stand in line now.
  [[nodiscard]] std::size_t waiting_publishers() const noexcept { return room_.waiting.load(std::memory_order_seq_cst); }
  /// Losses are counted when the subscriber is told of them.
  [[nodiscard]] broadcast_stats stats() const noexcept;

  // The hooks of detail::wait_operation; not for users.
  struct publish_node;
  struct pop_node;
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(publish_node& n) noexcept;
  bool try_pass(pop_node& n) noexcept;
  bool ready(const publish_node&) const noexcept {
    const std::uint64_t end = end_.load(std::memory_order_relaxed);  // relaxed, both: exact under lock_, a hint without
    return items_.lossy() || (end & closed) != 0 || subscribers_.load(std::memory_order_relaxed) == 0 || items_.vacant(end >> 1);
  }
  detail::step try_or_link(publish_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept;
  detail::step try_or_link(pop_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept;
  void unlinked(publish_node& n, detail::wait_list<Sync>&) noexcept { room_.left(n); }
  void unlinked(pop_node&, detail::wait_list<Sync>&) noexcept {}
  // No gave_up(): a publisher that was called takes the room if there is any, stopped or not; it gives up only where it has seen under lock_,
  // announced or not, that there is none, and then whoever makes room calls the next.

 private:
  using ring = detail::broadcast_ring<T, Sync>;
  using position = typename ring::position;
  using publish_wait = detail::blocking_wait<basic_broadcast, publish_node>;
  using pop_wait = detail::blocking_wait<basic_broadcast, pop_node>;
  using thrown_by_move = std::conditional_t<ring::moves_safely, detail::nothrow_move, detail::throwing_move>;
  enum class progress : std::uint8_t { done, full, closed, others_turn };
  static constexpr std::uint64_t closed = 1;
  static constexpr position nobody_listens = std::numeric_limits<position>::max();

  result<void> end(publish_node& n, detail::outcome how);
  progress publish_now(T& item) noexcept(ring::moves_safely);
  progress begin_turn(position& at) noexcept;
  void count_unheard() noexcept;
  void move_in(position at, T& item, std::optional<T>& evicted) noexcept(ring::moves_safely);
  bool end_turn(position at) noexcept;
  void give_turn_back() noexcept;

  // With lock_ held: room at the end is for the first publisher in line. It is told of room when its slot gets vacant and when a turn ends;
  // while a turn lasts, its end will see to it.
  void call_publisher(detail::wait_list<Sync>& won) noexcept {
    if (!room_.idle() && !busy_ && items_.vacant(end_.load(std::memory_order_relaxed) >> 1))
      room_.wake(1, won);  // relaxed: lock_ orders it
  }
  // After a slot got vacant.
  void made_room() noexcept {
    if (room_.waiting.load(std::memory_order_seq_cst) == 0) return;  // seq_cst: see waiting_side::count()
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      call_publisher(won);
    }
    won.complete_all();
  }

  position enter() noexcept {
    std::scoped_lock guard{lock_};
    subscribers_.store(subscribers_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // relaxed, all three: lock_
    return end_.load(std::memory_order_relaxed) >> 1;
  }
  void leave(position next) noexcept;

  ring items_;
  const slow_subscriber when_slow_;
  std::error_code why_{errc::closed};  // written before end_ says closed
  // The position after the last one, times two, plus `closed`: one word, so that "closed and nothing more to come" is seen at once (race 13).
  alignas(detail::cache_line) typename Sync::template atomic<std::uint64_t> end_{0};
  typename Sync::template atomic<position> oldest_{0};  // lossy: what is before it was evicted
  alignas(detail::cache_line) mutable typename Sync::mutex lock_;
  typename Sync::template var<bool> busy_{false};  // guarded by lock_: a publisher's turn
  typename Sync::template atomic<std::size_t> subscribers_{0};
  detail::waiting_side<Sync> room_;                        // publishers wait here
  detail::wait_queue<Sync> readers_;                       // guarded by lock_: subscribers wait here, all of them at the end
  typename Sync::template var<std::uint64_t> unheard_{0};  // guarded by lock_
  // Publications and pops that came to nothing, so an atomic addition more is not much.
  struct {
    basic_counter<1> full, timeout, cancelled, closed;
  } refused_;
  basic_counter<1> lost_;
  basic_counter<1> disconnected_;
};

template <std::copy_constructible T>
using broadcast = basic_broadcast<T>;
template <std::copy_constructible T>
using subscription = typename basic_broadcast<T>::subscription;

template <class T, class Sync>
void describe(const basic_broadcast<T, Sync>& b, metric_sink& to) {
  describe(b.stats(), to);
}

}  // namespace penstock::inline v0_1

#include <penstock/channel/detail/broadcast_publish.hpp>
#include <penstock/channel/detail/broadcast_subscription.hpp>
