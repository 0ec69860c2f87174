// penstock/sync/semaphore.hpp: permits that threads and coroutines acquire, wait for and release.
//
//   penstock::semaphore connections{8};
//   if (auto permit = connections.acquire_permit({.deadline = penstock::deadline::after(50ms)})) use(database);
//   // the permit is given back at the end of the scope
//
// State          one atomic word: the free permits (negative: debt) and four flags. Whoever takes permits or announces a waiter does it by
//                compare-exchange on that word, so "nothing free, so I wait" and "somebody waits, so I wake" cannot miss each other.
// Invariants     free + held = total: every permit is free, held, or on its way to a waiter that will hold it or pass it on.
//                The flag `waiting` is set exactly while the line is not empty, when the lock is free.
// Fairness       fairness::eventual (default): a newcomer may take a free permit although others wait, which keeps a contended semaphore
//                fast; but a waiter at the head of the line that has stood there for 0.5 ms gets the next permits handed over directly, and
//                until then nobody overtakes (as in WebKit's ParkingLot). At the most one woken waiter is on its way at a time, and releases
//                leave the line to it; but if it has not arrived after 0.5 ms, they serve a head that has stood for so long past it. (They
//                look at the clock at the 1st, 2nd, 4th, 8th, 16th and every 32nd release meanwhile.) So the head of the line is overtaken
//                for 0.5 ms, and then by the 31 releases at the most that come before the next look; for another 0.5 ms if one before it
//                was woken just then. One that was woken owns nothing on its way: it is overtaken until its thread or scheduler runs it,
//                and permits that were free when the line was left to it wait for it, too, until one more is released.
//                fairness::fifo: while somebody waits, nobody overtakes; a request for many permits is not starved by small ones. A caller
//                polls for a while before it takes its place in line: some 30 µs, or where others want the processors one yield to them; if
//                some permits are free but fewer than it wants, about a microsecond, and without a yield.
// Thread safety  every member may be called concurrently. A semaphore may be destroyed when no member runs, nobody waits and every
//                operation that waited has resumed.
// Cancellation   a wait that is stopped or times out takes nothing, and those behind it are served if they can be.
// Cost           uncontended: one compare-exchange to acquire, one fetch_add to release; no lock, no system call. Waiting does not allocate.
#pragma once

#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/permit.hpp>

namespace penstock::inline v0_1 {

enum class fairness : std::uint8_t {
  eventual,  ///< newcomers may overtake, for about a millisecond at the most
  fifo,      ///< strictly in order of arrival in the line
};

struct semaphore_options {
  penstock::fairness fairness = fairness::eventual;
};

template <class Sync = detail::std_sync>
class basic_semaphore {
 public:
  using sync = Sync;
  using count = std::ptrdiff_t;
  using permit = basic_permit<basic_semaphore>;

  /// The most permits that may be free at a time.
  static constexpr count max() noexcept {
    return sizeof(count) < sizeof(std::int64_t) ? std::numeric_limits<count>::max() : static_cast<count>(std::int64_t{1} << 58);
  }

  /// Throws std::invalid_argument unless 0 <= permits <= max().
  explicit basic_semaphore(count permits, semaphore_options options = {})
      : state_{checked(permits, "permits") * one}, limit_{permits}, fifo_{options.fairness == fairness::fifo} {}
  basic_semaphore(const basic_semaphore&) = delete;
  basic_semaphore& operator=(const basic_semaphore&) = delete;
  ~basic_semaphore() { assert(waiters_.empty() && "a semaphore was destroyed while somebody waits for it"); }

  /// Waits until `n` permits are free and takes them all at once. errc::closed if the semaphore is or gets closed. Every acquiring member
  /// throws std::invalid_argument unless 0 <= n <= max(); n = 0 takes nothing and does not wait.
  result<void> acquire(count n = 1) {
    if (take(n)) return {};
    return finish(wait{*this, n}.run());
  }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without a permit, if it was before the call.
  result<void> acquire(const typename Sync::stop_token& stop, count n = 1) {
    return finish(wait{*this, checked(n, "n")}.run(stop, detail::never));
  }
  /// Also ends at a deadline, with errc::timeout. What is free is taken even if the deadline has passed.
  result<void> acquire(const wait_limits& limits, count n = 1) {
    return finish(wait{*this, checked(n, "n")}.run(limits.stop, limits.deadline));
  }
  /// Never waits: errc::empty if fewer than `n` permits can be had now.
  result<void> try_acquire(count n = 1) {
    if (take(n)) return {};
    return is_closed() ? errc::closed : errc::empty;
  }
  /// Waits at the most for `timeout`: errc::timeout after that, and never before.
  template <class Rep, class Period>
  result<void> try_acquire_for(std::chrono::duration<Rep, Period> timeout, count n = 1) {
    if (take(n)) return {};
    return acquire({.deadline = deadline::after(timeout)}, n);
  }
  /// Until a point in time of the steady clock, of another clock of std's, or of any clock that is given with it: `{when, clock}`.
  result<void> try_acquire_until(deadline until, count n = 1) { return acquire({.deadline = until}, n); }

  /// `co_await s.async_acquire()` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_acquire(count n = 1) { return detail::async_operation<basic_semaphore, request, count>{*this, checked(n, "n")}; }

  /// The same forms, with an owner that gives the permits back.
  result<permit> acquire_permit(count n = 1) { return own(acquire(n), n); }
  result<permit> acquire_permit(const typename Sync::stop_token& stop, count n = 1) { return own(acquire(stop, n), n); }
  result<permit> acquire_permit(const wait_limits& limits, count n = 1) { return own(acquire(limits, n), n); }
  result<permit> try_acquire_permit(count n = 1) { return own(try_acquire(n), n); }
  auto async_acquire_permit(count n = 1) {
    return detail::async_operation<basic_semaphore, permit_request, basic_semaphore*, count>{*this, this, checked(n, "n")};
  }

  /// Gives `n` permits back (or adds new ones) and serves who waits. May run resumed coroutines on this thread unless they have a scheduler.
  /// Throws std::invalid_argument if n < 0 or more than max() permits would be free.
  void release(count n = 1) {
    const std::int64_t added = checked(n, "n") * one;
    std::int64_t before = 0;
    if (n <= few) [[likely]] {
      before = state_.fetch_add(added, std::memory_order_release);  // release: pairs with the acquire of who takes these permits
      if ((before >> flag_bits) > max() - n) [[unlikely]] {
        state_.fetch_sub(added, std::memory_order_relaxed);  // relaxed: takes back what nobody needed to see
        refuse();
      }
    } else {
      before = state_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
      do {
        if ((before >> flag_bits) > max() - n) refuse();
        // release: as above
      } while (!state_.compare_exchange_weak(before, before + added, std::memory_order_release, std::memory_order_relaxed));
    }
    if ((before & waiting) != 0 && ((before & waking) == 0 || time_to_look())) hand_out();
  }

  /// Enlarges the semaphore while it is in use. As release().
  void add_permits(count n) {
    release(n);
    // Relaxed, as in all that touches it: it publishes nothing, and differences add up in any order.
    limit_.fetch_add(n, std::memory_order_relaxed);
  }
  /// Shrinks the semaphore while it is in use: takes `n` permits away at once if they are free; what is lacking is a debt that the next
  /// releases pay. Never waits.
  /// Throws std::invalid_argument if n < 0 or the debt would exceed max(); then nothing has changed.
  void reduce_permits(count n) {
    take_away(n);
    limit_.fetch_sub(n, std::memory_order_relaxed);  // relaxed: see add_permits()
  }
  /// Adds or takes away permits so that there are `n` in all, free and held (core/adjustable.hpp). Of calls at the same time the last one counts.
  /// Throws std::invalid_argument unless 0 <= n <= max(), and as release() and reduce_permits(); then nothing has changed.
  void set_limit(count n) {
    const count before = limit_.exchange(checked(n, "n"), std::memory_order_relaxed);  // relaxed: see add_permits()
    try {
      n >= before ? release(n - before) : take_away(before - n);
    } catch (...) {
      limit_.fetch_add(before - n, std::memory_order_relaxed);  // relaxed: see add_permits()
      throw;
    }
  }

  /// Every wait ends with errc::closed, now and from now on. Permits can still be released. Idempotent.
  void close() noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      // Relaxed: the outcome travels in the nodes, and nobody infers anything else from the flag. Linking is a compare-exchange
      // on the same word, so a waiter that is not in the line by now finds the flag (race 13).
      state_.fetch_or(closed, std::memory_order_relaxed);
      waiters_.win_all(detail::outcome::closed, won);
      state_.fetch_and(~(waiting | held), std::memory_order_relaxed);  // relaxed: as above
    }
    won.complete_all();
  }

  // relaxed, in all of these: a snapshot that may be out of date when it is looked at
  [[nodiscard]] bool is_closed() const noexcept { return (state_.load(std::memory_order_relaxed) & closed) != 0; }
  /// How many permits there are by construction, add_permits(), reduce_permits() and set_limit(): free and held ones.
  [[nodiscard]] count limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  /// Free permits; negative while there is a debt.
  [[nodiscard]] count available() const noexcept {
    return static_cast<count>(state_.load(std::memory_order_relaxed) >> flag_bits);
  }
  /// How many stand in line now.
  [[nodiscard]] std::size_t waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return waiters_.size();
  }
  /// How many of them want that many permits. Looks at each one, under the lock.
  [[nodiscard]] std::size_t waiters_for(count n) const noexcept;

  // The hooks of detail::wait_operation; not for users.
  struct request;
  struct permit_request;
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r) noexcept;
  bool ready(const request& r) const noexcept;
  bool better_in_line(const request& r) const noexcept;
  detail::step try_or_link(request& r, detail::link_at where, detail::wait_list<Sync>& won) noexcept;
  void unlinked(request&, detail::wait_list<Sync>& won) noexcept { serve(won); }
  void gave_up(request&, detail::wait_list<Sync>& won) noexcept {
    state_.fetch_and(~waking, std::memory_order_relaxed);  // relaxed: a flag of the protocol; it publishes nothing
    serve(won);
  }

 private:
  using wait = detail::blocking_wait<basic_semaphore, request>;

  static constexpr int flag_bits = 4;
  static constexpr std::int64_t one = 1 << flag_bits;  // one permit, in the word
  static constexpr std::int64_t closed = 1;
  static constexpr std::int64_t waiting = 2;  // the line is not empty: releasing takes the lock
  static constexpr std::int64_t waking =
      4;  // a woken waiter is on its way, and will serve the line when it arrives: releasing need not
  static constexpr std::int64_t held = 8;            // nobody may overtake the line
  static constexpr std::int64_t patience = 500'000;  // ns
  // Nobody misses what is lent for a moment by adding so many first and looking later. As many as a writer of shared_mutex gives back.
  static constexpr count few = count{1} << 26;

  static count checked(count n, const char* what) {
    if (n < 0 || n > max()) [[unlikely]] {
      throw std::invalid_argument{std::string{"penstock::semaphore: "} + what + " is " + std::to_string(n)};
    }
    return n;
  }

  void take_away(count n) {
    const std::int64_t taken = checked(n, "n") * one;
    std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    do {
      if ((word >> flag_bits) < n - max()) throw std::invalid_argument{"penstock::semaphore: the debt would exceed max()"};
      // relaxed: gives nobody access to anything
    } while (!state_.compare_exchange_weak(word, word - taken, std::memory_order_relaxed, std::memory_order_relaxed));
  }

  [[noreturn]] static void refuse() { throw std::invalid_argument{"penstock::semaphore: more than max() permits would be free"}; }

  bool take(count n) {
    const std::int64_t price = checked(n, "n") * one;
    std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while ((word & (closed | held)) == 0 && (word >= price || n == 0)) {
      // acquire: pairs with the release in release(); an acquire load before it would not do, for this is where the permit is got (race 2)
      if (state_.compare_exchange_weak(word, word - price, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return n == 0 && (word & closed) == 0;
  }

  static result<void> finish(detail::outcome how) noexcept { return detail::to_result(how); }
  result<permit> own(const result<void>& r, count n) {
    if (!r) return r.error();
    return permit{*this, n};
  }

  void hand_out() noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      serve(won);
    }
    won.complete_all();
  }

  // With lock_ held: gives the head of the line what it can have.
  void serve(detail::wait_list<Sync>& won) noexcept;
  [[nodiscard]] bool first_in_line_is_owed(const request& head) const noexcept {
    return fifo_ || Sync::now() - head.since >= patience;
  }
  // For a release that leaves the line to a woken waiter: whether it looks if that one is overdue.
  [[nodiscard]] bool time_to_look() noexcept {
    // relaxed, both: only a count. Updates that are lost between threads put a look off by a few releases.
    const std::uint32_t n = left_to_woken_.load(std::memory_order_relaxed) + 1;
    left_to_woken_.store(n, std::memory_order_relaxed);
    return n % 32 == 0 || (n & (n - 1)) == 0;
  }

  typename Sync::template atomic<std::int64_t> state_;
  typename Sync::template atomic<count> limit_;                     // permits in all; what acquiring and releasing need not know
  typename Sync::template atomic<std::uint32_t> left_to_woken_{0};  // releases since `waking` was set
  mutable typename Sync::mutex lock_;
  detail::wait_queue<Sync> waiters_;                                    // guarded by lock_
  typename Sync::template var<detail::nanoseconds_point> woken_at_{0};  // when `waking` was set; guarded by lock_
  const bool fifo_;
};

using semaphore = basic_semaphore<>;
using permit = basic_permit<semaphore>;

template <class Sync>
void describe(const basic_semaphore<Sync>& s, metric_sink& to) {
  to.kind("semaphore");
  const auto limit = s.limit();
  const auto available = s.available();
  to.gauge(metrics::depth, s.waiters());
  to.gauge(metrics::in_flight, limit > available ? limit - available : 0);
  to.gauge(metrics::limit, limit);
}

}  // namespace penstock::inline v0_1

#include <penstock/sync/detail/semaphore_line.hpp>
