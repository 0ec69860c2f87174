// penstock/channel/detail/channel_ranges.hpp: many items in one call: the last part of channel.hpp, which includes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, channel_policy Policy, class Sync>
template <std::ranges::input_range Range>
  requires std::same_as<std::ranges::range_value_t<Range>, T>
range_result basic_channel<T, Policy, Sync>::push_range(Range&& range, const wait_limits& limits) {
  constexpr bool in_memory = std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
                             std::same_as<std::ranges::range_reference_t<Range>, T&>;
  range_result moved;
  std::size_t silent = 0;  // items that went in and woke nobody yet
  struct announce {        // also when a move throws
    basic_channel& channel;
    std::size_t& n;
    void operator()() noexcept {
      if (n > 0) channel.wake(channel.available_, std::exchange(n, 0));
    }
    ~announce() { (*this)(); }
  } wake_consumers{*this, silent};

  auto at = std::ranges::begin(range);
  const auto end = std::ranges::end(range);
  while (at != end) {
    if (limits.stop.stop_requested()) {
      moved.error = errc::cancelled;
      return moved;
    }
    std::size_t n = 0;
    if constexpr (in_memory) {
      detail::ring_step why;
      n = items_.try_push_n(std::to_address(at), static_cast<std::size_t>(end - at), why);
      silent += n;
    }
    if (n == 0) {
      wake_consumers();
      if (rules_ != nullptr && rules_->too_heavy(rules_->weigh(*at))) {
        moved.error = make_error_code(std::errc::invalid_argument);
        return moved;
      }
      result<void> pushed;
      if constexpr (std::same_as<std::ranges::range_reference_t<Range>, T&>) {
        pushed = push(limits, std::move(*at));
      } else {
        pushed = push(limits, T(*at));  // constant, or made on the way
      }
      if (!pushed) {
        moved.error = pushed.error();
        return moved;
      }
      n = 1;
    }
    moved.count += n;
    if constexpr (in_memory) {
      at += static_cast<std::ranges::range_difference_t<Range>>(n);
    } else {
      ++at;  // may wait, if the range is another channel, say: whoever waits for the items before has been woken
    }
  }
  return moved;
}

template <class T, channel_policy Policy, class Sync>
template <std::output_iterator<T> Out>
range_result basic_channel<T, Policy, Sync>::pop_n(Out out, std::size_t most, const wait_limits& limits) {
  return pop_some(most, limits, [&out](T&& item) noexcept(noexcept(*out++ = std::move(item))) { *out++ = std::move(item); });
}

template <class T, channel_policy Policy, class Sync>
range_result basic_channel<T, Policy, Sync>::pop_n(std::vector<T>& into, std::size_t most, const wait_limits& limits) {
  const std::size_t inside = items_.size() + 1;
  const std::size_t n = most < inside ? most : inside;
  if (const std::size_t wanted = into.size() + n; wanted > into.capacity()) {
    into.reserve(std::max(wanted, 2 * into.capacity()));  // may throw: before anything is taken
  }
  return pop_some(n, limits, [&into](T&& item) noexcept(nothrow) { into.push_back(std::move(item)); });
}

template <class T, channel_policy Policy, class Sync>
template <class Put>
range_result basic_channel<T, Policy, Sync>::pop_some(std::size_t most, const wait_limits& limits, Put put) {
  range_result moved;
  if (most == 0) return moved;
  constexpr bool one_step = nothrow && std::is_nothrow_invocable_v<Put&, T&&>;
  if constexpr (one_step) {
    if (rules_ == nullptr && !limits.stop.stop_requested()) {
      moved.count = items_.try_pop_n(most, put);
      if (moved.count > 0) {
        wake(room_, moved.count);
        return moved;
      }
    }
  }
  result<T> first = pop(limits);
  if (!first) {
    moved.error = first.error();
    return moved;
  }
  put(std::move(*first));
  moved.count = 1;
  if constexpr (one_step) {
    if (rules_ == nullptr) {
      const std::size_t n = items_.try_pop_n(most - 1, put);
      if (n > 0) wake(room_, n);
      moved.count += n;
      return moved;
    }
  }
  for (std::optional<T> item; moved.count < most && pop_now(item) == detail::ring_step::done; ++moved.count)
    put(std::move(*item));
  return moved;
}

template <class T, channel_policy Policy, class Sync>
class basic_channel<T, Policy, Sync>::iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit iterator(basic_channel& channel) : channel_{&channel} {}
  iterator(iterator&&) = default;
  iterator& operator=(iterator&&) = default;

  // Pops when the item is asked for and not when the one before is left: who stops after n items (views::take) has taken n.
  T& operator*() const {
    fetch();
    return *item_;
  }
  iterator& operator++() {
    fetch();
    item_.reset();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator& it, std::default_sentinel_t) {
    it.fetch();
    return !it.item_.has_value();
  }

 private:
  void fetch() const {
    if (item_) return;
    result<T> next = channel_->pop();
    if (next) {
      item_.emplace(std::move(*next));
    } else if (next.error() != errc::closed) {
      throw std::system_error{next.error()};
    }
  }

  basic_channel* channel_;
  mutable std::optional<T> item_;
};

}  // namespace penstock::inline v0_1
