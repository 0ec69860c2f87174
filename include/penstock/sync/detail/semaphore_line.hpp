// penstock/sync/detail/semaphore_line.hpp: who waits for a semaphore, and how the line is served: the second part of semaphore.hpp, which
// includes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include <penstock/sync/semaphore.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
struct basic_semaphore<Sync>::request : detail::wait_node<Sync> {
  explicit request(count n) noexcept : wanted{n} {}
  static result<void> take_result(detail::outcome decided) noexcept { return detail::to_result(decided); }

  const count wanted;
  detail::nanoseconds_point since = 0;  // when it took its place in line
};

template <class Sync>
struct basic_semaphore<Sync>::permit_request : request {
  permit_request(basic_semaphore* s, count n) noexcept : request{n}, semaphore{s} {}
  result<permit> take_result(detail::outcome decided) noexcept {
    return semaphore->own(detail::to_result(decided), this->wanted);
  }

  basic_semaphore* semaphore;
};

template <class Sync>
std::size_t basic_semaphore<Sync>::waiters_for(count n) const noexcept {
  std::size_t found = 0;
  std::scoped_lock guard{lock_};
  for (const detail::wait_node<Sync>* at = waiters_.front(); at != nullptr; at = at->next) {
    found += static_cast<const request*>(at)->wanted == n ? 1 : 0;
  }
  return found;
}

template <class Sync>
bool basic_semaphore<Sync>::try_pass(request& r) noexcept {
  if (take(r.wanted)) {
    r.how = detail::outcome::granted;
    return true;
  }
  if (!is_closed()) return false;
  r.how = detail::outcome::closed;
  return true;
}

template <class Sync>
bool basic_semaphore<Sync>::ready(const request& r) const noexcept {
  const std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: only a hint
  return (word & closed) != 0 || word >= r.wanted * one;
}

template <class Sync>
bool basic_semaphore<Sync>::better_in_line(const request& r) const noexcept {
  // Some are free, but too few: newcomers who want less take them again and again, until this one stands in line.
  const std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: only a hint
  return fifo_ && word >= one && word < r.wanted * one;
}

template <class Sync>
detail::step basic_semaphore<Sync>::try_or_link(request& r, detail::link_at where, detail::wait_list<Sync>& won) noexcept {
  const bool woken = r.how == detail::outcome::woken;
  const std::int64_t arrived = woken ? ~waking : ~std::int64_t{0};
  std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: each branch below confirms it by a compare-exchange
  for (;;) {
    if ((word & closed) != 0) {
      if (woken) state_.fetch_and(~waking, std::memory_order_relaxed);  // relaxed: see close()
      r.how = detail::outcome::closed;
      return detail::step::passed;
    }
    if (word >= r.wanted * one && (woken || (word & held) == 0)) {
      // acquire: pairs with the release in release()
      if (!state_.compare_exchange_weak(word, (word - r.wanted * one) & arrived, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
        continue;
      }
      r.how = detail::outcome::granted;
      if (woken) serve(won);  // releases that came while it was on its way left the line to it
      return detail::step::passed;
    }
    if (where == detail::link_at::nowhere) return detail::step::refused;
    const std::int64_t stand = waiting | (fifo_ || (woken && first_in_line_is_owed(r)) ? held : 0);
    // Announced in the same step that confirms that there is too little for us (race 1). Relaxed: a release after it sees the flag
    // in the value that it adds to, and takes the lock that we hold.
    if (!state_.compare_exchange_weak(word, (word | stand) & arrived, std::memory_order_relaxed, std::memory_order_relaxed))
      continue;
    if (where == detail::link_at::front) {
      waiters_.push_front(r);
    } else {
      if (!fifo_) r.since = Sync::now();
      waiters_.push_back(r);
    }
    return detail::step::linked;
  }
}

template <class Sync>
void basic_semaphore<Sync>::serve(detail::wait_list<Sync>& won) noexcept {
  std::int64_t word = state_.load(std::memory_order_relaxed);  // relaxed: each branch below confirms it by a compare-exchange
  for (;;) {
    auto* const head = static_cast<request*>(waiters_.front());
    if (head == nullptr) {
      state_.fetch_and(~(waiting | held), std::memory_order_relaxed);  // relaxed: flags of the protocol, changed under the lock
      return;
    }
    const detail::nanoseconds_point now = fifo_ ? 0 : Sync::now();
    const bool owed = fifo_ || now - head->since >= patience;
    // The woken one stood before this head, and will serve the line. If it is overdue, a head that is owed waits for it no longer.
    if ((word & waking) != 0 && (!owed || now - woken_at_ < patience)) return;
    const std::int64_t price = head->wanted * one;
    const bool enough = word >= price;
    std::int64_t after = owed ? word | held : word & ~held;
    if (enough) after = owed ? after - price : after | waking;
    // acquire: the permits of several releases may go to one waiter, which learns of them through its node and not through the word
    if (after != word && !state_.compare_exchange_weak(word, after, std::memory_order_acquire, std::memory_order_relaxed))
      continue;
    if (!enough) return;
    if (!owed) {
      woken_at_ = now;
      left_to_woken_.store(0, std::memory_order_relaxed);  // relaxed: see time_to_look()
    }
    waiters_.win(*head, owed ? detail::outcome::granted : detail::outcome::woken, won);
    word = after;
    if (!owed && !waiters_.empty()) return;
  }
}

}  // namespace penstock::inline v0_1
