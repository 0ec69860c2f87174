// One thread's share of the load: its connections, and when they send what.
//
// One epoll loop without locks. What others may look at while it runs are counters and histograms. In the open loop a request that finds no free
// connection is queued with its intended start; that start, and not when it was sent, is where its latency begins. In the closed loop a connection's
// next request is meant to start when the last one's answer has come: the load slows down with the server.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/backoff.hpp>

#include "arrivals.hpp"
#include "measurements.hpp"
#include "options.hpp"
#include "request.hpp"
#include "response_reader.hpp"
#include "socket.hpp"

namespace load {

class engine {
 public:
  /// The index-th of o.threads. `profile` has the warm-up and the steps, in the open loop. They and `server` must outlive this.
  engine(const options& o, const address& server, const rate_profile& profile, std::size_t index);

  /// Opens the connections, then does what the options say until all is answered or has failed, or stop is requested. Throws std::system_error.
  void run(const std::stop_token& stop);

  [[nodiscard]] const live_view& live() const noexcept { return *live_; }
  /// Of each step, without the warm-up.
  [[nodiscard]] const std::vector<std::unique_ptr<measurements>>& measured() const noexcept { return measured_; }
  /// When the first request was due, warm-up and all. Of one that ran.
  [[nodiscard]] std::chrono::steady_clock::time_point started() const noexcept { return start_; }

 private:
  using nanoseconds = std::chrono::nanoseconds;
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  struct request {
    nanoseconds intended{};
    measurements* counts = nullptr;  ///< null: of the warm-up
  };
  enum class link : std::uint8_t { closed, connecting, open };
  struct connection {
    explicit connection(std::uint64_t seed);
    descriptor socket;
    link state = link::closed;
    bool busy = false;             ///< has a request
    std::uint32_t generation = 0;  ///< tells late events of an earlier socket from those of this one
    std::uint32_t before = none;   ///< in the line of those that are busy
    std::uint32_t after = none;
    request current;
    nanoseconds sent{};
    std::string unsent;
    response_reader reader;
    penstock::backoff_delays<> pause;  ///< of the closed loop, after a failure
  };

  [[nodiscard]] nanoseconds now() const noexcept { return std::chrono::steady_clock::now() - start_; }
  void open_all();
  void admit();
  void expire();
  void wake_rested();
  [[nodiscard]] bool finished() const;
  [[nodiscard]] nanoseconds next_due() const;
  void wait(nanoseconds until);
  void handle(const ::epoll_event& event);
  void abandon();

  void start(std::uint32_t index, const request& r);
  void next_on(std::uint32_t index, nanoseconds at);
  void connect(std::uint32_t index);
  void connected(std::uint32_t index);
  void send(std::uint32_t index);
  void send_rest(std::uint32_t index);
  void read(std::uint32_t index, std::uint32_t events);
  void answered(std::uint32_t index, bool reusable);
  void failed(std::uint32_t index, failure why);
  void count_failure(const request& r, failure why);
  void disconnect(connection& c) noexcept;
  void enlist(std::uint32_t index) noexcept;
  void delist(std::uint32_t index) noexcept;

  const options& options_;
  const address& server_;
  std::size_t steps_before_;  // of the profile: the warm-up
  std::vector<std::unique_ptr<measurements>> measured_;
  std::unique_ptr<live_view> live_;
  request_source requests_;
  arrivals arrivals_;

  std::chrono::steady_clock::time_point start_{};
  descriptor epoll_;
  descriptor interrupt_;
  bool interrupted_ = false;
  std::vector<connection> connections_;
  std::size_t connecting_ = 0;
  std::optional<rate_profile::moment> next_;  // arrival
  std::deque<request> queue_;
  std::deque<std::uint32_t> idle_;  // the longest idle first, so that all are used alike
  struct rest {
    nanoseconds until;
    std::uint32_t index;
  };
  std::vector<rest> resting_;
  std::uint32_t first_busy_ = none;  // by the time of their deadlines
  std::uint32_t last_busy_ = none;
  std::size_t busy_ = 0;
  std::vector<char> buffer_;
};

}  // namespace load
