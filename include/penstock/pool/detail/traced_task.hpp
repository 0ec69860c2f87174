// penstock/pool/detail/traced_task.hpp: a posted task that is traced, which takes the place of the task itself.
#pragma once

#include <exception>
#include <memory>
#include <utility>

#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/move_only_function.hpp>

namespace penstock::inline v0_1::detail {

template <class Task>
class traced_task {
 public:
  using task = Task;

  /// It is submitted to `pool` now. Throws std::bad_alloc; then the task is untouched.
  traced_task(const void* pool, task& work) : inside_{std::make_unique<inside>(pool)} { inside_->work = std::move(work); }

  void operator()() {
    const std::unique_ptr<inside> mine = std::move(inside_);
    running_span span{mine->span};
    try {
      mine->work();
      mine->work = nullptr;  // what it holds is released within the span
    } catch (...) {
      span.fail();
      throw;
    }
  }

  /// The task, if it has not been called: for one that did not go in.
  [[nodiscard]] task& work() const noexcept { return inside_->work; }

 private:
  struct inside {
    explicit inside(const void* pool) noexcept : span{traced::task, pool} {}
    open_span span;
    task work;
  };
  std::unique_ptr<inside> inside_;
};

}  // namespace penstock::inline v0_1::detail
