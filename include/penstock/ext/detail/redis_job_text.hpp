// penstock/ext/detail/redis_job_text.hpp: options of jobs as BullMQ writes them, and back; ids and times.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <penstock/core/backoff.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/ext/redis_reply.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/memory_store_options.hpp>

namespace penstock::inline v0_1::detail {

// Scores of delayed jobs are exact in a double up to here: September 2039.
inline constexpr std::int64_t latest_redis_ms = (std::int64_t{1} << 41) - 1;

[[nodiscard]] constexpr std::int64_t to_redis_ms(job_time t) noexcept {
  return std::clamp<std::int64_t>(t.count() / 1'000'000, 0, latest_redis_ms);
}
/// Not before `t`.
[[nodiscard]] constexpr std::int64_t to_redis_ms_up(std::chrono::nanoseconds t) noexcept {
  return std::clamp<std::int64_t>(t.count() / 1'000'000 + (t.count() % 1'000'000 > 0 ? 1 : 0), 0, latest_redis_ms);
}
[[nodiscard]] inline job_time from_redis_ms(std::int64_t ms) noexcept {
  return job_time{saturating_nanoseconds(std::chrono::milliseconds{ms})};
}

/// A number of the server's, or a name.
template <class = void>
[[nodiscard]] job_id to_job_id(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && text.front() != '0') return job_id{number};
  return job_id{text};
}

template <class = void>
void append_json(std::string& to, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  to += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      (to += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      ((to += "\\u00") += digits[c >> 4]) += digits[c & 15];
    } else {
      to += c;
    }
  }
  to += '"';
}

/// What BullMQ has no word for: grows linearly, by another factor than 2, or with decorrelated jitter; goes before the others of a priority; groups,
/// parents. No error: it has.
template <class = void>
[[nodiscard]] std::error_code redis_refusal(const enqueue_options& o) noexcept {
  const backoff& b = o.backoff;
  const bool growth =
      b.kind() == backoff::growth::fixed || (b.kind() == backoff::growth::exponential && b.factor() >= 2 && b.factor() <= 2);
  if (!growth || b.spread() == jitter::decorrelated) return redis_store_errc::no_such_backoff;
  if (o.lifo && o.priority != 0) return redis_store_errc::no_lifo_with_priority;
  if (!o.group.empty()) return redis_store_errc::no_groups;
  if (o.parent) return redis_store_errc::no_families;
  return {};
}

/// BullMQ's rules for ids: no number, and no ':'.
[[nodiscard]] inline bool is_redis_id(const std::string& id) noexcept {
  return id.empty() || (id.find_first_not_of("0123456789") != std::string::npos && id.find(':') == std::string::npos);
}
/// Its names of the queue's own keys.
template <class = void>
[[nodiscard]] bool is_redis_part(std::string_view id) noexcept {
  static constexpr std::array<std::string_view, 18> taken{
      "wait",   "active", "prioritized", "delayed",       "marker",  "completed", "failed", "stalled", "meta",
      "events", "id",     "pc",          "stalled-check", "limiter", "paused",    "repeat", "metrics", "waiting-children"};
  return std::find(taken.begin(), taken.end(), id) != taken.end();
}
/// Throws std::invalid_argument of what a job cannot be called.
template <class = void>
void check_redis_id(const std::string& id) {
  if (!is_redis_id(id)) throw std::invalid_argument{"penstock::redis_store: job_id is " + id + ", a number or with ':'"};
  if (is_redis_part(id))
    throw std::invalid_argument{"penstock::redis_store: job_id is " + id + ", the name of a part of the queue"};
}

/// As JSON with BullMQ's names, and `timeout` and `backoff.cap`, which only penstock's workers heed.
template <class = void>
[[nodiscard]] std::string redis_opts(const enqueue_options& o) {
  std::string json = "{";
  const auto name = [&json](std::string_view n) { ((json += json.size() > 1 ? ",\"" : "\"") += n) += "\":"; };
  const auto number = [&](std::string_view n, std::uint64_t value) { name(n), json += std::to_string(value); };
  const auto ms = [](std::chrono::nanoseconds d) { return static_cast<std::uint64_t>(to_redis_ms_up(d)); };
  if (o.attempts != 1) number("attempts", o.attempts);
  if (o.backoff.first().count() > 0) {
    const bool grows = o.backoff.kind() == backoff::growth::exponential;
    name("backoff");
    json +=
        std::string{"{\"type\":\""} + (grows ? "exponential" : "fixed") + "\",\"delay\":" + std::to_string(ms(o.backoff.first()));
    if (o.backoff.spread() != jitter::none) json += o.backoff.spread() == jitter::full ? ",\"jitter\":1" : ",\"jitter\":0.5";
    if (grows && ms(o.backoff.cap()) < latest_redis_ms) json += ",\"cap\":" + std::to_string(ms(o.backoff.cap()));
    json += '}';
  }
  if (o.delay.count() > 0) number("delay", ms(o.delay));
  if (o.priority != 0) number("priority", o.priority);
  if (o.timeout.count() > 0) number("timeout", ms(o.timeout));
  if (o.keep_logs != enqueue_options{}.keep_logs) number("kl", o.keep_logs);
  for (const auto& [n, set] : {std::pair{"lifo", o.lifo}, std::pair{"removeOnComplete", o.remove_on_complete},
                               std::pair{"removeOnFail", o.remove_on_fail}}) {
    if (set) name(n), json += "true";
  }
  if (!o.job_id.empty()) name("jobId"), append_json(json, o.job_id);
  if (o.deduplicate) {
    name("de");
    append_json(json += "{\"id\":", o.deduplicate->id);
    if (o.deduplicate->ttl.count() > 0) json += ",\"ttl\":" + std::to_string(ms(o.deduplicate->ttl));
    if (o.deduplicate->extend) json += ",\"extend\":true";
    if (o.deduplicate->replace) json += ",\"replace\":true";
    json += '}';
  }
  return json += '}';
}

/// How many that are over are kept; what BullMQ calls removeOnComplete and removeOnFail.
struct redis_keep {
  std::int64_t count = -1;  // -1: all
  std::int64_t age = 0;     // in ms; 0: for ever
  std::int64_t limit = 0;   // that are removed at a time
};
template <class = void>
[[nodiscard]] redis_keep to_redis_keep(const keep_rule& r) noexcept {
  return {.count = r.count > std::size_t{1} << 40 ? -1 : static_cast<std::int64_t>(r.count),
          .age = r.age == std::chrono::nanoseconds::max() ? 0 : std::max<std::int64_t>(to_redis_ms_up(r.age), 1)};
}

/// What the server made of a job's `opts`: see redis_turn().
struct redis_job_options {
  job_policy policy = {};
  std::string unknown_backoff = {};
  std::optional<redis_keep> keep_completed = {};
  std::optional<redis_keep> keep_failed = {};
  std::size_t keep_logs = enqueue_options{}.keep_logs;
  bool lifo = false;

  redis_job_options() = default;
  explicit redis_job_options(const std::vector<redis_reply>& o) {
    const auto number = [&o](std::size_t i, double otherwise) {
      const std::string& text = o.at(i).text();
      double value = otherwise;
      std::from_chars(text.data(), text.data() + text.size(), value);
      return value >= 0 || value <= 0 ? std::clamp(value, -1.0, 9e15) : otherwise;
    };
    const auto milliseconds = [](double n) {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::microseconds{static_cast<std::int64_t>(std::clamp(n, 0.0, 9e12) * 1000)});
    };
    policy.attempts = static_cast<unsigned>(std::clamp(number(0, 1), 1.0, 4e9));
    const std::string& type = o.at(1).text();
    const auto delay = milliseconds(number(2, 0));
    if (type == "fixed") {
      policy.backoff = backoff::fixed(delay);
    } else if (type == "exponential") {
      const auto most = milliseconds(number(4, 9e12));
      policy.backoff = backoff::exponential(delay, std::max(delay, most));
    } else {
      unknown_backoff = type;
    }
    const double spread = number(3, 0);
    if (spread >= 0.25) policy.backoff = policy.backoff.with_jitter(spread < 0.75 ? jitter::equal : jitter::full);
    policy.timeout = milliseconds(number(5, 0));
    keep_logs = static_cast<std::size_t>(std::max(number(6, static_cast<double>(keep_logs)), 0.0));
    lifo = !o.at(7).text().empty();
    const auto keep = [&](std::size_t at, std::optional<redis_keep>& rule) {
      if (o.at(at).text().empty()) return;
      rule = {static_cast<std::int64_t>(number(at, -1)), static_cast<std::int64_t>(number(at + 1, 0)),
              static_cast<std::int64_t>(number(at + 2, 0))};
    };
    keep(8, keep_completed);
    keep(11, keep_failed);
  }
};

}  // namespace penstock::inline v0_1::detail
