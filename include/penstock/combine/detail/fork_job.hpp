// penstock/combine/detail/fork_job.hpp: a job in somebody's frame that another thread may steal, and the wait for its end.
//
// Who forks a job takes it back when it comes to it, and calls it; nothing here is touched then. If it was stolen, join() waits. Meanwhile it
// *leapfrogs*: it steals from its thief, and from nobody else. What lies in the thief's lane was forked on behalf of the stolen job, so no foreign job
// runs inside the wait, none that could need what lies below on this stack, and the stack does not grow beyond the depth of the work.
//
// No deadlock    every such wait is for a job that began after the construct that waits. So along a chain of threads that wait for each other the
//                beginnings are later and later, and it has an end: somebody who does not wait.
//
// States         end_: null → the job has ended (`ended`), or null → a one_shot of who waits → `ended`, and the thief sets the one_shot.
// Lifetime       the thief's last touch is the exchange of end_, or the setting of the one_shot that it found there: so the frame may go as soon as
//                join() has returned.
// The check      a thief that has ended the job may have begun anything. So who stole from its lane looks again: if the job has not ended by
//                then, what was stolen is a part of it. Otherwise it is left to the workers of the pool.
// Source         D. B. Wagner, B. G. Calder, "Leapfrogging: a portable technique for implementing efficient futures" (PPoPP 1993).
#pragma once

#include <algorithm>
#include <atomic>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/work_deque.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class fork_job : public work_item {
 public:
  using lane = work_deque<work_item, Sync>;
  struct called_here {
    bool operator()(auto& wait) const noexcept { return wait(); }
  };

  fork_job(const fork_job&) = delete;
  fork_job& operator=(const fork_job&) = delete;

  /// By who forked it and did not get it back: returns when it has ended. run_part is given what was stolen and is a part of the job, leave what may
  /// be none. help is called when it seems to take long, and says whether it has done something that the end may depend on. rest is given the waits
  /// when it does take long, and returns what they return: it can tell others that this thread sleeps.
  template <class Run, class Leave, class Help, class Rest = called_here>
  void join(Run run_part, Leave leave, Help help, Rest rest = {}) noexcept {
    for (polling<Sync> poll; poll.again();) {
      if (has_ended()) return;
      if (leapfrog(run_part, leave)) poll = {};
    }
    basic_one_shot<Sync> told;
    void* nobody = nullptr;
    // release: hands `told` to the thief. acquire, if it fails: pairs with the exchange in end()
    if (!end_.compare_exchange_strong(nobody, &told, std::memory_order_release, std::memory_order_acquire)) return;
    // The thief may fork later, or wait for something that needs this thread: looks again, in longer and longer intervals.
    for (nanoseconds_point pause = shortest_pause;; pause = std::min(pause * 2, longest_pause)) {
      blocking_wait<basic_one_shot<Sync>, plain_node<Sync>> wait{told};
      const auto sleep = [&] { return wait.run(Sync::now() + pause) == outcome::granted; };
      if (pause < longest_pause ? sleep() : rest(sleep)) return;
      while (leapfrog(run_part, leave) || help()) pause = shortest_pause / 2;
    }
  }

 protected:
  explicit fork_job(run_function f) noexcept { run = f; }
  ~fork_job() = default;

  /// By the thief, first of all. `its_lane`: where it forks on behalf of the job; null if it has none.
  void begin(lane* its_lane) noexcept {
    // release: pairs with the acquire in leapfrog(), for the lane may be newer than who waits: that of a thread that was started meanwhile
    thief_.store(its_lane, std::memory_order_release);
  }
  /// By the thief: the last touch.
  void end() noexcept {
    // release: what the job did comes before the end of the wait. acquire: pairs with the exchange in join(), for the one_shot
    void* const waiting = end_.exchange(ended(), std::memory_order_acq_rel);
    if (waiting != nullptr) static_cast<basic_one_shot<Sync>*>(waiting)->set();
  }

 private:
  static constexpr nanoseconds_point shortest_pause = 100'000;  // at the most ten thousand looks a second, and soon two hundred
  static constexpr nanoseconds_point longest_pause = 5'000'000;

  static void* ended() noexcept {
    static char mark;
    return &mark;
  }
  [[nodiscard]] bool has_ended() const noexcept {
    return end_.load(std::memory_order_acquire) == ended();  // acquire: pairs with the release in end()
  }

  template <class Run, class Leave>
  bool leapfrog(Run& run_part, Leave& leave) noexcept {
    lane* const theirs = thief_.load(std::memory_order_acquire);  // acquire: pairs with the release in begin()
    work_item* const stolen = theirs != nullptr ? theirs->steal() : nullptr;
    if (stolen == nullptr) return false;
    // What was pushed after the job's end was seen with that end, for the lane publishes it: see "The check".
    if (!has_ended()) {
      run_part(*stolen);
    } else {
      leave(*stolen);
    }
    return true;
  }

  typename Sync::template atomic<void*> end_{nullptr};
  typename Sync::template atomic<lane*> thief_{nullptr};
};

}  // namespace penstock::inline v0_1::detail
