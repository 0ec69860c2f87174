// penstock/ext/redis_connection.hpp: a connection to a Redis server.
//
//   penstock::redis_connection redis{{.host = "10.0.0.7", .password = secret}};            // connects when it is first needed
//   auto reply = redis.command("SET", "greeting", "hello", "EX", 60);
//   if (!reply) log(reply.error().message(), redis.last_error_text());
//   auto answers = redis.pipeline(redis_commands{}.add("INCR", "hits").add("GET", "greeting"));   // one round trip
//   auto job = redis.command_blocking(5s, "BLPOP", "jobs", 5);                             // waits on the server for 5 s
//
//   resource_pool<std::unique_ptr<redis_connection>> pool{[&] { return std::make_unique<redis_connection>(options); }, {.max_size = 16}};  // threads
//
// hiredis reads the protocol (Debian's libhiredis-dev; 0.14 or later); CMake's target penstock::redis links it. The socket is ours: hiredis's own
// raises SIGPIPE, and its timeouts are for each read rather than for a reply.
//
// Lost connections  a command is sent once and never again by itself. redis_errc::not_connected: it was not sent. redis_errc::connection_lost and
//                ::timeout: sent, whole or in part, and perhaps executed; whoever sends it again must be able to have it done twice. A connection
//                that was lost while nothing was asked (a restart, CLIENT KILL, an idle timeout of the server) is noticed before the command is
//                sent, as a rule.
// Reconnecting   is what the next command does, with pauses by `reconnect` between the attempts, for `reconnect_within` at the most. A server that
//                answers LOADING counts as not there yet. Nothing is remembered over a new connection but database, name and password: WATCH, MULTI,
//                SUBSCRIBE and such end with the old one (see generation()).
// Thread safety  one thread at a time; interrupt(), clear_interrupt() and stats() may be called by others at any time. It may be destroyed when no member
//                runs.
// Cancellation   interrupt(), typically from a std::stop_callback: what waits ends with errc::cancelled and drops the connection.
// Cost           send, poll and recv, and a look whether it is still there. Buffers are kept.
#pragma once

#include <hiredis/hiredis.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/redis_socket.hpp>
#include <penstock/ext/redis_commands.hpp>
#include <penstock/ext/redis_errc.hpp>
#include <penstock/ext/redis_reply.hpp>
#include <penstock/ext/redis_transport.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Since the beginning, but for the first two. A snapshot.
struct redis_connection_stats {
  bool connected = false;
  std::size_t in_flight = 0;           ///< commands that were sent and not answered; what is read by receive() is none
  std::uint64_t answered = 0;          ///< commands, those that a connection begins with, too; an error reply is an answer
  std::uint64_t connections = 0;       ///< that there have been: generation()
  std::uint64_t connect_failures = 0;  ///< attempts to connect
  std::uint64_t lost = 0;  ///< connections that ended by an error, a timeout or interrupt(): not those that close() ended
};

/// What a registry sees of a connection (observe/registry.hpp).
template <class = void>
void describe(const redis_connection_stats& s, metric_sink& to) {
  to.kind("redis_connection");
  to.gauge(metrics::in_flight, s.in_flight);
  to.gauge({"connected", "1: there is a connection, as far as is known."}, s.connected);
  to.counter(metrics::completed, s.answered);
  to.counter({"connections", "Connections that there have been."}, s.connections);
  to.counter({"connect_failures", "Attempts to connect that failed."}, s.connect_failures);
  to.counter({"lost", "Connections that ended by an error or a timeout."}, s.lost);
}

template <class Sync = detail::std_sync>
class basic_redis_connection {
  template <class T>
  using atomic = typename Sync::template atomic<T>;

 public:
  /// Does not connect yet.
  explicit basic_redis_connection(redis_options options = {})
      : options_{std::move(options)}, delays_{options_.reconnect, detail::fresh_seed()} {}
  basic_redis_connection(const basic_redis_connection&) = delete;
  basic_redis_connection& operator=(const basic_redis_connection&) = delete;

  /// Connects if there is no connection, as a command would. Errors: redis_errc::not_connected, redis_errc::auth, and whatever else the server refuses it
  /// with; errc::cancelled.
  result<void> connect() {
    last_error_.clear();
    const auto give_up = detail::steady_after(options_.reconnect_within);
    if (socket_.is_open() && !socket_.is_quiet()) {
      count(lost_);
      close();
    }
    while (!socket_.is_open()) {
      const auto connected = connect_once();
      if (connected) break;
      const bool may_pass = connected.error() == redis_errc::not_connected || connected.error() == redis_errc::loading;
      if (!may_pass) return connected;
      const auto pause = delays_.next();
      if (std::chrono::steady_clock::now() + pause >= give_up) return connected;
      if (socket_.interrupted().try_wait_for(pause)) return cancelled();
    }
    return {};
  }

  /// Sends a command, a word and its arguments (texts and integers), and waits for the reply. An error reply becomes an error: see redis_errc.
  template <class... Arguments>
  result<redis_reply> command(std::string_view word, const Arguments&... arguments) {
    return command_blocking(std::chrono::nanoseconds{0}, word, arguments...);
  }
  /// A command that waits on the server, for `block` at the most by its own argument: the reply may take that long and command_timeout. What the
  /// server gives as soon as there is something can be lost with the connection: take with a command that keeps it safe (BLMOVE) what must not be.
  template <class... Arguments>
  result<redis_reply> command_blocking(std::chrono::nanoseconds block, std::string_view word, const Arguments&... arguments) {
    one_.clear();
    one_.add(word, arguments...);
    return execute(one_, block);
  }
  /// A script; it is sent in full if the server does not know it.
  result<redis_reply> eval(const redis_script& script, std::span<const redis_argument> keys = {},
                           std::span<const redis_argument> arguments = {}) {
    one_.clear();
    one_.add_script(script, keys, arguments);
    return execute(one_);
  }

  /// The reply to a single command. Precondition: commands.size() == 1.
  result<redis_reply> execute(const redis_commands& commands, std::chrono::nanoseconds block = {}) {
    auto replies = run(commands, block);
    if (!replies) return replies.error();
    redis_reply& reply = replies->front();
    if (!reply.is_error()) return std::move(reply);
    last_error_ = reply.text();
    return reply.error();
  }

  /// Sends all at once; one reply for each, in order, and error replies are among them. Of those that the server was sent an error tells nothing:
  /// some may have been executed. This is no transaction, unless MULTI and EXEC are in it. Scripts that the server did not know come after the
  /// others, but are not sent again from within a transaction.
  result<std::vector<redis_reply>> pipeline(const redis_commands& commands) { return run(commands, {}); }

  /// What the server sends unasked, after SUBSCRIBE: waits for `timeout` at the most. errc::timeout leaves the connection as it is; redis_errc::
  /// connection_lost ends the subscription, and redis_errc::not_connected tells that it has ended.
  result<redis_reply> receive(std::chrono::nanoseconds timeout) {
    last_error_.clear();
    if (!socket_.is_open()) return fail(redis_errc::not_connected);
    auto reply = read(detail::steady_after(timeout));
    if (reply) return reply;
    if (reply.error() == redis_errc::timeout) return errc::timeout;
    return fail(reply.error());
  }

  /// From another thread: what waits here now, and all that is called later, ends with errc::cancelled, until clear_interrupt(). The connection is
  /// lost by it.
  void interrupt() noexcept { socket_.interrupt(); }
  void clear_interrupt() noexcept { socket_.allow(); }
  [[nodiscard]] bool is_interrupted() noexcept { return socket_.interrupted().is_set(); }

  /// Drops the connection. The next command makes a new one.
  void close() noexcept {
    connected_.store(false, std::memory_order_relaxed);  // relaxed: see stats()
    socket_.close();
    reader_.reset();
  }
  /// Whether there is one, as far as is known.
  [[nodiscard]] bool is_connected() const noexcept { return socket_.is_open(); }
  /// How many connections there have been: another number means that what the server kept for the last one is gone.
  [[nodiscard]] std::uint64_t generation() const noexcept { return value_of(generation_); }
  /// What the server, or the system, said of the last error, until the next call.
  [[nodiscard]] const std::string& last_error_text() const noexcept { return last_error_; }
  [[nodiscard]] const redis_options& options() const noexcept { return options_; }
  [[nodiscard]] redis_connection_stats stats() const noexcept {
    return {.connected = value_of(connected_),
            .in_flight = value_of(in_flight_),
            .answered = value_of(answered_),
            .connections = value_of(generation_),
            .connect_failures = value_of(connect_failures_),
            .lost = value_of(lost_)};
  }

 private:
  // What stats() tells has one writer. relaxed, here and where it is stored: numbers that publish nothing
  template <class Atomic>
  static auto value_of(const Atomic& number) noexcept {
    return number.load(std::memory_order_relaxed);
  }
  static void count(atomic<std::uint64_t>& number) noexcept { number.store(value_of(number) + 1, std::memory_order_relaxed); }

  using time_point = std::chrono::steady_clock::time_point;
  struct freeing {
    void operator()(::redisReader* reader) const noexcept { ::redisReaderFree(reader); }
    void operator()(void* reply) const noexcept { ::freeReplyObject(reply); }
  };

  result<void> connect_once() {
    const result<void> connected = try_connect();
    if (!connected) count(connect_failures_);
    return connected;
  }
  result<void> try_connect() {
    if (socket_.interrupted().is_set()) return cancelled();
    reader_.reset(::redisReaderCreate());
    if (!reader_) throw std::bad_alloc{};
    const time_point until = detail::steady_after(options_.connect_timeout);
    auto opened = options_.unix_path.empty() ? socket_.open_tcp(options_.host, options_.port, until)
                                             : socket_.open_unix(options_.unix_path, until);
    if (!opened) {
      last_error_ = socket_.why();
      return opened.error() == errc::cancelled ? opened : redis_errc::not_connected;
    }
    opened = greet(until);
    if (!opened) {
      close();
      return opened;
    }
    connected_.store(true, std::memory_order_relaxed);  // relaxed: see stats(), as below
    count(generation_);
    delays_.reset();
    return {};
  }

  // With a last word that a server answers only when it has read its data.
  result<void> greet(time_point until) {
    redis_commands words;
    if (!options_.password.empty()) {
      if (options_.username.empty()) {
        words.add("AUTH", options_.password);
      } else {
        words.add("AUTH", options_.username, options_.password);
      }
    }
    if (options_.database != 0) words.add("SELECT", options_.database);
    if (!options_.client_name.empty()) words.add("CLIENT", "SETNAME", options_.client_name);
    words.add("PING");
    std::vector<redis_reply> replies;
    if (auto done = exchange(words, until, replies); !done)
      return done.error() == errc::cancelled ? cancelled() : redis_errc::not_connected;
    for (const redis_reply& reply : replies) {
      if (!reply.is_error()) continue;
      last_error_ = reply.text();
      return !options_.password.empty() && &reply == &replies.front() ? redis_errc::auth : reply.error();
    }
    return {};
  }

  result<std::vector<redis_reply>> run(const redis_commands& commands, std::chrono::nanoseconds block) {
    if (auto connected = connect(); !connected) return connected.error();
    std::vector<redis_reply> replies;
    if (commands.empty()) return replies;
    const time_point until =
        detail::steady_after(std::chrono::nanoseconds{detail::saturating_add(block.count(), options_.command_timeout.count())});
    if (auto done = exchange(commands, until, replies); !done) return done.error();
    redis_commands again;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < replies.size(); ++i) {
      if (!replies[i].is_error() || replies[i].error() != redis_errc::no_script || !commands.is_script(i)) continue;
      commands.add_in_full(i, again);
      places.push_back(i);
    }
    if (again.empty()) return replies;
    std::vector<redis_reply> answers;
    if (auto done = exchange(again, until, answers); !done) return done.error();
    for (std::size_t i = 0; i < places.size(); ++i) replies[places[i]] = std::move(answers[i]);
    return replies;
  }

  // Whatever goes wrong in the middle leaves answers behind that nobody waits for: then the connection is dropped, also when memory runs out.
  result<void> exchange(const redis_commands& commands, time_point until, std::vector<redis_reply>& replies) {
    struct dropping {
      basic_redis_connection* connection;
      ~dropping() {
        if (connection != nullptr) connection->close();
      }
    } unless_done{this};
    struct under_way {
      explicit under_way(atomic<std::size_t>& n) noexcept : number{n} {}
      ~under_way() { number.store(0, std::memory_order_relaxed); }  // relaxed: see stats()
      atomic<std::size_t>& number;
    } sent_now{in_flight_};
    in_flight_.store(commands.size(), std::memory_order_relaxed);  // relaxed: see stats()
    replies.reserve(commands.size());
    if (auto sent = socket_.send(commands.wire(), until); !sent) return fail(sent.error());
    while (replies.size() < commands.size()) {
      auto reply = read(until);
      if (!reply) return fail(reply.error());
      replies.push_back(std::move(*reply));
      count(answered_);
      in_flight_.store(commands.size() - replies.size(), std::memory_order_relaxed);  // relaxed: see stats()
    }
    unless_done.connection = nullptr;
    return {};
  }

  result<redis_reply> read(time_point until) {
    for (;;) {
      void* raw = nullptr;
      if (::redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
        return redis_errc::protocol;
      }
      if (raw != nullptr) {
        const std::unique_ptr<void, freeing> owner{raw};
        return taken(*static_cast<::redisReply*>(raw));
      }
      const auto got = socket_.receive(buffer_.data(), buffer_.size(), until);
      if (!got) return got.error();
      if (::redisReaderFeed(reader_.get(), buffer_.data(), *got) != REDIS_OK) throw std::bad_alloc{};
    }
  }

  static redis_reply taken(const ::redisReply& raw) {
    const auto text = [&raw] { return std::string{raw.str, static_cast<std::size_t>(raw.len)}; };
    switch (raw.type) {
      case REDIS_REPLY_INTEGER:
        return redis_reply::of_integer(raw.integer);
      case REDIS_REPLY_STRING:
        return redis_reply::of_text(redis_reply::kind::string, text());
      case REDIS_REPLY_STATUS:
        return redis_reply::of_text(redis_reply::kind::status, text());
      case REDIS_REPLY_ERROR:
        return redis_reply::of_text(redis_reply::kind::error, text());
      case REDIS_REPLY_ARRAY: {
        std::vector<redis_reply> items;
        items.reserve(raw.elements);
        for (std::size_t i = 0; i < raw.elements; ++i) items.push_back(taken(*raw.element[i]));
        return redis_reply::of_items(std::move(items));
      }
      default:
        return {};
    }
  }

  // Drops the connection, and says why.
  std::error_code fail(std::error_code error) {
    if (error == redis_errc::protocol) {
      last_error_ = reader_->errstr;
    } else if (error == errc::cancelled) {
      last_error_ = "interrupted";
    } else if (error == redis_errc::not_connected) {
      last_error_ = "there is no connection";
    } else {
      last_error_ = socket_.why();
    }
    if (value_of(connected_)) count(lost_);
    close();
    return error;
  }
  std::error_code cancelled() { return fail(make_error_code(errc::cancelled)); }

  redis_options options_;
  backoff_delays<> delays_;
  detail::basic_redis_socket<Sync> socket_;
  std::unique_ptr<::redisReader, freeing> reader_;
  std::array<char, 16384> buffer_;
  redis_commands one_;
  std::string last_error_;
  // For stats(), in any thread.
  atomic<std::uint64_t> generation_{0};
  atomic<std::uint64_t> answered_{0};
  atomic<std::uint64_t> connect_failures_{0};
  atomic<std::uint64_t> lost_{0};
  atomic<std::size_t> in_flight_{0};
  atomic<bool> connected_{false};
};

using redis_connection = basic_redis_connection<>;

}  // namespace penstock::inline v0_1
