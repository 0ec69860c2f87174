// The token buckets, leaky buckets and windows that token_bucket_bench.cpp compares, behind one face: `bool take()` takes one token at the time of the steady clock.
// Each is its algorithm written plainly, with nothing around it: no line, no changes of the rate, and rates of a whole number of nanoseconds a token.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
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

/// A level that sinks, under a mutex: aiolimiter's AsyncLimiter.
class mutex_and_level {
 public:
  mutex_and_level(std::int64_t limit, std::chrono::nanoseconds period)
      : most_{static_cast<double>(limit)}, per_nanosecond_{most_ / static_cast<double>(period.count())} {}

  bool take() {
    const std::int64_t now = steady_nanoseconds();
    std::scoped_lock guard{lock_};
    if (now > last_) {
      level_ = std::max(0.0, level_ - static_cast<double>(now - last_) * per_nanosecond_);
      last_ = now;
    }
    if (level_ + 1 > most_) return false;
    level_ += 1;
    return true;
  }

 private:
  std::mutex lock_;
  const double most_;
  const double per_nanosecond_;
  double level_ = 0;
  std::int64_t last_ = steady_nanoseconds();
};

/// What many servers count: so many in each window of the clock.
class mutex_and_count {
 public:
  mutex_and_count(std::int64_t limit, std::chrono::nanoseconds length) : limit_{limit}, length_{length.count()} {}

  bool take() {
    const std::int64_t now = steady_nanoseconds();
    std::scoped_lock guard{lock_};
    if (const std::int64_t window = now / length_; window > window_) {
      window_ = window;
      count_ = 0;
    }
    if (count_ >= limit_) return false;
    ++count_;
    return true;
  }

 private:
  std::mutex lock_;
  const std::int64_t limit_;
  const std::int64_t length_;
  std::int64_t window_ = 0;
  std::int64_t count_ = 0;
};

/// That of this window, and of the last one by how much of it is still in the `length` that ends now.
class mutex_and_two_counts {
 public:
  mutex_and_two_counts(std::int64_t limit, std::chrono::nanoseconds length)
      : limit_{static_cast<double>(limit)}, length_{length.count()} {}

  bool take() {
    const std::int64_t now = steady_nanoseconds();
    std::scoped_lock guard{lock_};
    if (const std::int64_t window = now / length_; window > window_) {
      before_ = window == window_ + 1 ? count_ : 0;
      window_ = window;
      count_ = 0;
    }
    const double left =
        1 - static_cast<double>(std::max<std::int64_t>(0, now - window_ * length_)) / static_cast<double>(length_);
    if (before_ * left + count_ + 1 > limit_) return false;
    count_ += 1;
    return true;
  }

 private:
  std::mutex lock_;
  const double limit_;
  const std::int64_t length_;
  std::int64_t window_ = 0;
  double count_ = 0;
  double before_ = 0;
};

/// The time of each that was taken.
class mutex_and_times {
 public:
  mutex_and_times(std::int64_t limit, std::chrono::nanoseconds length)
      : limit_{static_cast<std::size_t>(limit)}, length_{length.count()} {}

  bool take() {
    std::scoped_lock guard{lock_};
    const std::int64_t now = steady_nanoseconds();  // under the lock: in order
    while (!times_.empty() && times_.front() <= now - length_) times_.pop_front();
    if (times_.size() >= limit_) return false;
    times_.push_back(now);
    return true;
  }

 private:
  std::mutex lock_;
  const std::size_t limit_;
  const std::int64_t length_;
  std::deque<std::int64_t> times_;
};

}  // namespace rate_peers
