// penstock/combine/when_all.hpp: many awaited at once; all of their values, or the first failure.
//
//   auto [user, orders] = co_await when_all(load_user(id), load_orders(id));
//   std::vector<page> pages = co_await when_all(std::move(fetches), limit(8));      // a std::vector<task<page>>
//   auto answers = sync_wait(when_all(pool.submit(f), pool.submit(g)));             // futures, from a thread
//
// What holds for every combinator (when_all, when_all_settled, when_any, race, quorum) is said here.
//
// Children       tasks, futures and whatever else can be awaited, mixed as you like: arguments, or the elements of one range. They are moved in; an
//                lvalue is copied, if it can be. The last argument may be a limit.
// Lazy           a combinator is a task: nothing begins before it is awaited (or given to sync_wait, spawn, a task_group, another combinator). Then
//                the children begin in their order, on the scheduler of the awaiting coroutine; `| via(pool)` runs them on a pool.
// Structured     it ends when every child that began has ended, not before. Children that are not needed any more are told to stop through their
//                stop token; those that wait for their turn under a limit never begin. A child that ignores its stop token is waited for.
// Cancellation   a stop request from above (the awaiting coroutine's token, or `| with_stop(token)`) reaches the children in the same way. If that
//                keeps the goal from being reached, the combinator ends with errc::cancelled: as a result<T> if it gives one, or as a
//                std::system_error. `| with_timeout(1s)` limits the whole, as for every task.
// Failures       a child fails by throwing, or by giving a result<T> without a value. If any of the children gives a result, so does the combinator:
//                the code of the first failure, if none threw. If one threw, combined_error is thrown, which holds every failure.
//                A child that ends with errc::cancelled after it was told to stop has not failed. When the goal is reached, failures are dropped.
// Futures        of tasks (of a pool, a strand) that are not needed any more are asked to stop (future::request_stop()) and waited for, as are spawned
//                coroutines; also those that stand in line under a limit, for they were begun elsewhere: they hear of it when the next child that
//                is under way ends. Only the future of a promise is let go of: whoever gives it cannot be asked. So what gives it must not refer
//                to what goes with the combinator. A combinator that is never awaited, or has no memory to begin, lets go of all of them.
// Thread safety  as a task: one thread at a time. The children run at the same time where their scheduler has several threads.
// Allocation     one frame for the combinator and one for each child, a stop state, and room for what comes out; all of it before the first child
//                begins: if memory runs out, std::bad_alloc leaves the await, and nothing has begun. A child's frame is freed when it ends. A
//                combined_error is made at the end; std::bad_alloc takes its place if it cannot be.
// Recursion      ten thousand children that end at once need constant stack.
// Values         moved once from child to outcome, and once more out. If that throws, the exception is the child's failure, or leaves the await.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/limit.hpp>

namespace penstock::inline v0_1 {

namespace detail {

struct ends_with_all {
  template <class A>
  struct range {
    using type = combined<std::conditional_t<std::is_void_v<child_type<A>>, void, std::vector<stored<child_type<A>>>>, A>;
    range(const goal&, std::size_t children) {
      if constexpr (!std::is_void_v<child_type<A>>) values.reserve(children);
    }
    type take(combination& all, std::vector<child_slot<A>>& slots) {
      return conclude<type>(all, [&]() -> type {
        if constexpr (std::is_void_v<child_type<A>>) {
          return type();
        } else {
          for (auto& s : slots) values.push_back(*std::move(s.value));
          return std::move(values);
        }
      });
    }
    std::vector<stored<child_type<A>>> values;
  };

  template <class... A>
  struct pack {
    static constexpr bool nothing = (std::is_void_v<child_type<A>> && ...);
    using type = combined<std::conditional_t<nothing, void, std::tuple<stored<child_type<A>>...>>, A...>;
    pack(const goal&, std::size_t) noexcept {}
    type take(combination& all, std::tuple<child_slot<A>...>& slots) {
      return conclude<type>(all, [&]() -> type {
        if constexpr (nothing) {
          return type();
        } else {
          return std::apply([](auto&... s) { return std::tuple<stored<child_type<A>>...>{*std::move(s.value)...}; }, slots);
        }
      });
    }
  };
};

}  // namespace detail

/// The values of all children, in the children's order: a std::vector; void if the children give nothing. The first failure stops the others. Of no
/// children: an empty vector, at once.
template <detail::combinable_range R>
[[nodiscard]] auto when_all(R&& children, limit most = detail::unlimited) {
  auto all = detail::children_of(std::forward<R>(children));
  const detail::goal g{.successes_needed = all.size(), .failures_allowed = 0};
  return detail::combine_range<detail::ends_with_all>(std::move(all), g, most);
}

/// The same for arguments: a std::tuple, with std::monostate for void and std::reference_wrapper for a reference; void if all give nothing.
template <class... C>
  requires detail::combinable_pack<C...>
[[nodiscard]] auto when_all(C&&... children) {
  constexpr std::size_t size = detail::pack_of<std::decay_t<C>...>::size;
  return detail::combine_arguments<detail::ends_with_all>({.successes_needed = size, .failures_allowed = 0},
                                                          std::forward<C>(children)...);
}

}  // namespace penstock::inline v0_1
