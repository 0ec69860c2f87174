// penstock/pool/detail/work.hpp: a piece of work of a pool, once it was taken: a task, a resumption, or a job of a fork-join algorithm.
#pragma once

#include <utility>

#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

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
    if (task) static_cast<void>(Task{std::move(task)});
  }

  Task task{};
  work_item* item = nullptr;
  bool counts = false;  // it was added, and is to be finished
};

}  // namespace penstock::inline v0_1::detail
