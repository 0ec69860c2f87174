// penstock/combine/detail/bulk_range.hpp: a range, divided into chunks that threads visit at the same time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace penstock::inline v0_1::detail {

/// What every kind of range has: how many elements, in how many chunks.
class bulk_chunks {
 public:
  /// `chunk`: elements; 0: as many as give eight chunks to each thread, so that one that is slow, or interrupted, holds up little.
  bulk_chunks(std::size_t size, std::size_t chunk, std::size_t threads) noexcept
      : size_{size}, chunk_{chunk != 0 ? chunk : std::max<std::size_t>(1, divided(size, 8 * threads))} {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t count() const noexcept { return divided(size_, chunk_); }
  /// The number of the chunk's first element.
  [[nodiscard]] std::size_t first(std::size_t chunk) const noexcept { return chunk * chunk_; }
  [[nodiscard]] std::size_t length(std::size_t chunk) const noexcept { return std::min(chunk_, size_ - first(chunk)); }

 private:
  // Rounded up.
  static std::size_t divided(std::size_t n, std::size_t by) noexcept { return n / by + (n % by != 0 ? 1 : 0); }

  std::size_t size_;
  std::size_t chunk_;
};

/// The elements lie in the range, which lives longer.
template <class R>
class bulk_range : public bulk_chunks {
  using iterator = std::ranges::iterator_t<R>;
  using difference = std::ranges::range_difference_t<R>;
  static constexpr bool counted = std::ranges::random_access_range<R> && std::ranges::sized_range<R>;

 public:
  using reference = std::ranges::range_reference_t<R>;

  bulk_range(R& range, std::size_t chunk, std::size_t threads)
      : bulk_chunks{static_cast<std::size_t>(std::ranges::distance(range)), chunk, threads} {
    if constexpr (counted) {
      begin_ = std::ranges::begin(range);
    } else {
      starts_.reserve(count());
      auto at = std::ranges::begin(range);
      for (std::size_t c = 0; c < count(); std::ranges::advance(at, static_cast<difference>(length(c))), ++c)
        starts_.push_back(at);
    }
  }

  /// Where the elements of a chunk begin.
  [[nodiscard]] iterator begin_of(std::size_t chunk) {
    if constexpr (counted) {
      return begin_ + static_cast<difference>(first(chunk));
    } else {
      return starts_[chunk];
    }
  }

 private:
  struct nothing {};
  [[no_unique_address]] std::conditional_t<counted, iterator, nothing> begin_{};
  [[no_unique_address]] std::conditional_t<counted, nothing, std::vector<iterator>> starts_{};
};

/// A range that can be read only once: its elements are kept here.
template <class R>
  requires(!std::ranges::forward_range<R>)
class bulk_range<R> : public bulk_chunks {
  using element = std::ranges::range_value_t<R>;

 public:
  using reference = element&;

  bulk_range(R& range, std::size_t chunk, std::size_t threads) : bulk_range{read(range), chunk, threads} {}

  [[nodiscard]] auto begin_of(std::size_t chunk) { return elements_.begin() + static_cast<std::ptrdiff_t>(first(chunk)); }

 private:
  // No vector: that of bool has no elements that threads could have for themselves.
  using kept = std::deque<element>;

  bulk_range(kept elements, std::size_t chunk, std::size_t threads)
      : bulk_chunks{elements.size(), chunk, threads}, elements_{std::move(elements)} {}
  static kept read(R& range) {
    kept elements;
    for (auto&& e : range) elements.emplace_back(std::forward<decltype(e)>(e));
    return elements;
  }

  kept elements_;
};

}  // namespace penstock::inline v0_1::detail
