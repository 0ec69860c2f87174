// penstock/pool/detail/resource_core.hpp: who has which resource, who waits for one, and what has to be done: the locked heart of a resource pool.
//
// It knows slots and not what lies in them: making, checking and destroying resources is the part of the derived class (resource_engine.hpp), under no
// lock. What has to be done is noted under the lock (`work`), and done by whoever noted it, after unlocking.
//
// Invariants  When the lock is free and somebody is in line, every idle slot has to be checked first, and there are as many operations under way as
//             are in line, or as there may be. Who has what, and the lock: resource_books.hpp.
// Operations  either in the background: the core says how many connects it needs, and each gives its resource to the pool when it is there, whoever
//             waits by then. Or on the threads of those who acquire: the right to connect (`reserved`, counted by connecting_) is then handed to the
//             first in line, which is woken for it; if it has given up meanwhile, it passes the right on.
// Down        after a failed connect there is one at a time, and each not before retry_at_; the first that succeeds ends that.
// Lifetime    live_ counts slots, rights to connect and threads that have work to do after unlocking. When it has come to 0 after close(), nothing
//             touches *this any more but the timer.
// The parts   resource_line.hpp: acquiring and releasing · resource_upkeep.hpp: operations that end, time, closing · resource_work.hpp: what is done
//             after unlocking.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/pool/detail/resource_books.hpp>
#include <penstock/pool/detail/resource_slot.hpp>
#include <penstock/pool/resource_pool_stats.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class resource_core : public resource_books<Sync>, timer_entry<Sync> {
  using books = resource_books<Sync>;

 public:
  using sync = Sync;
  static constexpr const char* known_as = "resource_pool";
  using slot = typename books::slot;
  using list = typename books::list;
  using request = typename books::request;
  using borrower = typename books::borrower;

  // --- leases

  /// Beside the lane and without a wait: an idle one that needs no check, or null. Not with a leak_threshold.
  slot* try_take(const borrower& who, nanoseconds_point now) noexcept {
    std::scoped_lock guard{lock_};
    slot* const s = next_idle();
    if (s == nullptr || !waiters_.empty() || s->expires_at <= now || must_be_checked(*s, now)) return nullptr;
    if (terms_.min_idle != 0 && idle_.size() <= terms_.min_idle) return nullptr;  // another one is to be made
    idle_.remove(*s);
    lend(*s, who, now);
    return s;
  }
  /// Of one that does not rest on the lane.
  void release(slot& s, nanoseconds_point now, bool broken) noexcept {
    if (broken || !rest_at_once(s, now)) [[unlikely]]
      release_slowly(s, now, broken);
  }
  /// An acquire has ended without a lease.
  void count_failure(errc why) noexcept {
    std::scoped_lock guard{lock_.here};
    if (why == errc::timeout) ++counts_.timed_out;
    if (why == errc::cancelled) ++counts_.cancelled;
    if (why == errc::full) ++counts_.refused.full;
    if (why == errc::rejected) ++counts_.refused.rejected;
    if (why == errc::deadlock) ++counts_.refused.deadlock;
    if (why == errc::closed) ++counts_.refused.closed;
  }
  void count_waited() noexcept {
    std::scoped_lock guard{lock_.here};
    ++counts_.waited;
  }

  // --- operations

  /// A connect or a check is over. `s` null: there was no memory for a slot. `mine` gets the resource if it is there in time, and learns
  /// by `how` if it is too late for that.
  void finished(slot* s, bool ok, std::exception_ptr why, request* mine, nanoseconds_point now) noexcept;
  /// A slot in which a connect begins.
  void enlist(slot& s) noexcept {
    std::scoped_lock guard{lock_.here};
    s.generation = generation_;
  }
  void destroyed_elsewhere() noexcept;
  /// A right to connect is not used.
  void give_back_right(request& r) noexcept {
    work todo;
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      give_back(r);
      pump(time(), won);
      take_pending(todo);
    }
    settle(todo, won);
  }

  // --- the pool as a whole

  /// Looks for what is to be done: after construction.
  void begin() noexcept {
    change([](nanoseconds_point) {});
  }
  void close() noexcept;
  void evict_all() noexcept {
    change([this](nanoseconds_point) {
      this->begin_generation();
      retire_idle(discard_reason::evicted);
    });
  }
  void resize(std::size_t min_idle, std::size_t max_size, std::size_t max_overflow) noexcept {
    change([=, this](nanoseconds_point) {
      terms_.min_idle = min_idle;
      terms_.max_size = max_size;
      terms_.max_overflow = max_overflow;
      while (!idle_.empty() && in_pool() > max_size) retire_idle_one(*idle_.front(), discard_reason::surplus);
    });
  }
  /// Opens when nothing is left, after close().
  [[nodiscard]] basic_join<Sync>& live() noexcept { return live_; }
  [[nodiscard]] std::exception_ptr last_error() const noexcept {
    std::scoped_lock guard{lock_.here};
    return last_error_;
  }

  // The hooks of wait_operation.
  typename books::section& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r) noexcept;
  bool worth_a_look(const request&) const noexcept { return this->may_pass_a_look(); }
  step try_or_link(request& r, link_at where, wait_list<Sync>& won) noexcept;
  // It had nothing; what is under way for it goes to the others, or will be idle.
  void unlinked(request&, wait_list<Sync>&) noexcept {}
  void gave_up(request& r, wait_list<Sync>& won) noexcept {
    give_back(r);
    pump(time(), won);
    leave_to_keeper(won);
  }

 protected:
  resource_core(const resource_terms& terms, basic_timer_queue<Sync>& timers, std::uint64_t seed) noexcept
      : books{terms}, timers_{timers}, random_{seed}, keeper_{*this} {
    this->fire = [](timer_entry<Sync>& self) noexcept { static_cast<resource_core&>(self).on_time(); };
  }
  ~resource_core() = default;

  /// Afterwards the timer does not run and will not. When live() has opened.
  void stop_timer() noexcept {
    {
      std::scoped_lock guard{lock_};
      gone_ = true;
    }
    // Twice: while it is pending again, a firing of before may still be on its way out.
    timers_.remove(*this);
    timers_.remove(*this);
  }

  // --- of the derived class; without the lock

  [[nodiscard]] virtual nanoseconds_point time() const noexcept = 0;
  /// Does what r.job or r.reserved says, on this thread, and calls finished() or give_back_right().
  virtual void run_here(request& r) noexcept = 0;
  /// Begin an operation that will call finished(); maybe before this returns.
  virtual void begin_connect() noexcept = 0;
  virtual void begin_check(slot& s) noexcept = 0;
  /// Of the resource, if there is one, and of the slot.
  virtual void destroy(slot& s) noexcept = 0;
  /// The same in the background, and then destroyed_elsewhere(): the timers' thread has others to serve. False: that cannot be.
  virtual bool destroy_elsewhere(slot& s) noexcept = 0;
  virtual void report_leak(const std::source_location& where, std::int64_t age) noexcept = 0;

 private:
  struct work {
    list retired;              // to be destroyed
    list checks;               // to be begun
    std::size_t connects = 0;  // to be begun
    std::size_t ended = 0;     // rights to connect that nobody has any more
    bool timer = false;        // to be set to due_
    bool entered = false;      // counted by live_
    bool on_timer = false;     // this is the timers' thread
    [[nodiscard]] bool any() const noexcept {
      return !retired.empty() || !checks.empty() || connects != 0 || ended != 0 || timer;
    }
  };
  enum class choice : unsigned char { decided, run_here, nothing };
  // Does what a hook of wait_operation has noted, when the lock is free.
  struct keeper_node : wait_node<Sync> {
    explicit keeper_node(resource_core& c) noexcept : core{&c} {
      this->complete = [](wait_node<Sync>& self) noexcept { static_cast<keeper_node&>(self).core->keep(); };
    }
    resource_core* const core;
  };

  // With the lock held, all of these.
  void lend(slot& s, const borrower& who, nanoseconds_point now) noexcept {
    this->lease(s, who, now);
    if (terms_.leak_threshold != 0) note_due(saturating_add(now, terms_.leak_threshold));
  }
  // Takes the lock: one that goes to the idle ones, with nothing else to do. Nothing of *this is touched after it: it may be gone.
  bool rest_at_once(slot& s, nanoseconds_point now) noexcept;
  void release_slowly(slot& s, nanoseconds_point now, bool broken) noexcept;
  // A good one, of nobody: to who waits, or to the idle ones.
  void give(slot& s, nanoseconds_point now, wait_list<Sync>& won) noexcept;
  void rest(slot& s, nanoseconds_point now) noexcept;
  void retire(slot& s, discard_reason why) noexcept {
    this->strike_out(s, why);
    pending_.retired.push_back(s);
  }
  void retire_idle_one(slot& s, discard_reason why) noexcept {
    idle_.remove(s);
    retire(s, why);
  }
  void retire_idle(discard_reason why) noexcept {
    while (slot* const s = idle_.front()) retire_idle_one(*s, why);
  }

  // What becomes of one that is not in line.
  choice choose(request& r, nanoseconds_point now, wait_list<Sync>& won) noexcept;
  choice look(request& r, nanoseconds_point now) noexcept;
  [[nodiscard]] bool may_connect(nanoseconds_point now, std::size_t most) noexcept;
  /// Who waits for what is being made or checked, or can be, waits for no lease to come back, and does not count.
  [[nodiscard]] bool is_line_full(nanoseconds_point now) const noexcept {
    const std::size_t most = terms_.max_size + terms_.max_overflow;
    std::size_t coming = most - std::min(most, in_pool());
    if (failures_ != 0) coming = std::min<std::size_t>(coming, connecting_ == 0 && now >= retry_at_ ? 1 : 0);
    if (terms_.background) coming += connecting_ + checking_ + idle_.size();  // those idle ones have to be checked first
    return waiters_.size() >= coming && waiters_.size() - coming >= terms_.max_waiters;
  }
  void reserve() noexcept {
    connecting_ = connecting_ + 1;
    live_.begin_one();
  }
  void give_back(request& r) noexcept {
    if (!r.reserved) return;
    r.reserved = false;
    connecting_ = connecting_ - 1;
    ++pending_.ended;
  }
  // Sees to it that what is needed comes.
  void pump(nanoseconds_point now, wait_list<Sync>& won) noexcept;
  void start_check(slot& s) noexcept {
    idle_.remove(s);
    s.checking = true;
    checking_ = checking_ + 1;
  }

  void note_due(nanoseconds_point at) noexcept {
    if (at >= due_) [[likely]]
      return;
    due_ = at;
    if (!setting_timer_) pending_.timer = true;
  }
  /// When an idle one is to be looked at.
  [[nodiscard]] nanoseconds_point due_at(const slot& s) const noexcept {
    nanoseconds_point at = s.expires_at;
    if (terms_.idle_timeout != 0) at = std::min(at, saturating_add(s.idle_since, terms_.idle_timeout));
    if (terms_.keep_alive != 0) at = std::min(at, next_check_of(s));
    return at;
  }
  [[nodiscard]] nanoseconds_point next_check_of(const slot& s) const noexcept {
    return saturating_add(std::max<nanoseconds_point>(s.idle_since, s.checked_at), terms_.keep_alive);
  }
  void sweep(nanoseconds_point now) noexcept;

  void take_pending(work& todo) noexcept;
  void leave_to_keeper(wait_list<Sync>& won) noexcept;

  // Without the lock.
  template <class F>
  void change(F f) noexcept {
    work todo;
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      const nanoseconds_point now = time();
      f(now);
      pump(now, won);
      take_pending(todo);
    }
    settle(todo, won);
  }
  // Completes who was won, and does what is to be done. If nothing was, *this is not touched: it may be gone.
  void settle(work& todo, wait_list<Sync>& won) noexcept {
    if (todo.entered) {
      do_work(todo, won);
    } else {
      won.complete_all();
    }
  }
  void do_work(work& todo, wait_list<Sync>& won) noexcept;
  void keep() noexcept;
  void set_timer() noexcept;
  void on_time() noexcept;
  void report_leaks(nanoseconds_point now) noexcept;

  using books::checking_, books::closed_, books::connecting_, books::counts_, books::generation_, books::idle_, books::leases_,
      books::lock_, books::retiring_, books::terms_, books::waiters_;
  using books::in_pool, books::must_be_checked, books::next_idle, books::why_unfit;

  basic_timer_queue<Sync>& timers_;
  // Guarded by lock_, all that follows.
  std::uint64_t failures_ = 0;  // connects in a row
  nanoseconds_point retry_at_ = 0;
  std::chrono::nanoseconds last_delay_{};
  std::exception_ptr last_error_;
  splitmix64 random_;
  work pending_;
  nanoseconds_point due_ = never;       // when something is to be looked at, at the earliest
  nanoseconds_point timer_at_ = never;  // what the timer is set to; never: it is not pending, nor about to fire
  bool setting_timer_ = false;          // a thread is at it, and will look at due_ once more
  bool gone_ = false;
  bool keeping_ = false;  // keeper_ is on a list
  basic_join<Sync> live_;
  keeper_node keeper_;
};

}  // namespace penstock::inline v0_1::detail

#include <penstock/pool/detail/resource_line.hpp>
#include <penstock/pool/detail/resource_upkeep.hpp>
#include <penstock/pool/detail/resource_work.hpp>
