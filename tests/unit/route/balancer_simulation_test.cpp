// A cluster in virtual time: calls arrive at random (Poisson), endpoints take as long as they take. Each claim is of the mean over several seeds and
// holds at the end of its confidence interval; every number is the same each time that the program runs.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/route/balancer.hpp>
#include <penstock/route/peak_ewma.hpp>
#include <penstock/route/round_robin.hpp>

#include "support/catch.hpp"

using namespace penstock;
using namespace std::chrono_literals;

namespace {

struct server {
  std::chrono::nanoseconds takes = 10ms;  // on average, exponentially distributed
  double fails = 0;                       // this share of calls, at once
};

struct outcome {
  std::vector<int> picks;
  int failures = 0;
  std::vector<double> milliseconds;

  [[nodiscard]] double share_of(std::size_t from, std::size_t to) const {
    int these = 0;
    int all = 0;
    for (std::size_t i = 0; i < picks.size(); ++i) {
      all += picks[i];
      if (i >= from && i < to) these += picks[i];
    }
    return static_cast<double>(these) / all;
  }
  [[nodiscard]] double quantile(double q) {
    const auto at = milliseconds.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(milliseconds.size() - 1));
    std::nth_element(milliseconds.begin(), at, milliseconds.end());
    return *at;
  }
};

class random {
 public:
  explicit random(std::uint64_t seed) : bits_{seed} {}
  double unit() { return (static_cast<double>(bits_() >> 11) + 0.5) * 0x1p-53; }
  std::chrono::nanoseconds exponential(std::chrono::nanoseconds mean) {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(-std::log(unit()) * static_cast<double>(mean.count()))};
  }

 private:
  splitmix64 bits_;
};

// `calls` arrive every `interval` on average; each server works at one call at a time, in their order.
template <class Policy>
class cluster {
 public:
  cluster(std::vector<server> servers, balancer_options options, std::uint64_t seed)
      : servers_{std::move(servers)}, b_{seeded(options, seed), clock_}, random_{seed} {
    for (int i = 0; i < static_cast<int>(servers_.size()); ++i) ids_.push_back(b_.insert(i).value());
    free_at_.resize(servers_.size());
  }

  outcome run(int calls, std::chrono::nanoseconds interval) {
    outcome result;
    result.picks.resize(servers_.size());
    for (int i = 0; i < calls; ++i) {
      const auto at = now() + random_.exponential(interval);
      end_until(at, result);
      clock_.set(at);
      auto lease = b_.pick();
      const auto s = static_cast<std::size_t>(*lease);
      ++result.picks[s];
      const bool fails = random_.unit() < servers_[s].fails;
      auto& free_at = free_at_[s];
      const auto begins = fails ? at : std::max(at, free_at);
      const auto ends = begins + (fails ? 1ms : random_.exponential(servers_[s].takes));
      if (!fails) free_at = ends;
      in_flight_.push({ends, at, fails, std::make_shared<lease_type>(std::move(lease))});
    }
    end_until(manual_clock::time_point::max(), result);
    return result;
  }

  balancer<int, Policy, manual_clock>& balancing() { return b_; }
  [[nodiscard]] endpoint_id id(std::size_t i) const { return ids_[i]; }
  void advance(std::chrono::nanoseconds by) { clock_.advance(by); }

 private:
  using lease_type = typename balancer<int, Policy, manual_clock>::lease;
  struct call {
    manual_clock::time_point ends;
    manual_clock::time_point began;
    bool fails;
    std::shared_ptr<lease_type> lease;
    bool operator>(const call& other) const { return ends > other.ends; }
  };

  static balancer_options seeded(balancer_options o, std::uint64_t seed) {
    o.seed = seed;
    return o;
  }
  manual_clock::time_point now() const { return clock_.now(); }
  void end_until(manual_clock::time_point at, outcome& result) {
    while (!in_flight_.empty() && in_flight_.top().ends <= at) {
      const call c = in_flight_.top();
      in_flight_.pop();
      clock_.set(c.ends);
      c.lease->end_as(c.fails ? lease_outcome::failure : lease_outcome::success);
      result.failures += c.fails;
      if (!c.fails) result.milliseconds.push_back(std::chrono::duration<double, std::milli>(c.ends - c.began).count());
    }
  }

  manual_clock clock_;
  std::vector<server> servers_;
  balancer<int, Policy, manual_clock> b_;
  random random_;
  std::vector<endpoint_id> ids_;
  std::vector<manual_clock::time_point> free_at_;
  std::priority_queue<call, std::vector<call>, std::greater<>> in_flight_;
};

// What a quantity is on average: the mean of runs with different seeds, and a 99.9 % confidence interval by Student's t with 7 degrees of freedom.
// Runs are independent of each other, as the calls of one run are not.
struct estimate {
  double mean;
  double half;
  [[nodiscard]] double low() const { return mean - half; }
  [[nodiscard]] double high() const { return mean + half; }
};
constexpr std::size_t runs = 8;

estimate estimated(const std::vector<double>& samples) {
  const auto n = static_cast<double>(samples.size());
  double mean = 0;
  double squares = 0;
  for (const double x : samples) mean += x / n;
  for (const double x : samples) squares += (x - mean) * (x - mean);
  return {mean, 5.408 * std::sqrt(squares / (n - 1) / n)};
}

// `measure(seed)` gives one number, or an array of them.
template <class Measure>
auto over_seeds(std::uint64_t first_seed, Measure measure) {
  using measured = decltype(measure(first_seed));
  std::vector<measured> all;
  for (std::size_t i = 0; i < runs; ++i) all.push_back(measure(first_seed + i));
  std::array<estimate, std::tuple_size_v<measured>> result;
  for (std::size_t k = 0; k < result.size(); ++k) {
    std::vector<double> samples;
    for (const measured& m : all) samples.push_back(m[k]);
    result[k] = estimated(samples);
  }
  return result;
}

constexpr int calls = 6'000;  // of a run

}  // namespace

TEST_CASE("balancer simulation: equal endpoints get equal shares", "[balancer][simulation]") {
  const auto check = [](auto policy, std::uint64_t seed) {
    const auto shares = over_seeds(seed, [](std::uint64_t s) {
      const outcome o = cluster<decltype(policy)>{std::vector<server>(10), {}, s}.run(calls, 2ms);
      std::array<double, 10> each{};
      for (std::size_t i = 0; i < 10; ++i) each[i] = o.share_of(i, i + 1);
      return each;
    });
    for (const estimate& e : shares) {
      CHECK(e.half < 0.015);
      CHECK(std::abs(e.mean - 0.1) <= e.half);
    }
  };
  check(random_choice{}, 1);
  check(power_of_two_choices{}, 2);
  check(least_connections{}, 3);
}

TEST_CASE("balancer simulation: half of the endpoints are slow", "[balancer][simulation]") {
  struct result {
    estimate share_of_slow;
    estimate p99;  // milliseconds
  };
  const auto run = [](auto policy, std::chrono::nanoseconds interval, int times = 1) {
    const auto found = over_seeds(7, [&](std::uint64_t seed) {
      std::vector<server> servers(10);
      for (std::size_t i = 0; i < 5; ++i) servers[i].takes = 50ms;
      outcome o = cluster<decltype(policy)>{servers, {}, seed}.run(times * calls, interval);
      return std::array{o.share_of(0, 5), o.quantile(0.99)};
    });
    INFO("slow " << found[0].mean << " +- " << found[0].half << ", p99 " << found[1].mean << " +- " << found[1].half);
    return result{found[0], found[1]};
  };
  // 400 calls a second; the five quick ones can do 500, the slow ones 100.
  const result turns = run(round_robin{}, 2'500us);
  CHECK(turns.share_of_slow.low() == 0.5);  // twice of what they can do: their lines grow without end
  CHECK(turns.p99.low() > 5'000);
  const result least = run(least_connections{}, 2'500us);
  CHECK(least.share_of_slow.high() < 0.25);
  CHECK(least.p99.high() < 350);
  const result two = run(power_of_two_choices{}, 2'500us, 3);  // three times as many calls, to tell the two apart
  CHECK(two.share_of_slow.high() < 0.28);
  CHECK(two.p99.high() < 900);
  const result peak = run(peak_ewma{}, 2'500us, 3);
  CHECK(peak.share_of_slow.high() < two.share_of_slow.low());
  CHECK(peak.p99.high() < 700);
  // 500 a second. Two choices cannot avoid the slow ones any more: both of a pair are slow two times out of nine, and they can do 100.
  CHECK(run(power_of_two_choices{}, 2ms).share_of_slow.high() > 2.0 / 9);
  CHECK(run(least_connections{}, 2ms).p99.high() < 500);
}

TEST_CASE("balancer simulation: an endpoint that fails at once does not attract traffic", "[balancer][simulation]") {
  const auto share_of_failures = [](auto policy, double fails, const balancer_options& options) {
    return over_seeds(11, [&](std::uint64_t seed) {
      std::vector<server> servers(10);
      servers[0].fails = fails;
      return std::array{cluster<decltype(policy)>{servers, options, seed}.run(calls, 1'250us).share_of(0, 1)};
    })[0];
  };
  // Without ejection: what failures take of its share is enough.
  const balancer_options no_ejection{.ejection = {.consecutive_failures = 0}};
  CHECK(share_of_failures(least_connections{}, 1, no_ejection).high() < 0.01);
  CHECK(share_of_failures(power_of_two_choices{}, 1, no_ejection).high() < 0.01);
  CHECK(share_of_failures(peak_ewma{}, 1, no_ejection).high() < 0.01);
  CHECK(share_of_failures(round_robin{}, 1, no_ejection).high() < 0.01);
  // With it: five failures, and then it is out for longer than a run.
  CHECK(share_of_failures(least_connections{}, 1, {}).high() == Approx(5.0 / calls));
  // If they did not count, the least busy one would be the one that fails.
  CHECK(share_of_failures(least_connections{}, 1, {.ejection = {.consecutive_failures = 0}, .recovery = 1ns}).low() > 0.15);
  // One of three calls fails: less than its share, and yet some.
  const estimate sometimes = share_of_failures(least_connections{}, 1.0 / 3, no_ejection);
  CHECK(sometimes.high() < 0.05);
  CHECK(sometimes.low() > 0.0005);
}

TEST_CASE("balancer simulation: a new endpoint warms up", "[balancer][simulation]") {
  const auto shares = over_seeds(13, [](std::uint64_t seed) {
    cluster<power_of_two_choices> c{std::vector<server>(10), {.slow_start = {.duration = 10s}}, seed};
    c.advance(10s);
    (void)c.run(500, 5ms);  // after which all are warm
    c.balancing().drain(c.id(0));
    c.balancing().restore(c.id(0));
    std::array<double, 5> each{};
    for (std::size_t quarter = 0; quarter < 4; ++quarter) each[quarter] = c.run(1'000, 2'500us).share_of(0, 1);
    each[4] = c.run(2'000, 2'500us).share_of(0, 1);  // behind the slow start
    return each;
  });
  for (std::size_t quarter = 0; quarter < 3; ++quarter) CHECK(shares[quarter].mean < shares[quarter + 1].mean);
  CHECK(shares[0].high() < shares[3].low());
  CHECK(shares[0].high() < 0.05);
  CHECK(std::abs(shares[4].mean - 0.1) < shares[4].half);
}
