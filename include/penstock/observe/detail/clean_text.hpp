// penstock/observe/detail/clean_text.hpp: text and numbers of anybody's, made fit for formats that want UTF-8 and digits.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

namespace penstock::inline v0_1::detail {

/// How many bytes the code point at the beginning has; 0 if that is no UTF-8 (RFC 3629).
[[nodiscard]] constexpr std::size_t code_point_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // overlong forms, surrogates, and what is beyond U+10FFFF
  const unsigned char second = byte(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
      (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return length;
}

/// Each code point, as a piece of text, to `append`; U+FFFD in place of a byte that belongs to none.
template <class Append>
void for_each_code_point(std::string_view text, Append append) {
  while (!text.empty()) {
    const std::size_t length = code_point_length(text);
    append(length == 0 ? std::string_view{"\xef\xbf\xbd"} : text.substr(0, length));
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

/// As every format has it: two names that are equal so are one there.
template <class = void>
[[nodiscard]] std::string utf8_text(std::string_view text) {
  std::string clean;
  for_each_code_point(text, [&](std::string_view c) { clean += c; });
  return clean;
}

/// The same for what must stay apart, as the values of a label: the byte in hexadecimal is behind each U+FFFD that stands for one.
template <class = void>
[[nodiscard]] std::string utf8_text_with_bytes(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string clean;
  const char* at = text.data();
  for_each_code_point(text, [&](std::string_view c) {
    clean += c;
    const bool replaced = c.data() != at;  // otherwise a part of the text itself
    const std::size_t byte = static_cast<unsigned char>(*at);
    if (replaced) clean.append({'<', digits[byte / 16], digits[byte % 16], '>'});
    at += replaced ? 1 : c.size();
  });
  return clean;
}

/// Without control characters (U+0000 to U+001F, U+007F to U+009F), which would spoil the lines, or tell a terminal what to do.
template <class = void>
[[nodiscard]] inline std::string plain_text(std::string_view text) {
  std::string plain;
  for_each_code_point(text, [&](std::string_view c) {
    const bool control =
        static_cast<unsigned char>(c.front()) < 0x20 || c == "\x7f" || (c.size() == 2 && c >= "\xc2\x80" && c <= "\xc2\x9f");
    plain += control ? "?" : c;
  });
  return plain;
}

/// The shortest text that means this number; what is none, or infinite, as Prometheus says it.
template <class = void>
[[nodiscard]] inline std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Inf" : "+Inf";
  std::array<char, 32> digits;
  // Counts are read by people, too: not 1e+06.
  const bool whole = std::trunc(value) == value && std::fabs(value) < 1e15;
  const auto end = whole ? std::to_chars(digits.data(), digits.data() + digits.size(), static_cast<long long>(value)).ptr
                         : std::to_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::general).ptr;
  return {digits.data(), end};
}

}  // namespace penstock::inline v0_1::detail
