// The token buckets that token_bucket_bench.cpp compares, behind one face: `bool take()` takes one token at the time of the steady clock.
// Each is its algorithm written plainly, with nothing around it: no line, no changes of the rate, and rates of a whole number of nanoseconds a token.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace rate_peers {

inline std::int64_t steady_nanoseconds() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

/// What one writes first: doubles under a mutex.
class mutex_and_doubles {
 public:
  mutex_and_doubles(double per_second, double burst) : rate_{per_second}, burst_{burst}, tokens_{burst} {}

  bool take() {
    const double now = static_cast<double>(steady_nanoseconds()) * 1e-9;
    std::scoped_lock guard{lock_};
    tokens_ = std::min(burst_, tokens_ + std::max(0.0, now - last_) * rate_);
    last_ = std::max(last_, now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  std::mutex lock_;
  const double rate_;
  const double burst_;
  double tokens_;
  double last_ = static_cast<double>(steady_nanoseconds()) * 1e-9;
};

/// GCRA in its time form: one atomic theoretical arrival time in nanoseconds.
class plain_gcra {
 public:
  plain_gcra(double per_second, double burst)
      : interval_{static_cast<std::int64_t>(1e9 / per_second)}, tolerance_{static_cast<std::int64_t>(burst) * interval_} {}

  bool take() {
    const std::int64_t now = steady_nanoseconds();
    std::int64_t arrival = arrival_.load(std::memory_order_relaxed);
    do {
      const std::int64_t next = std::max(arrival, now) + interval_;
      if (next - now > tolerance_) return false;
      if (arrival_.compare_exchange_weak(arrival, next, std::memory_order_relaxed)) return true;
    } while (true);
  }

 private:
  const std::int64_t interval_;
  const std::int64_t tolerance_;
  std::atomic<std::int64_t> arrival_{0};
};

/// The idea of folly's DynamicTokenBucket: one atomic double, the time at which the bucket was empty; rate and burst come with each call.
class zero_time {
 public:
  zero_time(double per_second, double burst) : rate_{per_second}, burst_{burst} {}

  bool take() {
    const double now = static_cast<double>(steady_nanoseconds()) * 1e-9;
    double zero = zero_.load(std::memory_order_relaxed);
    double next = 0;
    do {
      const double tokens = std::min((now - zero) * rate_, burst_);
      if (tokens < 1) return false;
      next = now - (tokens - 1) / rate_;
    } while (!zero_.compare_exchange_weak(zero, next, std::memory_order_relaxed));
    return true;
  }

 private:
  const double rate_;
  const double burst_;
  alignas(64) std::atomic<double> zero_{0};
};

}  // namespace rate_peers
