// penstock/ext/detail/sqlite_row.hpp: what a row of a SQLite file's jobs says, and the one row of `meta`. What the states mean is in sqlite_jobs.hpp.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <penstock/core/backoff.hpp>
#include <penstock/ext/detail/sqlite_schema.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// The row of `meta`.
struct sqlite_tallies {
  std::int64_t version = 0;  ///< of the file's contents: one more with each transaction
  std::int64_t next_id = 1;
  std::int64_t fences = 0;
  std::int64_t front = 0;    ///< the numbers of what goes before the others
  std::int64_t back = 0;     ///< and of what goes behind
  std::int64_t endings = 0;  ///< the last number in `endings`
  std::int64_t paused = 0;
  std::array<std::int64_t, job_states> in = {};  ///< by job_state
  std::int64_t schedule_next = no_time.count();  ///< when the next one of all schedules is due
  std::int64_t schedules_starve = 0;             ///< what is due waits for room, and who makes some says so

  [[nodiscard]] std::int64_t& of(job_state s) noexcept { return in[static_cast<std::size_t>(s)]; }
  [[nodiscard]] std::int64_t of(job_state s) const noexcept { return in[static_cast<std::size_t>(s)]; }
  [[nodiscard]] std::int64_t held() const noexcept {
    return of(job_state::waiting) + of(job_state::delayed) + of(job_state::active) + of(job_state::waiting_children);
  }
  // Of groups (sqlite_groups):
  std::int64_t groups_used = 0;
  std::int64_t weights = 0;                    ///< of those that may start something
  std::int64_t turn = 0;                       ///< the virtual time
  std::int64_t rests_until = no_time.count();  ///< when one may go on that had too many starts

  /// Nobody knows of a job that is due before.
  [[nodiscard]] job_time next_schedule() const noexcept {
    return paused != 0 || schedules_starve != 0 ? no_time : job_time{schedule_next};
  }
  [[nodiscard]] bool something_ready() const noexcept {
    return paused == 0 && (groups_used != 0 ? weights != 0 : of(job_state::waiting) != 0);
  }
};

/// What steps decide by and change.
struct sqlite_row {
  // Of `flags`.
  static constexpr std::int64_t lifo = 1;
  static constexpr std::int64_t remove_on_complete = 2;
  static constexpr std::int64_t remove_on_fail = 4;
  static constexpr std::int64_t large = 8;
  static constexpr std::int64_t logged = 16;
  static constexpr std::int64_t kin = 32;                 ///< it has a parent or children
  static constexpr std::int64_t goes_on = 64;             ///< it is run when it waits, whoever is not over
  static constexpr std::int64_t gathering = 128;          ///< others are still being added: it stays
  static constexpr std::int64_t by_child = 256;           ///< it has failed with a child
  static constexpr std::int64_t guards_until_over = 512;  ///< its key: it has no ttl

  /// Of `due`: it is, and nobody said since when. Earlier than any time, so that whoever asks whether it is due is told so.
  static constexpr std::int64_t due_unknown = job_time::min().count();

  std::int64_t id = 0;
  job_state state = job_state::waiting;
  std::int64_t major = 0;
  std::int64_t minor = 0;
  std::int64_t priority = 0;
  std::int64_t flags = 0;
  std::int64_t made = 0;
  std::int64_t stalled = 0;
  std::int64_t fence = 0;
  std::int64_t due = 0;  ///< or since when it has been
  std::int64_t started = no_time.count();
  std::int64_t ended = no_time.count();
  double progress = 0;
  std::int64_t attempts = 1;
  std::int64_t added = 0;
  std::int64_t parent = 0;     ///< the last one, gone or not; 0: it never had one
  std::int64_t pending = 0;    ///< children that are not over
  std::int64_t failed_by = 0;  ///< the child that has it fail when it waits
  std::int64_t watcher = 0;    ///< the store that has somebody who waits for its end; 0: none, -1: several
  std::string job_id = {};
  std::string key = {};
  std::string schedule = {};  ///< that has made it
  std::string group = {};

  [[nodiscard]] bool has(std::int64_t flag) const noexcept { return (flags & flag) != 0; }
};

/// A job that was fetched.
struct sqlite_fetched {
  std::uint64_t number = 0;
  job_text job_id = {};
  std::uint64_t fence = 0;
  unsigned attempt = 0;
  job_policy policy = {};
  job_time due_since = no_time;
  std::string name = {};
  std::string payload = {};
};

/// As it is in the file.
inline job_state state_of(std::int64_t lane) noexcept {
  return lane == waiting_in_group ? job_state::waiting : static_cast<job_state>(lane);
}
inline job_text text_of(std::string_view s) { return s.empty() ? nullptr : std::make_shared<const std::string>(s); }

/// "kind first cap factor spread", in numbers; none: no delay.
template <class = void>
std::string write_backoff(const backoff& b) {
  if (b.first().count() == 0) return {};
  std::array<char, 160> text;
  const int n = std::snprintf(text.data(), text.size(), "%d %lld %lld %a %d", static_cast<int>(b.kind()),
                              static_cast<long long>(b.first().count()), static_cast<long long>(b.cap().count()), b.factor(),
                              static_cast<int>(b.spread()));
  return {text.data(), static_cast<std::size_t>(n)};
}
template <class = void>
backoff read_backoff(std::string_view text) {
  int kind = 0;
  int spread = 0;
  long long first = 0;
  long long cap = 0;
  double factor = 1;
  if (text.empty() || std::sscanf(std::string{text}.c_str(), "%d %lld %lld %la %d", &kind, &first, &cap, &factor, &spread) != 5) {
    return {};
  }
  using std::chrono::nanoseconds;
  const auto made = [&] {
    switch (static_cast<backoff::growth>(kind)) {
      case backoff::growth::linear:
        return backoff::linear(nanoseconds{first}, nanoseconds{cap});
      case backoff::growth::exponential:
        return backoff::exponential(nanoseconds{first}, nanoseconds{cap}, factor);
      default:
        return backoff::fixed(nanoseconds{first});
    }
  };
  return made().with_jitter(static_cast<jitter>(spread));
}

}  // namespace penstock::inline v0_1::detail
