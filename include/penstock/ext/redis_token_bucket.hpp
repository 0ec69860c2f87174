// penstock/ext/redis_token_bucket.hpp: a token bucket that processes on many machines share, through a Redis server.
//
//   penstock::redis_token_bucket calls{{.host = "10.0.0.7"}, "limits:maps-api", penstock::rate{100, 1s}, 20};
//   if (auto taken = calls.acquire({.stop = token}); taken) send(request);          // waits for its turn
//   if (!calls.try_acquire()) refuse(request, calls.retry_after());
//   co_await calls.async_acquire(pool);                                             // the pool's threads talk to the server
//
// In any time t no more than burst + rate * t are taken by all who use the name: by token_bucket's law and with its names. Everybody must say the
// same rate and burst.
//
// Algorithm      GCRA (rate/token_bucket.hpp) in one script, whose state is one key, and whose clock is the server's.
// Waiting        acquire() takes its place with one question, is told the time, waits that long by the local clock, and then asks whether the server
//                is still in the same run: so all machines stand in one line, first come first served. Who is stopped gives the place back if nobody
//                stands behind him; else it is lost: the rate is not reached then, but never exceeded. So it is with who dies.
// Lost data      a server that starts again may have lost all, or the last second. What it did not write in this run counts as used up (`start`),
//                and who waits takes a place anew, so the law holds over a restart. Where replicas take over the same is true as soon as the client
//                talks to them.
// Time           the server's, which can be set: back, and nobody is served until it has come to where it was; forward, and one burst is earned
//                early.
// Thread safety  every member may be called concurrently; they take turns at one connection. Destroy it when no member runs.
// Errors         redis_errc, beside those of token_bucket. After connection_lost and timeout the tokens may be gone.
// Cost           one round trip; two where it waits. Limits bound the wait, not the round trip: see redis_options.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/detail/redis_bucket_scripts.hpp>
#include <penstock/ext/detail/redis_session.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/rate.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1 {

struct redis_token_bucket_options {
  /// What a bucket is of which the server knows nothing: the first time, after a restart, and when it was not used for `keep`. full: a burst more
  /// then.
  warm_start start = warm_start::empty;
  std::chrono::milliseconds keep = std::chrono::hours{1};  ///< how long the server remembers a full bucket
};

struct redis_token_bucket_stats {
  std::uint64_t granted = 0;    ///< tokens, through this object
  std::uint64_t refused = 0;    ///< calls that got none: empty, or timed out
  std::uint64_t waited = 0;     ///< calls that had to wait
  std::uint64_t abandoned = 0;  ///< waits that were stopped
  std::uint64_t failed = 0;     ///< calls that ended with an error of the server or the connection
};

template <redis_transport Transport = redis_connection>
class basic_redis_token_bucket {
 public:
  using count = std::int64_t;

  /// `name` is the key; in a cluster any will do. Connects with the first call. Throws std::invalid_argument unless burst >= 1 and keep >= 1 ms; and
  /// if the numbers would be too large for exact arithmetic on the server: burst times the nanoseconds of the rate (in lowest terms, with
  /// microseconds for unit where that is possible) must be below 2^52.
  basic_redis_token_bucket(const redis_options& server, std::string name, const penstock::rate& rate, count burst,
                           redis_token_bucket_options options = {})
      : session_{server}, name_{std::move(name)}, rate_{rate}, burst_{burst}, options_{options} {
    const std::uint64_t common = std::gcd(rate.nanoseconds(), std::uint64_t{1000});
    num_ = rate.nanoseconds() / common;
    const std::uint64_t factor = 1000 / common;
    constexpr std::uint64_t most = std::uint64_t{1} << 52;
    if (burst < 1) throw std::invalid_argument{"penstock::redis_token_bucket: burst is " + std::to_string(burst)};
    if (options.keep.count() < 1) throw std::invalid_argument{"penstock::redis_token_bucket: keep is less than 1 ms"};
    if (rate.tokens() >= most / factor || num_ >= most / static_cast<std::uint64_t>(burst)) {
      throw std::invalid_argument{"penstock::redis_token_bucket: the server cannot count so far: " + std::to_string(burst) +
                                  " of " + std::to_string(rate.tokens()) + " in " + std::to_string(rate.nanoseconds()) + " ns"};
    }
    den_ = rate.tokens() * factor;
  }

  /// n is a number of tokens everywhere: std::invalid_argument unless 1 <= n <= burst().

  /// Waits until n can be had.
  result<void> acquire(count n = 1) { return acquire(wait_limits{}, n); }
  result<void> acquire(const std::stop_token& stop, count n = 1) { return acquire(wait_limits{.stop = stop}, n); }
  /// errc::cancelled, errc::timeout: nothing is taken but what is said under "Waiting". errc::closed after close().
  result<void> acquire(const wait_limits& limits, count n = 1) {
    possible(n);
    for (bool again = false;; again = true) {
      if (limits.stop.stop_requested()) return errc::cancelled;
      auto place = take(limits, n, longest_wait(limits.deadline));
      if (!place) return place.error();
      if (!place->taken) {
        if (limits.deadline.is_never()) return refused(errc::rejected);  // the line is longer than anybody can count
        // Others may give up their places: what can be had at the deadline is taken.
        if (auto waited = closed_.wait(limits); waited || waited.error() != errc::timeout) return ended(waited);
        place = take({.stop = limits.stop}, n, 0);
        if (!place) return place.error();
        return place->taken ? granted(n) : refused(errc::timeout);
      }
      if (place->wait == 0) return granted(n);
      if (!again) add(waited_);
      const auto waited =
          closed_.wait({.stop = limits.stop, .deadline = deadline::after(std::chrono::microseconds{place->wait})});
      if (waited || waited.error() != errc::timeout) {
        give_up(*place, n);
        return ended(waited);
      }
      auto run = session_.run_id({.stop = limits.stop});
      if (!run) return failed(run.error());
      if (*run == place->run) return granted(n);
    }
  }

  /// Never waits for tokens: errc::empty if n cannot be had now.
  result<void> try_acquire(count n = 1) {
    possible(n);
    auto place = take({}, n, 0);
    if (!place) return place.error();
    return place->taken ? granted(n) : refused(errc::empty);
  }
  template <class Rep, class Period>
  result<void> try_acquire_for(std::chrono::duration<Rep, Period> timeout, count n = 1) {
    return acquire(wait_limits{.deadline = deadline::after(timeout)}, n);
  }
  result<void> try_acquire_until(deadline until, count n = 1) { return acquire(wait_limits{.deadline = until}, n); }

  /// `co_await x.async_acquire(pool)` is a result<void>, of a task that moves to the pool to ask the server, and blocks one of its threads for that
  /// time, but not while it waits. Observes the coroutine's stop token; with_timeout requests stop. The pool and *this must outlive it.
  template <class Context>
  [[nodiscard]] task<result<void>> async_acquire(Context& pool, count n = 1) {
    possible(n);
    return acquire_on(any_scheduler{pool}, n);
  }

  /// Gives n back that were taken and not needed. Dropped while somebody, anywhere, waits for a time that he was told.
  result<void> refund(count n = 1) {
    possible(n);
    auto reply = ask({}, detail::redis_bucket_refund(), n);
    if (!reply) return failed(reply.error());
    return {};
  }

  /// What try_acquire() could have now; negative while there are waits. A snapshot.
  result<count> available() {
    auto reply = ask({}, detail::redis_bucket_look(), 1);
    if (!reply) return failed(reply.error());
    return (*reply)[0].integer();
  }
  /// How long until n can be had if nobody else takes any before.
  result<std::chrono::nanoseconds> retry_after(count n = 1) {
    possible(n);
    auto reply = ask({}, detail::redis_bucket_look(), n);
    if (!reply) return failed(reply.error());
    return std::chrono::microseconds{(*reply)[1].integer()};
  }

  /// Every call and every wait through this object ends with errc::closed, now and from now on. Idempotent.
  void close() noexcept {
    closed_.set();
    session_.interrupt();
  }
  [[nodiscard]] bool is_closed() const noexcept { return closed_.is_set(); }

  [[nodiscard]] penstock::rate rate() const noexcept { return rate_; }
  [[nodiscard]] count burst() const noexcept { return burst_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Of what went through this object.
  [[nodiscard]] redis_token_bucket_stats stats() const noexcept {
    // relaxed, all: counts that nothing depends on
    const auto read = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
    return {read(granted_), read(refused_), read(waited_), read(abandoned_), read(failed_)};
  }
  /// What the server, or the system, said of the last error.
  [[nodiscard]] std::string last_error_text() const { return session_.last_error_text(); }

 private:
  struct turn {
    bool taken = false;
    std::int64_t wait = 0;  // µs
    std::string us;
    std::string rem;
    std::string run;
  };
  static constexpr std::int64_t for_ever = (std::int64_t{1} << 53) - 1;

  count possible(count n) const {
    if (n < 1 || n > burst_) throw std::invalid_argument{"penstock::redis_token_bucket: n is " + std::to_string(n)};
    return n;
  }
  // In µs, rounded down: who would have to wait for longer would be too late.
  static std::int64_t longest_wait(const deadline& until) noexcept {
    if (until.is_never()) return for_ever;
    const auto now = until.queue() != nullptr ? until.queue()->now() : detail::std_sync::now();
    return std::clamp<std::int64_t>(detail::saturating_add(until.when(), -now) / 1000, 0, for_ever);
  }

  template <class... More>
  result<redis_reply> ask(const wait_limits& limits, const redis_script& script, count n, const More&... more) {
    if (is_closed()) return errc::closed;
    auto reply = session_.ask(limits, [&](const detail::redis_run& run, redis_commands& commands) {
      commands.add_script(script, {{name_}},
                          {{run.id, num_, den_, burst_, options_.start == warm_start::full ? "full" : "empty",
                            options_.keep.count(), n, more...}});
    });
    if (!reply && is_closed()) return errc::closed;
    return reply;
  }

  result<turn> take(const wait_limits& limits, count n, std::int64_t longest) {
    turn p;
    if (is_closed()) return errc::closed;
    auto reply = session_.ask(limits, [&](const detail::redis_run& run, redis_commands& commands) {
      p.run = run.id;
      commands.add_script(detail::redis_bucket_take(), {{name_}},
                          {{run.id, num_, den_, burst_, options_.start == warm_start::full ? "full" : "empty",
                            options_.keep.count(), n, longest}});
    });
    if (!reply) return failed(reply.error());
    p.taken = (*reply)[0].integer() == 1;
    p.wait = (*reply)[1].integer();
    if (p.taken) {
      p.us = (*reply)[2].text();
      p.rem = (*reply)[3].text();
    }
    return p;
  }
  // Without the limits, which have run out; after close() the connection is, too, and the place is lost.
  void give_up(const turn& p, count n) {
    add(abandoned_);
    static_cast<void>(ask({}, detail::redis_bucket_cancel(), n, p.us, p.rem));
  }

  task<result<void>> acquire_on(any_scheduler pool, count n) {
    const std::stop_token stop = co_await this_task::get_stop_token();
    for (bool again = false;; again = true) {
      co_await pool.schedule();
      if (stop.stop_requested()) co_return errc::cancelled;
      auto place = take({.stop = stop}, n, for_ever);
      if (!place) co_return place.error();
      if (!place->taken) co_return refused(errc::rejected);
      if (place->wait == 0) co_return granted(n);
      if (!again) add(waited_);
      const result<void> waited = co_await (closed_.async_wait() | with_timeout(std::chrono::microseconds{place->wait}));
      co_await pool.schedule();
      if (waited || waited.error() != errc::timeout) {
        give_up(*place, n);
        co_return ended(waited);
      }
      auto run = session_.run_id({.stop = stop});
      if (!run) co_return failed(run.error());
      if (*run == place->run) co_return granted(n);
    }
  }

  static void add(std::atomic<std::uint64_t>& to, std::uint64_t n = 1) noexcept {
    // relaxed: a count
    to.fetch_add(n, std::memory_order_relaxed);
  }
  result<void> granted(count n) noexcept {
    add(granted_, static_cast<std::uint64_t>(n));
    return {};
  }
  result<void> refused(errc why) noexcept {
    add(refused_);
    return why;
  }
  std::error_code failed(std::error_code error) noexcept {
    if (is_closed()) return errc::closed;
    if (error.category() == redis_category()) add(failed_);
    return error;
  }
  // What a wait for closed_ means that did not end by time.
  static result<void> ended(const result<void>& waited) noexcept {
    if (waited) return errc::closed;
    return waited;
  }

  detail::redis_session<Transport> session_;
  const std::string name_;
  const penstock::rate rate_;
  const count burst_;
  const redis_token_bucket_options options_;
  std::uint64_t num_ = 1;  // a token in units of 1 / den_ µs
  std::uint64_t den_ = 1;
  event closed_;
  std::atomic<std::uint64_t> granted_{0}, refused_{0}, waited_{0}, abandoned_{0}, failed_{0};
};

using redis_token_bucket = basic_redis_token_bucket<>;

/// What a registry sees of it (observe/registry.hpp): what went through this object.
template <class = void>
void describe(const redis_token_bucket_stats& s, metric_sink& to) {
  to.kind("redis_token_bucket");
  to.counter(metrics::accepted, s.granted);
  to.counter(metrics::rejected, s.refused, {"reason", "empty"});
  to.counter(metrics::rejected, s.abandoned, {"reason", "abandoned"});
  to.counter(metrics::failed, s.failed);
  to.counter({"waits", "Calls that had to wait."}, s.waited);
}

}  // namespace penstock::inline v0_1
