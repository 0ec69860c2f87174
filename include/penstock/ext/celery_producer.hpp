// penstock/ext/celery_producer.hpp: sends tasks to Celery's workers over Redis, and reads their results.
//
//   penstock::celery_producer celery{{.host = "10.0.0.7"}};
//   auto id = celery.send("tasks.resize", {picture, 640}, {{"format", "png"}}, {.queue = "images", .expires = 1h});
//   auto done = celery.result_of(*id, {.deadline = deadline::after(30s)});
//   if (done && done->succeeded()) show(done->value["path"]);
//   else if (done) log(done->exception_type, done->exception_message);
//
// Messages are those of Celery's protocol 2 (5.x; tested with 5.2.6) in JSON, in kombu's layout of Redis: a list for a queue, and further ones for
// the priorities from 3, 6 and 9. Results are those of its Redis backend (`celery-task-meta-` and the id), which a worker keeps for a day by
// default. Chains, groups and chords are Celery's own affair: none is sent.
//
// Delivery       once: a message that was sent is in the list, or the error says that it may be (redis_errc::connection_lost, ::timeout). With
//                `task_id` of one's own a task that is sent again is recognizable. What Celery does with it is at most once by default
//                (task_acks_late changes that).
// Thread safety  every member may be called concurrently; they take turns at a connection to the broker and one to the results. Destroy it when no
//                member runs.
// Cost           one round trip to send. Waiting for a result asks for it again and again, at intervals that grow from 2 to 200 ms.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <penstock/core/backoff.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/celery_message.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/mutex.hpp>

namespace penstock::inline v0_1 {

struct celery_producer_options {
  std::string queue = "celery";                     ///< of tasks that name none
  std::optional<redis_options> results = {};        ///< the server of the results; without one, the broker's
  std::string result_prefix = "celery-task-meta-";  ///< before the id
};

struct celery_task_options {
  std::string queue = {};                                         ///< empty: the producer's
  int priority = 0;                                               ///< 0 (soonest) to 9; Celery tells 0, 3, 6 and 9 apart
  std::chrono::nanoseconds countdown{};                           ///< not before so long from now
  std::optional<std::chrono::system_clock::time_point> eta = {};  ///< not before; then countdown does not count
  std::chrono::nanoseconds expires{};  ///< a worker that gets it later than that from now drops it; zero: never
  std::string task_id = {};            ///< empty: a UUID is made
};

/// What became of a task.
struct celery_result {
  std::string status;             ///< SUCCESS, FAILURE, REVOKED, or another that ends a task
  nlohmann::json value;           ///< what it returned; null if it failed
  std::string exception_type;     ///< of Python; empty if it succeeded
  std::string exception_message;  ///< its arguments
  std::string traceback;

  [[nodiscard]] bool succeeded() const noexcept { return status == "SUCCESS"; }
};

template <redis_transport Transport = redis_connection>
class basic_celery_producer {
 public:
  /// Connects with the first call.
  explicit basic_celery_producer(const redis_options& broker, celery_producer_options options = {})
      : options_{std::move(options)}, broker_{broker}, results_{options_.results ? *options_.results : broker} {}

  /// Puts a task into its queue and returns its id. `arguments`: an array. `named`: an object, or null for none. Throws std::invalid_argument if
  /// they are something else, the task has no name or the priority is not 0 to 9; and nlohmann::json's exception if a text in them is no UTF-8.
  result<std::string> send(std::string_view task, const nlohmann::json& arguments = nlohmann::json::array(),
                           const nlohmann::json& named = {}, const celery_task_options& options = {}) {
    if (task.empty()) refuse("a task without a name");
    if (!arguments.is_array()) refuse("the arguments are no array");
    if (!named.is_null() && !named.is_object()) refuse("the named arguments are no object");
    if (options.priority < 0 || options.priority > 9) refuse("the priority is " + std::to_string(options.priority));
    detail::dependent<detail::celery_message, Transport> message;
    message.id = options.task_id.empty() ? uuid() : options.task_id;
    message.delivery_tag = uuid();
    message.queue = options.queue.empty() ? options_.queue : options.queue;
    message.priority = options.priority;
    const auto now = std::chrono::system_clock::now();
    const auto later = [now](std::chrono::nanoseconds d) {
      const std::chrono::nanoseconds since = now.time_since_epoch();
      const std::chrono::nanoseconds at{detail::saturating_add(since.count(), d.count())};
      return std::chrono::system_clock::time_point{std::chrono::duration_cast<std::chrono::system_clock::duration>(at)};
    };
    if (options.eta) {
      message.eta = detail::iso_time(*options.eta);
    } else if (options.countdown > std::chrono::nanoseconds{0}) {
      message.eta = detail::iso_time(later(options.countdown));
    }
    if (options.expires > std::chrono::nanoseconds{0}) message.expires = detail::iso_time(later(options.expires));
    const std::string text = message.text(task, arguments, named.is_null() ? nlohmann::json::object() : named);
    auto sent = ask(broker_, redis_commands{}.add("LPUSH", message.list(), text));
    if (!sent) return sent.error();
    return std::move(message.id);
  }

  /// What became of the task, if it has ended; errc::empty if it has not yet, or its worker keeps no results, or not any more.
  result<celery_result> try_result_of(std::string_view id) {
    auto reply = ask(results_, redis_commands{}.add("GET", options_.result_prefix + std::string{id}));
    if (!reply) return reply.error();
    if (reply->is_nil()) return errc::empty;
    return detail::celery_result_of<celery_result>(reply->text());
  }
  /// Waits until the task has ended. errc::timeout, errc::cancelled; errc::closed after close(). Without a deadline it waits for ever for a task
  /// that nobody runs.
  result<celery_result> result_of(std::string_view id, const wait_limits& limits = {}) {
    using namespace std::chrono_literals;
    backoff_delays pauses{backoff::exponential(2ms, 200ms, 1.5).with_jitter(jitter::equal), detail::fresh_seed()};
    for (;;) {
      if (limits.stop.stop_requested()) return errc::cancelled;
      auto ended = try_result_of(id);
      if (ended || ended.error() != errc::empty) return ended;
      if (limits.deadline.passed()) return errc::timeout;
      const deadline next = deadline::after(pauses.next());
      const bool soon = limits.deadline.queue() == nullptr && limits.deadline.when() < next.when();
      const auto waited = closed_.wait({.stop = limits.stop, .deadline = soon ? limits.deadline : next});
      if (waited) return errc::closed;
      if (waited.error() != errc::timeout) return waited.error();
    }
  }
  /// Forgets a result on the server, which else keeps it for as long as the worker said.
  result<void> forget(std::string_view id) {
    auto reply = ask(results_, redis_commands{}.add("DEL", options_.result_prefix + std::string{id}));
    if (!reply) return reply.error();
    return {};
  }

  /// Every call ends with errc::closed, now and from now on. Idempotent.
  void close() noexcept {
    closed_.set();
    broker_.connection.interrupt();
    results_.connection.interrupt();
  }
  /// What the server, or the system, said of the last error.
  [[nodiscard]] std::string last_error_text() const {
    std::scoped_lock guard{text_lock_};
    return text_;
  }

 private:
  struct line {
    explicit line(const redis_options& options) : connection{options} {}
    mutex turns;
    Transport connection;  // of who has turns
  };

  [[noreturn]] static void refuse(const std::string& what) { throw std::invalid_argument{"penstock::celery_producer: " + what}; }

  result<redis_reply> ask(line& to, const redis_commands& command) {
    if (closed_.is_set()) return errc::closed;
    std::scoped_lock turn{to.turns};
    auto reply = to.connection.execute(command, {});
    if (reply) return reply;
    std::scoped_lock guard{text_lock_};
    text_ = to.connection.last_error_text();
    if (closed_.is_set()) return errc::closed;
    return reply;
  }

  // Version 4, from the system's own randomness.
  static std::string uuid() {
    std::random_device chance;
    std::array<char, 37> text{};
    const unsigned a = chance();
    const unsigned b = chance();
    const unsigned c = chance();
    const unsigned d = chance();
    std::snprintf(text.data(), text.size(), "%08x-%04x-4%03x-%04x-%04x%08x", a, b >> 16, b & 0xfffU,
                  (c >> 16 & 0x3fffU) | 0x8000U, c & 0xffffU, d);
    return text.data();
  }

  const celery_producer_options options_;
  line broker_;
  line results_;
  event closed_;
  mutable std::mutex text_lock_;
  std::string text_;  // guarded by text_lock_
};

using celery_producer = basic_celery_producer<>;

}  // namespace penstock::inline v0_1
