// What each algorithm says of one window. What they come to together with a service is in adaptive_limit_test.cpp.
#include <penstock/rate/limit_algorithm.hpp>

#include <chrono>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

latency_window window(std::chrono::nanoseconds latency, std::chrono::nanoseconds baseline = 0ns, std::ptrdiff_t in_flight = 100) {
  return {.latency = latency.count(), .baseline = baseline.count(), .in_flight = in_flight, .successes = 10};
}
latency_window window_with_drop() { return {.in_flight = 100, .drops = 1}; }

TEST_CASE("aimd_limit: ramps up, and after a drop, or a mean above latency_at_most, adds one a window", "[adaptive_limit]") {
  for (const latency_window& too_much : {window_with_drop(), window(10ms + 1ns)}) {
    aimd_limit a{{.latency_at_most = 10ms}};
    CHECK(a.update(window(10ms), 100) == Approx(150));
    CHECK(a.update(too_much, 100) == Approx(90));
    CHECK(a.update(window(10ms), 100) == Approx(101));
  }
  aimd_limit by_half{{.backoff = 0.5}};
  CHECK(by_half.update(window(std::chrono::nanoseconds::max()), 100) == Approx(150));  // by default latency is no reason
  CHECK(by_half.update(window_with_drop(), 100) == Approx(50));
}

// With 100 in flight, of which `queue` wait: log10(100) is 2, so 6 to 12 may.
latency_window with_queue(int queue) { return window(1000us, 1000us - 10us * queue); }

TEST_CASE("vegas_limit: keeps the queue between queue_low and queue_high times log10 of the limit", "[adaptive_limit]") {
  vegas_limit v;
  CHECK(v.update(window(1ms), 100) == Approx(100));  // the baseline is not known
  CHECK(v.update(with_queue(1), 100) == Approx(150));
  CHECK(v.update(with_queue(5), 100) == Approx(102));
  CHECK(v.update(with_queue(1), 100) == Approx(112));  // ramps no more: by queue_high units
  CHECK(v.update(with_queue(7), 100) == Approx(100));
  CHECK(v.update(with_queue(11), 100) == Approx(100));
  CHECK(v.update(with_queue(13), 100) == Approx(98));           // at least by one unit
  CHECK(v.update(with_queue(22), 100) == Approx(95));           // half of what is too much
  CHECK(v.update(window(1ms, 500us, 10), 100) == Approx(102));  // half of the ten that were in flight
  CHECK(v.update(window_with_drop(), 100) == Approx(90));
  CHECK(v.update(window_with_drop(), 4) == Approx(3));  // by one at the least
}

TEST_CASE("gradient2_limit: grows by its headroom where latency is as usual, and shrinks by the gradient", "[adaptive_limit]") {
  const gradient2_options at_once{.smoothing = 1};
  gradient2_limit g{at_once};
  CHECK(g.update(window(1ms), 100) == Approx(150));        // ramps
  CHECK(g.update(window_with_drop(), 100) == Approx(50));  // and no more after a drop
  CHECK(g.update(window(1ms), 100) == Approx(110));        // the root of the limit
  CHECK(g.update(window(1ms), 9) == Approx(13));           // at least the headroom
  CHECK(g.update(window(1ms, 100us), 100) == Approx(50));  // by a half at the most
  CHECK(g.update(window(1ms, 500us), 100) == Approx(90));  // the long run's 1 ms counts as 1.2 baselines: 1.5 * 600 us may be
  gradient2_limit slow;
  CHECK(slow.update(window_with_drop(), 100) == Approx(90));  // a fifth of the way
}

TEST_CASE("limit_algorithm: options out of range are refused, the ends of the ranges are not", "[adaptive_limit]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double ok : {0.5, 0.9999}) CHECK_NOTHROW(aimd_limit{{.backoff = ok}});
  for (const double bad : {0.49, 1.0, nan}) CHECK_THROWS_AS(aimd_limit{{.backoff = bad}}, std::invalid_argument);
  CHECK_NOTHROW(aimd_limit{{.latency_at_most = 1ns}});
  CHECK_THROWS_AS(aimd_limit{{.latency_at_most = 0ns}}, std::invalid_argument);

  CHECK_NOTHROW(vegas_limit{{.queue_low = 1, .queue_high = 1}});
  CHECK_NOTHROW(vegas_limit{{.queue_low = 1000, .queue_high = 1000}});
  CHECK_THROWS_AS(vegas_limit{{.queue_low = 0.9}}, std::invalid_argument);
  CHECK_THROWS_AS(vegas_limit{{.queue_high = 1001}}, std::invalid_argument);
  CHECK_THROWS_AS(vegas_limit{{.queue_high = nan}}, std::invalid_argument);

  const auto refused = [](const gradient2_options& o) { CHECK_THROWS_AS(gradient2_limit{o}, std::invalid_argument); };
  for (const double bad : {0.9, 10.1, nan}) {
    refused({.tolerance = bad});
    refused({.drift = bad});
  }
  for (const double bad : {0.0, 1.1, nan}) refused({.smoothing = bad});
  for (const double bad : {-1.0, 1001.0, nan}) refused({.headroom = bad});
  for (const std::size_t bad : {std::size_t{9}, std::size_t{1'000'000'001}}) refused({.memory = bad});
  CHECK_NOTHROW(gradient2_limit{{.tolerance = 1, .smoothing = 0.001, .headroom = 0, .drift = 1, .memory = 10}});
  CHECK_NOTHROW(gradient2_limit{{.tolerance = 10, .smoothing = 1, .headroom = 1000, .drift = 10, .memory = 1'000'000'000}});
}

}  // namespace
