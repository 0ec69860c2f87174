// penstock/pool/detail/post_n.hpp: many tasks in one call: a part of worker_pool.hpp, which includes it.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include <penstock/core/range_result.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
inline range_result basic_worker_pool<Sync>::post_n(std::span<move_only_function<void()>> tasks, const wait_limits& limits) {
  for (const task& one : tasks) static_cast<void>(callable(one));
  return put_n(tasks, {.stop = limits.stop, .deadline = room_deadline(limits)});  // one for all of them
}

// One that is the caller's again if it does not go in.
template <class Sync>
inline result<void> basic_worker_pool<Sync>::put_traced(task& work, const wait_limits& limits) {
  if (origin_.forked()) return forked_error();
  detail::traced_task wrapped{this, work};
  task* const inside = &wrapped.work();
  task outer{std::move(wrapped)};
  try {
    const result<void> put_in = put(outer, {limits, overflow_, usual_label()});
    if (!put_in) work = std::move(*inside);
    return put_in;
  } catch (...) {
    if (outer) work = std::move(*inside);
    throw;
  }
}

template <class Sync>
inline range_result basic_worker_pool<Sync>::put_n(std::span<task> tasks, const wait_limits& limits) {
  range_result moved;
  const detail::task_label label = usual_label(tasks.size());
  while (moved.count < tasks.size()) {
    const std::span<task> rest = tasks.subspan(moved.count);
    if (detail::observers::trace()) [[unlikely]] {
      if (const result<void> put_in = put_traced(rest.front(), limits); !put_in) {
        moved.error = put_in.error();
        return moved;
      }
      ++moved.count;
      continue;
    }
    std::size_t n = 0;
    if (!origin_.forked() && !limits.stop.stop_requested()) {
      queue_slot* const me = slot_here();
      n = me != nullptr ? queue_.try_push_n(*me, rest.data(), rest.size(), label)
                        : queue_.try_push_n(rest.data(), rest.size(), label);
    }
    if (n == 0) {  // the next one decides: it waits, is run here, or is refused
      if (const result<void> put_in = put(rest.front(), {limits, overflow_, label}); !put_in) {
        moved.error = put_in.error();
        return moved;
      }
      n = 1;
    }
    moved.count += n;
  }
  return moved;
}

template <class Sync>
template <class F>
  requires(std::invocable<F&, std::size_t> && std::copy_constructible<F> && std::is_nothrow_destructible_v<F>)
range_result basic_worker_pool<Sync>::post_n(std::size_t n, const F& f, const wait_limits& limits) {
  static_cast<void>(callable(f));
  const wait_limits whole{.stop = limits.stop, .deadline = room_deadline(limits)};
  range_result moved;
  while (moved.count < n) {
    struct batch {  // made where it lies: an array of empty ones would be written twice
      ~batch() { std::destroy_n(at(), made); }
      task* at() noexcept { return reinterpret_cast<task*>(memory); }
      std::size_t made = 0;
      alignas(task) std::byte memory[32 * sizeof(task)];
    } some;
    for (const std::size_t wanted = std::min<std::size_t>(n - moved.count, 32); some.made < wanted; ++some.made) {
      std::construct_at(some.at() + some.made, [f, index = moved.count + some.made]() mutable { static_cast<void>(f(index)); });
    }
    const range_result put_in = put_n({some.at(), some.made}, whole);
    moved.count += put_in.count;
    moved.error = put_in.error;
    if (!put_in) return moved;
  }
  return moved;
}

}  // namespace penstock::inline v0_1
