// penstock/route/detail/md5.hpp: MD5 (R. Rivest, RFC 1321), for rings whose layout other programs have fixed. No protection against anybody.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock::inline v0_1::detail {

class md5 {
 public:
  using digest = std::array<std::uint8_t, 16>;

  [[nodiscard]] static constexpr digest of(std::string_view text) noexcept {
    md5 state;
    std::array<std::uint8_t, 128> tail{};
    const std::size_t whole = text.size() / 64 * 64;
    for (std::size_t i = 0; i < whole; i += 64) {
      for (std::size_t b = 0; b < 64; ++b) tail[b] = static_cast<std::uint8_t>(text[i + b]);
      state.add(tail.data());
    }
    tail = {};
    // A one bit, zeros, and the number of bits: one block more, or two.
    const std::size_t rest = text.size() - whole;
    for (std::size_t i = 0; i < rest; ++i) tail[i] = static_cast<std::uint8_t>(text[whole + i]);
    tail[rest] = 0x80;
    const std::size_t end = rest < 56 ? 64 : 128;
    for (std::size_t i = 0; i < 8; ++i) tail[end - 8 + i] = static_cast<std::uint8_t>(std::uint64_t{text.size()} * 8 >> (8 * i));
    for (std::size_t i = 0; i < end; i += 64) state.add(tail.data() + i);
    digest out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(state.words_[i / 4] >> (8 * (i % 4)));
    return out;
  }

 private:
  constexpr void add(const std::uint8_t* bytes) noexcept {
    std::array<std::uint32_t, 16> block{};
    for (std::size_t i = 0; i < 64; ++i) block[i / 4] |= std::uint32_t{bytes[i]} << (8 * (i % 4));
    auto [a, b, c, d] = words_;
    for (std::size_t i = 0; i < 64; ++i) {
      std::uint32_t mixed = 0;
      std::size_t word = 0;
      switch (i / 16) {
        case 0:
          mixed = (b & c) | (~b & d);
          word = i;
          break;
        case 1:
          mixed = (d & b) | (~d & c);
          word = (5 * i + 1) % 16;
          break;
        case 2:
          mixed = b ^ c ^ d;
          word = (3 * i + 5) % 16;
          break;
        default:
          mixed = c ^ (b | ~d);
          word = 7 * i % 16;
      }
      const std::uint32_t sum = a + mixed + sines[i] + block[word];
      a = d;
      d = c;
      c = b;
      b += std::rotl(sum, turns[i / 16][i % 4]);
    }
    words_[0] += a;
    words_[1] += b;
    words_[2] += c;
    words_[3] += d;
  }

  static constexpr std::array<std::array<int, 4>, 4> turns{{{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}};
  // The first 32 bits of |sin(i + 1)|.
  static constexpr std::array<std::uint32_t, 64> sines{
      0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af,
      0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa,
      0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
      0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
      0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97,
      0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
      0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

  std::array<std::uint32_t, 4> words_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
};

}  // namespace penstock::inline v0_1::detail
