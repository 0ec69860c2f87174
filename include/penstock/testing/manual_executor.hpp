// penstock/testing/manual_executor.hpp: an execution context whose work a test runs by hand.
//
//   penstock::manual_executor loop;
//   auto waiting = penstock::spawn(loop, ready.async_wait());   // begins when the loop runs
//   loop.run_all();
//   ready.set();                                                // the coroutine is due, and goes on when the loop runs again
//   REQUIRE_FALSE(waiting.done());
//   loop.run_all();
//   REQUIRE(waiting.done());
//
// Invariants     items run in the order in which they were executed, on the threads that call run_one() and run_all() and nowhere
//                else.
// Thread safety  every member may be called concurrently.
// Destruction    items that were not run are a precondition violation: their coroutines would wait for ever. So run_all() before
//                what waits for such a coroutine (the end of a spawned or a task_group) is destroyed: a test that blocks on its
//                only thread hangs.
#pragma once

#include <cassert>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1 {

class manual_executor {
 public:
  manual_executor() = default;
  manual_executor(const manual_executor&) = delete;
  manual_executor& operator=(const manual_executor&) = delete;
  ~manual_executor() { assert(ready_.empty() && "a manual_executor was destroyed before it ran all of its work"); }

  /// Queues an item. What a scheduler does; allocates nothing.
  void execute(work_item& item) noexcept {
    std::scoped_lock guard{lock_};
    ready_.push_back(item);
    ++size_;
  }

  /// Runs the oldest item on this thread. False: there is none.
  bool run_one() {
    work_item* item = nullptr;
    {
      std::scoped_lock guard{lock_};
      item = ready_.pop_front();
      if (item == nullptr) return false;
      --size_;
    }
    const manual_executor* const outer = std::exchange(running_, this);
    (*item)();
    running_ = outer;
    return true;
  }

  /// Runs items, those that they queue too, until none is left. Returns how many it ran.
  std::size_t run_all() {
    std::size_t count = 0;
    while (run_one()) ++count;
    return count;
  }

  /// How many items wait to be run.
  [[nodiscard]] std::size_t size() const noexcept {
    std::scoped_lock guard{lock_};
    return size_;
  }

  /// Whether the calling thread runs an item of this executor now: what ends there hands over to its awaiter without the queue.
  [[nodiscard]] bool running_here() const noexcept { return running_ == this; }

  [[nodiscard]] any_scheduler get_scheduler() noexcept { return any_scheduler{*this}; }

 private:
  static inline thread_local const manual_executor* running_ = nullptr;

  mutable std::mutex lock_;
  detail::work_list ready_;  // guarded by lock_
  std::size_t size_ = 0;     // guarded by lock_
};

}  // namespace penstock::inline v0_1
