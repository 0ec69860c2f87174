// What the tests of pipelines share.
#pragma once

#include <atomic>
#include <iterator>
#include <stdexcept>
#include <utility>
#include <vector>

#include <penstock/stream/pipeline.hpp>

namespace stream_testing {

/// Knows how many of it there are.
class counted {
 public:
  static inline std::atomic<int> living{0};

  explicit counted(int v) noexcept : value{v} { ++living; }
  counted(const counted& other) noexcept : value{other.value} { ++living; }
  counted(counted&& other) noexcept : value{std::exchange(other.value, -1)} { ++living; }
  counted& operator=(const counted&) = default;
  counted& operator=(counted&& other) noexcept {
    value = std::exchange(other.value, -1);
    return *this;
  }
  ~counted() { --living; }

  int value;
};

/// The numbers from `first` to `last - 1`, as a source.
inline auto count(int first, int last) {
  return [i = first, last]() mutable { return i < last ? std::optional<int>{i++} : std::nullopt; };
}

/// All that comes out of a stream.
template <class Stage>
auto collect(penstock::stream<Stage> s) {
  std::vector<typename Stage::value_type> all;
  auto p = std::move(s) | penstock::to(std::back_inserter(all));
  p.run().value();
  return all;
}

}  // namespace stream_testing
