// penstock/route/detail/xxh3.hpp: the hash XXH3, 64 bits wide, with a seed.
//
// Written after its specification (Y. Collet, "XXH3 specification", xxhash.com, 2023): the same numbers as XXH3_64bits_withSeed() of libxxhash
// 0.8 on every platform, at compile time too. Keys of up to 16 bytes, which routing keys are, take one or two multiplications and no loop.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace penstock::inline v0_1::detail {

__extension__ typedef unsigned __int128 uint128;  // __extension__: no warning under -Wpedantic

namespace xxh3 {

inline constexpr std::uint64_t prime32_1 = 0x9E3779B1;
inline constexpr std::uint64_t prime32_2 = 0x85EBCA77;
inline constexpr std::uint64_t prime32_3 = 0xC2B2AE3D;
inline constexpr std::uint64_t prime64_1 = 0x9E3779B185EBCA87;
inline constexpr std::uint64_t prime64_2 = 0xC2B2AE3D27D4EB4F;
inline constexpr std::uint64_t prime64_3 = 0x165667B19E3779F9;
inline constexpr std::uint64_t prime64_4 = 0x85EBCA77C2B2AE63;
inline constexpr std::uint64_t prime64_5 = 0x27D4EB2F165667C5;

using secret_bytes = std::array<unsigned char, 192>;

// Section "Secret" of the specification.
inline constexpr secret_bytes secret{
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9,
    0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78,
    0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
    0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f,
    0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
    0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff,
    0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};

constexpr std::uint64_t swapped(std::uint64_t v) noexcept { return __builtin_bswap64(v); }

// Little-endian, wherever it runs. Byte is char, unsigned char or std::byte.
template <class Word, class Byte>
constexpr Word read(const Byte* p) noexcept {
  static_assert(sizeof(Byte) == 1);
  if (!std::is_constant_evaluated() && std::endian::native == std::endian::little) {
    Word v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  Word v = 0;
  for (std::size_t i = 0; i < sizeof v; ++i)
    v |= static_cast<Word>(static_cast<Word>(static_cast<unsigned char>(p[i])) << (8 * i));
  return v;
}
template <class Byte>
constexpr std::uint64_t read64(const Byte* p) noexcept {
  return read<std::uint64_t>(p);
}
template <class Byte>
constexpr std::uint64_t read32(const Byte* p) noexcept {
  return read<std::uint32_t>(p);
}

template <std::size_t Offset>
inline constexpr std::uint64_t secret64 = read64(secret.data() + Offset);

/// Both halves of the product, one over the other.
constexpr std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) noexcept {
  const uint128 product = static_cast<uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}
constexpr std::uint64_t avalanche(std::uint64_t h) noexcept {
  h = (h ^ (h >> 37)) * 0x165667919E3779F9;
  return h ^ (h >> 32);
}
constexpr std::uint64_t avalanche_xxh64(std::uint64_t h) noexcept {
  h = (h ^ (h >> 33)) * prime64_2;
  h = (h ^ (h >> 29)) * prime64_3;
  return h ^ (h >> 32);
}

/// Four to eight bytes: `low` the first four of them, `high` the last four.
constexpr std::uint64_t hash_word(std::uint64_t low, std::uint64_t high, std::uint64_t length, std::uint64_t seed) noexcept {
  seed ^= swapped(seed & 0xFFFFFFFF);  // the low half's bytes in reverse order, in the high half
  const std::uint64_t keyed = (high + (low << 32)) ^ ((secret64<8> ^ secret64<16>)-seed);
  std::uint64_t h = keyed ^ std::rotl(keyed, 49) ^ std::rotl(keyed, 24);
  h *= 0x9FB21C651E98DF25;
  h ^= (h >> 35) + length;
  h *= 0x9FB21C651E98DF25;
  return h ^ (h >> 28);
}

template <class Byte>
constexpr std::uint64_t hash_up_to_16(const Byte* p, std::size_t length, std::uint64_t seed) noexcept {
  if (length > 8) {
    const std::uint64_t low = read64(p) ^ ((secret64<24> ^ secret64<32>)+seed);
    const std::uint64_t high = read64(p + length - 8) ^ ((secret64<40> ^ secret64<48>)-seed);
    return avalanche(length + swapped(low) + high + folded_product(low, high));
  }
  if (length >= 4) return hash_word(read32(p), read32(p + length - 4), length, seed);
  if (length > 0) {
    const std::uint64_t first = static_cast<unsigned char>(p[0]);
    const std::uint64_t middle = static_cast<unsigned char>(p[length >> 1]);
    const std::uint64_t last = static_cast<unsigned char>(p[length - 1]);
    const std::uint64_t combined = first << 16 | middle << 24 | last | static_cast<std::uint64_t>(length) << 8;
    constexpr std::uint64_t flip = (secret64<0> & 0xFFFFFFFF) ^ (secret64<0> >> 32);
    return avalanche_xxh64(combined ^ (flip + seed));
  }
  return avalanche_xxh64(seed ^ secret64<56> ^ secret64<64>);
}

template <class Byte>
constexpr std::uint64_t mix16(const Byte* p, std::size_t secret_offset, std::uint64_t seed) noexcept {
  const unsigned char* const s = secret.data() + secret_offset;
  return folded_product(read64(p) ^ (read64(s) + seed), read64(p + 8) ^ (read64(s + 8) - seed));
}

template <class Byte>
constexpr std::uint64_t hash_up_to_240(const Byte* p, std::size_t length, std::uint64_t seed) noexcept {
  std::uint64_t sum = length * prime64_1;
  if (length <= 128) {
    // Pairs of 16 bytes from both ends inwards.
    for (std::size_t i = 0; i <= (length - 1) / 32; ++i) {
      sum += mix16(p + 16 * i, 32 * i, seed) + mix16(p + length - 16 * (i + 1), 32 * i + 16, seed);
    }
    return avalanche(sum);
  }
  for (std::size_t i = 0; i < 8; ++i) sum += mix16(p + 16 * i, 16 * i, seed);
  sum = avalanche(sum);
  for (std::size_t i = 8; i < length / 16; ++i) sum += mix16(p + 16 * i, 16 * (i - 8) + 3, seed);
  return avalanche(sum + mix16(p + length - 16, 136 - 17, seed));
}

using lanes = std::array<std::uint64_t, 8>;

template <class Byte>
constexpr void add_stripe(lanes& sums, const Byte* p, const unsigned char* key) noexcept {
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t word = read64(p + 8 * i);
    const std::uint64_t keyed = word ^ read64(key + 8 * i);
    sums[i ^ 1] += word;
    sums[i] += (keyed & 0xFFFFFFFF) * (keyed >> 32);
  }
}

template <class Byte>
constexpr std::uint64_t hash_long(const Byte* p, std::size_t length, std::uint64_t seed) noexcept {
  secret_bytes key = secret;
  if (seed != 0) {
    for (std::size_t i = 0; i < key.size(); i += 8) {
      const std::uint64_t word = read64(secret.data() + i);
      const std::uint64_t seeded = i % 16 == 0 ? word + seed : word - seed;
      for (std::size_t b = 0; b < 8; ++b) key[i + b] = static_cast<unsigned char>(seeded >> (8 * b));
    }
  }
  constexpr std::size_t stripe = 64;
  constexpr std::size_t stripes_of_a_block = (secret.size() - stripe) / 8;
  lanes sums{prime32_3, prime64_1, prime64_2, prime64_3, prime64_4, prime32_2, prime64_5, prime32_1};
  const std::size_t stripes = (length - 1) / stripe;  // the last one is hashed below, whole or not
  for (std::size_t n = 0; n < stripes; ++n) {
    add_stripe(sums, p + n * stripe, key.data() + n % stripes_of_a_block * 8);
    if ((n + 1) % stripes_of_a_block != 0) continue;
    for (std::size_t i = 0; i < 8; ++i) {
      sums[i] = (sums[i] ^ (sums[i] >> 47) ^ read64(key.data() + key.size() - stripe + 8 * i)) * prime32_1;
    }
  }
  add_stripe(sums, p + length - stripe, key.data() + key.size() - stripe - 7);
  std::uint64_t result = length * prime64_1;
  for (std::size_t i = 0; i < 4; ++i) {
    const unsigned char* const k = key.data() + 11 + 16 * i;
    result += folded_product(sums[2 * i] ^ read64(k), sums[2 * i + 1] ^ read64(k + 8));
  }
  return avalanche(result);
}

}  // namespace xxh3

/// XXH3 of `length` bytes.
template <class Byte>
constexpr std::uint64_t xxh3_hash(const Byte* p, std::size_t length, std::uint64_t seed) noexcept {
  if (length <= 16) [[likely]]
    return xxh3::hash_up_to_16(p, length, seed);
  if (length <= 240) return xxh3::hash_up_to_240(p, length, seed);
  return xxh3::hash_long(p, length, seed);
}

/// The same as XXH3 of the eight bytes of `v`, the least significant one first.
constexpr std::uint64_t xxh3_hash(std::uint64_t v, std::uint64_t seed) noexcept {
  return xxh3::hash_word(v & 0xFFFFFFFF, v >> 32, 8, seed);
}

}  // namespace penstock::inline v0_1::detail
