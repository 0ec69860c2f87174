// penstock/rate/detail/timed_core.hpp: the line of those who wait for a shape (shape.hpp), and the one timer that serves it.
//
// Invariants     Who must wait stands in line, first come, first served: while somebody does, nobody who comes takes anything. The timer is armed for
//                the time at which the head can be served, or earlier: whatever makes that time earlier happens under lock_ and sees to it.
// One keeper     Adding to the timers may start a thread, or fire at once (manual_clock), so it is done without lock_, by one thread at a time: the
//                keeper. arm() appoints it, under lock_, by putting keeper_ on the list of nodes that it completes after unlocking. Others who meet
//                a keeper leave the timer to it and tell it to look again before it resigns. It never waits: a timer that it finds fired is about to run
//                on_time(), which arms what is to be armed.
// Lifetime       The core lies on the heap, because the keeper, and on_time(), may still be in it when the last one who waited has been resumed and destroys
//                the bucket; perhaps inside this very call. leave() gives the core up: if the keeper is another thread it waits for it, which is
//                short, so that no clock is touched behind it; a keeper or on_time() further down this stack, and an on_time() on its way, free it.
// Served         under lock_: one request after the other, until the shape says no. Completed without it.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/clock_handle.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/result.hpp>
#include <penstock/rate/detail/shape.hpp>

namespace penstock::inline v0_1::detail {

template <shape Shape, clock Clock, class Sync>
class timed_core final : private timer_entry<Sync> {
 public:
  using sync = Sync;
  static constexpr auto known_as = Shape::name;

  struct request : wait_node<Sync> {
    explicit request(std::int64_t n) noexcept : wanted{n} {}

    /// Throws std::system_error if the timer could not be armed: its thread cannot be started, or this is a forked child.
    result<void> take_result(outcome decided) const {
      if (decided == outcome::rejected && without_timer) {
        throw std::system_error{std::make_error_code(std::errc::resource_unavailable_try_again),
                                "penstock: the thread of a clock's timers cannot be started"};
      }
      return to_result(decided);
    }

    const std::int64_t wanted;
    typename Sync::template var<bool> without_timer{false};  // written by who won the node
  };

  template <class... Arguments>
  explicit timed_core(clock_handle<Clock> clock, Arguments&&... arguments)
      : clock_{clock}, shape_{std::forward<Arguments>(arguments)...}, keeper_{*this} {
    this->fire = [](timer_entry<Sync>& self) noexcept { static_cast<timed_core&>(self).on_time(); };
  }
  timed_core(const timed_core&) = delete;
  timed_core& operator=(const timed_core&) = delete;

  Shape& shape() noexcept { return shape_; }
  const Shape& shape() const noexcept { return shape_; }
  const clock_handle<Clock>& clock() const noexcept { return clock_; }

  bool take(std::int64_t n) noexcept {
    // relaxed: who comes at the same time as a waiter, or close(), may be before it
    return state_.load(std::memory_order_relaxed) == 0 && shape_.try_take(clock_.now(), n);
  }
  /// What is not taken without waiting, because others wait or close() was called.
  [[nodiscard]] bool is_open() const noexcept { return state_.load(std::memory_order_relaxed) == 0; }  // relaxed: as above
  [[nodiscard]] bool is_closed() const noexcept {
    return (state_.load(std::memory_order_relaxed) & closed) != 0;
  }  // relaxed: as above
  [[nodiscard]] std::size_t waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return waiters_.size();
  }

  /// Changes the shape in a way that may let the head of the line pass. What `f(shape, now)` throws is passed on.
  template <class F>
  void change(F f) {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      const nanoseconds_point now = clock_.now();
      f(shape_, now);
      serve(now, won);
    }
    won.complete_all();
  }

  void close() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      state_.store(closed, std::memory_order_relaxed);  // relaxed: the outcome travels in the nodes
      waiters_.win_all(outcome::closed, won);
    }
    won.complete_all();
  }

  /// In place of the destructor: nobody waits, and no member is called any more.
  void leave() noexcept {
    basic_parker<Sync> parker;
    {
      std::unique_lock guard{lock_};
      assert(waiters_.empty() && "destroyed while somebody waits for it");
      gone_ = true;
      if (keeping_ && keeper_thread_ != Sync::this_thread()) {
        leaving_ = &parker;
        guard.unlock();
        parker.park();
        guard.lock();
        keeping_ = false;  // it has handed its part over
      }
      if (keeping_) return;  // further down this stack: keep() frees it
    }
    free();
  }

  // The hooks of wait_operation.
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r) noexcept {
    if (take(r.wanted)) {
      r.how = outcome::granted;
    } else if (is_closed()) {
      r.how = outcome::closed;
    } else {
      return false;
    }
    return true;
  }
  step try_or_link(request& r, link_at where, wait_list<Sync>& won) noexcept {
    if (is_closed()) {
      r.how = outcome::closed;
      return step::passed;
    }
    const nanoseconds_point now = clock_.now();
    if (waiters_.empty() && shape_.try_take(now, r.wanted)) {
      r.how = outcome::granted;
      return step::passed;
    }
    if (where == link_at::nowhere) return step::refused;
    if (r.wanted > shape_.largest()) {  // it was less when the call began
      r.how = outcome::rejected;
      return step::passed;
    }
    waiters_.push_back(r);
    state_.fetch_or(waiting, std::memory_order_relaxed);  // relaxed: who comes later by any order sees it; others are before us
    if (waiters_.front() == &r) arm(now, won);
    return step::linked;
  }
  void unlinked(request&, wait_list<Sync>& won) noexcept { serve(clock_.now(), won); }

 private:
  struct keeper_node : wait_node<Sync> {
    explicit keeper_node(timed_core& c) noexcept : core{&c} {
      this->complete = [](wait_node<Sync>& self) noexcept { static_cast<keeper_node&>(self).core->keep(); };
    }
    timed_core* const core;
  };

  static constexpr std::uint32_t waiting = 1;  // the line is not empty
  static constexpr std::uint32_t closed = 2;

  ~timed_core() = default;

  request* head() const noexcept { return static_cast<request*>(waiters_.front()); }

  // With lock_ held, all three.
  void serve(nanoseconds_point now, wait_list<Sync>& won) noexcept {
    while (request* const r = head()) {
      if (shape_.try_take(now, r->wanted)) {
        waiters_.win(*r, outcome::granted, won);
      } else if (r->wanted > shape_.largest()) {  // it has become less since
        waiters_.win(*r, outcome::rejected, won);
      } else {
        arm(now, won);
        return;
      }
    }
    state_.fetch_and(~waiting, std::memory_order_relaxed);  // relaxed: see take()
  }
  [[nodiscard]] nanoseconds_point wanted(nanoseconds_point now) const noexcept {
    request* const r = head();
    return r != nullptr ? shape_.ready_at(now, r->wanted) : never;
  }
  void arm(nanoseconds_point now, wait_list<Sync>& won) noexcept {
    if (keeping_) {
      look_again_ = true;
      return;
    }
    const nanoseconds_point at = wanted(now);
    if (at >= armed_at_) return;  // a timer that fires too early looks again
    keeping_ = true;
    keeper_thread_ = Sync::this_thread();
    look_again_ = armed_at_ != never;  // it must be taken out first
    add_at_ = look_again_ ? never : at;
    if (!look_again_) armed_at_ = at;
    won.push_front(keeper_);  // before those who were won: what they go on with may last long, or end the bucket
  }

  void on_time() noexcept {
    wait_list<Sync> won;
    {
      std::unique_lock guard{lock_};
      const nanoseconds_point due = armed_at_;
      armed_at_ = never;
      if (gone_) {
        const bool last = left_to_timer_;
        guard.unlock();
        if (last) delete this;
        return;
      }
      // A clock that is read from a cache may lag behind its timers.
      serve(std::max(clock_.now(), due), won);
    }
    won.complete_all();  // the last touch: a completion may give *this up
  }

  void keep() noexcept {
    if (add_at_ != never) add(add_at_);  // without lock_: as long as there is a keeper it is the keeper's
    for (;;) {
      std::unique_lock guard{lock_};
      if (gone_ || !look_again_) return resign(guard);
      look_again_ = false;
      if (wanted(clock_.now()) >= armed_at_) return resign(guard);
      if (armed_at_ != never) {
        guard.unlock();
        const bool taken_out = clock_.timers().try_remove(*this);
        guard.lock();
        // Fired, and on_time() is on its way: it serves and arms.
        if (!taken_out && armed_at_ != never) return resign(guard);
      }
      const nanoseconds_point at = armed_at_ = gone_ ? never : wanted(clock_.now());
      guard.unlock();
      if (at != never) add(at);
    }
  }

  void add(nanoseconds_point at) noexcept {
    try {
      clock_.timers().add(*this, at);
    } catch (...) {
      wait_list<Sync> won;
      {
        std::scoped_lock guard{lock_};
        armed_at_ = never;
        while (request* const r = head()) {
          r->without_timer = true;
          waiters_.win(*r, outcome::rejected, won);
        }
        state_.fetch_and(~waiting, std::memory_order_relaxed);  // relaxed: see take()
      }
      won.complete_all();
    }
  }

  // The keeper's last step.
  void resign(std::unique_lock<typename Sync::mutex>& guard) noexcept {
    if (leaving_ != nullptr) {
      basic_parker<Sync>* const parker = leaving_;
      guard.unlock();
      parker->unpark();  // leave() goes on. Nothing of *this is touched any more
      return;
    }
    keeping_ = false;
    const bool last = gone_;
    guard.unlock();
    if (last) free();
  }

  // Nobody else is here any more, but perhaps an on_time() on its way.
  void free() noexcept {
    std::unique_lock guard{lock_};
    if (armed_at_ != never) {
      guard.unlock();
      const bool taken_out = clock_.timers().try_remove(*this);
      guard.lock();
      if (!taken_out && armed_at_ != never) {
        left_to_timer_ = true;
        return;
      }
    }
    guard.unlock();
    delete this;
  }

  [[no_unique_address]] const clock_handle<Clock> clock_;
  Shape shape_;
  typename Sync::template atomic<std::uint32_t> state_{0};
  mutable typename Sync::mutex lock_;
  wait_queue<Sync> waiters_;  // guarded by lock_, as all that follows
  typename Sync::template var<nanoseconds_point> armed_at_{
      never};  // what the timer is set to; never: it is not pending, nor about to fire
  typename Sync::template var<bool> keeping_{false};
  typename Sync::template var<bool> look_again_{false};           // for the keeper: something has changed
  typename Sync::template var<nanoseconds_point> add_at_{never};  // for the keeper: what it begins with; the timer is not pending
  typename Sync::template var<bool> gone_{false};
  typename Sync::template var<bool> left_to_timer_{false};  // on_time() frees *this
  typename Sync::thread_id keeper_thread_{};
  typename Sync::template var<basic_parker<Sync>*> leaving_{nullptr};  // where leave() waits for the keeper
  keeper_node keeper_;                                                 // on a list while keeping_
};

}  // namespace penstock::inline v0_1::detail
