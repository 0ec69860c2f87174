// penstock/rate/detail/limiter_core.hpp: one limiter's lock and timer: the owner of the waits (core/detail/wait_operation.hpp).
//
// Whoever changes something under the lock serves the line. If time will bring the next start, one timer of the clock's is armed for it. What must
// not be done under the lock (arming it, telling of events) is an *errand*: a node of our own, which goes first into the list of those to be
// completed after unlocking.
//
// Invariants     when the lock is free, nobody in line could start at the latest time that was looked at; and if time alone will let somebody, the timer
//                is armed for no later than that, or the errand that arms it is on its way. At the most one errand of each kind is on its way.
// Lifetime       the errand comes before the waiters that were won with it, for they may destroy the limiter. Another thread's waiter may do so
//                too while an errand is on its way: the destructor waits for that. What an errand makes go on inline goes on after its last touch.
// Exceptions     where no timer can be had when one is needed (in a forked child), the line ends with errc::closed.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/rate/detail/limiter_idle_line.hpp>
#include <penstock/rate/detail/limiter_state.hpp>
#include <penstock/rate/limiter_options.hpp>

namespace penstock::inline v0_1::detail {

/// `Later`: while one lives, what is resumed on this thread without a scheduler waits for its end.
template <class Sync, class Later = trampoline>
class basic_limiter_core {
  friend limiter_idle_line<basic_limiter_core>;

 public:
  using sync = Sync;
  using request = basic_limiter_request<Sync>;
  using state = basic_limiter_state<Sync>;
  using timer_queue = basic_timer_queue<Sync>;
  using won_list = wait_list<Sync>;

  basic_limiter_core(limiter_options o, timer_queue& timers, decltype(limiter_setup::on_event) on_event,
                     basic_limiter_core* chained, bool measures = false)
      : next{chained}, timers_{timers}, on_event_{std::move(on_event)}, state_{std::move(o), timers_.now(), measures} {
    timer_.core = this;
    timer_.fire = [](timer_entry<Sync>& e) noexcept { static_cast<timer_node&>(e).core->time_has_come(); };
    if (state_.budget.takes_time()) start_timers();
  }
  ~basic_limiter_core() {
    assert(!state_.somebody_waits() && "a limiter was destroyed while somebody waits for it");
    for (int round = 0; round < 2; ++round) {  // what fires meanwhile may have had an errand, and an errand arms the timer
      blocking_wait<basic_join<Sync>, plain_node<Sync>>{errands_}.run();
      timers_.remove(timer_);
    }
  }

  basic_limiter_core* const next;  // of the chain

  /// Throws std::invalid_argument of a job that could never start.
  void check(const job_options& job) const {
    const std::int64_t most = largest_.load(std::memory_order_relaxed);  // relaxed: enter() looks again under the lock
    if (job.weight < 1 || job.weight > most) {
      throw std::invalid_argument{"penstock::limiter: weight is " + std::to_string(job.weight) + ", and must be 1 to " +
                                  std::to_string(most)};
    }
    if (job.priority >= basic_limiter_line<Sync>::levels) {
      throw std::invalid_argument{"penstock::limiter: priority is " + std::to_string(job.priority) + ", and must be 0 to 9"};
    }
  }

  // The hooks of wait_operation.
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r) noexcept {
    won_list won;
    bool passed = false;
    {
      std::scoped_lock guard{lock_};
      passed = state_.pass(r, timers_.now());
      conclude(won);
    }
    won.complete_all();
    return passed;
  }
  step try_or_link(request& r, link_at where, won_list& won) noexcept {
    const nanoseconds_point now = timers_.now();
    step s = step::passed;
    if (!state_.pass(r, now)) {
      if (where == link_at::nowhere) return step::refused;
      const bool waits = state_.enter(r, now, won);
      state_.serve(now, won, &r);  // even if it is refused: who was dropped for it may have been before somebody who can start
      if (waits && r.linked()) s = step::linked;
    }
    conclude(won);
    return s;
  }
  void unlinked(request& r, won_list& won) noexcept {
    state_.gave_up(r);
    state_.serve(timers_.now(), won, nullptr);
    conclude(won);
  }

  /// Here and, where it is chained, there: all of it or nothing. Otherwise why not: errc::empty, closed or rejected.
  result<void> try_start(const job_options& job) noexcept {
    won_list won;
    const result<void> started = try_start(job, won);
    won.complete_all();
    return started;
  }
  /// Looks at the state, or changes it without letting anybody start.
  template <class F>
  auto look(F f) {
    std::scoped_lock guard{lock_};
    return f(state_, timers_.now());
  }
  /// Changes the state, and then serves the line. What f throws passes through; then this line is not served.
  template <class F>
  void change(F f) {
    won_list won;
    const complete_at_end whatever_happens{won};
    std::scoped_lock guard{lock_};
    change_locked(f, won);
  }
  /// The same in each link of the chain before `end`. Whoever goes on may destroy the limiter, so all are completed at the end; and who finds one idle
  /// without waiting may destroy that one, so nothing of a link is touched once its lock is free.
  template <class F>
  static void change_chain(basic_limiter_core& first, const basic_limiter_core* end, F f) {
    won_list won;
    const complete_at_end whatever_happens{won};
    for (basic_limiter_core* at = &first; at != end;) {
      basic_limiter_core* const following = at->next;
      std::scoped_lock guard{at->lock_};
      at->change_locked(f, won);
      at = following;
    }
  }

  void apply(limiter_options o) {
    start_timers();
    won_list won;
    {
      std::scoped_lock guard{lock_};
      const nanoseconds_point now = timers_.now();
      state_.budget.apply(std::move(o), now);
      largest_.store(state_.budget.largest(), std::memory_order_relaxed);  // relaxed: see check()
      state_.refuse_the_heavy(won);
      state_.serve(now, won, nullptr);
      conclude(won);
    }
    won.complete_all();
  }
  void stop(limiter_stop how) noexcept {
    won_list won;
    {
      std::scoped_lock guard{lock_};
      state_.close();
      if (how == limiter_stop::drop_waiting) state_.win_everybody(outcome::closed, won);
      conclude(won);
    }
    won.complete_all();
  }

  [[nodiscard]] timer_queue& timers() const noexcept { return timers_; }
  /// Null: not measured.
  [[nodiscard]] const auto* waits() const noexcept { return state_.waits.get(); }

  using idle_line = limiter_idle_line<basic_limiter_core>;
  idle_line idle{*this};

 private:
  struct complete_at_end {
    explicit complete_at_end(won_list& w) noexcept : won{w} {}
    complete_at_end(const complete_at_end&) = delete;
    complete_at_end& operator=(const complete_at_end&) = delete;
    ~complete_at_end() { won.complete_all(); }
    won_list& won;
  };

  // Something to be done after unlocking, before anybody goes on. At the most one of a kind is on its way.
  template <void (basic_limiter_core::*Do)() noexcept>
  struct errand : wait_node<Sync> {
    void send(basic_limiter_core& c, won_list& won) noexcept {
      if (is_out) return;  // it will look again
      is_out = true;
      core = &c;
      this->complete = [](wait_node<Sync>& n) noexcept { (static_cast<errand&>(n).core->*Do)(); };
      c.errands_.begin_one();
      won.push_front(*this);
    }
    basic_limiter_core* core = nullptr;
    typename Sync::template var<bool> is_out{false};  // guarded by lock_
  };
  struct timer_node : timer_entry<Sync> {
    basic_limiter_core* core = nullptr;
  };

  // The clock's thread, if it has one: it can fail now and not later.
  void start_timers() {
    timer_entry<Sync> any;
    timers_.add(any, never);
    timers_.remove(any);
  }

  // Locks in the order of the chain, which has no circle.
  result<void> try_start(const job_options& job, won_list& won) noexcept {
    std::scoped_lock guard{lock_};
    const nanoseconds_point now = timers_.now();
    result<void> can = state_.try_pass(job, now);
    if (can && next != nullptr) can = next->try_start(job, won);
    if (can) state_.start(job, now);
    conclude(won);
    return can;
  }

  // With lock_ held, both.
  template <class F>
  void change_locked(F& f, won_list& won) {
    const nanoseconds_point now = timers_.now();
    f(state_, now);
    state_.serve(now, won, nullptr);
    conclude(won);
  }
  void conclude(won_list& won) noexcept {
    if (state_.became_idle()) idle.open(won);
    if (on_event_ && state_.anything_to_tell()) tell_.send(*this, won);
    if (state_.wanted_at() < armed_at_) arm_.send(*this, won);
  }

  void time_has_come() noexcept {
    won_list won;
    {
      std::scoped_lock guard{lock_};
      armed_at_ = never;
      state_.serve(timers_.now(), won, nullptr);
      conclude(won);
    }
    won.complete_all();  // the last touch: a completion may destroy *this
  }

  void arm() noexcept {
    [[maybe_unused]] const Later later;
    for (;;) {
      nanoseconds_point at = never;
      {
        std::unique_lock guard{lock_};
        bool fired = false;
        if (armed_at_ != never && state_.wanted_at() < armed_at_) {
          guard.unlock();
          const bool taken_out = timers_.try_remove(timer_);
          guard.lock();
          // Fired: then time_has_come() is on its way, and sees to what is wanted. Nobody waits for it: it may have to resume somebody first.
          fired = !taken_out && armed_at_ != never;
          if (taken_out) armed_at_ = never;  // what is wanted may be later by now than what it was set to
        }
        at = state_.wanted_at();
        if (fired || (at >= armed_at_ && armed_at_ != never) || at == never) {
          arm_.is_out = false;
          break;
        }
        armed_at_ = at;
      }
      try {
        timers_.add(timer_, at);  // may fire here
      } catch (...) {
        won_list won;
        {
          std::scoped_lock guard{lock_};
          armed_at_ = never;
          state_.win_everybody(outcome::closed, won);
          conclude(won);
        }
        won.complete_all();
      }
    }
    errands_.end_one();
  }

  void tell() noexcept {
    [[maybe_unused]] const Later later;
    for (;;) {
      typename state::event_counts events{};
      {
        std::scoped_lock guard{lock_};
        if (!state_.anything_to_tell()) {
          tell_.is_out = false;
          break;
        }
        events = state_.take_events();
      }
      for (std::size_t i = 0; i < events.size(); ++i) {
        if (events[i] != 0) on_event_(static_cast<limiter_event>(i), events[i]);
      }
    }
    errands_.end_one();
  }

  typename Sync::mutex lock_;
  timer_queue& timers_;
  decltype(limiter_setup::on_event) on_event_;  // called by who runs the errand tell_, and so by one at a time
  state state_;                                 // guarded by lock_, as is armed_at_
  typename Sync::template var<nanoseconds_point> armed_at_{
      never};  // for when the timer is armed, or about to be; one that fires early looks again
  typename Sync::template atomic<std::int64_t> largest_{state_.budget.largest()};
  errand<&basic_limiter_core::arm> arm_;
  errand<&basic_limiter_core::tell> tell_;
  basic_join<Sync> errands_;  // those on their way
  timer_node timer_;
};

/// By a clock that a user has chosen.
template <class Sync>
class limiter_core : public basic_limiter_core<Sync> {
  using timer_queue = basic_timer_queue<Sync>;

 public:
  limiter_core(limiter_options o, limiter_setup&& setup, limiter_core* chained)
      : basic_limiter_core<Sync>{std::move(o), timers_of(setup.clock), std::move(setup.on_event), chained, setup.metrics},
        clock_{setup.clock} {}

  template <class Rep, class Period>
  [[nodiscard]] deadline after(std::chrono::duration<Rep, Period> d) const noexcept {
    return clock_.after(d);
  }

 private:
  static timer_queue& timers_of(const any_clock& clock) noexcept {
    timer_queue* const own = clock.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : Sync::steady_timers();
  }

  const any_clock clock_;
};

}  // namespace penstock::inline v0_1::detail
