// penstock/ext/redis_errc.hpp: what can go wrong between a client and a Redis server.
//
//   if (auto reply = redis.command("SET", "a", 1); !reply && was_not_executed(reply.error())) try_again();
//
// An std::error_code enum of a category of its own, "redis". What the server said in words is in redis_connection::last_error_text().
//
// Thread safety  all of it may be used at any time.
#pragma once

#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace penstock::inline v0_1 {

/// The condition of std::errc that a code is equivalent to is in brackets.
enum class redis_errc {
  // What became of the connection.
  not_connected = 1,  ///< there was no connection and none could be had: the command was not sent [not_connected]
  connection_lost,    ///< lost after the command was sent, or a part of it: it may have been executed [connection_reset]
  timeout,            ///< no reply in time; the connection was given up: it may have been executed [timed_out]
  protocol,           ///< what came is no Redis protocol: it may have been executed [protocol_error]
  // What the server refused: not executed; of a script, see was_not_executed().
  no_script,      ///< NOSCRIPT: EVALSHA of a script that the server does not know (eval() sends it by itself)
  busy,           ///< BUSY: a script runs for too long
  loading,        ///< LOADING: it started a moment ago and reads its data
  out_of_memory,  ///< OOM: over maxmemory, with nothing to evict [not_enough_memory]
  read_only,      ///< READONLY: a replica [read_only_file_system]
  wrong_type,     ///< WRONGTYPE: the key holds something else
  auth,           ///< NOAUTH, WRONGPASS, NOPERM: who are you, and may you? [permission_denied]
  unavailable,    ///< MISCONF, MASTERDOWN, CLUSTERDOWN, TRYAGAIN, NOREPLICAS: it cannot now
  moved,          ///< MOVED, ASK, CROSSSLOT: a cluster, and the key is (or the keys are) elsewhere
  other,          ///< any other error
  // What the caller made of it.
  unexpected_reply,  ///< a reply of another kind than was asked for
};

namespace detail {

class redis_errc_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "redis"; }

  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<redis_errc>(value)) {
      case redis_errc::not_connected:
        return "no connection to the server";
      case redis_errc::connection_lost:
        return "the connection was lost, and the command may have been executed";
      case redis_errc::timeout:
        return "no reply in time, and the command may have been executed";
      case redis_errc::protocol:
        return "what came is no Redis protocol";
      case redis_errc::no_script:
        return "the server does not know the script";
      case redis_errc::busy:
        return "the server runs a script for too long";
      case redis_errc::loading:
        return "the server reads its data";
      case redis_errc::out_of_memory:
        return "the server is out of memory";
      case redis_errc::read_only:
        return "the server is a replica that takes no writes";
      case redis_errc::wrong_type:
        return "the key holds a value of another type";
      case redis_errc::auth:
        return "not permitted";
      case redis_errc::unavailable:
        return "the server cannot do it now";
      case redis_errc::moved:
        return "the key is on another node of the cluster";
      case redis_errc::other:
        return "the server refused";
      case redis_errc::unexpected_reply:
        return "a reply of another kind than was asked for";
    }
    return "unknown redis error " + std::to_string(value);
  }

  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<redis_errc>(value)) {
      case redis_errc::not_connected:
        return std::make_error_condition(std::errc::not_connected);
      case redis_errc::connection_lost:
        return std::make_error_condition(std::errc::connection_reset);
      case redis_errc::timeout:
        return std::make_error_condition(std::errc::timed_out);
      case redis_errc::protocol:
        return std::make_error_condition(std::errc::protocol_error);
      case redis_errc::out_of_memory:
        return std::make_error_condition(std::errc::not_enough_memory);
      case redis_errc::read_only:
        return std::make_error_condition(std::errc::read_only_file_system);
      case redis_errc::auth:
        return std::make_error_condition(std::errc::permission_denied);
      default:
        return {value, *this};
    }
  }
};

// A union, so that the category is never destroyed: a destructor that runs late may still ask for the message of an error.
union immortal_redis_errc_category {
  constexpr immortal_redis_errc_category() noexcept : category{} {}
  ~immortal_redis_errc_category() {}
  redis_errc_category category;
};

inline constinit const immortal_redis_errc_category the_redis_errc_category{};

/// By the word with which the text of an error reply begins.
[[nodiscard]] inline redis_errc redis_errc_of(std::string_view text) noexcept {
  const std::string_view word = text.substr(0, text.find(' '));
  const auto is = [word](auto... names) { return ((word == names) || ...); };
  if (is("NOSCRIPT")) return redis_errc::no_script;
  if (is("BUSY")) return redis_errc::busy;
  if (is("LOADING")) return redis_errc::loading;
  if (is("OOM")) return redis_errc::out_of_memory;
  if (is("READONLY")) return redis_errc::read_only;
  if (is("WRONGTYPE")) return redis_errc::wrong_type;
  if (is("NOAUTH", "WRONGPASS", "NOPERM")) return redis_errc::auth;
  if (is("MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS")) return redis_errc::unavailable;
  if (is("MOVED", "ASK", "CROSSSLOT")) return redis_errc::moved;
  return redis_errc::other;
}

}  // namespace detail

/// The category of redis_errc, "redis".
[[nodiscard]] inline const std::error_category& redis_category() noexcept { return detail::the_redis_errc_category.category; }

[[nodiscard]] inline std::error_code make_error_code(redis_errc e) noexcept { return {static_cast<int>(e), redis_category()}; }

/// Whether an error tells that the command was not executed, so that sending it again cannot do it twice. False for what leaves it open, and for
/// what is not of this category. A script that was refused in the middle (out_of_memory, read_only, wrong_type, moved, other, for what a command of
/// it got) has done what came before: those count as executed.
[[nodiscard]] inline bool was_not_executed(const std::error_code& error) noexcept {
  if (error.category() != redis_category()) return false;
  switch (static_cast<redis_errc>(error.value())) {
    case redis_errc::not_connected:
    case redis_errc::no_script:
    case redis_errc::busy:
    case redis_errc::loading:
      return true;
    default:
      return false;
  }
}

}  // namespace penstock::inline v0_1

template <>
struct std::is_error_code_enum<penstock::redis_errc> : std::true_type {};
