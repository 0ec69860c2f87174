// penstock/pool/detail/task_runner.hpp: a thread that runs tasks of a pool: a worker, or one that submitted to a full queue.
//
// It may be so for several pools, one inside the other. Tasks that submit themselves again and again to a full queue would use up the stack; so it
// keeps some of them for later.
//
// Thread safety  the thread's own.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <penstock/pool/detail/worker_stats.hpp>

namespace penstock::inline v0_1::detail {

/// `Work`: a task, and what its pool has to know about it.
template <class Pool, class Work, class Record>
class task_runner {
 public:
  explicit task_runner(const Pool& p) noexcept : pool{&p}, outer{innermost} { innermost = this; }
  task_runner(const task_runner&) = delete;
  task_runner& operator=(const task_runner&) = delete;
  ~task_runner() { innermost = outer; }

  /// Keeps a task until the outermost one has returned.
  void postpone(Work&& task) {
    if (begun_ * 2 > postponed_.size()) {
      postponed_.erase(postponed_.begin(), postponed_.begin() + static_cast<std::ptrdiff_t>(begun_));
      begun_ = 0;
    }
    postponed_.push_back(std::move(task));
  }
  /// What became of the task that has just ended.
  detail::fate take_fate() noexcept {
    if (fate == detail::fate::completed) [[likely]]
      return fate;
    return std::exchange(fate, detail::fate::completed);
  }
  [[nodiscard]] std::size_t postponed() const noexcept { return postponed_.size() - begun_; }
  /// The one that was postponed first. False: there is none.
  bool take_postponed(Work& task) noexcept {
    if (postponed() == 0) return false;
    task = std::move(postponed_[begun_++]);
    return true;
  }

  const Pool* const pool;
  task_runner* const outer;
  Record* record = nullptr;                     // of the worker; null: it is none
  detail::fate fate = detail::fate::completed;  // of the task that ends now: set last of all by who knows better
  unsigned depth = 0;                           // tasks that run one inside the other because the queue was full
  static inline thread_local task_runner* innermost = nullptr;

 private:
  std::vector<Work> postponed_;
  std::size_t begun_ = 0;  // of them
};

}  // namespace penstock::inline v0_1::detail
