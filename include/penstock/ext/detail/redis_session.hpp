// penstock/ext/detail/redis_session.hpp: one connection that several threads share, and which run of the server it is to.
//
// What a server has lost by a restart it cannot tell. So whatever counts on what it keeps is told the run: an id that is another one after each
// start, and when that was. A reply that came over another connection than the run was asked for over is not believed: ask() begins anew.
//
// Thread safety  ask() and interrupt() may be called concurrently; questions take turns.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/sync/mutex.hpp>

namespace penstock::inline v0_1::detail {

struct redis_run {
  std::string id;
  std::int64_t started = 0;  // µs of its own clock, and never before it did
};

template <redis_transport Transport>
class redis_session {
 public:
  explicit redis_session(const redis_options& options) : transport_{options} {}

  /// `fill(run, commands)` puts down one command. Limits count for the turn; the question takes as long as the options of the connection say.
  template <class Fill>
  result<redis_reply> ask(const wait_limits& limits, Fill fill) {
    auto turn = turns_.lock(limits);
    if (!turn) return turn.error();
    // Each round but the last one has seen a new connection.
    for (int round = 0; round < 10; ++round) {
      if (auto known = learn(); !known) return said(known.error());
      commands_.clear();
      fill(run_, commands_);
      auto reply = transport_.execute(commands_, {});
      if (!reply) return said(reply.error());
      if (transport_.generation() == run_generation_) return reply;
    }
    return redis_errc::connection_lost;
  }

  /// The run that the server is in now, by asking it something.
  result<std::string> run_id(const wait_limits& limits) {
    std::string id;
    auto reply = ask(limits, [&id](const redis_run& run, redis_commands& commands) {
      id = run.id;
      commands.add("PING");
    });
    if (!reply) return reply.error();
    return id;
  }

  void interrupt() noexcept { transport_.interrupt(); }
  [[nodiscard]] std::string last_error_text() const {
    std::scoped_lock guard{text_lock_};
    return text_;
  }

 private:
  std::error_code said(std::error_code error) {
    std::scoped_lock guard{text_lock_};
    text_ = transport_.last_error_text();
    return error;
  }

  result<void> learn() {
    if (run_generation_ != 0 && transport_.generation() == run_generation_) return {};
    commands_.clear();
    commands_.add("INFO", "server").add("TIME");
    auto replies = transport_.pipeline(commands_);
    if (!replies) return replies.error();
    for (const redis_reply& reply : *replies) {
      if (reply.is_error()) return reply.error();
    }
    const redis_reply& info = (*replies)[0];
    const redis_reply& time = (*replies)[1];
    if (!info.is_text() || time.size() != 2) return redis_errc::unexpected_reply;
    const std::int64_t now = time[0].integer() * 1'000'000 + time[1].integer();
    std::int64_t uptime = 0;  // the difference of two times in whole seconds: up to one too many
    const std::string_view seconds = field(info.text(), "uptime_in_seconds:");
    std::from_chars(seconds.data(), seconds.data() + seconds.size(), uptime);
    run_.id = field(info.text(), "run_id:");
    run_.started = now - std::max<std::int64_t>(0, uptime - 1) * 1'000'000;
    run_generation_ = transport_.generation();
    if (run_.id.empty()) return redis_errc::unexpected_reply;
    return {};
  }

  static std::string_view field(std::string_view info, std::string_view name) {
    const std::size_t at = info.find(name);
    if (at == std::string_view::npos) return {};
    info.remove_prefix(at + name.size());
    return info.substr(0, info.find_first_of("\r\n"));
  }

  mutex turns_;  // of all that follows but the text
  Transport transport_;
  redis_commands commands_;
  redis_run run_;
  std::uint64_t run_generation_ = 0;
  mutable std::mutex text_lock_;
  std::string text_;  // guarded by text_lock_
};

}  // namespace penstock::inline v0_1::detail
