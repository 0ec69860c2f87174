// penstock/rate/key_hash.hpp: std::hash, and for strings one that takes whatever views as a string.
//
//   penstock::keyed_limiter<std::string> per_user{penstock::rate{10, 1s}, 20};
//   per_user.try_acquire(request.user_view());   // a std::string_view: no std::string is made to look it up
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace penstock::inline v0_1 {

template <class Key>
struct key_hash : std::hash<Key> {};

template <class Char, class Traits, class Allocator>
struct key_hash<std::basic_string<Char, Traits, Allocator>> {
  using is_transparent = void;
  [[nodiscard]] std::size_t operator()(std::basic_string_view<Char, Traits> s) const noexcept {
    return std::hash<std::basic_string_view<Char, Traits>>{}(s);
  }
};

}  // namespace penstock::inline v0_1
