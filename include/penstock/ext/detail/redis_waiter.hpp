// penstock/ext/detail/redis_waiter.hpp: the thread of a redis_store that waits for work on the server, for those here who have none.
//
// It takes the marker that BullMQ's adders set only while somebody here is idle: who is busy would keep the news from idle workers elsewhere, which then look
// again after their poll interval only. Nobody counts who is idle; it shows. A fetch that finds nothing says that somebody is; if what was told then makes no
// idle one ask, within `answer`, all are busy, and the marker goes back. Whoever is idle all the same (his thread was busy) is told after the poll interval.
// A marker that is lost costs that time, and never a job.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include <penstock/core/move_only_function.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_redis_waiter {
 public:
  /// `tell` is called on this thread, and does not throw.
  basic_redis_waiter(redis_options options, std::string marker, std::chrono::nanoseconds poll, move_only_function<void()> tell)
      : connection_{std::move(options)}, marker_{std::move(marker)}, poll_{poll}, tell_{std::move(tell)} {}
  basic_redis_waiter(const basic_redis_waiter&) = delete;
  basic_redis_waiter& operator=(const basic_redis_waiter&) = delete;
  ~basic_redis_waiter() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    connection_.interrupt();
  }

  /// Somebody found nothing. Throws std::system_error if the thread cannot be started.
  void idle() {
    std::call_once(started_, [this] { thread_ = std::jthread{[this](const std::stop_token& stop) { run(stop); }}; });
    idle_.set();
  }
  /// Somebody who had nothing to do asks.
  void asked() noexcept {
    if (!asked_.is_set()) asked_.set();
  }

 private:
  static double now_ms() noexcept {
    return std::chrono::duration<double, std::milli>{std::chrono::system_clock::now().time_since_epoch()}.count();
  }
  void run(const std::stop_token& stop) noexcept {
    while (!stop.stop_requested()) {
      if (!idle_.wait({.stop = stop, .deadline = deadline::after(poll_)})) {
        if (!stop.stop_requested()) tell_();
        continue;
      }
      for (;;) {
        const bool taken = wait_for_marker(stop);
        if (stop.stop_requested()) return;
        static_cast<void>(asked_.try_wait());
        tell_();
        if (asked_.wait({.stop = stop, .deadline = deadline::after(answer)})) continue;
        if (taken) give_back();
        break;
      }
    }
  }
  void give_back() noexcept {
    try {
      static_cast<void>(connection_.command("ZADD", marker_, 0, "0"));
    } catch (...) {
    }
  }
  /// Whether it has got one.
  bool wait_for_marker(const std::stop_token& stop) noexcept {
    const double poll_at = now_ms() + std::chrono::duration<double, std::milli>{poll_}.count();
    double until = poll_at;
    while (!stop.stop_requested()) {
      const double left = (until - now_ms()) / 1000;
      if (left <= 0) return until < poll_at;
      try {
        std::array<char, 32> seconds{};
        const auto end =
            std::to_chars(seconds.data(), seconds.data() + seconds.size(), std::max(left, 0.001), std::chars_format::fixed, 3)
                .ptr;
        const std::chrono::duration<double> block{left};
        const auto popped =
            connection_.command_blocking(std::chrono::duration_cast<std::chrono::nanoseconds>(block), "BZPOPMIN", marker_,
                                         std::string_view{seconds.data(), static_cast<std::size_t>(end - seconds.data())});
        if (!popped) {
          // A connection that was refused has waited for a while already; others may be refused at once.
          if (popped.error() != redis_errc::connection_lost)
            static_cast<void>(pause_.wait(
                {.stop = stop, .deadline = deadline::after(std::min<std::chrono::nanoseconds>(poll_, std::chrono::seconds{1}))}));
          return false;
        }
        if (popped->size() != 3) continue;  // after the whole time
        double due = 0;
        const std::string& score = (*popped)[2].text();
        std::from_chars(score.data(), score.data() + score.size(), due);
        if (due <= now_ms()) return true;
        until = std::min(until, due);  // the delayed one that is due first: this process waits for it
      } catch (...) {
        static_cast<void>(pause_.wait({.stop = stop, .deadline = deadline::after(poll_)}));
        return false;
      }
    }
    return false;
  }

  static constexpr auto answer = std::chrono::milliseconds{20};

  basic_redis_connection<Sync> connection_;
  const std::string marker_;
  const std::chrono::nanoseconds poll_;
  move_only_function<void()> tell_;
  basic_auto_reset_event<Sync> idle_;
  basic_auto_reset_event<Sync> asked_;
  basic_event<Sync> pause_;  // never set
  std::once_flag started_;
  std::jthread thread_;  // last: it uses the others
};

using redis_waiter = basic_redis_waiter<>;

}  // namespace penstock::inline v0_1::detail
