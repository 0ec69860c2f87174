// penstock/channel/detail/broadcast_subscription.hpp: the subscriber's half of broadcast.hpp, which includes this at its end.
//
// A subscription is a position and nothing that others know of: publishers see only how many there are, and each item how many have not read
// it. It waits only where it has read everything; a wait that is granted means "there is something to tell", and only its own consumer
// can change that, so it never looks in vain.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>

#include <penstock/channel/broadcast.hpp>

namespace penstock::inline v0_1 {

/// Belongs to one consumer at a time, and must not be moved while it waits. Must not outlive the broadcast.
template <std::copy_constructible T, class Sync>
class basic_broadcast<T, Sync>::subscription {
 public:
  subscription(subscription&& other) noexcept { *this = std::move(other); }
  subscription& operator=(subscription&& other) noexcept {
    if (this == &other) return *this;
    leave();
    from_ = std::exchange(other.from_, nullptr);
    next_ = other.next_;
    lost_ = other.lost_;
    total_lost_ = other.total_lost_;
    listening_ = std::exchange(other.listening_, false);
    return *this;
  }
  /// Releases what it held back.
  ~subscription() { leave(); }

  /// Waits for the next item and copies it (the last reader of an item gets it moved, if moving cannot throw). errc::closed, or what close() was
  /// told, once the broadcast is closed and this subscriber has drained it. errc::lagged, once, if items were lost: lost() tells how
  /// many, and the next pop goes on with the oldest that is kept. errc::disconnected, for ever, if it was too slow for that
  /// policy. If copying throws, nothing was taken.
  result<T> pop() {
    if (!news()) static_cast<void>(pop_wait{*from_, this}.run());
    return take();
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<T> pop(const stop_token& stop) { return after(pop_wait{*from_, this}.run(stop, detail::never)); }
  /// Also ends at a deadline, with errc::timeout; an item that is there is taken even after the deadline.
  result<T> pop(const wait_limits& limits) { return after(pop_wait{*from_, this}.run(limits.stop, limits.deadline)); }
  /// Never waits: errc::empty if there is nothing now.
  result<T> try_pop() { return take(); }
  template <class Rep, class Period>
  result<T> try_pop_for(std::chrono::duration<Rep, Period> timeout) {
    return pop({.deadline = deadline::after(timeout)});
  }
  result<T> try_pop_until(deadline until) { return pop({.deadline = until}); }
  /// `co_await s.async_pop()` is a result<T>. Not for items of a stricter alignment than operator new gives: compilers do not align coroutine
  /// frames for what lies in them.
  auto async_pop()
    requires(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__)
  {
    return detail::async_operation<basic_broadcast, pop_node, subscription*>{*from_, this};
  }

  /// How many items the last errc::lagged or errc::disconnected told of.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
  /// How many this subscriber was ever told that it lost.
  [[nodiscard]] std::uint64_t total_lost() const noexcept { return total_lost_; }
  /// How many items it is behind; what it will lose of them is not known yet. 0 of one that was moved from.
  [[nodiscard]] std::uint64_t size() const noexcept { return from_ == nullptr ? 0 : (end_seen() >> 1) - next_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  /// An input iterator that pops: `for (T& item : subscription)` ends when the broadcast is closed and drained, or this subscriber disconnected.
  /// It passes over what was lost, and total_lost() tells of it.
  class iterator;
  [[nodiscard]] iterator begin() { return iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend basic_broadcast;
  explicit subscription(basic_broadcast& b) noexcept : from_{&b}, next_{b.enter()}, listening_{true} {}

  [[nodiscard]] std::uint64_t end_seen() const noexcept {
    return from_->end_.load(std::memory_order_acquire);  // acquire: pairs with the release in end_turn(), and with close()
  }
  // Whether there is something to tell: an item, a loss or an end.
  [[nodiscard]] bool news() const noexcept { return !listening_ || end_seen() != next_ << 1; }

  result<T> after(detail::outcome how) {
    if (how != detail::outcome::granted) return detail::to_result(how).error();
    return take();
  }
  result<T> take();
  result<T> take(typename ring::reading& item);
  std::error_code fall_behind() noexcept;
  void leave() noexcept {
    if (std::exchange(listening_, false)) from_->leave(next_);
  }

  basic_broadcast* from_ = nullptr;
  position next_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t total_lost_ = 0;
  bool listening_ = false;  // false: moved from, or disconnected
};

template <std::copy_constructible T, class Sync>
result<T> basic_broadcast<T, Sync>::subscription::take() {
  if (!listening_) return errc::disconnected;
  const std::uint64_t end = end_seen();
  if (end >> 1 == next_) return (end & closed) != 0 ? from_->why_ : std::error_code{errc::empty};
  {
    typename ring::reading item{from_->items_, next_};
    if (item) return take(item);
  }
  return fall_behind();
}

// One return, so that the copy is made where the caller wants it: moving it once more could throw.
template <std::copy_constructible T, class Sync>
result<T> basic_broadcast<T, Sync>::subscription::take(typename ring::reading& item) {
  std::optional<T> remains;  // destroyed last, when nothing is pinned: its destructor may use the broadcast
  result<T> copy = item.get();
  ++next_;
  if (item.pass(remains)) from_->made_room();
  return copy;
}

// The item at next_ was evicted.
template <std::copy_constructible T, class Sync>
std::error_code basic_broadcast<T, Sync>::subscription::fall_behind() noexcept {
  // acquire: pairs with the release in begin_turn(). It is past next_, and the end that is seen from now on is not before it.
  const position oldest = from_->oldest_.load(std::memory_order_acquire);
  lost_ = oldest - next_;
  total_lost_ += lost_;
  next_ = oldest;
  from_->lost_.add(lost_);
  if (from_->when_slow_ == slow_subscriber::lose_oldest) return errc::lagged;
  from_->disconnected_.add();
  leave();
  return errc::disconnected;
}

template <std::copy_constructible T, class Sync>
void basic_broadcast<T, Sync>::leave(position next) noexcept {
  position end = 0;
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    end = end_.load(std::memory_order_relaxed) >> 1;                            // relaxed: changed under lock_
    const std::size_t left = subscribers_.load(std::memory_order_relaxed) - 1;  // relaxed: as above
    subscribers_.store(left, std::memory_order_relaxed);                        // relaxed: as above
    if (left == 0) room_.wake_all(detail::outcome::woken, won);                 // nobody is held back by nobody
  }
  won.complete_all();
  // It counts as a reader of what was published before: passes it unread.
  // relaxed: saves looks at what is gone, no more. It may be past `end` by now.
  for (next = std::max(next, oldest_.load(std::memory_order_relaxed)); next < end; ++next) {
    std::optional<T> remains;
    typename ring::reading item{items_, next};
    if (item && item.pass(remains)) made_room();
  }
}

template <std::copy_constructible T, class Sync>
struct basic_broadcast<T, Sync>::pop_node : detail::wait_node<Sync> {
  explicit pop_node(subscription* s) noexcept : reader{s} {}
  result<T> take_result(detail::outcome decided) { return reader->after(decided); }

  subscription* reader;
};

template <std::copy_constructible T, class Sync>
bool basic_broadcast<T, Sync>::try_pass(pop_node& n) noexcept {
  if (!n.reader->news()) return false;
  n.how = detail::outcome::granted;
  return true;
}

template <std::copy_constructible T, class Sync>
detail::step basic_broadcast<T, Sync>::try_or_link(pop_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept {
  if (try_pass(n)) return detail::step::passed;  // under the lock, so no publication comes between this look and the linking
  if (where == detail::link_at::nowhere) return detail::step::refused;
  readers_.push_back(n);
  return detail::step::linked;
}

template <std::copy_constructible T, class Sync>
class basic_broadcast<T, Sync>::subscription::iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit iterator(subscription& from) : from_{&from} { ++*this; }
  iterator(iterator&&) = default;
  iterator& operator=(iterator&&) = default;

  T& operator*() const noexcept { return *item_; }
  iterator& operator++() {
    item_.reset();
    result<T> next = from_->pop();
    while (!next && next.error() == errc::lagged) next = from_->pop();
    if (next) item_.emplace(std::move(*next));
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return !it.item_.has_value(); }

 private:
  subscription* from_;
  mutable std::optional<T> item_;
};

}  // namespace penstock::inline v0_1
