// penstock/pool/detail/resource_books.hpp: which resource is where: what a resource pool knows, under one lock, and what it does without that.
//
// Invariants  A slot is in one place: idle, leased, with an operation (counted by connecting_ or checking_), or retired (counted by retiring_ until its
//             resource has been destroyed). All of these together are never more than max_size + max_overflow, but after a resize().
// The lock    Whoever has it finds the lane shut (idle_lane.hpp) and every idle one in idle_. When it is left the lane is opened, if it may be.
// The lane    is open while a lease and a return need nothing else: nobody is in line, the pool is not closed, there are no more than max_size, and
//             every lease is of the present generation. Not at all in a pool that lists its leases, gives the one that has rested longest, or has a
//             time limit below `shortest_limit`.
// Time        Who gives back by the lane reads no clock: it takes lane_time_ for the time, which is not far ahead: the next moment at which a timer looks
//             at the pool, and sets it anew if the lane was used. So a resource may be idle since the `looks_a_limit`th part of the pool's shortest
//             limit later than in truth, at the most. What would be too old by then is given back under the lock, by the clock. While the lane is
//             little used lane_time_ is `never`, there is no such timer, and the lane is shut.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/pool/detail/idle_lane.hpp>
#include <penstock/pool/detail/resource_slot.hpp>
#include <penstock/pool/detail/resource_terms.hpp>
#include <penstock/pool/resource_pool_stats.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class resource_books {
 public:
  using slot = resource_slot<Sync>;
  using list = slot_list<Sync>;
  using request = resource_request<Sync>;
  using borrower = resource_borrower<Sync>;

  resource_books(const resource_books&) = delete;
  resource_books& operator=(const resource_books&) = delete;

  [[nodiscard]] const resource_terms& terms() const noexcept { return terms_; }

  /// Without the lock: one that needs no check, or null.
  slot* take_from_lane() noexcept {
    slot* const s = lane_.try_take();
    if (s != nullptr) s->count_use();
    return s;
  }
  /// Without the lock. False: it is to be given back under it. Otherwise nothing of *this is touched any more: it may be gone.
  bool rest_on_lane(slot& s) noexcept {
    const nanoseconds_point now = lane_time_.load(std::memory_order_relaxed);  // relaxed: if it has moved on, so be it
    if (s.place == slot::no_place || s.expires_at <= now || (terms_.max_uses != 0 && is_used_up(s))) return false;
    s.idle_since = now;
    return lane_.try_put(s);
  }

  [[nodiscard]] resource_pool_stats stats() const noexcept {
    resource_pool_stats s;
    std::scoped_lock guard{lock_};
    s.in_use = leased_;
    s.idle = idle_.size();
    s.checking = checking_;
    s.connecting = connecting_;
    s.waiting = waiters_.size();
    s.limit = terms_.max_size + terms_.max_overflow;
    s.created = counts_.created;
    s.connect_failures = counts_.connect_failures;
    s.acquired = counts_.acquired + lane_.uses();
    s.waited = counts_.waited;
    s.timed_out = counts_.timed_out;
    s.cancelled = counts_.cancelled;
    s.refused = counts_.refused;
    s.leaks = counts_.leaks;
    s.discarded = counts_.discarded;
    return s;
  }
  [[nodiscard]] bool is_closed() const noexcept {
    std::scoped_lock guard{lock_.here};
    return closed_;
  }
  [[nodiscard]] bool is_used() const noexcept {
    std::scoped_lock guard{lock_};
    return used();
  }
  /// True: nothing begins any more, and nothing is under way. What is idle waits for close().
  bool close_if_unused() noexcept {
    std::scoped_lock guard{lock_};
    if (used()) return false;
    closed_ = true;
    return true;
  }

 protected:
  /// To be locked as any mutex; for what concerns no idle and no leased one, `here` alone will do.
  struct section {
    explicit section(resource_books& b) noexcept : books{b} {}
    void lock() noexcept {
      here.lock();
      books.leased_ = books.leased_ + static_cast<std::size_t>(books.lane_.shut(books.idle_));
    }
    void unlock() noexcept {
      books.open_lane();
      here.unlock();
    }
    polled_mutex<Sync> here;
    resource_books& books;
  };

  explicit resource_books(const resource_terms& terms) noexcept
      : terms_{terms},
        lists_leases_{terms.leak_threshold != 0 || terms.refuse_nested},
        lane_step_{shortest_limit_of(terms) == never ? 0 : shortest_limit_of(terms) / looks_a_limit},
        has_lane_{terms.lifo && !lists_leases_ && shortest_limit_of(terms) >= shortest_limit},
        lane_time_{lane_step_ == 0 ? 0 : never} {}
  ~resource_books() = default;

  // With the lock held, all that follows.

  [[nodiscard]] bool used() const noexcept {
    return leased_ != 0 || !waiters_.empty() || connecting_ + checking_ + retiring_ != 0;
  }
  [[nodiscard]] std::size_t in_pool() const noexcept { return idle_.size() + leased_ + checking_ + connecting_; }
  [[nodiscard]] slot* next_idle() const noexcept { return terms_.lifo ? idle_.back() : idle_.front(); }
  [[nodiscard]] bool must_be_checked(const slot& s, nanoseconds_point now) const noexcept {
    if (terms_.validate_after == never) return false;
    // What was checked for a look counts until somebody can have looked again, however short validate_after is.
    const std::int64_t good_for = s.checked_ahead ? std::max(terms_.validate_after, shortest_limit) : terms_.validate_after;
    return saturating_difference(now, std::max<nanoseconds_point>(s.idle_since, s.checked_at)) >= good_for;
  }
  [[nodiscard]] bool is_used_up(const slot& s) const noexcept {
    return s.uses.load(std::memory_order_relaxed) >= terms_.max_uses;  // relaxed: the caller's own
  }
  [[nodiscard]] discard_reason why_unfit(const slot& s, nanoseconds_point now) const noexcept {
    if (closed_) return discard_reason::closed;
    if (s.generation != generation_) return discard_reason::evicted;
    if (terms_.max_uses != 0 && is_used_up(s)) return discard_reason::uses;
    return s.expires_at <= now ? discard_reason::lifetime : discard_reason::none;
  }

  void lease(slot& s, const borrower& who, nanoseconds_point now) noexcept {
    leased_ = leased_ + 1;
    s.count_use();
    s.checked_ahead = false;
    if (s.place == slot::no_place) ++counts_.acquired;  // otherwise counted by the lane
    if (!lists_leases_) return;
    leases_.push_back(s);
    s.where = who.where;
    s.holder = who.thread;
    s.leased_at = now;
    s.reported = false;
  }
  void end_lease(slot& s) noexcept {
    leased_ = leased_ - 1;
    if (s.generation != generation_) outdated_ = outdated_ - 1;
    if (lists_leases_) leases_.remove(s);
  }
  /// Of those that are there none is leased again.
  void begin_generation() noexcept {
    ++generation_;
    outdated_ = leased_;
  }
  [[nodiscard]] bool holds_a_lease(typename Sync::thread_id thread) const noexcept {
    if (thread == typename Sync::thread_id{}) return false;
    for (const slot* s = leases_.front(); s != nullptr; s = s->after) {
      if (s->holder == thread) return true;
    }
    return false;
  }

  /// What has just been made.
  void admit(slot& s, nanoseconds_point now) noexcept {
    ++counts_.created;
    s.born_at = now;
    if (has_lane_) lane_.admit(s);
  }
  /// Of a slot that is nobody's. Its resource, if there is one, is to be destroyed.
  void strike_out(slot& s, discard_reason why) noexcept {
    count_discard(why);
    if (s.place != slot::no_place) {
      counts_.acquired += s.uses.load(std::memory_order_relaxed);  // relaxed: it is nobody's
      lane_.dismiss(s);
    }
    retiring_ = retiring_ + 1;
  }

  /// One is given back by the clock. True: so many were lately that the lane is worth a timer, see use_lane().
  bool count_return(nanoseconds_point now) noexcept {
    if (!has_lane_ || lane_time() != never) return false;
    if (saturating_difference(now, returns_since_) >= lane_step_) {
      returns_since_ = now;
      returns_ = 0;
    }
    return ++returns_ >= busy;
  }
  /// Whoever calls this sees to it that a timer looks at next_look().
  void use_lane(nanoseconds_point now) noexcept {
    if (returns_ < busy || lane_time() != never) return;
    returns_ = 0;
    set_lane_time(saturating_add(now, lane_step_));
  }
  /// When a timer looks. Afterwards it is ahead, or never.
  void move_lane_time(nanoseconds_point now) noexcept {
    const nanoseconds_point current = lane_time();
    if (lane_step_ == 0 || current > now) return;
    bool used = false;
    for (const slot* s = idle_.front(); s != nullptr && !used; s = s->after) used = s->idle_since == current;
    set_lane_time(used && !closed_ ? saturating_add(now, lane_step_) : never);
  }
  /// At the latest.
  [[nodiscard]] nanoseconds_point next_look() const noexcept { return lane_step_ == 0 ? never : lane_time(); }
  // relaxed, both: changes under the lock, and is read without it only as described above
  [[nodiscard]] nanoseconds_point lane_time() const noexcept { return lane_time_.load(std::memory_order_relaxed); }
  void set_lane_time(nanoseconds_point t) noexcept { lane_time_.store(t, std::memory_order_relaxed); }

  [[nodiscard]] bool may_pass_a_look() const noexcept {                     // without the lock
    return lane_.may_have_some() || hint_.load(std::memory_order_relaxed);  // relaxed: a hint
  }

 private:
  static constexpr std::int64_t looks_a_limit = 16;
  static constexpr std::int64_t shortest_limit = 500'000'000;
  static constexpr unsigned busy = 32;

  // What a lease that was given back is looked at for: never: nothing.
  static std::int64_t shortest_limit_of(const resource_terms& t) noexcept {
    const auto limit = [](std::int64_t given) { return given == 0 ? never : given; };
    return std::min({limit(t.idle_timeout), limit(t.max_lifetime), limit(t.keep_alive), t.validate_after});
  }

  void open_lane() noexcept {
    if (has_lane_ && !closed_ && waiters_.empty() && outdated_ == 0 && lane_time() != never && in_pool() <= terms_.max_size) {
      // One that has to be checked before the next look would not be, on the lane.
      lane_.open(idle_, terms_.min_idle, [this](const slot& s) { return !must_be_checked(s, lane_time()); });
    }
    const bool something = closed_ || !idle_.empty();
    // relaxed, both: a hint
    if (hint_.load(std::memory_order_relaxed) != something) hint_.store(something, std::memory_order_relaxed);
  }

  void count_discard(discard_reason why) noexcept;

 protected:
  resource_terms terms_;  // guarded by the lock, what resize() changes
 private:
  const bool lists_leases_;
  const std::int64_t lane_step_;  // how far lane_time_ goes at a time; 0: nobody needs the time
  const bool has_lane_;
  typename Sync::template atomic<nanoseconds_point> lane_time_;
  idle_lane<Sync> lane_;
  typename Sync::template atomic<bool> hint_{false};  // there is something to be had beside the lane

 protected:
  mutable section lock_{*this};  // guards all that follows
  wait_queue<Sync> waiters_;
  list idle_;    // the one that was used last is at the back
  list leases_;  // the oldest one is at the front; not in all pools
  typename Sync::template var<std::size_t> connecting_{0};
  typename Sync::template var<std::size_t> checking_{0};
  typename Sync::template var<std::size_t> retiring_{0};
  typename Sync::template var<bool> closed_{false};
  std::uint64_t generation_ = 0;  // evict_all() begins another one
  resource_pool_stats counts_;    // what only grows
 private:
  typename Sync::template var<std::size_t> leased_{0};
  typename Sync::template var<std::size_t> outdated_{0};  // leases of former generations
  nanoseconds_point returns_since_ = 0;
  unsigned returns_ = 0;
};

template <class Sync>
void resource_books<Sync>::count_discard(discard_reason why) noexcept {
  resource_discards& d = counts_.discarded;
  switch (why) {
    case discard_reason::none:
      break;
    case discard_reason::idle:
      ++d.idle;
      break;
    case discard_reason::lifetime:
      ++d.lifetime;
      break;
    case discard_reason::uses:
      ++d.uses;
      break;
    case discard_reason::broken:
      ++d.broken;
      break;
    case discard_reason::invalid:
      ++d.invalid;
      break;
    case discard_reason::evicted:
      ++d.evicted;
      break;
    case discard_reason::surplus:
      ++d.surplus;
      break;
    case discard_reason::closed:
      ++d.closed;
      break;
  }
}

}  // namespace penstock::inline v0_1::detail
