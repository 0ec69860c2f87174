// penstock/route/hash.hpp: hashes that are the same on every machine, of whatever a request is routed by.
//
//   penstock::stable_hash("user-42");                       // 64 bits: the same number in every process, on every platform, for ever
//   penstock::hash_of(user.id, seed);                       // integers, strings, bytes, ready_hash, and types that say how
//
//   struct endpoint {
//     std::string host;
//     std::uint16_t port;
//     friend std::uint64_t penstock_hash(const endpoint& e, std::uint64_t seed) {
//       return penstock::hash_of(e.port, penstock::hash_of(e.host, seed));  // the hash of one part is the seed of the next
//     }
//   };
//
// Which machine a key belongs to must not depend on the compiler, the word size, the byte order or what is installed: other machines rely on
// it. So this is no std::hash. stable_hash() is XXH3 with 64 bits (Y. Collet; the specification at xxhash.com), and every implementation of it
// in any language gives the same numbers: for a string, XXH3_64bits_withSeed(bytes, seed); for an integer or an enumerator, the same of its
// value as eight bytes, the least significant one first, negative ones in two's complement. So 7, 7u and std::int64_t{7} are one key. A char or
// wchar_t is taken as unsigned, since its sign is the platform's choice. The numbers are part of the interface and change in no version;
// tests/unit/route/hash_test.cpp holds a few that are frozen.
//
// Crafted keys   whoever knows the seed can find keys that fall on one node; a random seed that all machines share and nobody else knows makes
//                it hard. XXH3 is no cryptographic function: where an adversary sees the outcome, route by a ready_hash of SipHash or HMAC.
// Cost           2 ns for 16 bytes, 1 ns for an integer (x86-64); no allocation; constexpr.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <penstock/route/detail/xxh3.hpp>

namespace penstock::inline v0_1 {

/// XXH3 of these bytes.
template <class = void>
[[nodiscard]] constexpr std::uint64_t stable_hash(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept {
  return detail::xxh3_hash(bytes.data(), bytes.size(), seed);
}
template <class = void>
[[nodiscard]] constexpr std::uint64_t stable_hash(std::string_view text, std::uint64_t seed = 0) noexcept {
  return detail::xxh3_hash(text.data(), text.size(), seed);
}
/// XXH3 of the eight bytes of the value. Equal values have equal hashes, whatever their types (but for a negative char or wchar_t: see above).
template <class Number>
  requires(std::integral<Number> || std::is_enum_v<Number>)
[[nodiscard]] constexpr std::uint64_t stable_hash(Number value, std::uint64_t seed = 0) noexcept {
  static_assert(sizeof(Number) <= 8, "an integer of at most 64 bits");
  if constexpr (std::is_enum_v<Number>) {
    return stable_hash(static_cast<std::underlying_type_t<Number>>(value), seed);
  } else if constexpr (std::same_as<std::remove_cv_t<Number>, char> || std::same_as<std::remove_cv_t<Number>, wchar_t>) {
    return detail::xxh3_hash(static_cast<std::make_unsigned_t<Number>>(value), seed);
  } else {
    return detail::xxh3_hash(static_cast<std::uint64_t>(value), seed);
  }
}

/// A hash that the caller has computed, taken as it is: no seed changes it. All 64 bits should be equally likely, the upper ones above all.
struct ready_hash {
  std::uint64_t value = 0;

  friend constexpr bool operator==(ready_hash, ready_hash) noexcept = default;
};

namespace detail {

void penstock_hash() = delete;  // only what argument-dependent lookup finds counts

template <class Key>
concept hashes_itself = requires(const Key& key, std::uint64_t seed) {
  { penstock_hash(key, seed) } -> std::convertible_to<std::uint64_t>;
};
template <class Key>
concept hashed_as_number = std::integral<Key> || std::is_enum_v<Key>;
template <class Key>
concept hashed_as_text = std::convertible_to<const Key&, std::string_view>;
template <class Key>
concept hashed_as_bytes = std::convertible_to<const Key&, std::span<const std::byte>>;

struct hash_of_function {
  template <class Key>
    requires(hashes_itself<Key> || std::same_as<Key, ready_hash> || hashed_as_number<Key> || hashed_as_text<Key> ||
             hashed_as_bytes<Key>)
  [[nodiscard]] constexpr std::uint64_t operator()(const Key& key, std::uint64_t seed = 0) const {
    if constexpr (std::same_as<Key, ready_hash>) {
      return key.value;
    } else if constexpr (hashes_itself<Key>) {
      return penstock_hash(key, seed);
    } else if constexpr (hashed_as_number<Key>) {
      return stable_hash(key, seed);
    } else if constexpr (hashed_as_text<Key>) {
      const std::string_view text{key};
      return xxh3_hash(text.data(), text.size(), seed);
    } else {
      const std::span<const std::byte> bytes{key};
      return xxh3_hash(bytes.data(), bytes.size(), seed);
    }
  }
};

}  // namespace detail

/// hash_of(key, seed = 0): the hash that key is routed by. A ready_hash is its value; a type with a function penstock_hash(const Key&,
/// std::uint64_t seed) beside it (found by argument-dependent lookup) has that one's; integers and enumerators, what is a string_view or a span
/// of std::byte have their stable_hash(). Nothing else: a floating-point number, a pointer or a wide string has no hash that is the same everywhere.
inline constexpr detail::hash_of_function hash_of{};

/// What can be routed by.
template <class Key>
concept routable = requires(const std::remove_cvref_t<Key>& key, std::uint64_t seed) { hash_of(key, seed); };

}  // namespace penstock::inline v0_1
