// penstock/combine/detail/mapping.hpp: items that are begun one after the other, so that a bounded number is in flight: the common part of
// map_concurrent() and map_as_completed().
//
// Invariants  items are pulled from the range, and f is called, by the owner only, in order and never two at a time; at most `most` children have
//             begun and were not taken.
// Failing     the first failure stops the children and lets no further item begin. Failures are kept in the frames in which they happened.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/in_flight.hpp>
#include <penstock/core/errc.hpp>

namespace penstock::inline v0_1::detail {

template <class F, class Range>
using begun_by = std::invoke_result_t<F&, std::ranges::range_reference_t<Range>>;

/// `f(item)` begins something that can be awaited: a task, any operation, a future.
template <class F, class Range>
concept begins_items = std::ranges::input_range<Range> && std::invocable<F&, std::ranges::range_reference_t<Range>> &&
                       std::move_constructible<begun_by<F, Range>> && awaitable<begun_by<F, Range>> &&
                       !std::is_reference_v<await_result<begun_by<F, Range>>>;

/// What awaiting `f(item)` gives.
template <class F, class Range>
using item_result = await_result<begun_by<F, Range>>;

/// T: what a child ends with.
template <std::ranges::view View, class T>
class mapping {
 public:
  using item = std::ranges::range_reference_t<View>;
  using children = in_flight<T>;
  using child = typename children::child;

  mapping(View items, std::size_t most, any_scheduler where) : items_{std::move(items)}, most_{most}, children_{where} {}

  [[nodiscard]] children& running() noexcept { return children_; }

  /// `begin(index, item)` for one item after the other, while there are some and fewer than `most` are in flight. True: something is in flight.
  template <class Begin>
  bool begin_items(Begin begin) noexcept {
    while (children_.running() < most_ && !exhausted_ && !failed() && !cancelled_) {
      if (children_.stop_requested()) {
        cancelled_ = true;
        break;
      }
      try {
        begin_one(begin);
      } catch (...) {
        fail(begun_, std::current_exception());
      }
    }
    return children_.running() != 0;
  }

  /// Of a child that ended: its value counts if this is true. The first failure stops the others.
  bool succeeded(child& ended) noexcept {
    if (!ended.failed()) return !failed();
    if (children_.stop_requested() && ended.was_cancelled()) {
      cancelled_ = true;  // it complied
    } else {
      const bool first = !failed();
      failures_.push_back(std::move(ended));
      if (first) children_.request_stop();
    }
    return false;
  }
  /// Something else failed, on behalf of an item.
  void fail(std::size_t index, std::exception_ptr why) noexcept {
    own_failure_ = {index, std::move(why)};
    children_.request_stop();
  }
  [[nodiscard]] bool failed() const noexcept { return own_failure_.why != nullptr || !failures_.empty(); }

  /// When nothing is in flight. Throws combined_error of all failures, if anything threw; else the first error that an item gave, or errc::cancelled
  /// if items were stopped or left out, or none.
  [[nodiscard]] std::error_code finish() {
    std::vector<combined_error::failure> all;
    std::error_code first;
    bool thrown = own_failure_.why != nullptr;
    if (thrown) all.push_back(std::exchange(own_failure_, {}));  // nothing begins after it, and nothing failed before it
    while (!failures_.empty()) {
      child c = failures_.pop_front();
      if (!first) first = c.error();
      thrown = thrown || c.threw();
      const std::size_t index = c.index();
      all.push_back({index, c.failure()});
    }
    if (thrown) throw combined_error{std::move(all)};
    if (!first && cancelled_) return errc::cancelled;
    return first;
  }

 private:
  // References into a range that can be passed more than once stay good, so such a range is looked ahead in; another one's item is good until
  // the next is asked for.
  static constexpr bool looks_ahead = std::ranges::forward_range<View>;

  template <class Begin>
  void begin_one(Begin& begin) {
    if (!next_) {
      next_.emplace(std::ranges::begin(items_));
      exhausted_ = *next_ == std::ranges::end(items_);
    } else if (!looks_ahead) {
      advance();
    }
    if (exhausted_) return;
    begin(begun_, **next_);
    ++begun_;
    if (looks_ahead) advance();
  }
  void advance() {
    ++*next_;
    exhausted_ = *next_ == std::ranges::end(items_);
  }

  View items_;
  std::size_t most_;
  std::size_t begun_ = 0;
  std::optional<std::ranges::iterator_t<View>> next_;
  bool exhausted_ = false;
  bool cancelled_ = false;
  combined_error::failure own_failure_{};
  typename children::list failures_;
  children children_;  // last: its destructor waits for who uses the others
};

}  // namespace penstock::inline v0_1::detail
