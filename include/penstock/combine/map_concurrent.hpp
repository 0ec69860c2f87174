// penstock/combine/map_concurrent.hpp: f(item) for every item of a range, a bounded number at a time.
//
//   std::vector<page> pages = co_await penstock::map_concurrent(urls, penstock::limit(10), fetch);   // 10,000 URLs, at most 10 in flight
//   auto some = co_await (penstock::map_concurrent(urls, penstock::limit(10), fetch) | penstock::with_timeout(5s));
//   auto ends = co_await penstock::map_concurrent_settled(urls, penstock::limit(10), fetch);         // every outcome, none of them thrown
//
// `f` returns a task, any operation that can be awaited, or a future (of a pool). The results come in the order of the items, whatever order they
// end in. Results as they come: map_as_completed.hpp.
//
// g++ 12         destroys a lambda that is made inside a co_await expression twice: give it captures by reference only, as above, or begin with
//                `auto all = map_concurrent(...);` and `co_await std::move(all)`. f itself may be a coroutine: it lives as long as the whole.
// Order          items are pulled and f is called one after the other by the coroutine itself, in order, each as soon as fewer than `limit` are
//                in flight: neither range nor f need be thread-safe. What f begins runs concurrently: on one thread, or, where the awaiting
//                coroutine runs on a pool (or `| via(pool)`), on its threads.
// Failures       an item fails by throwing, or by giving a result with an error. The first one stops the others; no further one begins. When all have
//                ended combined_error is thrown, which holds every failure (not those of items that complied with the stop). If f gives results and
//                nothing was thrown, it is the error of the first instead.
// Cancellation   a stop request reaches the items in flight; no further one begins. If that stopped or left out items: errc::cancelled, thrown as a
//                std::system_error unless f gives results. The task of a future is asked to stop, and awaited to its end; so is the future of a promise, which
//                cannot be asked.
// Structured     nothing of it runs any more when it has ended. A range given as an lvalue is referred to and must live until then; so must what an
//                item refers to. An item of a range that can be passed only once (a generator) is good until the next is pulled: let f take
//                it by value.
// Allocation     one coroutine frame for the whole, one for each item in flight beside f's own, and the vector: with a limit of 10 there are 10
//                frames at a time, not 10,000. Until all have ended an item's place takes a std::optional.
// Cost           a lock three times an item, for a moment each.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/detail/mapping.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/settled.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// What all results together are.
template <class T>
struct all_of {
  using values = std::conditional_t<gives_nothing<T>, void, std::vector<stored<unwrapped<T>>>>;
  using type = std::conditional_t<is_result<T>, result<values>, values>;
};

/// The results in order, of which some are still to come.
template <class T>
class ordered_results {
 public:
  void reserve(std::size_t n) { places_.reserve(n); }
  void add() { places_.emplace_back(); }
  template <class Value>
  void put(std::size_t index, Value&& value) {
    places_[index].emplace(std::forward<Value>(value));
  }
  [[nodiscard]] std::vector<T> take() {
    std::vector<T> all;
    all.reserve(places_.size());
    for (std::optional<T>& place : places_) all.push_back(std::move(*place));
    return all;
  }

 private:
  std::vector<std::optional<T>> places_;
};
struct no_results {
  void reserve(std::size_t) const noexcept {}
  void add() const noexcept {}
};
template <class T>
using results_of = std::conditional_t<gives_nothing<T>, no_results, ordered_results<stored<unwrapped<T>>>>;

template <class View, class Results>
void reserve_for(View& items, Results& results) {
  if constexpr (std::ranges::sized_range<View>) {
    results.reserve(static_cast<std::size_t>(std::ranges::size(items)));
  }
}

template <std::ranges::view View, class F>
task<typename all_of<item_result<F, View>>::type> map_all(View items, std::size_t most, F f) {
  using value = item_result<F, View>;
  using work = mapping<View, value>;
  results_of<value> results;
  reserve_for(items, results);
  const any_scheduler where = co_await this_task::get_scheduler();
  const std::stop_token stop = co_await this_task::get_stop_token();
  work w{std::move(items), most, where};
  const std::stop_callback passed_on{stop, typename work::children::stop_all{&w.running()}};
  const auto begin = [&](std::size_t index, typename work::item&& item) {
    results.add();
    w.running().begin(index, std::invoke(f, std::forward<typename work::item>(item)));
  };
  while (w.begin_items(begin)) {
    static_cast<void>(co_await w.running().ended());
    auto ended = w.running().take();
    if (!w.succeeded(ended)) continue;
    if constexpr (!gives_nothing<value>) {
      try {
        if constexpr (is_result<value>) {
          results.put(ended.index(), *ended.take());
        } else {
          results.put(ended.index(), ended.take());
        }
      } catch (...) {
        w.fail(ended.index(), std::current_exception());  // moving the value failed
      }
    }
  }
  const std::error_code error = w.finish();
  if constexpr (is_result<value>) {
    if (error) co_return error;
    if constexpr (gives_nothing<value>) {
      co_return value{};
    } else {
      co_return results.take();
    }
  } else {
    if (error) throw std::system_error{error, "penstock::map_concurrent"};
    if constexpr (!gives_nothing<value>) co_return results.take();
  }
}

template <std::ranges::view View, class F>
task<std::vector<settled_item<item_result<F, View>>>> map_settled(View items, std::size_t most, F f) {
  using value = item_result<F, View>;
  using work = mapping<View, value>;
  ordered_results<settled_item<value>> outcomes;
  reserve_for(items, outcomes);
  const any_scheduler where = co_await this_task::get_scheduler();
  const std::stop_token stop = co_await this_task::get_stop_token();
  work w{std::move(items), most, where};
  const std::stop_callback passed_on{stop, typename work::children::stop_all{&w.running()}};
  const auto begin = [&](std::size_t index, typename work::item&& item) {
    outcomes.add();
    try {
      w.running().begin(index, std::invoke(f, std::forward<typename work::item>(item)));
    } catch (...) {
      outcomes.put(index, settled_item<value>{std::current_exception()});
    }
  };
  while (w.begin_items(begin)) {
    static_cast<void>(co_await w.running().ended());
    auto ended = w.running().take();
    try {
      outcomes.put(ended.index(), ended.settle());
    } catch (...) {
      outcomes.put(ended.index(), settled_item<value>{std::current_exception()});  // moving the value failed
    }
  }
  static_cast<void>(w.finish());  // throws what pulling the items threw; items that were left out have no outcome
  co_return outcomes.take();
}

}  // namespace detail

/// Awaiting the task gives a std::vector of what awaiting f(item) gives, in the order of the items; nothing if that is void. If it is a
/// result<T>: a result<std::vector<T>>, or result<void>. `at_most` in flight at a time. See above for failures and cancellation.
template <std::ranges::viewable_range Range, class F>
  requires detail::begins_items<F, std::views::all_t<Range>>
[[nodiscard]] auto map_concurrent(Range&& range, limit at_most, F f) {
  return detail::map_all<std::views::all_t<Range>, F>(std::views::all(std::forward<Range>(range)), at_most.most, std::move(f));
}

/// The same, but an item that fails stops nobody: a std::vector of a settled<> for each item, which has the value, the error code of a result, or the
/// exception. After a stop request: for those that had begun, which are the first ones. Throws only combined_error of what pulling the items threw,
/// and std::bad_alloc.
template <std::ranges::viewable_range Range, class F>
  requires detail::begins_items<F, std::views::all_t<Range>>
[[nodiscard]] auto map_concurrent_settled(Range&& range, limit at_most, F f) {
  return detail::map_settled<std::views::all_t<Range>, F>(std::views::all(std::forward<Range>(range)), at_most.most,
                                                          std::move(f));
}

}  // namespace penstock::inline v0_1
