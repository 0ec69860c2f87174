// Reads a command line, one argument after the other.
#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace hub {

struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

class argument_reader {
 public:
  explicit argument_reader(const std::vector<std::string>& all) : all_{all} {}

  bool next() {
    if (at_ == all_.size()) return false;
    name_ = all_[at_++];
    return true;
  }
  [[nodiscard]] bool is(std::string_view option) const { return name_ == option; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The members below throw usage_error.
  const std::string& value() {
    if (at_ == all_.size()) throw usage_error{name_ + " needs a value"};
    return all_[at_++];
  }
  template <class Number>
  void number(Number& to, std::int64_t least, std::int64_t most) {
    const std::string& v = value();
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
    if (error != std::errc{} || end != v.data() + v.size() || n < least || n > most)
      throw usage_error{name_ + ": " + v + " is no number from " + std::to_string(least) + " to " + std::to_string(most)};
    to = static_cast<Number>(n);
  }
  void time(std::chrono::nanoseconds& to) {
    const std::string& v = value();
    double n = 0;
    const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
    const std::string_view unit{end, static_cast<std::size_t>(v.data() + v.size() - end)};
    constexpr std::pair<std::string_view, double> units[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}};
    for (const auto& [name, nanoseconds] : units) {
      if (error == std::errc{} && unit == name && n >= 0 && n * nanoseconds <= 1e15) {
        to = std::chrono::nanoseconds{static_cast<std::int64_t>(n * nanoseconds)};
        return;
      }
    }
    throw usage_error{name_ + ": " + v + " is no time"};
  }

 private:
  const std::vector<std::string>& all_;
  std::size_t at_ = 0;
  std::string name_;
};

}  // namespace hub
