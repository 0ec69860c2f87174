// penstock/pool/detail/post.hpp: one task, or one resumption, on its way into a pool: a part of worker_pool.hpp, which includes it.
#pragma once

#include <concepts>
#include <stdexcept>
#include <utility>

#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

// The callable itself; throws if it is none.
template <class Sync>
template <class F>
F&& basic_worker_pool<Sync>::callable(F&& f) {
  if constexpr (requires { f == nullptr; }) {
    if (f == nullptr) throw std::invalid_argument{"penstock::worker_pool: there is nothing to call"};
  }
  return std::forward<F>(f);
}

template <class Sync>
inline void basic_worker_pool<Sync>::wrap(task& work) {
  work = task{detail::traced_task{this, work}};
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::try_put(task& work, detail::task_label label) noexcept {
  queue_slot* const me = slot_here();
  return me != nullptr ? queue_.try_push(*me, work, label) : queue_.try_push(work, label);
}

template <class Sync>
template <class F>
  requires std::constructible_from<move_only_function<void()>, F>
result<void> basic_worker_pool<Sync>::post(F&& f) {
  task work{callable(std::forward<F>(f))};
  if (origin_.forked()) return forked_error();
  trace(work);
  const detail::task_label label = usual_label();
  const result<void> put_in = try_put(work, label);
  if (put_in) return put_in;
  return put_in.error() == errc::full ? put_into_full(work, {{}, overflow_, label}) : refuse(put_in);
}

template <class Sync>
template <class F>
  requires std::constructible_from<move_only_function<void()>, F>
result<void> basic_worker_pool<Sync>::post(const wait_limits& limits, F&& f) {
  task work{callable(std::forward<F>(f))};
  trace(work);
  return put(work, usual_admission(limits));
}

template <class Sync>
template <class F>
  requires std::constructible_from<move_only_function<void()>, F>
result<void> basic_worker_pool<Sync>::try_post(F&& f) {
  task work{callable(std::forward<F>(f))};
  if (origin_.forked()) return forked_error();
  trace(work);
  const result<void> put_in = try_put(work, usual_label());
  return put_in ? put_in : refuse(put_in);
}

template <class Sync>
inline void basic_worker_pool<Sync>::execute(work_item& item) noexcept {
  if (!origin_.forked()) {
    if (queue_slot* const me = slot_here(); me != nullptr) return queue_.push(*me, item);
    if (queue_.push(item)) return;
  }
  detail::trampoline::execute(item);  // no worker is left to run it
}

}  // namespace penstock::inline v0_1
