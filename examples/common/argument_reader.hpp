// The words of a command line, one after the other, for all programs here: flags, numbers and sizes and times with their units, lists, and what is no
// option. A program asks for the options that it has:
//
//   for (argument_reader a{words}; a.next();) {
//     if (a.is("--threads"))
//       o.threads = a.number(1, 256);
//     else
//       o.files.push_back(a.operand());
//   }
//
// `--name=value` is `--name value`; after `--` there are no options. What is wrong is thrown as usage_error, which run_program.hpp tells the user.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace command_line {

struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

class argument_reader {
 public:
  explicit argument_reader(std::vector<std::string> words) : words_{std::move(words)} {}

  /// Goes to the next word; false at the end.
  bool next() {
    if (inline_value_) throw usage_error{name_ + " takes no value"};
    if (at_ < words_.size() && !only_operands_ && words_[at_] == "--") {
      only_operands_ = true;
      ++at_;
    }
    if (at_ == words_.size()) return false;
    name_ = words_[at_++];
    if (const std::size_t equals = name_.find('='); is_option() && equals != std::string::npos) {
      inline_value_ = name_.substr(equals + 1);
      name_.resize(equals);
    }
    return true;
  }
  [[nodiscard]] bool is_option() const { return !only_operands_ && name_.size() > 1 && name_.front() == '-'; }
  [[nodiscard]] bool is(std::string_view option) const { return is_option() && name_ == option; }
  [[nodiscard]] bool asks_for_help() const { return is("--help") || is("-h"); }
  /// The word itself.
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The same, where no option is left that it could be.
  [[nodiscard]] const std::string& operand() const {
    if (is_option()) refuse();
    return name_;
  }
  [[noreturn]] void refuse() const { throw usage_error{name_ + " is not understood here"}; }

  /// The option's value.
  std::string value() {
    if (inline_value_) return *std::exchange(inline_value_, std::nullopt);
    if (at_ == words_.size()) throw usage_error{name_ + " needs a value"};
    return words_[at_++];
  }
  /// Several, with commas between them.
  std::vector<std::string> values() {
    std::vector<std::string> all;
    const std::string text = value();
    std::size_t at = 0;
    for (std::size_t comma; (comma = text.find(',', at)) != std::string::npos; at = comma + 1)
      all.push_back(text.substr(at, comma - at));
    all.push_back(text.substr(at));
    return all;
  }
  template <class Number = std::size_t>
  Number number(std::type_identity_t<Number> least, std::type_identity_t<Number> most) {
    return as_number<Number>(value(), least, most);
  }
  /// A number of bytes: 4096, 64KiB, 10M.
  std::size_t bytes(std::size_t least, std::size_t most) { return as_bytes(value(), least, most); }
  /// The same in a second: "/s" may follow.
  std::size_t bytes_per_second(std::size_t least, std::size_t most) {
    std::string v = value();
    if (v.ends_with("/s")) v.resize(v.size() - 2);
    return as_bytes(v, least, most);
  }
  std::chrono::nanoseconds time() {
    const std::string v = value();
    double n = 0;
    const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
    const std::string_view unit{end, static_cast<std::size_t>(v.data() + v.size() - end)};
    constexpr std::pair<std::string_view, double> units[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    for (const auto& [name, seconds] : units) {
      if (error == std::errc{} && unit == name && n >= 0 && n * seconds <= 1e9)
        return std::chrono::nanoseconds{static_cast<std::int64_t>(n * seconds * 1e9 + 0.5)};
    }
    throw usage_error{name_ + ": " + v + " is no time, as 500us, 1.5ms, 10s, 5m or 2h"};
  }
  /// 1% or 0.01.
  double share() {
    const std::string v = value();
    const bool percent = v.ends_with('%');
    return as_real(std::string_view{v}.substr(0, v.size() - (percent ? 1 : 0))) / (percent ? 100 : 1);
  }

  /// Of what the program took apart itself.
  template <class Number = std::size_t>
  [[nodiscard]] Number as_number(std::string_view text, std::type_identity_t<Number> least,
                                 std::type_identity_t<Number> most) const {
    Number n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size()) fail(text, " is not a number");
    if (n < least) fail(text, " is too little");
    if (n > most) fail(text, " is too much");
    return n;
  }
  /// At least 0.
  [[nodiscard]] double as_real(std::string_view text) const {
    double n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size() || !(n >= 0 && n <= 1e9))
      fail(text, " is no number from 0 to 10^9");
    return n;
  }

 private:
  [[nodiscard]] std::size_t as_bytes(std::string_view v, std::size_t least, std::size_t most) const {
    std::size_t shift = 0;
    constexpr std::pair<std::string_view, std::size_t> units[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"K", 10},
                                                                  {"k", 10},   {"M", 20},   {"G", 30}};
    const std::string_view unit = v.substr(std::min(v.find_first_not_of("0123456789"), v.size()));
    for (const auto& [name, power] : units) {
      if (unit == name) shift = power;
    }
    const std::string_view digits = v.substr(0, v.size() - (shift != 0 ? unit.size() : 0));
    const auto n = as_number(digits, 0, std::numeric_limits<std::size_t>::max());
    if (n > most >> shift) fail(v, " is too much");
    if (n << shift < least) fail(v, " is too little");
    return n << shift;
  }
  [[noreturn]] void fail(std::string_view text, const char* how) const {
    throw usage_error{name_ + ": " + std::string{text} + how};
  }

  std::vector<std::string> words_;
  std::size_t at_ = 0;
  std::string name_;
  std::optional<std::string> inline_value_;
  bool only_operands_ = false;
};

}  // namespace command_line
