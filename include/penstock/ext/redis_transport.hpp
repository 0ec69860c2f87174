// penstock/ext/redis_transport.hpp: what the stores and limiters on Redis ask of a connection, and how one is told where to go.
//
// redis_connection is the ready one. Another client takes its place as a type that satisfies the concept and is made from redis_options:
// basic_redis_token_bucket<my_client>.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_commands.hpp>
#include <penstock/ext/redis_reply.hpp>

namespace penstock::inline v0_1 {

struct redis_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 6379;
  std::string unix_path = {};  ///< of a unix socket; then host and port do not count
  std::string username = {};   ///< empty: the server's default user
  std::string password = {};   ///< empty: none is sent
  int database = 0;
  std::string client_name = {};                                        ///< as CLIENT LIST shows it; empty: none
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds{2};  ///< for one attempt, until the server answers
  std::chrono::nanoseconds command_timeout = std::chrono::seconds{5};  ///< for the replies to what is sent at once
  backoff reconnect = backoff::exponential(std::chrono::milliseconds{20}, std::chrono::seconds{1})
                          .with_jitter(jitter::equal);  ///< between attempts
  /// How long a command goes on trying when there is no connection. Zero: one attempt.
  std::chrono::nanoseconds reconnect_within = std::chrono::seconds{2};
};

/// What the stores and limiters on Redis need of a connection, so that another client than hiredis can serve them.
template <class T>
concept redis_transport = requires(T& t, const T& c, const redis_commands& commands, std::chrono::nanoseconds block) {
  // As redis_connection's members of these names say.
  { t.pipeline(commands) } -> std::same_as<result<std::vector<redis_reply>>>;
  { t.execute(commands, block) } -> std::same_as<result<redis_reply>>;
  { t.interrupt() } noexcept;
  { t.clear_interrupt() } noexcept;
  { c.last_error_text() } -> std::convertible_to<std::string_view>;
  { c.generation() } -> std::convertible_to<std::uint64_t>;
};

}  // namespace penstock::inline v0_1
