// penstock/job/job_codec.hpp: how a value becomes text, and a text a value again: what handlers give, and payloads that leave the process.
//
//   template <>
//   struct penstock::job_codec<point> {
//     static std::string encode(const point& p) { return std::to_string(p.x) + "," + std::to_string(p.y); }
//     static penstock::result<point> decode(std::string_view text);            // an error if that is no point
//   };
//
// Ready for std::string, which goes as it is, for bool, "true" and "false", and for numbers: decimal, in any locale, floating-point ones with as many digits
// as it takes to get the same one back (not below min() of long double). Whoever else reads the queue has to know the texts; with workers in other
// languages (redis_store) they are JSON, as those of numbers and bool are. A text is data from outside: decode() says that it is none, and asserts nothing.
//
// Thread safety  both functions are called by several threads at a time.
// Exceptions     what they throw: in encode(): the attempt whose value it was has failed; in decode(): it goes to who waits for the value.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

/// To be specialised, with two static members: `std::string encode(const T&)` and `result<T> decode(std::string_view)`.
template <class T>
struct job_codec;

template <class T>
concept job_encodable = requires(const T& value, std::string_view text) {
  { job_codec<T>::encode(value) } -> std::convertible_to<std::string>;
  { job_codec<T>::decode(text) } -> std::same_as<result<T>>;
};

/// What one may ask of a job that has completed: a value, or nothing.
template <class T>
concept job_value = std::is_void_v<T> || job_encodable<T>;

template <>
struct job_codec<std::string> {
  static std::string encode(const std::string& value) { return value; }
  template <class T = std::string>
  static result<T> decode(std::string_view text) {
    return result<T>{std::in_place, text};
  }
};

template <>
struct job_codec<bool> {
  static std::string encode(bool value) { return value ? "true" : "false"; }
  template <class T = bool>
  static result<T> decode(std::string_view text) noexcept {
    if (text == "true") return true;
    if (text == "false") return false;
    return std::make_error_code(std::errc::invalid_argument);
  }
};

/// Numbers. Of what is none, or more than a number: std::errc::invalid_argument; of one that T cannot hold: std::errc::result_out_of_range.
template <class T>
  requires(std::is_arithmetic_v<T> &&
           requires(char* at, T value) {
             std::to_chars(at, at, value);
             std::from_chars(at, at, value);
           })
struct job_codec<T> {
  static std::string encode(T value) {
    std::array<char, 128> text;  // the longest, of a long double, has less than 50
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
  }
  static result<T> decode(std::string_view text) noexcept {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) return std::make_error_code(error);
    if (end != text.data() + text.size()) return std::make_error_code(std::errc::invalid_argument);
    return value;
  }
};

}  // namespace penstock::inline v0_1
