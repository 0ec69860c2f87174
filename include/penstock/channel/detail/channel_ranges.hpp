// penstock/channel/detail/channel_ranges.hpp: many items in one call: the second half of channel.hpp, which includes it.
#pragma once

#include <cstddef>
#include <iterator>
#include <optional>
#include <ranges>
#include <utility>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, class Sync>
template <std::ranges::input_range Range>
  requires std::same_as<std::ranges::range_value_t<Range>, T>
range_result basic_channel<T, Sync>::push_range(Range&& range, const wait_limits& limits) {
  range_result moved;
  std::size_t silent = 0;  // items that went in and woke nobody yet
  struct announce {        // also when a move throws
    basic_channel& channel;
    std::size_t& n;
    void operator()() noexcept { channel.wake(channel.available_, std::exchange(n, 0)); }
    ~announce() {
      if (n > 0) (*this)();
    }
  } wake_consumers{*this, silent};
  for (auto&& element : range) {
    if (limits.stop.stop_requested()) {
      moved.error = errc::cancelled;
      return moved;
    }
    T& item = element;
    if (items_.try_push(item) == detail::ring_step::done) {
      ++silent;
      // A range of one pass, another channel say, may wait for its next element: nobody may sleep beside this one meanwhile.
      if constexpr (!std::ranges::forward_range<Range>) wake_consumers();
    } else {
      if (silent > 0) wake_consumers();
      if (result<void> pushed = push(limits, std::move(item)); !pushed) {
        moved.error = pushed.error();
        return moved;
      }
    }
    ++moved.count;
  }
  return moved;
}

template <class T, class Sync>
template <std::output_iterator<T> Out>
range_result basic_channel<T, Sync>::pop_n(Out out, std::size_t most, const wait_limits& limits) {
  range_result moved;
  if (most == 0) return moved;
  result<T> first = pop(limits);
  if (!first) {
    moved.error = first.error();
    return moved;
  }
  std::size_t silent = 0;  // places that became free and woke nobody yet
  struct announce {        // also when a move throws
    basic_channel& channel;
    std::size_t& n;
    ~announce() {
      if (n > 0) channel.wake(channel.room_, n);
    }
  } wake_producers{*this, silent};
  *out++ = std::move(*first);
  moved.count = 1;
  for (std::optional<T> item; moved.count < most && take_out(item) == detail::ring_step::done; ++moved.count) {
    ++silent;
    *out++ = std::move(*item);
  }
  return moved;
}

template <class T, class Sync>
class basic_channel<T, Sync>::iterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit iterator(basic_channel& channel) : channel_{&channel} { ++*this; }
  iterator(iterator&&) = default;
  iterator& operator=(iterator&&) = default;

  T& operator*() const noexcept { return *item_; }
  iterator& operator++() {
    item_.reset();
    result<T> next = channel_->pop();
    if (next) item_.emplace(std::move(*next));
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return !it.item_.has_value(); }

 private:
  basic_channel* channel_;
  mutable std::optional<T> item_;
};

}  // namespace penstock::inline v0_1
