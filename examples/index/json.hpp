// The little of JSON that the reports need: one object or array, written from front to back.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <iterator>
#include <string>
#include <string_view>

#include "text.hpp"

namespace fulltext {

/// Whether a character stands for itself in a JSON string, as far as ASCII goes.
[[nodiscard]] constexpr bool stands_for_itself(char c) noexcept {
  return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\';
}

/// Appends a JSON string. A byte that is no part of UTF-8 (names of files may have such) becomes the escape \udcXX, from which Python's
/// os.fsencode() makes the byte again.
inline void append_json_string(std::string& out, std::string_view s) {
  out.push_back('"');
  while (!s.empty()) {
    const std::string_view good = s.substr(0, utf8_length(s));
    char special = 0;  // no bool, and no branch: compilers make vector instructions of that
    for (const char c : good) special |= stands_for_itself(c) ? char{0} : char{1};
    if (special == 0) {
      out.append(good);
    } else {
      for (const char c : good) {
        if (stands_for_itself(c)) {
          out.push_back(c);
        } else if (c == '"' || c == '\\') {
          out.append({'\\', c});
        } else {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        }
      }
    }
    s.remove_prefix(good.size());
    if (s.empty()) break;
    fmt::format_to(std::back_inserter(out), "\\udc{:02x}", static_cast<unsigned>(static_cast<unsigned char>(s.front())));
    s.remove_prefix(1);
  }
  out.push_back('"');
}

[[nodiscard]] inline std::string json_string(std::string_view s) {
  std::string out;
  append_json_string(out, s);
  return out;
}

/// An object under construction: `json_object{}.add("files", 3).add("path", "/etc").text()`. Keys are plain words.
class json_object {
 public:
  json_object& add(std::string_view key, std::string_view value) { return raw(key, json_string(value)); }
  json_object& add(std::string_view key, const char* value) { return add(key, std::string_view{value}); }
  json_object& add(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  template <class Number>
    requires std::integral<Number> || std::floating_point<Number>
  json_object& add(std::string_view key, Number value) {
    return raw(key, fmt::format("{}", value));
  }
  /// Of something that is JSON already.
  json_object& raw(std::string_view key, std::string_view json) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\": {}", text_.empty() ? "" : ", ", key, json);
    return *this;
  }
  [[nodiscard]] std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

/// `[f(item), …]`, where f makes JSON.
template <class Range, class F>
[[nodiscard]] std::string json_array(const Range& range, F f) {
  std::string text;
  for (const auto& item : range) text.append(text.empty() ? "" : ", ").append(f(item));
  return "[" + text + "]";
}

}  // namespace fulltext
