// What is published: one copy of it in memory, however many connections it goes to.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace hub {

/// As RFC 3629 has it: nothing overlong, no surrogates, nothing beyond U+10FFFF.
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char first = at(i);
    const std::size_t size = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (size == 0 || size > text.size() - i) return false;
    for (std::size_t k = 1; k < size; ++k) {
      // What the second byte may be depends on the first.
      const unsigned char least = k != 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
      const unsigned char most = k != 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
      if (at(i + k) < least || at(i + k) > most) return false;
    }
    i += size;
  }
  return true;
}

struct message {
  std::string body;
  bool is_text;  // UTF-8. A frame of text that is not would have every peer that keeps to the protocol end its connection
  std::chrono::steady_clock::time_point came;
};

using shared_message = std::shared_ptr<const message>;

inline shared_message make_message(std::string body) {
  const bool is_text = is_utf8(body);
  return std::make_shared<const message>(message{std::move(body), is_text, std::chrono::steady_clock::now()});
}

}  // namespace hub
