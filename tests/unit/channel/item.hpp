// The items that the tests of this folder send.
#pragma once

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace channel_testing {

/// Knows how many of it there are; ends the program if one is destroyed twice, or was moved without its constructor. Moved from: value is -1.
/// `MayThrow` decides which ring a channel takes for it; with it, the n-th move from now throws.
template <bool MayThrow>
class item {
 public:
  static inline std::atomic<int> living{0};
  static inline int moves_until_throw = 0;  // 0: never

  explicit item(int v) noexcept : value{v}, self_{this} { ++living; }
  item(item&& other) noexcept(!MayThrow) : value{other.value}, self_{this} {
    if constexpr (MayThrow) {
      if (moves_until_throw > 0 && --moves_until_throw == 0) throw std::runtime_error{"on purpose"};
    }
    other.value = -1;
    ++living;
  }
  item& operator=(item&&) = delete;
  ~item() {
    if (std::exchange(self_, nullptr) != this) std::abort();
    --living;
  }

  int value;

 private:
  item* self_;
};

using quiet = item<false>;
using throwing = item<true>;

}  // namespace channel_testing
