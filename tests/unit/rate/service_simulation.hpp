// A service with some servers and a queue, and callers who come at a rate and are turned away where an adaptive_limit is full: event by event on a
// manual clock, so the same each time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/rate/adaptive_limit.hpp>

namespace service_simulation {

using namespace penstock;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

/// What was seen in a stretch of time.
struct observation {
  std::ptrdiff_t lowest_limit = 1 << 30;
  std::ptrdiff_t highest_limit = 0;
  nanoseconds longest_queue_wait{0};
  nanoseconds total_queue_wait{0};
  int served = 0;
  int refused = 0;

  [[nodiscard]] nanoseconds mean_queue_wait() const { return total_queue_wait / std::max(served, 1); }
};

template <class Algorithm>
class simulation {
 public:
  explicit simulation(adaptive_limit_options options = {}, Algorithm algorithm = Algorithm{})
      : limit{with(options, clock), algorithm} {}
  ~simulation() {
    while (!running_.empty()) step(end_of_first());
  }

  int servers = 10;
  nanoseconds service_time = 10ms;
  bool random_service_time = false;                  // exponentially distributed, with that mean
  nanoseconds times_out_after = nanoseconds::max();  // and then counts as dropped

  manual_clock clock;
  adaptive_limit<Algorithm> limit;

  /// Callers come evenly, so many a second.
  observation run(nanoseconds length, int calls_per_second) {
    seen_ = {};
    const manual_clock::time_point end = clock.now() + length;
    const nanoseconds gap = nanoseconds{1s} / calls_per_second;
    for (auto next = clock.now(); next < end; next += gap) {
      while (!running_.empty() && end_of_first() <= next) step(end_of_first());
      clock.set(next);
      call();
      look();
    }
    return seen_;
  }

 private:
  static adaptive_limit_options with(adaptive_limit_options o, manual_clock& clock) {
    o.clock = clock;
    return o;
  }
  struct job {
    adaptive_permit permit;
    manual_clock::time_point came;
    manual_clock::time_point ends{};
  };
  static bool later(const job& a, const job& b) { return a.ends > b.ends; }

  [[nodiscard]] manual_clock::time_point end_of_first() const { return running_.front().ends; }
  void look() {
    seen_.lowest_limit = std::min(seen_.lowest_limit, limit.limit());
    seen_.highest_limit = std::max(seen_.highest_limit, limit.limit());
  }
  void call() {
    auto permit = limit.try_acquire();
    if (!permit) {
      ++seen_.refused;
      return;
    }
    queue_.push_back({std::move(*permit), clock.now()});
    begin();
  }
  void begin() {
    while (!queue_.empty() && static_cast<int>(running_.size()) < servers) {
      job j = std::move(queue_.front());
      queue_.pop_front();
      const nanoseconds waited = clock.now() - j.came;
      seen_.longest_queue_wait = std::max(seen_.longest_queue_wait, waited);
      seen_.total_queue_wait += waited;
      ++seen_.served;
      j.ends = clock.now() + (random_service_time ? draw() : service_time);
      running_.push_back(std::move(j));
      std::push_heap(running_.begin(), running_.end(), later);
    }
  }
  void step(manual_clock::time_point to) {
    clock.set(to);
    std::pop_heap(running_.begin(), running_.end(), later);
    job done = std::move(running_.back());
    running_.pop_back();
    if (to - done.came > times_out_after) {
      done.permit.dropped();
    } else {
      done.permit.success();
    }
    look();
    begin();
  }
  nanoseconds draw() {
    const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;  // std's distributions differ between libraries
    return nanoseconds{1 + static_cast<std::int64_t>(-std::log1p(-uniform) * static_cast<double>(service_time.count()))};
  }

  std::deque<job> queue_;
  std::vector<job> running_;  // a heap
  observation seen_;
  std::mt19937_64 random_{20};
};

}  // namespace service_simulation
