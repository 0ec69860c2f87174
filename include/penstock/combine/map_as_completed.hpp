// penstock/combine/map_as_completed.hpp: f(item) for every item of a range, a bounded number at a time, and the results as they come.
//
//   auto pages = penstock::map_as_completed(urls, penstock::limit(10), fetch);
//   for (;;) {
//     auto page = co_await pages.next();
//     if (!page) break;                                    // errc::closed: that was all
//     use(*page);
//   }
//
// As map_concurrent() (map_concurrent.hpp says what f may be, how items are pulled and when they begin), but for the order: next() gives the result
// of whichever item ended first and was not given yet. Nothing is collected, so an endless range will do.
//
// Bounded        items begin inside next() only, and results that were not asked for count as in flight: who is slow slows the items down.
// Failures       the first item that fails stops the others, and no further one begins; when all have ended, next() throws combined_error, or gives
//                the error if f gives results. Results that come after the failure are dropped, those before it were given.
// Cancellation   a stop request to the coroutine that awaits next(), and a limit of next() (`next() | with_timeout(...)`), ends the whole: it reaches
//                the items in flight, no further one begins, and when all have ended next() gives errc::cancelled. Between two calls of next()
//                the items do not hear of it.
// Destruction    requests stop and blocks until the items in flight have ended, as spawned handles and task_group do: `co_await pages.cancel()`
//                before leaving early, above all where the items need this thread in order to end, unless it is a worker of their pool: that one
//                runs them meanwhile. After next() gave errc::closed, or failed, nothing is in flight.
// Thread safety  belongs to one coroutine at a time.
// Allocation     a coroutine frame for each next(), and one for each item beside f's own.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/combine/detail/mapping.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1 {

/// What map_as_completed() gives. It cannot be moved: begin it where it stays.
template <std::ranges::view View, class F>
class completions {
  using given = detail::item_result<F, View>;

 public:
  /// The result of an item: a result<T> of what f's awaitable gives, whether that is T or a result<T>.
  using value_type = detail::limited<given>;

  completions(View items, limit at_most, F f) : items_{std::move(items)}, f_{std::move(f)}, most_{at_most.most} {}
  completions(const completions&) = delete;
  completions& operator=(const completions&) = delete;

  /// `co_await c.next()`: the next result; errc::closed when all were given. One at a time.
  [[nodiscard]] task<value_type> next() {
    if (cancelled_) co_return errc::cancelled;
    const std::stop_token stop = co_await this_task::get_stop_token();
    if (!work_) {
      const any_scheduler where = co_await this_task::get_scheduler();
      work_.emplace(std::move(items_), most_, where);
    }
    const std::stop_callback passed_on{stop, typename work::children::stop_all{&work_->running()}};
    const auto begin = [this](std::size_t index, typename work::item&& item) {
      work_->running().begin(index, std::invoke(f_, std::forward<typename work::item>(item)));
    };
    while (work_->begin_items(begin)) {
      static_cast<void>(co_await work_->running().ended());
      auto ended = work_->running().take();
      if (!work_->succeeded(ended)) continue;
      if constexpr (std::is_void_v<given>) {
        co_return value_type{};
      } else {
        co_return ended.take();
      }
    }
    const std::error_code error = work_->finish();
    co_return error ? error : make_error_code(errc::closed);
  }

  /// Asks the items in flight to stop, and waits until they have ended; their results and failures are dropped. next() then gives errc::cancelled.
  [[nodiscard]] task<> cancel() {
    cancelled_ = true;
    if (!work_) {
      const any_scheduler where = co_await this_task::get_scheduler();
      work_.emplace(std::move(items_), most_, where);
    }
    work_->running().request_stop();
    co_await work_->running().take_all();
  }

 private:
  using work = detail::mapping<View, given>;

  View items_;
  F f_;
  std::size_t most_;
  bool cancelled_ = false;
  std::optional<work> work_;
};

/// `at_most` items in flight at a time. See above.
template <std::ranges::viewable_range Range, class F>
  requires detail::begins_items<F, std::views::all_t<Range>>
[[nodiscard]] auto map_as_completed(Range&& range, limit at_most, F f) {
  return completions<std::views::all_t<Range>, F>(std::views::all(std::forward<Range>(range)), at_most, std::move(f));
}

}  // namespace penstock::inline v0_1
