// penstock/ext/redis_reply.hpp: what a Redis server answers, as a value.
//
//   auto reply = redis.command("LRANGE", "names", 0, -1);
//   if (reply) for (const redis_reply& name : reply->items()) print(name.text());
//
// Thread safety  as any value.
// Exceptions     the accessors throw std::system_error of redis_errc::unexpected_reply if it is of another kind: a server decides what comes, so
//                this is no precondition.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/ext/redis_errc.hpp>

namespace penstock::inline v0_1 {

class redis_reply {
 public:
  enum class kind : std::uint8_t {
    nil,      ///< there is nothing
    integer,  ///< a number
    string,   ///< bytes
    status,   ///< a word like OK
    error,    ///< why not; only inside of arrays and pipelines: command() gives it as an error
    array,    ///< replies
  };

  /// nil.
  redis_reply() noexcept = default;
  [[nodiscard]] static redis_reply of_integer(std::int64_t value) noexcept {
    redis_reply r{kind::integer};
    r.integer_ = value;
    return r;
  }
  /// `k`: string, status or error.
  [[nodiscard]] static redis_reply of_text(kind k, std::string text) {
    redis_reply r{k};
    r.text_ = std::move(text);
    return r;
  }
  [[nodiscard]] static redis_reply of_items(std::vector<redis_reply> items) {
    redis_reply r{kind::array};
    r.items_ = std::move(items);
    return r;
  }

  [[nodiscard]] kind type() const noexcept { return kind_; }
  [[nodiscard]] bool is_nil() const noexcept { return kind_ == kind::nil; }
  [[nodiscard]] bool is_error() const noexcept { return kind_ == kind::error; }
  [[nodiscard]] bool is_array() const noexcept { return kind_ == kind::array; }
  [[nodiscard]] bool is_integer() const noexcept { return kind_ == kind::integer; }
  /// string, status or error: what has text().
  [[nodiscard]] bool is_text() const noexcept { return kind_ == kind::string || kind_ == kind::status || kind_ == kind::error; }

  /// Of an integer, and of a string that is one in decimal, as hashes and scripts give them.
  [[nodiscard]] std::int64_t integer() const {
    if (kind_ == kind::integer) return integer_;
    std::int64_t value = 0;
    const char* const end = text_.data() + text_.size();
    if (kind_ != kind::string) unexpected();
    if (const auto [at, error] = std::from_chars(text_.data(), end, value); error != std::errc{} || at != end) unexpected();
    return value;
  }
  /// Of a string, a status or an error.
  [[nodiscard]] const std::string& text() const& { return is_text() ? text_ : unexpected(); }
  [[nodiscard]] std::string text() && { return std::move(is_text() ? text_ : unexpected()); }
  /// Of an array.
  [[nodiscard]] const std::vector<redis_reply>& items() const& {
    if (kind_ != kind::array) unexpected();
    return items_;
  }
  [[nodiscard]] std::vector<redis_reply> items() && {
    if (kind_ != kind::array) unexpected();
    return std::move(items_);
  }
  [[nodiscard]] const redis_reply& operator[](std::size_t i) const {
    if (kind_ != kind::array || i >= items_.size()) unexpected();
    return items_[i];
  }
  [[nodiscard]] redis_reply& operator[](std::size_t i) {
    if (kind_ != kind::array || i >= items_.size()) unexpected();
    return items_[i];
  }
  /// Of an array; zero of everything else.
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

  /// Of an error reply, what it means; no error of any other.
  [[nodiscard]] std::error_code error() const noexcept {
    return is_error() ? make_error_code(detail::redis_errc_of(text_)) : std::error_code{};
  }

  friend bool operator==(const redis_reply& a, const redis_reply& b) noexcept {
    return a.kind_ == b.kind_ && a.integer_ == b.integer_ && a.text_ == b.text_ && a.items_ == b.items_;
  }

 private:
  explicit redis_reply(kind k) noexcept : kind_{k} {}
  [[noreturn]] static std::string& unexpected() { throw std::system_error{make_error_code(redis_errc::unexpected_reply)}; }

  kind kind_ = kind::nil;
  std::int64_t integer_ = 0;
  std::string text_;
  std::vector<redis_reply> items_;
};

}  // namespace penstock::inline v0_1
