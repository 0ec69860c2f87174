// penstock/channel/channel.hpp: a bounded queue between threads and coroutines that makes a fast producer wait.
//
//   penstock::channel<request> requests{1024};
//   std::jthread reader{[&] { while (auto r = read()) if (!requests.push(*std::move(r))) break; requests.close(); }};
//   for (request& r : requests) serve(r);   // until closed and drained
//
// Invariants     at the most capacity() items are inside. Every item that was pushed is popped once or destroyed with the channel.
//                A push has moved from its item only if it succeeded: refused, timed out, stopped or closed, the caller still has it.
// Order          pushes and pops are linearizable; each producer's items come out in its order. Threads and coroutines that wait for room (or
//                for an item) are woken in the order in which they came to wait, but one that comes just then may be quicker; who
//                was woken in vain keeps its place.
// Closing        close() lets nothing in any more; what is inside can still be popped, and then pops say errc::closed.
// Thread safety  every member may be called concurrently, but for construction and destruction. A channel may be destroyed when no
//                member runs, nobody waits and every operation that waited has resumed.
// Item types     need a move constructor and a destructor that does not throw. If moving may throw, the channel takes a lock per operation,
//                and the exception reaches the caller: a push has then pushed nothing; of a pop, the item is lost.
// Cost           one compare-exchange and one exchange per operation, no lock and no system call while nobody sleeps. All memory is
//                allocated at construction; waiting does not allocate.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/channel/detail/locked_ring.hpp>
#include <penstock/channel/detail/ring.hpp>
#include <penstock/channel/detail/waiting_side.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

/// How many items a range operation moved, and why it ended before the last one (no error: it did not).
struct [[nodiscard]] range_result {
  std::size_t count = 0;
  std::error_code error{};
  explicit operator bool() const noexcept { return !error; }
};

template <class T, class Sync = detail::std_sync>
class basic_channel {
 public:
  using sync = Sync;
  using value_type = T;
  using stop_token = typename Sync::stop_token;

  /// All memory is allocated here. Throws std::invalid_argument unless 0 < capacity and its size in bytes can be counted.
  explicit basic_channel(std::size_t capacity) : items_{capacity} {}
  basic_channel(const basic_channel&) = delete;
  basic_channel& operator=(const basic_channel&) = delete;
  /// Destroys what is inside.
  ~basic_channel() { assert(room_.idle() && available_.idle() && "a channel was destroyed while somebody waits in it"); }

  /// Waits until there is room. errc::closed if the channel is or gets closed; then, and in every other case of failure, `item` is untouched.
  result<void> push(T&& item) {
    if (push_now(item) == detail::ring_step::done) [[likely]]
      return {};
    return wait_for_room(item);
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<void> push(const stop_token& stop, T&& item) {
    push_wait wait{*this, item};
    return wait.result_of(wait.run(stop, detail::never));
  }
  /// Also ends at a deadline, with errc::timeout; if there is room, it is used even after the deadline.
  result<void> push(const wait_limits& limits, T&& item) {
    push_wait wait{*this, item};
    return wait.result_of(wait.run(limits.stop, limits.deadline));
  }
  /// Never waits for room: errc::full if there is none.
  result<void> try_push(T&& item) {
    switch (push_now(item)) {
      case detail::ring_step::done:
        return {};
      case detail::ring_step::closed:
        return errc::closed;
      default:
        return errc::full;
    }
  }
  template <class Rep, class Period>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, T&& item) {
    return push({.deadline = deadline::after(timeout)}, std::move(item));
  }
  result<void> try_push_until(deadline until, T&& item) { return push({.deadline = until}, std::move(item)); }
  /// `co_await c.async_push(std::move(item))` is a result<void>. It refers to the caller's object, which must live until then.
  auto async_push(T&& item) { return detail::async_operation<basic_channel, push_node, T*>{*this, &item}; }

  /// The same for an item that the caller keeps: a copy is pushed.
  result<void> push(const T& item)
    requires std::copy_constructible<T>
  {
    return push(T(item));
  }
  result<void> push(const stop_token& stop, const T& item)
    requires std::copy_constructible<T>
  {
    return push(stop, T(item));
  }
  result<void> push(const wait_limits& limits, const T& item)
    requires std::copy_constructible<T>
  {
    return push(limits, T(item));
  }
  result<void> try_push(const T& item)
    requires std::copy_constructible<T>
  {
    return try_push(T(item));
  }
  template <class Rep, class Period>
    requires std::copy_constructible<T>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, const T& item) {
    return try_push_for(timeout, T(item));
  }
  result<void> try_push_until(deadline until, const T& item)
    requires std::copy_constructible<T>
  {
    return try_push_until(until, T(item));
  }

  /// Waits until there is an item. errc::closed once the channel is closed and drained.
  result<T> pop() {
    std::optional<T> item;
    if (pop_now(item) == detail::ring_step::done) [[likely]]
      return std::move(*item);
    return wait_for_item();
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<T> pop(const stop_token& stop) {
    pop_wait wait{*this};
    return wait.result_of(wait.run(stop, detail::never));
  }
  /// Also ends at a deadline, with errc::timeout; an item that is there is taken even after the deadline.
  result<T> pop(const wait_limits& limits) {
    pop_wait wait{*this};
    return wait.result_of(wait.run(limits.stop, limits.deadline));
  }
  /// Never waits for an item: errc::empty if there is none now, errc::closed if there will be none.
  result<T> try_pop() {
    std::optional<T> item;
    switch (pop_now(item)) {
      case detail::ring_step::done:
        return std::move(*item);
      case detail::ring_step::closed:
        return errc::closed;
      default:
        return errc::empty;
    }
  }
  template <class Rep, class Period>
  result<T> try_pop_for(std::chrono::duration<Rep, Period> timeout) {
    return pop({.deadline = deadline::after(timeout)});
  }
  result<T> try_pop_until(deadline until) { return pop({.deadline = until}); }
  /// `co_await c.async_pop()` is a result<T>. Not for items of a stricter alignment than operator new gives: compilers do not align
  /// coroutine frames for what lies in them.
  auto async_pop()
    requires(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__)
  {
    return detail::async_operation<basic_channel, pop_node>{*this};
  }

  /// Moves the elements of a range in, in order, waiting for room as needed; waiters are woken once per batch and not once per item (unless the
  /// range can be passed only once, for such a range may itself wait between elements). Tells how many went in; the others are untouched.
  template <std::ranges::input_range Range>
    requires std::same_as<std::ranges::range_value_t<Range>, T>
  range_result push_range(Range&& range, const wait_limits& limits = {});

  /// Waits for one item, then takes what else is there, `most` at the most, and writes them to `out`. Tells how many.
  template <std::output_iterator<T> Out>
  range_result pop_n(Out out, std::size_t most, const wait_limits& limits = {});

  /// Idempotent. Those who wait for room get errc::closed; those who wait for an item, once the channel is drained.
  void close() noexcept {
    items_.close();
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      room_.wake_all(detail::outcome::closed, won);
      available_.wake_all(detail::outcome::woken, won);
    }
    won.complete_all();
  }

  [[nodiscard]] bool is_closed() const noexcept { return items_.is_closed(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return items_.capacity(); }
  /// How many items are inside; out of date as soon as it is told, if others are at work.
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }

  /// An input iterator that pops: `for (T& item : channel)` ends when the channel is closed and drained.
  class iterator;
  [[nodiscard]] iterator begin() { return iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The hooks of detail::wait_operation; not for users.
  struct push_node;
  struct pop_node;
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(push_node& n) noexcept;
  bool try_pass(pop_node& n) noexcept;
  bool ready(const push_node&) const noexcept { return !items_.full() || items_.is_closed(); }
  bool ready(const pop_node&) const noexcept { return !items_.empty() || items_.is_closed(); }
  detail::step try_or_link(push_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept {
    return park(n, room_, where);
  }
  detail::step try_or_link(pop_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept {
    return park(n, available_, where);
  }
  void unlinked(push_node&, detail::wait_list<Sync>&) noexcept { room_.count(); }
  void unlinked(pop_node&, detail::wait_list<Sync>&) noexcept { available_.count(); }
  void gave_up(push_node& n, detail::wait_list<Sync>& won) noexcept {
    if (ready(n)) room_.wake(1, won);
  }
  void gave_up(pop_node& n, detail::wait_list<Sync>& won) noexcept {
    if (ready(n)) available_.wake(1, won);
  }

 private:
  static constexpr bool nothrow = std::is_nothrow_move_constructible_v<T>;
  using ring = std::conditional_t<nothrow, detail::ring<T, Sync>, detail::locked_ring<T, Sync>>;
  using push_wait = detail::blocking_wait<basic_channel, push_node>;
  using pop_wait = detail::blocking_wait<basic_channel, pop_node>;

  using side = detail::waiting_side<Sync>;
  using thrown_by_move = std::conditional_t<nothrow, detail::nothrow_move, detail::throwing_move>;

  detail::ring_step push_now(T& item) noexcept(nothrow) {
    const detail::ring_step s = items_.try_push(item);
    if (s == detail::ring_step::done) wake(available_, 1);
    return s;
  }
  detail::ring_step pop_now(std::optional<T>& item) noexcept(nothrow) {
    const detail::ring_step s = take_out(item);
    if (s == detail::ring_step::done) wake(room_, 1);
    return s;
  }
  // Wakes nobody, unless the move throws: then the item is lost, and its place is free for who waits for room.
  detail::ring_step take_out(std::optional<T>& item) noexcept(nothrow) {
    if constexpr (nothrow) {
      return items_.try_pop(item);
    } else {
      try {
        return items_.try_pop(item);
      } catch (...) {
        wake(room_, 1);
        throw;
      }
    }
  }

  [[gnu::noinline]] result<void> wait_for_room(T& item) {
    push_wait wait{*this, item};
    return wait.result_of(wait.run());
  }
  [[gnu::noinline]] result<T> wait_for_item() {
    pop_wait wait{*this};
    return wait.result_of(wait.run());
  }

  // After `n` items went in, or `n` places became free.
  void wake(side& other, std::size_t n) noexcept {
    if (other.waiting.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake_waiting(other, n);  // seq_cst: see side::count()
  }
  [[gnu::noinline]] void wake_waiting(side& other, std::size_t n) noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      other.wake(n, won);
    }
    won.complete_all();
  }

  // With lock_ held: link, announce, then look once more at what the other side changes without the lock.
  template <class Node>
  detail::step park(Node& n, side& mine, detail::link_at where) noexcept {
    if (where == detail::link_at::nowhere) return ready(n) ? detail::step::look_again : detail::step::refused;
    if (where == detail::link_at::front) {
      mine.line.push_front(n);
    } else {
      mine.line.push_back(n);
    }
    mine.count();
    if (!ready(n)) return detail::step::linked;
    mine.line.unlink(n);
    mine.count();
    return detail::step::look_again;
  }

  ring items_;
  alignas(detail::cache_line) typename Sync::mutex lock_;
  side room_;       // producers wait here
  side available_;  // consumers wait here
};

template <class T, class Sync>
struct basic_channel<T, Sync>::push_node : detail::wait_node<Sync>, thrown_by_move {
  explicit push_node(T& i) noexcept : item{&i} {}
  explicit push_node(T* i) noexcept : item{i} {}

  result<void> result_of(detail::outcome decided) {
    this->rethrow();
    return detail::to_result(decided);
  }
  result<void> take_result(detail::outcome decided) { return result_of(decided); }

  T* item;
};

template <class T, class Sync>
struct basic_channel<T, Sync>::pop_node : detail::wait_node<Sync>, thrown_by_move {
  result<T> result_of(detail::outcome decided) {
    this->rethrow();
    if (decided != detail::outcome::granted) return detail::to_result(decided).error();
    return std::move(*item);
  }
  result<T> take_result(detail::outcome decided) { return result_of(decided); }

  std::optional<T> item;
};

template <class T, class Sync>
bool basic_channel<T, Sync>::try_pass(push_node& n) noexcept {
  detail::ring_step s = detail::ring_step::done;
  if constexpr (nothrow) {
    s = push_now(*n.item);
  } else {
    try {
      s = push_now(*n.item);
    } catch (...) {
      n.caught = std::current_exception();
      wake(room_, 1);  // it may have been woken for a place that it does not take: that is the next one's (race 12)
    }
  }
  if (s == detail::ring_step::full) return false;
  n.how = s == detail::ring_step::done ? detail::outcome::granted : detail::outcome::closed;
  return true;
}

template <class T, class Sync>
bool basic_channel<T, Sync>::try_pass(pop_node& n) noexcept {
  detail::ring_step s = detail::ring_step::done;
  if constexpr (nothrow) {
    s = pop_now(n.item);
  } else {
    try {
      s = pop_now(n.item);
    } catch (...) {
      n.caught = std::current_exception();
    }
  }
  if (s == detail::ring_step::empty) return false;
  n.how = s == detail::ring_step::done ? detail::outcome::granted : detail::outcome::closed;
  return true;
}

template <class T>
using channel = basic_channel<T>;

}  // namespace penstock::inline v0_1

#include <penstock/channel/detail/channel_ranges.hpp>
