// penstock/combine/invoke.hpp: calls several functions, on as many workers of a pool as are free, and returns when all have ended.
//
//   long fibonacci(penstock::worker_pool& pool, int n) {
//     if (n < 2) return n;
//     auto [a, b] = penstock::invoke(pool, [&] { return fibonacci(pool, n - 1); }, [&] { return fibonacci(pool, n - 2); });
//     return a + b;
//   }
//
// Results        a tuple of what the functions returned, in their order; std::monostate for void. Nothing (void) if all return void.
// Who runs what  the caller calls the first one; idle workers steal the others, and what nobody has stolen the caller calls itself, in order. So it
//                never waits but for a function that a thread has begun; while it does, it runs what that thread has forked meanwhile, and no
//                other function or task. It may be nested to any depth, on a pool of one thread, with a full queue. (A worker that waits for long runs
//                coroutines of the pool if no other worker is free to, as in every wait for a coroutine: see worker_pool.hpp.)
// From outside   a thread that is no worker of the pool takes part in the same way. Of such calls eight at a time find help; the ninth works alone.
// Exceptions     the first one, in the order of the functions, is thrown when all that were begun have ended; functions that nobody had begun when
//                one of them threw are not called. Further exceptions go to the pool's error handler and count in its failed().
// Thread safety  any thread may call it; the functions must be able to run at the same time. Hold no lock that another one needs.
// Cancellation   none of its own: functions that look at a stop token return early.
// Cost           about 12 ns a function if it is not stolen: two locked instructions. Nothing is allocated.
// Pool           one that has been shut down helps nobody, so the caller calls everything; that is how it is in a forked child, too.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/combine/detail/fork_join.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// What one function returned, or threw.
template <class R>
class returned {
 public:
  using type = R;
  template <class F>
  void call(F& f) {
    value_.emplace(std::invoke(f));
  }
  R&& take() noexcept { return std::move(*value_); }

 private:
  std::optional<R> value_;
};
template <class R>
class returned<R&> {
 public:
  using type = R&;
  template <class F>
  void call(F& f) {
    value_ = std::addressof(std::invoke(f));
  }
  R& take() noexcept { return *value_; }

 private:
  R* value_ = nullptr;
};
template <class R>
  requires std::is_void_v<R>
class returned<R> {
 public:
  using type = std::monostate;
  template <class F>
  void call(F& f) {
    std::invoke(f);
  }
  std::monostate take() noexcept { return {}; }
};

template <class... F>
class invocation {
 public:
  explicit invocation(F&... f) noexcept : functions_{f...} {}

  void run(worker_pool& pool) {
    fork_place::enter(pool, [this](fork_place here) { call_from<0>(here); });
    if (failed_.load(std::memory_order_relaxed)) [[unlikely]]  // relaxed: all have ended
      fail(pool);
  }
  auto take() {
    return std::apply([](auto&... r) { return std::tuple<typename std::remove_reference_t<decltype(r)>::type...>{r.take()...}; },
                      results_);
  }

 private:
  template <std::size_t I>
  void call_from(fork_place here) noexcept {
    auto mine = [this](const fork_place&) { call<I>(); };
    if constexpr (I + 1 == sizeof...(F)) {
      mine(here);
    } else {
      auto others = [this](const fork_place& there) { call_from<I + 1>(there); };
      // relaxed: whoever sees it late calls a function more
      here.both(mine, others, [this] { return failed_.load(std::memory_order_relaxed); });
    }
  }
  template <std::size_t I>
  void call() noexcept {
    try {
      std::get<I>(results_).call(std::get<I>(functions_));
    } catch (...) {
      failures_[I] = std::current_exception();
      failed_.store(true, std::memory_order_relaxed);  // relaxed: the end of the job publishes what it was
    }
  }
  [[gnu::noinline, noreturn]] void fail(worker_pool& pool) {
    std::exception_ptr first;
    for (std::exception_ptr& f : failures_) {
      if (f == nullptr) continue;
      if (first == nullptr) {
        first = std::move(f);
      } else {
        pool_access::report(pool, std::move(f));
      }
    }
    std::rethrow_exception(std::move(first));
  }

  std::tuple<F&...> functions_;
  std::tuple<returned<std::invoke_result_t<F&>>...> results_;
  std::array<std::exception_ptr, sizeof...(F)> failures_;
  std::atomic<bool> failed_{false};
};

}  // namespace detail

/// Calls `f()` for each of the functions, as said above. Returns a tuple, or nothing if all of them return nothing.
template <class... F>
  requires(sizeof...(F) > 0 && (std::invocable<F&> && ...))
auto invoke(worker_pool& pool, F&&... f) {
  detail::invocation<std::remove_reference_t<F>...> all{f...};
  all.run(pool);
  if constexpr (!(std::is_void_v<std::invoke_result_t<F&>> && ...)) return all.take();
}

}  // namespace penstock::inline v0_1
