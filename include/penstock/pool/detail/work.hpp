// penstock/pool/detail/work.hpp: a piece of work of a pool, once it was taken: a task, a resumption, or a job of a fork-join algorithm.
#pragma once

#include <utility>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/observe/detail/event_timing.hpp>

namespace penstock::inline v0_1::detail {

/// What a queue knows about a task that comes in.
struct task_label {
  task_label(unsigned of_priority = 0, nanoseconds_point submitted = untimed) noexcept
      : priority{of_priority}, since{submitted} {}
  unsigned priority;
  nanoseconds_point since;  // when it was submitted, or untimed
};

template <class Task>
struct work {
  void operator()() {
    if (item != nullptr) {
      (*item)();
    } else {
      task();
    }
  }
  /// Destroys what it holds.
  void release() noexcept {
    if (!task) return;
    if constexpr (requires { task = nullptr; }) {
      task = nullptr;  // most have nothing to destroy, and are not moved for it
    } else {
      static_cast<void>(Task{std::move(task)});
    }
  }

  Task task{};
  work_item* item = nullptr;
  bool counts = false;                // it was added, and is to be finished
  nanoseconds_point since = untimed;  // task_label::since
};

}  // namespace penstock::inline v0_1::detail
