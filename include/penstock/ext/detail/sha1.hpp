// penstock/ext/detail/sha1.hpp: SHA-1 (FIPS 180-4), which is what Redis calls its scripts by. No protection against anybody.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::inline v0_1::detail {

class sha1 {
 public:
  /// In 40 lower-case hexadecimal digits.
  [[nodiscard]] static std::string of(std::string_view text) {
    sha1 state;
    const std::size_t whole = text.size() / 64 * 64;
    for (std::size_t i = 0; i < whole; i += 64) state.add(text.data() + i);
    // A one bit, zeros, and the number of bits: one block more, or two.
    std::array<char, 128> tail{};
    const std::size_t rest = text.copy(tail.data(), 64, whole);
    tail[rest] = static_cast<char>(0x80);
    const std::size_t end = rest < 56 ? 64 : 128;
    for (std::size_t i = 0; i < 8; ++i) tail[end - 1 - i] = static_cast<char>((std::uint64_t{text.size()} * 8) >> (8 * i));
    for (std::size_t i = 0; i < end; i += 64) state.add(tail.data() + i);
    std::string hex;
    for (const std::uint32_t word : state.words_) {
      for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(word >> shift) & 15];
    }
    return hex;
  }

 private:
  void add(const char* bytes) noexcept {
    std::array<std::uint32_t, 80> w{};
    for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<std::uint8_t>(bytes[i]);
    for (std::size_t i = 16; i < 80; ++i) w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    auto [a, b, c, d, e] = words_;
    for (std::size_t i = 0; i < 80; ++i) {
      std::uint32_t f = b ^ c ^ d;
      std::uint32_t k = i < 40 ? 0x6ed9eba1 : 0xca62c1d6;
      if (i < 20) {
        f = (b & c) | (~b & d);
        k = 0x5a827999;
      } else if (i >= 40 && i < 60) {
        f = (b & c) | (b & d) | (c & d);
        k = 0x8f1bbcdc;
      }
      const std::uint32_t next = std::rotl(a, 5) + f + e + k + w[i];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
    words_ = {words_[0] + a, words_[1] + b, words_[2] + c, words_[3] + d, words_[4] + e};
  }

  std::array<std::uint32_t, 5> words_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
};

}  // namespace penstock::inline v0_1::detail
