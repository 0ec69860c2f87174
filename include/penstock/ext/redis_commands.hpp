// penstock/ext/redis_commands.hpp: commands for a Redis server, ready to be sent.
//
//   static const redis_script add_if_more{"if ARGV[1] + 0 > 0 then return redis.call('INCRBY', KEYS[1], ARGV[1]) end return 0"};
//
//   redis_commands batch;
//   batch.add("SET", "greeting", text).add("EXPIRE", "greeting", 60);
//   batch.add_script(add_if_more, {{"counter"}}, {{"5"}});          // keys, then other arguments
//   auto replies = redis.pipeline(batch);                            // one round trip
//
// Arguments are strings, which may hold any bytes, and integers. They are written down in the form in which they are sent, so they need not outlive
// the call.
//
// Thread safety  as any value. A redis_script is constant, and must outlive the commands that name it.
// Allocation     one string a batch, which clear() keeps.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/ext/detail/sha1.hpp>

namespace penstock::inline v0_1 {

/// A script in Lua, and the name that the server gives it. It is sent by its name, and in full where the server does not know it: the first time, and
/// after a restart or SCRIPT FLUSH.
class redis_script {
 public:
  explicit redis_script(std::string source) : source_{std::move(source)}, sha1_{detail::sha1::of(source_)} {}

  [[nodiscard]] const std::string& source() const noexcept { return source_; }
  /// 40 hexadecimal digits.
  [[nodiscard]] const std::string& sha1() const noexcept { return sha1_; }

 private:
  std::string source_;
  std::string sha1_;
};

/// What a command can have for an argument: text or an integer. Refers to the text.
class redis_argument {
 public:
  template <class T>
    requires std::convertible_to<const T&, std::string_view>
  redis_argument(const T& text) noexcept : text_{text} {}

  template <std::integral T>
    requires(!std::same_as<T, bool> && !std::same_as<T, char>)
  redis_argument(T number) noexcept {
    length_ =
        static_cast<std::size_t>(std::to_chars(digits_.data(), digits_.data() + digits_.size(), number).ptr - digits_.data());
  }

  [[nodiscard]] std::string_view view() const noexcept {
    return length_ != 0 ? std::string_view{digits_.data(), length_} : text_;
  }

 private:
  std::array<char, 24> digits_{};  // only the first length_ of them
  std::size_t length_ = 0;
  std::string_view text_;
};

class redis_commands {
 public:
  redis_commands() = default;

  /// A command, which is a word, and its arguments.
  template <class... Arguments>
  redis_commands& add(std::string_view word, const Arguments&... arguments) {
    begin(1 + sizeof...(arguments));
    append(word);
    (append(redis_argument{arguments}.view()), ...);
    return *this;
  }
  /// The same from a range; it must not be empty.
  redis_commands& add(std::span<const redis_argument> arguments) {
    begin(arguments.size());
    for (const redis_argument& argument : arguments) append(argument.view());
    return *this;
  }

  /// EVALSHA with the keys and the other arguments. If the server does not know the script, it is sent once more in full, behind the rest of the
  /// batch.
  redis_commands& add_script(const redis_script& script, std::span<const redis_argument> keys,
                             std::span<const redis_argument> arguments) {
    begin(3 + keys.size() + arguments.size());
    append("EVALSHA");
    append(script.sha1());
    scripts_.push_back({count_ - 1, wire_.size(), 3 + keys.size() + arguments.size(), &script, 0});
    append(redis_argument{keys.size()}.view());
    for (const redis_argument& key : keys) append(key.view());
    for (const redis_argument& argument : arguments) append(argument.view());
    scripts_.back().end = wire_.size();
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  void clear() noexcept {
    wire_.clear();
    scripts_.clear();
    count_ = 0;
  }

  // For a transport.

  /// The bytes to send (RESP: arrays of bulk strings).
  [[nodiscard]] const std::string& wire() const noexcept { return wire_; }
  /// Whether the command of that place is a script.
  [[nodiscard]] bool is_script(std::size_t place) const noexcept { return find(place) != nullptr; }
  /// Adds to `other` the script of that place, to be sent in full. Precondition: is_script(place).
  void add_in_full(std::size_t place, redis_commands& other) const {
    const script_call& call = *find(place);
    other.begin(call.words);
    other.append("EVAL");
    other.append(call.script->source());
    other.wire_.append(wire_, call.rest, call.end - call.rest);
  }

 private:
  struct script_call {
    std::size_t place;
    std::size_t rest;  // where what follows the script's name begins in wire_
    std::size_t words;
    const redis_script* script;
    std::size_t end;
  };

  [[nodiscard]] const script_call* find(std::size_t place) const noexcept {
    const auto found = std::lower_bound(scripts_.begin(), scripts_.end(), place,
                                        [](const script_call& s, std::size_t p) { return s.place < p; });
    return found != scripts_.end() && found->place == place ? &*found : nullptr;
  }

  void begin(std::size_t words) {
    ++count_;
    prefix('*', words);
  }
  void append(std::string_view word) {
    prefix('$', word.size());
    wire_ += word;
    wire_ += "\r\n";
  }
  void prefix(char c, std::size_t n) {
    wire_ += c;
    wire_ += redis_argument{n}.view();
    wire_ += "\r\n";
  }

  std::string wire_;
  std::vector<script_call> scripts_;
  std::size_t count_ = 0;
};

}  // namespace penstock::inline v0_1
