// penstock/channel/channel.hpp: a bounded queue between threads and coroutines that makes a fast producer wait.
//
//   penstock::channel<request> requests{1024};
//   std::jthread reader{[&] { while (auto r = read()) if (!requests.push(*std::move(r))) break; requests.close(); }};
//   for (request& r : requests) serve(r);   // until closed and drained
//
// Invariants     at the most capacity() items are inside, and no more than max_weight. Every item that was pushed is popped once, dropped,
//                discarded, or destroyed with the channel. A push has moved from its item only if it succeeded: refused, timed out,
//                stopped or closed, the caller still has it.
// Order          pushes and pops are linearizable; each producer's items come out in its order. Threads and coroutines that wait for room (or
//                for an item) are woken in the order in which they came to wait, but one that comes just then may be quicker; who
//                was woken in vain keeps its place. With options (other than metrics), or once places are reserved, room is handed over: nobody overtakes.
// Closing        close() lets nothing in any more; what is inside can still be popped, and then pops say errc::closed, or what close() was
//                given. abort() discards what is inside, too.
// Thread safety  every member may be called concurrently, but for construction and destruction; with channel_policy::spsc, by one thread
//                or coroutine at a time at each end. A channel may be destroyed when no member runs, nobody waits, every operation that
//                waited has resumed and no slots are held.
// Item types     need a move constructor and a destructor that does not throw. If moving may throw, the channel takes a lock per operation,
//                and the exception reaches the caller: a push has then pushed nothing; of a pop, the item is lost.
// Cost           one atomic read-modify-write per operation or batch, no lock and no system call, while nobody sleeps and no options but
//                metrics are asked for. All memory is allocated at construction; waiting does not allocate.
// No peeking     an item that is looked at inside a queue of many consumers may be gone by the time that it is acted on: pop it, or keep a
//                variable of your own beside the channel.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/channel/channel_options.hpp>
#include <penstock/channel/detail/channel_rules.hpp>
#include <penstock/channel/detail/channel_tally.hpp>
#include <penstock/channel/detail/channel_timed.hpp>
#include <penstock/channel/detail/locked_ring.hpp>
#include <penstock/channel/detail/ring.hpp>
#include <penstock/channel/detail/spsc_ring.hpp>
#include <penstock/channel/detail/waiting_side.hpp>
#include <penstock/channel/slots.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

namespace detail {
template <class Channel>
struct owned_channel;  // endpoints.hpp
}

template <class T, channel_policy Policy = channel_policy::mpmc, class Sync = detail::std_sync>
class basic_channel : public detail::channel_timed_forms<basic_channel<T, Policy, Sync>, T> {
 public:
  using sync = Sync;
  using value_type = T;
  using stop_token = typename Sync::stop_token;
  using options = channel_options<T>;
  using slots = basic_slots<basic_channel>;

  /// All memory is allocated here. Throws std::invalid_argument unless 0 < capacity and its size in bytes can be counted.
  explicit basic_channel(std::size_t capacity) : items_{capacity} {}
  /// As channel_options says. Throws std::invalid_argument, naming the value, for what makes no sense.
  explicit basic_channel(options o);
  basic_channel(const basic_channel&) = delete;
  basic_channel& operator=(const basic_channel&) = delete;
  /// Destroys what is inside.
  ~basic_channel() {
    assert(room_.idle() && available_.idle() && "a channel was destroyed while somebody waits in it");
    // relaxed: whoever destroys it has been told that the slots are gone
    assert(reserved_.load(std::memory_order_relaxed) == 0 && "a channel was destroyed before its slots");
  }

  /// Waits until there is room (or what when_full says). errc::closed if the channel is or gets closed; then, and in every other case of
  /// failure, `item` is untouched. Every push throws std::invalid_argument if the item weighs more than max_weight.
  result<void> push(T&& item) {
    detail::ring_step s = items_.poll_push(item);
    if (s == detail::ring_step::done) [[likely]] {
      wake(available_, 1);
      return {};
    }
    if (s == detail::ring_step::guarded) s = push_guarded(item, checked_weight(item));
    return s == detail::ring_step::full ? wait_for_room(item) : to_result(s);
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<void> push(const stop_token& stop, T&& item);
  /// Also ends at a deadline, with errc::timeout; if there is room, it is used even after the deadline. So do try_push_for(timeout, item) and
  /// try_push_until(deadline, item), and for pop() try_pop_for(timeout) and try_pop_until(deadline) (detail/channel_timed.hpp).
  result<void> push(const wait_limits& limits, T&& item);
  /// Never waits for room: errc::full if there is none.
  result<void> try_push(T&& item);
  /// `co_await c.async_push(std::move(item))` is a result<void>. It refers to the caller's object, which must live until then.
  auto async_push(T&& item) { return detail::async_operation<basic_channel, push_node, basic_channel*, T*>{*this, this, &item}; }

  /// The same for an item that the caller keeps: a copy is pushed.
  result<void> push(const T& item)
    requires std::copy_constructible<T>;
  result<void> push(const stop_token& stop, const T& item)
    requires std::copy_constructible<T>;
  result<void> push(const wait_limits& limits, const T& item)
    requires std::copy_constructible<T>;
  result<void> try_push(const T& item)
    requires std::copy_constructible<T>;
  auto async_push(const T& item)
    requires std::copy_constructible<T> && (alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__)  // as async_pop()
  {
    return detail::async_operation<basic_channel, copy_node, basic_channel*, T>{*this, this, T(item)};
  }

  /// Waits until there is an item. errc::closed once the channel is closed and drained; if close() was given an error, that one, and if it
  /// was given an exception, every pop throws it.
  result<T> pop() {
    std::optional<T> item;
    if (nothrow && rules_ == nullptr) {
      if (items_.poll_pop(item) == detail::ring_step::done) [[likely]] {
        wake(room_, 1);
        return std::move(*item);
      }
    }
    return wait_for_item();
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<T> pop(const stop_token& stop);
  /// Also ends at a deadline, with errc::timeout; an item that is there is taken even after the deadline.
  result<T> pop(const wait_limits& limits);
  /// Never waits for an item: errc::empty if there is none now, errc::closed (or what close() was given) if there will be none.
  result<T> try_pop();
  /// `co_await c.async_pop()` is a result<T>. Not for items of a stricter alignment than operator new gives: compilers do not align
  /// coroutine frames for what lies in them.
  auto async_pop()
    requires(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__)
  {
    return detail::async_operation<basic_channel, pop_node, basic_channel*>{*this, this};
  }

  /// Moves the elements of a range in (copies them, if they are constant), in order, waiting for room as needed. From contiguous memory, as many
  /// as there is room for are one step of the queue, and wake once; with options or reservations they go one by one. Tells how many went in; the
  /// others are untouched. std::errc::invalid_argument if it comes to one that weighs more than max_weight.
  template <std::ranges::input_range Range>
    requires std::same_as<std::ranges::range_value_t<Range>, T>
  range_result push_range(Range&& range, const wait_limits& limits = {});

  /// Waits for one item, then takes what else is there, `most` at the most, and writes them to `out`. Tells how many. It is one step of the
  /// queue where writing to `out` cannot throw (a pointer or an iterator into a vector, of items that move without throwing) and there are no
  /// options.
  template <std::output_iterator<T> Out>
  range_result pop_n(Out out, std::size_t most, const wait_limits& limits = {});
  /// The same; appends to a vector, in one step of the queue, and makes room in it for what is inside now.
  range_result pop_n(std::vector<T>& into, std::size_t most, const wait_limits& limits = {});

  /// Waits until `places` are free, and keeps them for the caller: its pushes through the slots find room for sure. `weight` is what the
  /// items will weigh together, where that counts. Who waits for places is served before anyone who comes later. errc::closed;
  /// std::invalid_argument unless 0 < places <= capacity() and weight <= max_weight. From the first call on, pushes take the channel's lock.
  result<slots> reserve(std::size_t places = 1, std::size_t weight = 0) { return reserve(wait_limits{}, places, weight); }
  result<slots> reserve(const wait_limits& limits, std::size_t places = 1, std::size_t weight = 0);
  /// Never waits: errc::full.
  result<slots> try_reserve(std::size_t places = 1, std::size_t weight = 0);
  auto async_reserve(std::size_t places = 1, std::size_t weight = 0) {
    check_reservation(places, weight);
    guard();
    return detail::async_operation<basic_channel, reserve_node, basic_channel*, std::size_t, std::size_t>{*this, this, places,
                                                                                                          weight};
  }

  /// Idempotent; the first call counts. Those who wait for room get errc::closed; those who wait for an item, once the channel is drained.
  /// Slots that are held can still be used: until they are given back, consumers wait for what may come of them.
  void close() noexcept { close(std::error_code{errc::closed}, nullptr); }
  /// The same; consumers get `why` when the channel is drained (errc::closed if it is no error).
  void close(std::error_code why) noexcept { close(why ? why : make_error_code(errc::closed), nullptr); }
  /// The same; consumers' pops throw `why` when the channel is drained.
  void close(std::exception_ptr why) noexcept { close(std::error_code{errc::closed}, std::move(why)); }

  /// Closes, and takes out and returns what is inside (without an item whose move throws). Slots that are held are worth nothing any more.
  std::vector<T> abort();

  [[nodiscard]] bool is_closed() const noexcept { return items_.is_closed(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return items_.capacity(); }
  /// How many items are inside; out of date as soon as it is told, if others are at work.
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }

  /// How many producers, or consumers, stand in line now.
  [[nodiscard]] std::size_t waiting_producers() const noexcept { return room_.length(); }
  [[nodiscard]] std::size_t waiting_consumers() const noexcept { return available_.length(); }

  /// Whether the depth has reached high_water and not fallen to low_water since. False without a mark.
  [[nodiscard]] bool above_high_water() const noexcept { return rules_ != nullptr && rules_->mark.above(); }
  /// What to wait for while that is so: `c.drained().wait()`, `co_await c.drained().async_wait()`, and so on, as an event. It passes
  /// when the channel is closed, too. Throws std::invalid_argument if no high_water was set.
  using water_mark = detail::water_mark<Sync>;
  [[nodiscard]] water_mark& drained();

  /// Changes what may be inside, while in use; less than what is inside takes effect as it drains. Throws std::invalid_argument if
  /// `weight` is 0, or without a weight function.
  void set_max_weight(std::size_t weight);

  [[nodiscard]] channel_stats stats() const noexcept;

  /// An input iterator that pops: `for (T& item : channel)` ends when the channel is closed and drained; if close() was given an error, it
  /// then throws it, as std::system_error if it is a code.
  class iterator;
  [[nodiscard]] iterator begin() { return iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The hooks of detail::wait_operation; not for users.
  struct room_node;
  struct push_node;
  struct copy_node;
  struct reserve_node;
  struct pop_node;
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(room_node& n) noexcept;
  bool try_pass(pop_node& n) noexcept;
  bool ready(const room_node&) const noexcept { return !items_.full() || items_.is_closed(); }
  bool ready(const pop_node&) const noexcept { return !items_.empty() || drained_for_good(); }
  bool worth_a_look(const room_node&) const noexcept { return items_.may_have_room(); }
  bool worth_a_look(const pop_node&) const noexcept { return items_.may_have_items(); }
  detail::step try_or_link(room_node& n, detail::link_at where, detail::wait_list<Sync>& won) noexcept;
  detail::step try_or_link(pop_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept;
  void unlinked(room_node& n, detail::wait_list<Sync>& won) noexcept;
  void unlinked(pop_node& n, detail::wait_list<Sync>& won) noexcept;
  void gave_up(room_node& n, detail::wait_list<Sync>& won) noexcept;
  void gave_up(pop_node& n, detail::wait_list<Sync>& won) noexcept;

 private:
  friend slots;
  friend detail::owned_channel<basic_channel>;
  static constexpr bool nothrow = std::is_nothrow_move_constructible_v<T>;
  static constexpr bool spsc = Policy == channel_policy::spsc;
  using fast_ring = std::conditional_t<spsc, detail::spsc_ring<T, Sync>, detail::ring<T, Sync>>;
  using ring = std::conditional_t<nothrow, fast_ring, detail::locked_ring<T, Sync>>;
  using rules = detail::channel_rules<T, Sync>;
  using side = detail::waiting_side<Sync>;
  using push_wait = detail::blocking_wait<basic_channel, push_node>;
  using pop_wait = detail::blocking_wait<basic_channel, pop_node>;
  using thrown_by_move = std::conditional_t<nothrow, detail::nothrow_move, detail::throwing_move>;

  static result<void> to_result(detail::ring_step s) noexcept;
  detail::ring_step push_now(T& item);
  detail::ring_step pop_now(std::optional<T>& item) noexcept(nothrow);
  detail::ring_step take_out(std::optional<T>& item) noexcept(nothrow);
  result<void> wait_for_room(T& item);
  result<T> wait_for_item();
  std::error_code failure() const;
  void close(std::error_code why, std::exception_ptr exception) noexcept;
  void close_locked(std::error_code why, std::exception_ptr exception, detail::wait_list<Sync>& won) noexcept;

  // After `n` items went in, or `n` places became free, without the lock. seq_cst: see waiting_side::count().
  void wake(side& other, std::size_t n) noexcept {
    if (other.waiting.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake_waiting(other, n);
  }
  void wake_waiting(side& other, std::size_t n) noexcept;

  template <class Put>
  range_result pop_some(std::size_t most, const wait_limits& limits, Put put);

  // Options and reservations: pushes under the lock (detail/channel_guarded.hpp).
  std::size_t checked_weight(const T& item) const;
  void check_reservation(std::size_t places, std::size_t weight) const;
  void guard() noexcept;
  detail::ring_step push_guarded(T& item, std::size_t weight);
  bool pass_guarded(room_node& n) noexcept;
  void account_for(std::size_t weight, std::size_t channel_stats::* why) noexcept;
  void refused() noexcept;
  void on_drop(T&& dropped) const;
  template <class Put>
  void abort_into(Put put);
  result<void> push_reserved(T& item, slots& from);
  void give_back(slots& held) noexcept;

  // With lock_ held.
  bool drop_one(std::optional<T>& dropped, detail::wait_list<Sync>& won);
  detail::step link_guarded(room_node& n, detail::link_at where, detail::wait_list<Sync>& won) noexcept;
  bool fits(std::size_t places, std::size_t weight) const noexcept;
  detail::ring_step enter_if_first(T& item, std::size_t weight, detail::wait_list<Sync>& won);
  void enter(T& item, std::size_t weight, detail::wait_list<Sync>& won);
  void admit(room_node& n, detail::wait_list<Sync>& won) noexcept;
  void promise(room_node& n) noexcept;
  void unreserve(std::size_t places, std::size_t weight, detail::wait_list<Sync>& won) noexcept;
  void hand_over_room(detail::wait_list<Sync>& won) noexcept;
  void room_is_free(std::size_t places, detail::wait_list<Sync>& won) noexcept;
  template <class Node>
  detail::step park(Node& n, side& mine, detail::link_at where) noexcept;

  // Nothing is inside, and nothing will be. seq_cst: read after the look at the ring that found it empty.
  bool drained_for_good() const noexcept {
    return items_.is_closed() && (reserved_.load(std::memory_order_seq_cst) == 0 || aborted_.load(std::memory_order_seq_cst));
  }

  ring items_;
  const std::unique_ptr<detail::channel_tally<Sync>> tally_;  // null: no metrics, or there are rules_, which count under lock_
  const std::unique_ptr<rules> rules_;                        // null: nothing but metrics was asked for
  alignas(detail::cache_line) mutable typename Sync::mutex lock_;
  side room_;                                                // producers wait here
  side available_;                                           // consumers wait here
  typename Sync::template atomic<std::size_t> reserved_{0};  // places; changed under lock_
  typename Sync::template atomic<bool> aborted_{false};      // changed under lock_
  std::error_code why_closed_{};                             // written under lock_, before the ring is closed; read after
  std::exception_ptr exception_{};                           // likewise
};

template <class T, channel_policy Policy = channel_policy::mpmc>
using channel = basic_channel<T, Policy>;

/// What a registry sees of a channel (observe/registry.hpp); counts only with channel_options::metrics.
template <class T, channel_policy Policy, class Sync>
void describe(const basic_channel<T, Policy, Sync>& c, metric_sink& to) {
  to.kind("channel");
  to.gauge(metrics::depth, c.size());
  to.gauge(metrics::capacity, c.capacity());
  to.gauge(metrics::waiters, c.waiting_producers());
  to.gauge({"waiting_consumers", "Callers that wait for an item now."}, c.waiting_consumers());
  detail::describe_counts(c.stats(), to);
}

}  // namespace penstock::inline v0_1

#include <penstock/channel/detail/channel_waiting.hpp>
// after it: they need the nodes
#include <penstock/channel/detail/channel_control.hpp>
#include <penstock/channel/detail/channel_forms.hpp>
#include <penstock/channel/detail/channel_guarded.hpp>
#include <penstock/channel/detail/channel_ranges.hpp>
#include <penstock/channel/detail/channel_slots.hpp>
