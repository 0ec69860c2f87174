// penstock/batch/detail/batch_dispatch.hpp: the line in which keys gather, and the batches that leave it.
//
// departure.hpp says when a *runner* is sent to the executor: that is the work item of some flight in line, so sending allocates nothing and cannot
// fail. Where it arrives it takes what is there, and Derived processes that batch.
//
// Lock           lock_ guards the line, and what Derived keeps. Nothing of a user is called or destroyed under it: what a change asks for is noted in
//                `consequences`, and done after unlocking.
// Ownership      counted: the batcher is an owner, so is each runner from when it is sent, and each batch, until its callers have been told. So what
//                is not ready is behind a core that lives.
// Blocking       a thread that waits for a flight first does what the flight may need that very thread for (assist): it runs what waits behind its
//                own work, and on a thread of the executor the batch itself.
// Recursion      what is loaded from within the batch function (on its thread, or by a coroutine with its stop token) must not wait for that batch to
//                end: it gathers apart from others, and leaves without regard to max_in_flight_batches.
// Ending         closed, nothing in line, and every batch home: then ended_ is set, once.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stop_token>
#include <utility>

#include <penstock/batch/detail/departure.hpp>
#include <penstock/batch/detail/flight.hpp>
#include <penstock/batch/detail/inside_batch.hpp>
#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1::detail {

struct dispatch_rules {
  departure_rules line;
  std::size_t quiet_rounds = 0;  // 0: a runner takes what is there when it arrives
  any_clock clock;
  bool timed = false;  // Derived needs the time
  move_only_function<void(std::function<void()>)> on_first_key;
};

/// `Derived` has process(Flight* first, std::size_t count) noexcept, which ends with gone().
template <class Derived, class Flight>
class batch_dispatch {
 public:
  using value_type = typename Flight::value_type;

  batch_dispatch(const batch_dispatch&) = delete;
  batch_dispatch& operator=(const batch_dispatch&) = delete;

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete static_cast<Derived*>(this);
  }

  /// After loads that were `many`.
  void depart() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      plan(time(), after);
    }
    settle(after);
  }

  void flush() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      if (closed_) return;  // a schedule of one's own may come late: the clock may be gone
      line_.tell();
      scheduled_ = false;
      plan(time(), after);
    }
    settle(after);
  }

  void close() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      closing_.store(true);  // seq_cst: see gone()
      line_.tell();
      plan(time(), after);
      after.over = is_over();
    }
    settle(after);
  }

  /// After close(): until every batch is over and its callers have been told. Not within a batch, which would wait for itself.
  void wait() noexcept {
    if (inside_batch::of(identity()) == nullptr) {
      while (!ended_.is_set() && trampoline::run_one()) {
      }
      blocking_help::wait(ended_);
    }
    if (timers_ == nullptr) return;
    timers_->remove(window_);  // waits for one that fires just now, and that one may have set it again
    timers_->remove(window_);
  }

  /// A batch, or a runner that found nothing to do, is over. Takes a share of the core.
  void gone() noexcept {
    // seq_cst, these two: either we see that it was closed, or close() sees that nothing is away (it writes and reads the other way round)
    if (away_.fetch_sub(1) == 1 && closing_.load()) {
      consequences after;
      {
        std::scoped_lock guard{lock_};
        after.over = is_over();
      }
      settle(after);
    }
    drop_owner();
  }

  [[nodiscard]] any_scheduler where() const noexcept { return where_; }
  [[nodiscard]] const std::stop_token& token() const noexcept { return token_; }
  [[nodiscard]] nanoseconds_point time() const noexcept { return timed_ ? rules_.clock.now() : 0; }

  /// For inside_batch.
  [[nodiscard]] const void* identity() const noexcept { return this; }

 protected:
  struct window_timer : timer_entry<std_sync> {
    batch_dispatch* core = nullptr;
  };
  /// What a change asks for, once the lock is free again.
  struct consequences {
    work_list to_send;
    nanoseconds_point window = never;  // the timer is to be set
    bool schedule = false;             // the user's schedule is to be told
    bool over = false;
  };

  /// Born with one owner.
  batch_dispatch(any_scheduler where, dispatch_rules&& rules) : rules_{std::move(rules)}, where_{where}, line_{rules_.line} {
    timed_ = rules_.timed || line_.timed();
    if (!line_.timed()) return;
    timer_queue* const own = rules_.clock.after(std::chrono::nanoseconds{0}).queue();
    timers_ = own != nullptr ? own : &std_sync::steady_timers();
    window_.core = this;
    window_.fire = [](timer_entry<std_sync>& e) noexcept { static_cast<window_timer&>(e).core->window_over(); };
    timers_->add(window_, never - 1);  // a thread that cannot be started is told of here
    timers_->remove(window_);
  }
  ~batch_dispatch() = default;

  // --- under the lock

  /// A new one.
  void enter_line(Flight& f, nanoseconds_point now, consequences& after) noexcept {
    f.core = this;
    f.at = now;
    queue_.push_back(f);
    line_.join(f.bytes, now);
    ++joined_;
    if (rules_.on_first_key && !scheduled_) after.schedule = scheduled_ = true;
  }
  /// One that nobody wants any more.
  void leave_line(Flight& f) noexcept {
    if (f.origin != nullptr) return nested_.remove(f);
    queue_.remove(f);
    line_.leave(f.bytes, oldest());
  }
  /// One that is asked for from within a batch, instead of enter_line(), or after it if others had asked for it before.
  void enter_nested(Flight& f, nanoseconds_point now, const void* origin, consequences& after) noexcept {
    if (f.core != nullptr) {
      leave_line(f);
      if (f.posted == flight_item::line) {  // that runner comes for this one now
        f.posted = flight_item::nested;
        overtaken_ != 0 ? static_cast<void>(--overtaken_) : line_.recall();
      }
    } else {
      f.core = this;  // once: who waits for it reads this without the lock
    }
    f.at = now;
    f.origin = origin;
    nested_.push_back(f);
    post_nested(origin, after);
  }

  [[nodiscard]] nanoseconds_point oldest() const noexcept { return queue_.empty() ? 0 : queue_.front()->at; }
  [[nodiscard]] bool is_over() noexcept {
    if (!closed_ || away_.load() != 0 || over_) return false;  // seq_cst: see gone()
    assert(queue_.empty() && nested_.empty());
    return over_ = true;
  }

  void post(Flight& f, flight_item what, consequences& after) noexcept {
    f.posted = what;
    f.add_owner();
    f.run = [](work_item& item) noexcept { arrive(static_cast<Flight&>(item)); };
    away_.fetch_add(1, std::memory_order_relaxed);  // relaxed: who takes it to 0 comes after us, through the lock
    add_owner();
    after.to_send.push_back(f);
  }
  // What one batch asks for is a batch, of its own: others' keys could wait for the very batch that waits for this one.
  void post_nested(const void* origin, consequences& after) noexcept {
    Flight* idle = nullptr;
    for (Flight* f = nested_.front(); f != nullptr; f = f->later) {
      if (f->origin != origin) continue;
      if (f->posted != flight_item::none) return;
      idle = f;
    }
    if (idle != nullptr) post(*idle, flight_item::nested, after);
  }
  std::size_t take_nested(const void* origin, Flight*& first, consequences& after) noexcept {
    std::size_t n = 0;
    first = nullptr;
    Flight** link = &first;
    for (Flight* f = nested_.front(); f != nullptr && n < rules_.line.max_size;) {
      Flight* const next = f->later;
      if (f->origin == origin) {
        nested_.remove(*f);
        f->phase = flight_phase::taken;
        *link = f;
        link = &f->later;
        ++n;
      }
      f = next;
    }
    left_ += n;
    if (n != 0) ++nested_running_;
    post_nested(origin, after);
    return n;
  }
  void end_of_batch(const Flight& one_of_it) noexcept {
    if (one_of_it.origin != nullptr) {
      --nested_running_;
    } else {
      line_.end();
    }
  }

  // After each change: runners for what is due, and the timer for what will be.
  void plan(nanoseconds_point now, consequences& after) noexcept {
    if (closed_) line_.tell();
    while (line_.may_send(now)) {
      line_.send();
      seen_ = joined_;
      rounds_ = 0;
      if (overtaken_ != 0) {  // one that is on its way has a place again
        --overtaken_;
        continue;
      }
      Flight* f = queue_.back();  // mostly the one that has just come, whose item cannot be on its way
      if (f->posted != flight_item::none) {
        f = queue_.front();
        while (f->posted != flight_item::none)
          f = f->later;  // there is one: fewer are on their way than there are batches in line
      }
      post(*f, flight_item::line, after);
    }
    if (!line_.timed() || armed_ || closed_) return;
    after.window = line_.look(now);
    armed_ = after.window != never;
  }

  // The flights of the next batch, out of the line.
  std::size_t take(Flight*& first) noexcept {
    const Flight* next = queue_.front();
    const std::size_t n = line_.batch_size([&](std::size_t) { return std::exchange(next, next->later)->bytes; });
    first = nullptr;
    Flight** link = &first;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < n; ++i) {
      Flight* const f = queue_.front();
      queue_.remove(*f);
      f->phase = flight_phase::taken;
      bytes += f->bytes;
      *link = f;
      link = &f->later;
    }
    if (n != 0) line_.took(n, bytes, oldest());
    left_ += n;
    return n;
  }

  // Whether a runner goes to the back of the executor's line once more: something came since it was there last, or not often enough nothing.
  [[nodiscard]] bool goes_round() noexcept {
    if (rules_.quiet_rounds == 0 || line_.hurried()) return false;
    if (seen_ != joined_) {
      seen_ = joined_;
      rounds_ = 0;
      return true;
    }
    return ++rounds_ < rules_.quiet_rounds;
  }

  // --- without the lock

  /// Touches nothing of *this after what is sent last, which may be the end of it all.
  void settle(consequences& after) noexcept {
    if (after.window != never) arm(after.window);
    if (after.schedule) call_schedule();
    if (after.over) ended_.set();
    if (after.to_send.empty()) return;
    const any_scheduler where = where_;
    while (work_item* const item = after.to_send.pop_front()) where.execute(*item);
  }

  void arm(nanoseconds_point at) noexcept {
    try {
      timers_->add(window_, at);
    } catch (...) {
      flush();  // no timer (in a child of fork()): rather at once than never
    }
  }
  void window_over() noexcept {
    const core_share<Derived> alive{static_cast<Derived&>(*this)};  // whoever is told below may destroy the batcher
    consequences after;
    {
      std::scoped_lock guard{lock_};
      armed_ = false;
      plan(time(), after);
    }
    settle(after);
  }
  void call_schedule() noexcept {
    std::function<void()> dispatch;
    try {
      dispatch = [self = core_share<Derived>{static_cast<Derived&>(*this)}] { self->flush(); };
    } catch (...) {
      return flush();
    }
    rules_.on_first_key(std::move(dispatch));
  }

  // A runner is where batches are processed.
  static void arrive(Flight& item) noexcept {
    auto& self = *static_cast<batch_dispatch*>(item.core);
    consequences after;
    Flight* first = nullptr;
    std::size_t n = 0;
    bool round = false;
    {
      std::scoped_lock guard{self.lock_};
      if (item.posted == flight_item::nested) {
        item.posted = flight_item::none;
        n = self.take_nested(item.origin, first, after);
      } else if (self.overtaken_ != 0) {
        --self.overtaken_;
        item.posted = flight_item::none;
      } else if (self.goes_round()) {
        round = true;
      } else {
        item.posted = flight_item::none;
        self.line_.arrive();
        n = self.take(first);
        if (n == 0) self.line_.end();
        self.plan(self.time(), after);
      }
    }
    if (round) {
      const any_scheduler where = self.where_;
      return where.execute(item);
    }
    item.drop_owner();
    self.settle(after);
    if (n == 0) return self.gone();
    static_cast<Derived&>(self).process(first, n);
  }

  // --- a thread that is about to block

  static void assist(future_state<value_type>& state, waiter_kind who) noexcept {
    if (who != waiter_kind::thread) return;
    while (!state.ready().is_set() && trampoline::run_one()) {
    }
    auto& f = static_cast<Flight&>(state);
    while (batch_dispatch* const core = alive_core(f)) {
      const bool ran = core->run_here(f);
      core->drop_owner();
      if (!ran) return;
    }
  }
  // Who publishes an outcome owns the core, and is not through while we hold this lock and find nothing there.
  static batch_dispatch* alive_core(Flight& f) noexcept {
    std::scoped_lock guard{f.ready().wait_lock()};
    if (f.ready().is_set()) return nullptr;
    auto* const core = static_cast<batch_dispatch*>(f.core);
    core->add_owner();
    return core;
  }
  /// On a thread of the executor: a batch, in place of a runner that may need this very thread. False: there is no need, or no place.
  bool run_here(Flight& f) noexcept {
    if (!where_.running_here()) return false;
    consequences after;
    Flight* first = nullptr;
    std::size_t n = 0;
    {
      std::scoped_lock guard{lock_};
      if (f.phase != flight_phase::queued) return false;
      if (f.origin != nullptr) {
        n = take_nested(f.origin, first, after);
      } else {
        // Inline, every thread is one of the executor's; what is due was run by whoever made it due, or will be by whoever keeps it waiting.
        if (where_.is_inline() || line_.running() >= rules_.line.max_running) return false;
        if (line_.sent() != 0) {
          ++overtaken_;
          line_.arrive();
        } else {
          line_.begin_here();
        }
        n = take(first);
        plan(time(), after);
      }
      away_.fetch_add(1, std::memory_order_relaxed);  // relaxed: who takes it to 0 comes after us, through the lock
      add_owner();
    }
    const trampoline here;
    settle(after);
    static_cast<Derived*>(this)->process(first, n);
    return true;
  }
  static void no_stop(future_state<value_type>&) noexcept {}
  static constexpr typename future_state<value_type>::task_functions task_functions{&assist, &no_stop};

  dispatch_rules rules_;
  const any_scheduler where_;
  bool timed_ = false;
  timer_queue* timers_ = nullptr;
  std::atomic<std::uint32_t> owners_{1};
  basic_one_shot<> ended_;
  // Never asked to stop: by it a load within the batch function is told from others, if that is a coroutine.
  const std::stop_source stop_;
  const std::stop_token token_ = stop_.get_token();
  window_timer window_;
  std::atomic<std::size_t> away_{0};  // runners and batches that are not home
  std::atomic<bool> closing_{false};

  mutable polled_mutex<> lock_;  // guards all that follows
  flight_line<Flight> queue_;
  flight_line<Flight> nested_;      // asked for from within batches
  std::size_t nested_running_ = 0;  // batches of those
  departure line_;                  // counts what is in queue_
  std::size_t overtaken_ = 0;       // runners on their way whose place a thread of run_here() took
  std::uint64_t joined_ = 0;        // keys that ever came
  std::uint64_t seen_ = 0;          // of those, when a runner looked last
  std::uint64_t left_ = 0;          // keys that ever left in batches
  std::size_t rounds_ = 0;          // in a row without a new key
  bool armed_ = false;              // the window's timer is set, or is about to be
  bool scheduled_ = false;          // the user's schedule was told
  bool closed_ = false;
  bool over_ = false;
};

}  // namespace penstock::inline v0_1::detail
