// penstock/pool/detail/post_n.hpp: many tasks in one call: a part of worker_pool.hpp, which includes it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include <penstock/core/range_result.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

inline range_result worker_pool::post_n(std::span<move_only_function<void()>> tasks, const wait_limits& limits) {
  for (const task& one : tasks) static_cast<void>(callable(one));
  range_result moved;
  while (moved.count < tasks.size()) {
    const std::span<task> rest = tasks.subspan(moved.count);
    std::size_t n = 0;
    if (!origin_.forked() && !limits.stop.stop_requested()) {
      queue::slot* const me = slot_here();
      n = me != nullptr ? queue_.try_push_n(*me, rest.data(), rest.size()) : queue_.try_push_n(rest.data(), rest.size());
    }
    if (n == 0) {  // the next one decides: it waits, is run here, or is refused
      if (const result<void> put_in = put(rest.front(), limits); !put_in) {
        moved.error = put_in.error();
        return moved;
      }
      n = 1;
    }
    moved.count += n;
  }
  return moved;
}

template <class F>
  requires(std::invocable<F&, std::size_t> && std::copy_constructible<F> && std::is_nothrow_destructible_v<F>)
range_result worker_pool::post_n(std::size_t n, const F& f, const wait_limits& limits) {
  static_cast<void>(callable(f));
  range_result moved;
  while (moved.count < n) {
    std::array<task, 32> some;
    const std::size_t made = std::min(n - moved.count, some.size());
    for (std::size_t i = 0; i < made; ++i) {
      some[i] = [f, index = moved.count + i]() mutable { static_cast<void>(f(index)); };
    }
    const range_result put_in = post_n(std::span{some}.first(made), limits);
    moved.count += put_in.count;
    moved.error = put_in.error;
    if (!put_in) return moved;
  }
  return moved;
}

}  // namespace penstock::inline v0_1
