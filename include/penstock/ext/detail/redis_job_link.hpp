// penstock/ext/detail/redis_job_link.hpp: of redis_store, its connection to a queue on a server: calls, who listens, and the threads that wait for news.
//
// Two threads of its own, each begun when it is needed: one waits for work (redis_waiter.hpp), one reads what happens (redis_job_events.hpp).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/redis_add_line.hpp>
#include <penstock/ext/detail/redis_caller.hpp>
#include <penstock/ext/detail/redis_job_events.hpp>
#include <penstock/ext/detail/redis_job_scripts.hpp>
#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/detail/redis_waiter.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_redis_job_link {
  using listener_type = dependent<store_listener, Sync>;
  using listeners = std::vector<std::shared_ptr<listener_type>>;

 public:
  using arguments = std::vector<redis_argument>;

  basic_redis_job_link(redis_options server, redis_store_options o)
      : options_{checked(std::move(o))},
        base_{options_.prefix + ":" + options_.queue + ":"},
        token_{fresh_token()},
        listeners_{std::make_shared<const listeners>()},
        server_{server, options_.connections, options_.retry_within},
        events_{server, base_ + "events", [this](std::span<const job_event> all) { tell_events(all); },
                [this](const std::string& id) { return ended(id); }},
        waiter_{std::move(server), base_ + "marker", options_.poll_interval, [this] { tell_ready(); }} {
    keys_.reserve(redis_job_keys.size());
    for (const char* key : redis_job_keys) keys_.push_back(key_names_.emplace_back(base_ + key));
  }
  basic_redis_job_link(const basic_redis_job_link&) = delete;
  basic_redis_job_link& operator=(const basic_redis_job_link&) = delete;

  /// The system's clock: for job_queue_options::clock.
  [[nodiscard]] static any_clock clock() {
    static std::chrono::system_clock system;
    return any_clock{system};
  }

  /// Throws std::bad_alloc.
  void subscribe(std::shared_ptr<listener_type> listener) {
    std::scoped_lock guard{listening_};
    auto changed = std::make_shared<listeners>(*listeners_);
    changed->push_back(std::move(listener));
    listeners_ = std::move(changed);
  }
  /// Without memory for the change, the listener stays until the next one.
  void unsubscribe(const listener_type& listener) noexcept {
    std::scoped_lock guard{listening_};
    try {
      auto changed = std::make_shared<listeners>(*listeners_);
      std::erase_if(*changed, [&](const auto& l) { return l.get() == &listener; });
      listeners_ = std::move(changed);
    } catch (const std::bad_alloc&) {
    }
  }

  [[nodiscard]] redis_store_stats stats() const {
    redis_store_stats s;
    server_.tell(s);
    s.adding = adding_.size();
    return s;
  }

  // What redis_store needs besides.

  result<redis_reply> call(const redis_script& script, const arguments& a) const {
    if (!events_wanted_.load(std::memory_order_relaxed)) want_events();  // relaxed: a hint
    redis_commands command;
    command.add_script(script, keys_, a);
    std::string text;
    auto reply = server_.call(command, &text);
    if (reply) return reply;
    if (text.starts_with("PENSTOCK_MAJOR")) return redis_store_errc::other_major;
    if (text.starts_with("PENSTOCK_FLOWS")) return redis_store_errc::flows;
    return reply;
  }
  /// The answers, of each job its id, whether it was there already and its place in the stream of events, if they are `wanted`.
  result<redis_add_line::answers> add_jobs(const arguments& records, std::size_t count, std::int64_t now, bool wanted) {
    return adding_.add(records, count, now, wanted, [this](std::int64_t t, std::size_t n, bool answers, arguments& a) {
      a[0] = base_;
      a[1] = t;
      a[2] = n;
      a[3] = answers ? "1" : "0";
      return call(redis_add_jobs(), a);
    });
  }
  /// A server decides what comes: what is no answer to the question is an error.
  template <class F>
  static auto checked_reply(F read) -> decltype(read()) {
    try {
      return read();
    } catch (const std::system_error& e) {
      return e.code();
    } catch (const std::out_of_range&) {
      return make_error_code(redis_errc::unexpected_reply);
    }
  }

  /// A key of the queue's own is no job.
  static std::error_code no_job_if_other(std::error_code e) noexcept {
    return e == redis_errc::wrong_type ? make_error_code(errc::not_found) : e;
  }
  /// Of a clock that began with the machine it is not: then jobs would be due decades ago.
  static bool is_system_time(job_time t) noexcept { return t >= std::chrono::hours{24 * 365 * 30}; }
  static std::int64_t milliseconds(std::chrono::nanoseconds d) noexcept { return std::max<std::int64_t>(to_redis_ms_up(d), 1); }
  [[nodiscard]] const redis_store_options& options() const noexcept { return options_; }
  [[nodiscard]] const std::string& base() const noexcept { return base_; }
  [[nodiscard]] const std::string& token() const noexcept { return token_; }
  [[nodiscard]] basic_redis_caller<Sync>& server() const noexcept { return server_; }
  [[nodiscard]] basic_redis_job_events<Sync>& events() const noexcept { return events_; }
  [[nodiscard]] basic_redis_waiter<Sync>& waiter() noexcept { return waiter_; }

 private:
  static redis_store_options checked(redis_store_options&& o) {
    const auto refuse = [](const std::string& what) { throw std::invalid_argument{"penstock::redis_store: " + what}; };
    if (o.queue.empty() || o.queue.find(':') != std::string::npos) refuse("queue is \"" + o.queue + "\"");
    if (o.prefix.empty()) refuse("prefix is empty");
    if (o.connections == 0) refuse("connections is 0");
    if (o.stalled_interval < std::chrono::milliseconds{1}) refuse("stalled_interval is below 1 ms");
    if (o.poll_interval < std::chrono::milliseconds{1}) refuse("poll_interval is below 1 ms");
    if (o.keep_completed.age.count() < 0 || o.keep_failed.age.count() < 0) refuse("a keep_rule's age is negative");
    return std::move(o);
  }
  static std::string fresh_token() {
    std::random_device random;
    std::string token;
    for (int i = 0; i < 4; ++i) token += std::to_string(random()) + (i < 3 ? "-" : "");
    return token;
  }
  std::shared_ptr<const listeners> all_listeners() const {
    std::scoped_lock guard{listening_};
    return listeners_;
  }
  void tell_ready() noexcept {
    for (const auto& l : *all_listeners()) l->work_ready();
  }
  void tell_events(std::span<const job_event> events) {
    if (events.empty()) return;
    for (const auto& l : *all_listeners()) {
      if (l->wants_events()) l->happened(events);
    }
  }
  // A listener cannot say when it begins to want them: the next operation of this store finds out.
  void want_events() const {
    for (const auto& l : *all_listeners()) {
      if (l->wants_events() && events_.start()) events_wanted_.store(true, std::memory_order_relaxed);  // relaxed: a hint
    }
  }
  std::optional<std::pair<job_state, job_text>> ended(const std::string& id) const {
    const auto fields =
        server_.call(redis_commands{}.add("HMGET", base_ + id, "timestamp", "finishedOn", "returnvalue", "failedReason"));
    if (!fields) return std::nullopt;
    const redis_reply& f = *fields;
    if (f[0].is_nil()) return std::pair{job_state::waiting, job_text{}};
    if (f[1].is_nil()) return std::nullopt;
    const bool completed = !f[2].is_nil();
    const redis_reply& text = f[completed ? 2 : 3];
    return std::pair{completed ? job_state::completed : job_state::failed,
                     text.is_nil() ? job_text{} : std::make_shared<const std::string>(text.text())};
  }

  const redis_store_options options_;
  const std::string base_;
  const std::string token_;
  std::deque<dependent<std::string, Sync>> key_names_;
  std::vector<redis_argument> keys_;  // refer to key_names_
  mutable std::mutex listening_;
  std::shared_ptr<const listeners> listeners_;  // guarded by listening_
  mutable basic_redis_caller<Sync> server_;
  redis_add_line adding_;
  mutable std::atomic<bool> events_wanted_{false};
  // Last: their threads use the others.
  mutable basic_redis_job_events<Sync> events_;
  basic_redis_waiter<Sync> waiter_;
};

}  // namespace penstock::inline v0_1::detail
