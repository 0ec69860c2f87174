// What the tests of the core share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/timer_service.hpp>
#include <penstock/testing/manual_executor.hpp>

namespace core_test {

/// Counts the objects that refer to it; a second destruction of one of them ends the program.
struct census {
  std::atomic<int> living = 0;
  std::atomic<int> made = 0;
};

class counted {
 public:
  explicit counted(census& c) noexcept : census_{&c} { enter(); }
  counted(const counted& other) noexcept : census_{other.census_} { enter(); }
  counted& operator=(const counted&) = delete;
  ~counted() {
    if (alive_ != 0xa11fe) std::abort();
    alive_ = 0;
    --census_->living;
  }

 private:
  void enter() noexcept {
    ++census_->living;
    ++census_->made;
  }
  census* census_;
  volatile std::uint32_t alive_ = 0xa11fe;
};

/// A timer that calls a function.
template <class Sync>
struct basic_call_timer : penstock::detail::timer_entry<Sync> {
  explicit basic_call_timer(std::function<void()> f = {}) : what{std::move(f)} {
    this->fire = [](penstock::detail::timer_entry<Sync>& self) noexcept { static_cast<basic_call_timer&>(self).what(); };
  }
  std::function<void()> what;
};
using call_timer = basic_call_timer<penstock::detail::std_sync>;

/// A thread that runs what is executed on it, until it is destroyed.
class loop_thread {
 public:
  ~loop_thread() {
    thread_.request_stop();
    thread_.join();
  }
  penstock::any_scheduler get_scheduler() noexcept { return loop_.get_scheduler(); }
  [[nodiscard]] std::thread::id id() const noexcept { return thread_.get_id(); }

 private:
  penstock::manual_executor loop_;
  std::jthread thread_{[this](const std::stop_token& stop) {
    while (!stop.stop_requested() || loop_.size() != 0) {
      if (!loop_.run_one()) std::this_thread::yield();
    }
  }};
};

template <class Condition>
void yield_until(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

/// Units that threads and coroutines take: the smallest primitive with both outcomes. give() hands a unit over; announce() only
/// wakes the first in line, who must look again and may find that somebody was faster.
template <class Sync = penstock::detail::std_sync>
class pile {
 public:
  using sync = Sync;
  using node = penstock::detail::plain_node<Sync>;
  using outcome = penstock::detail::outcome;

  void give() noexcept {
    penstock::detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      if (waiters_.empty()) {
        ++units_;
      } else {
        waiters_.win(*waiters_.front(), outcome::granted, won);
      }
    }
    won.complete_all();
  }
  void announce() noexcept {
    penstock::detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      ++units_;
      wake_one(won);
    }
    won.complete_all();
  }
  bool steal() noexcept {
    std::scoped_lock guard{lock_};
    if (units_ == 0) return false;
    --units_;
    return true;
  }
  [[nodiscard]] int units() noexcept {
    std::scoped_lock guard{lock_};
    return units_;
  }
  [[nodiscard]] std::size_t waiters() noexcept {
    std::scoped_lock guard{lock_};
    return waiters_.size();
  }

  outcome take(const typename Sync::stop_token& stop, const penstock::detail::basic_deadline<Sync>& limit) {
    return penstock::detail::blocking_wait<pile, node>{*this}.run(stop, limit);
  }
  auto async_take() { return penstock::detail::async_operation<pile, node>{*this}; }

  // The hooks of wait_operation.
  typename Sync::mutex& wait_lock() noexcept { return lock_; }
  bool try_pass(node& n) noexcept {
    if (!steal()) return false;
    n.how = outcome::granted;
    return true;
  }
  bool ready(const node&) noexcept { return units() != 0; }
  penstock::detail::step try_or_link(node& n, penstock::detail::link_at where, penstock::detail::wait_list<Sync>&) noexcept {
    using penstock::detail::link_at;
    using penstock::detail::step;
    if (units_ > 0) {
      --units_;
      n.how = outcome::granted;
      return step::passed;
    }
    if (where == link_at::nowhere) return step::refused;
    if (where == link_at::front) {
      waiters_.push_front(n);
    } else {
      waiters_.push_back(n);
    }
    return step::linked;
  }
  void unlinked(node&, penstock::detail::wait_list<Sync>&) noexcept { ++unlinked_; }
  void gave_up(node&, penstock::detail::wait_list<Sync>& won) noexcept {
    ++gave_up_;
    if (units_ > 0) wake_one(won);
  }
  int unlinked_ = 0;
  int gave_up_ = 0;

 private:
  void wake_one(penstock::detail::wait_list<Sync>& won) noexcept {
    if (!waiters_.empty()) waiters_.win(*waiters_.front(), outcome::woken, won);
  }
  typename Sync::mutex lock_;
  penstock::detail::wait_queue<Sync> waiters_;
  int units_ = 0;
};

}  // namespace core_test
