// penstock/ext/detail/redis_caller.hpp: commands to a server from many threads, each on a connection of its own, and again where nothing was done.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_redis_caller {
  using connection_type = basic_redis_connection<Sync>;

 public:
  basic_redis_caller(redis_options options, std::size_t connections, std::chrono::nanoseconds retry_within)
      : retry_within_{retry_within},
        connections_{[o = std::move(options)] { return std::make_unique<connection_type>(o); }, {.max_size = connections}} {}

  /// One command. Tried again for a while if it was certainly not executed; of what may have been, the caller decides. `text` gets what the server said of an
  /// error.
  result<redis_reply> call(const redis_commands& command, std::string* text = nullptr) {
    const auto give_up = steady_after(retry_within_);
    backoff_delays<> delays{
        backoff::exponential(std::chrono::milliseconds{5}, std::chrono::milliseconds{200}).with_jitter(jitter::equal),
        fresh_seed()};
    for (;;) {
      auto lease = connections_.acquire();
      if (!lease) return lease.error();
      connection_type& connection = ***lease;
      auto reply = connection.execute(command);
      if (reply) {
        answered_.fetch_add(1, std::memory_order_relaxed);  // relaxed, as below: a counter
        return reply;
      }
      if (text != nullptr) *text = connection.last_error_text();
      // The replica may be what an address pointed to before a failover: the next connection finds who it is now.
      if (reply.error() == redis_errc::read_only) connection.close();
      const auto pause = delays.next();
      if (!was_not_executed(reply.error()) || std::chrono::steady_clock::now() + pause >= give_up) {
        failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
        return reply;
      }
      retried_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
      lease->release();
      static_cast<void>(never_.try_wait_for(pause));
    }
  }

  template <class Stats>
  void tell(Stats& s) const {
    const auto connections = connections_.stats();
    s.in_flight = connections.in_use;
    s.limit = connections.limit;
    s.waiting = connections.waiting;
    s.answered = answered_.load(std::memory_order_relaxed);  // relaxed, all three: counters
    s.failed = failed_.load(std::memory_order_relaxed);
    s.retried = retried_.load(std::memory_order_relaxed);
  }

 private:
  std::chrono::nanoseconds retry_within_;
  std::atomic<std::uint64_t> answered_{0}, failed_{0}, retried_{0};
  basic_event<Sync> never_;
  resource_pool<std::unique_ptr<connection_type>> connections_;
};

using redis_caller = basic_redis_caller<>;

}  // namespace penstock::inline v0_1::detail
