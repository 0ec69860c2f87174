// What is published: one copy of it in memory, as the frame that goes to all connections, however many they are.
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
  std::string frame;  // of a server, which masks nothing: the same for all (RFC 6455, 5.2)
  std::size_t header_size;
  std::chrono::steady_clock::time_point came;

  [[nodiscard]] std::string_view body() const noexcept { return std::string_view{frame}.substr(header_size); }
};

using shared_message = std::shared_ptr<const message>;

/// A frame of text where the body is UTF-8, else a binary one: text that is none would have every peer that keeps to the protocol end its connection.
inline shared_message make_message(std::string_view body) {
  const std::size_t size_bytes = body.size() < 126 ? 0 : body.size() <= 0xFFFF ? 2 : 8;
  std::string frame;
  frame.reserve(2 + size_bytes + body.size());
  frame += static_cast<char>(is_utf8(body) ? 0x81 : 0x82);
  frame += static_cast<char>(size_bytes == 0 ? body.size() : size_bytes == 2 ? 126 : 127);
  for (std::size_t i = size_bytes; i-- > 0;) frame += static_cast<char>(body.size() >> (8 * i) & 0xFF);
  frame += body;
  return std::make_shared<const message>(message{std::move(frame), 2 + size_bytes, std::chrono::steady_clock::now()});
}

}  // namespace hub
