// penstock/core/detail/owner.hpp: what std::unique_ptr is, for members of classes that every source compiles.
//
// A std::unique_ptr<X> takes g++ 10 ms wherever it is named outside of a template, for the tuple in it: as much as 500 lines. This one takes next to nothing.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace penstock::inline v0_1::detail {

/// `T`: one object's type, or X[] for an array.
template <class T>
class owner {
 public:
  using element_type = std::remove_extent_t<T>;
  using pointer = element_type*;

  owner(std::nullptr_t = nullptr) noexcept {}
  explicit owner(pointer owned) noexcept : owned_{owned} {}
  owner(owner&& other) noexcept : owned_{other.release()} {}
  owner& operator=(owner&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~owner() { destroy(owned_); }

  [[nodiscard]] pointer get() const noexcept { return owned_; }
  element_type& operator*() const noexcept { return *owned_; }
  pointer operator->() const noexcept { return owned_; }
  element_type& operator[](std::size_t i) const noexcept { return owned_[i]; }
  explicit operator bool() const noexcept { return owned_ != nullptr; }
  friend bool operator==(const owner& o, std::nullptr_t) noexcept { return o.owned_ == nullptr; }

  [[nodiscard]] pointer release() noexcept { return std::exchange(owned_, pointer{}); }
  void reset(pointer other = nullptr) noexcept { destroy(std::exchange(owned_, pointer{other})); }

 private:
  static void destroy(pointer p) noexcept {
    if constexpr (std::is_array_v<T>) {
      delete[] p;
    } else {
      delete p;
    }
  }

  pointer owned_ = nullptr;
};

}  // namespace penstock::inline v0_1::detail
