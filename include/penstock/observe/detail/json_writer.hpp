// penstock/observe/detail/json_writer.hpp: JSON (RFC 8259), written from front to back.
//
//   json_writer json;
//   json.open('{').key("name").text("api").key("depth").number(3).close('}');
//   return std::move(json).take();
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/observe/detail/clean_text.hpp>

namespace penstock::inline v0_1::detail {

template <class = void>
class basic_json_writer {
 public:
  basic_json_writer& open(char bracket) {
    separate();
    out_ += bracket;
    first_ = true;
    return *this;
  }
  basic_json_writer& close(char bracket) {
    out_ += bracket;
    first_ = false;
    return *this;
  }
  basic_json_writer& key(std::string_view name) {
    text(name);
    out_ += ':';
    first_ = true;
    return *this;
  }
  basic_json_writer& text(std::string_view value) {
    separate();
    out_ += '"';
    for_each_code_point(value, [this](std::string_view c) {
      constexpr std::string_view digits = "0123456789abcdef";
      if (const auto byte = static_cast<unsigned char>(c.front()); byte < 0x20) {
        out_ += "\\u00";
        out_ += digits[byte >> 4];
        out_ += digits[byte & 15];
        return;
      }
      if (c == "\"" || c == "\\") out_ += '\\';
      out_ += c;
    });
    out_ += '"';
    return *this;
  }
  /// What is no number is null.
  basic_json_writer& number(double value) {
    separate();
    out_ += std::isfinite(value) ? number_text(value) : "null";
    return *this;
  }
  basic_json_writer& boolean(bool value) {
    separate();
    out_ += value ? "true" : "false";
    return *this;
  }

  [[nodiscard]] std::string take() && { return std::move(out_); }

 private:
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }

  std::string out_;
  bool first_ = true;
};

using json_writer = basic_json_writer<>;

}  // namespace penstock::inline v0_1::detail
