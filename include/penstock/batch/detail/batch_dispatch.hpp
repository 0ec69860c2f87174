// penstock/batch/detail/batch_dispatch.hpp: how batches get from the line (batch_line.hpp) to where they are processed, and when all is over.
//
// Lock           lock_ guards the line, and what Derived keeps. Nothing of a user is called or destroyed under it: what a change asks for is noted in
//                `consequences`, and done after unlocking.
// Ownership      core_life.hpp: the batcher is an owner, so is each runner from when it is sent, and each batch, until its callers have been told. So
//                what is not ready is behind a core that lives.
// Inline         where any thread may process batches, the one whose change makes one due takes it under the same lock, if nothing runs below it on
//                its stack; otherwise a runner goes behind what runs there, and keys gather meanwhile.
// Blocking       a thread that waits for a flight first does what the flight may need that very thread for (assist): it runs what waits behind its
//                own work, and on a thread of the executor the batch itself.
// Ending         closed, nothing in line, and every batch home: then ended_ is set, once.
#pragma once

#include <cassert>
#include <cstddef>
#include <functional>
#include <mutex>
#include <stop_token>
#include <utility>

#include <penstock/batch/detail/batch_line.hpp>
#include <penstock/batch/detail/core_life.hpp>
#include <penstock/batch/detail/departure.hpp>
#include <penstock/batch/detail/flight.hpp>
#include <penstock/batch/detail/inside_batch.hpp>
#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/move_only_function.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct dispatch_rules {
  departure_rules line;
  std::size_t quiet_rounds = 0;               // 0: a runner takes what is there when it arrives
  basic_timer_queue<Sync>* timers = nullptr;  // null: the steady clock's
  bool timed = false;                         // Derived needs the time
  move_only_function<void(std::function<void()>)> on_first_key;
};

/// What is thread_local, and so is replaced by the model checker, whose threads are one.
template <class Sync>
struct batch_thread {
  using turn = trampoline;
  /// Whether something runs below on this thread's stack which what is executed now has to wait for.
  static bool busy() noexcept { return trampoline::innermost() != nullptr; }
  static bool run_one() noexcept { return trampoline::run_one(); }
  static void wait(basic_one_shot<Sync>& end) noexcept { blocking_help::wait(end); }
};

/// `Derived` has process(Flight* first, std::size_t count) noexcept, which ends with gone().
template <class Derived, class Flight, class Sync, class Scheduler>
class batch_dispatch : public batch_line<batch_dispatch<Derived, Flight, Sync, Scheduler>, Flight> {
  using line = batch_line<batch_dispatch, Flight>;
  friend line;
  using thread = batch_thread<Sync>;
  using line::armed_;

 public:
  using value_type = typename Flight::value_type;
  using state_type = future_state<value_type, Sync>;

  void add_owner() noexcept { life_.add_owner(); }
  void drop_owner() noexcept {
    if (life_.drop_owner()) delete derived();
  }

  /// After loads that were `many`. `within`: as theirs.
  void depart(const void* within) noexcept {
    if (within == nullptr) within = inside_batch::of(identity());
    consequences after = change();
    {
      std::scoped_lock guard{lock_};
      if (within != nullptr) this->send_nested(within, after);
      this->plan(time(), after);
    }
    settle(after);
  }

  void flush() noexcept {
    consequences after = change();
    {
      std::scoped_lock guard{lock_};
      if (closed_) return;  // a schedule of one's own may come late: the clock may be gone
      this->hurry();
      this->plan(time(), after);
    }
    settle(after);
  }

  void close() noexcept {
    consequences after = change();
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      life_.close();
      this->hurry();
      this->plan(time(), after);
      after.over = is_over();
    }
    settle(after);
  }

  /// After close(): until every batch is over and its callers have been told. Not within a batch, which would wait for itself.
  void wait() noexcept {
    if (inside_batch::of(identity()) == nullptr) {
      while (!ended_.is_set() && thread::run_one()) {
      }
      thread::wait(ended_);
    }
    if (timers_ == nullptr) return;
    timers_->remove(window_);  // waits for one that fires just now, and that one may have set it again
    timers_->remove(window_);
  }

  /// A batch, or a runner that found nothing to do, is over. Takes a share of the core.
  void gone() noexcept {
    const auto how = life_.come_home();
    if (how == core_life<Sync>::homecoming::owner) return;
    if (how == core_life<Sync>::homecoming::last_owner) {
      delete derived();
      return;
    }
    bool over = false;
    {
      std::scoped_lock guard{lock_};
      over = is_over();
    }
    if (over) ended_.set();
    drop_owner();
  }

  [[nodiscard]] Scheduler where() const noexcept { return where_; }
  [[nodiscard]] const std::stop_token& token() const noexcept { return token_; }
  [[nodiscard]] nanoseconds_point time() const noexcept {
    if (!timed_) return 0;
    return clock_ != nullptr ? clock_->now() : Sync::now();
  }

  /// For inside_batch.
  [[nodiscard]] const void* identity() const noexcept { return this; }

 protected:
  using line::closed_;
  using typename line::consequences;
  struct window_timer : timer_entry<Sync> {
    batch_dispatch* core = nullptr;
  };

  /// Born with one owner. Throws what starting a thread for the timers throws.
  batch_dispatch(Scheduler where, dispatch_rules<Sync>&& rules)
      : line{rules.line, rules.quiet_rounds, static_cast<bool>(rules.on_first_key)},
        on_first_key_{std::move(rules.on_first_key)},
        where_{where},
        clock_{rules.timers},
        timed_{rules.timed || this->timed()} {
    if (!this->timed()) return;
    timers_ = clock_ != nullptr ? clock_ : &Sync::steady_timers();
    window_.core = this;
    window_.fire = [](timer_entry<Sync>& e) noexcept { static_cast<window_timer&>(e).core->window_over(); };
    timers_->add(window_, never - 1);  // a thread that cannot be started is told of here
    timers_->remove(window_);
  }
  ~batch_dispatch() = default;

  /// For what a change will ask for.
  [[nodiscard]] consequences change() const noexcept {
    consequences after;
    after.may_process = where_.is_inline() && !this->waits_for_rounds() && !thread::busy();
    return after;
  }
  /// With the lock held: it was closed, and all is over. From then on nothing may be loaded.
  [[nodiscard]] bool ended() const noexcept { return over_; }

  /// Without the lock. Touches nothing of *this after what it does last, which may be the end of it all.
  void settle(consequences& after) noexcept {
    if (after.window != never) arm(after.window);
    if (after.schedule) call_schedule();
    if (after.over) ended_.set();
    if (!after.to_send.empty()) {
      const Scheduler where = where_;
      while (work_item* const item = after.to_send.pop_front()) where.execute(*item);
    }
    if (after.first == nullptr) return;
    const typename thread::turn here;
    derived()->process(after.first, after.count);
  }

  mutable polled_mutex<Sync> lock_;

 private:
  Derived* derived() noexcept { return static_cast<Derived*>(this); }

  // --- under the lock

  void go() noexcept { life_.go(); }
  void send(Flight& f) noexcept {
    f.run = [](work_item& item) noexcept { arrive(static_cast<Flight&>(item)); };
    go();
  }
  [[nodiscard]] bool is_over() noexcept {
    if (!closed_ || over_ || !life_.all_home()) return false;
    assert(this->empty());
    return over_ = true;
  }

  // --- without it

  void arm(nanoseconds_point at) noexcept {
    try {
      timers_->add(window_, at);
    } catch (...) {
      flush();  // no timer (in a child of fork()): rather at once than never
    }
  }
  void window_over() noexcept {
    const core_share<Derived> alive{*derived()};  // whoever is told below may destroy the batcher
    consequences after = change();
    {
      std::scoped_lock guard{lock_};
      armed_ = false;
      this->plan(time(), after);
    }
    settle(after);
  }
  void call_schedule() noexcept {
    std::function<void()> dispatch;
    try {
      dispatch = [self = core_share<Derived>{*derived()}] { self->flush(); };
    } catch (...) {
      return flush();
    }
    on_first_key_(std::move(dispatch));
  }

  // A runner is where batches are processed.
  static void arrive(Flight& item) noexcept {
    void* const core = item.core;
    auto& self = *static_cast<batch_dispatch*>(core);
    consequences after;
    Flight* first = nullptr;
    std::size_t n = 0;
    bool round = false;
    {
      std::scoped_lock guard{self.lock_};
      n = self.arrived(item, self.time(), first, round, after);
    }
    if (round) {
      const Scheduler where = self.where_;
      return where.execute(item);
    }
    item.drop_owner();
    self.settle(after);
    if (n == 0) return self.gone();
    self.derived()->process(first, n);
  }

  // --- a thread that is about to block

  static void assist(state_type& state, waiter_kind who) noexcept {
    if (who != waiter_kind::thread) return;
    while (!state.ready().is_set() && thread::run_one()) {
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
    void* const of = f.core;
    auto* const core = static_cast<batch_dispatch*>(of);
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
      // Inline, every thread is one of the executor's; what is due was run by whoever made it due, or will be by whoever keeps it waiting.
      if (f.origin == nullptr && where_.is_inline()) return false;
      n = this->take_here(f, time(), first, after);
      if (n == 0) return false;
      go();
    }
    const typename thread::turn here;
    settle(after);
    derived()->process(first, n);
    return true;
  }

  static void no_stop(state_type&) noexcept {}

  move_only_function<void(std::function<void()>)> on_first_key_;
  const Scheduler where_;
  basic_timer_queue<Sync>* const clock_;       // null: the steady one
  basic_timer_queue<Sync>* timers_ = nullptr;  // null: there is no window
  const bool timed_;
  core_life<Sync> life_;
  basic_one_shot<Sync> ended_;
  // Never asked to stop: by it a load within the batch function is told from others, if that is a coroutine.
  const std::stop_source stop_;
  const std::stop_token token_ = stop_.get_token();
  window_timer window_;
  bool over_ = false;  // guarded by lock_

 protected:
  static constexpr typename state_type::task_functions task_functions{&assist, &no_stop};
};

}  // namespace penstock::inline v0_1::detail
