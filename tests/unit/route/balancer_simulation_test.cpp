// A cluster in virtual time: calls arrive at random (Poisson), endpoints take as long as they take, and every number is the same in every run.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
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
      : servers_{std::move(servers)}, b_{options, clock_}, random_{seed} {
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

// The half width of the interval in which 99.9 % of all samples of a share lie, if n were drawn independently.
double margin(double share, int n) { return 3.29 * std::sqrt(share * (1 - share) / n); }

}  // namespace

TEST_CASE("balancer simulation: equal endpoints get equal shares", "[balancer]") {
  constexpr int calls = 20'000;
  const auto check = [](outcome o) {
    for (std::size_t i = 0; i < 10; ++i) CHECK(o.share_of(i, i + 1) == Approx(0.1).margin(margin(0.1, calls)));
  };
  check(cluster<random_choice>{std::vector<server>(10), {}, 1}.run(calls, 2ms));
  check(cluster<power_of_two_choices>{std::vector<server>(10), {}, 2}.run(calls, 2ms));
  check(cluster<least_connections>{std::vector<server>(10), {}, 3}.run(calls, 2ms));
}

TEST_CASE("balancer simulation: half of the endpoints are slow", "[balancer]") {
  std::vector<server> servers(10);
  for (std::size_t i = 0; i < 5; ++i) servers[i].takes = 50ms;
  constexpr int calls = 20'000;
  const auto run = [&](auto policy, std::chrono::nanoseconds interval) {
    outcome o = cluster<decltype(policy)>{servers, {}, 7}.run(calls, interval);
    return std::pair{o.share_of(0, 5), o.quantile(0.99)};
  };
  // 400 calls a second; the five quick ones can do 500, the slow ones 100.
  const auto turns = run(round_robin{}, 2'500us);
  CHECK(turns.first == 0.5);  // twice of what they can do: their lines grow without end
  CHECK(turns.second > 5'000);
  const auto least = run(least_connections{}, 2'500us);
  CHECK(least.first < 0.25);
  CHECK(least.second < 350);
  const auto two = run(power_of_two_choices{}, 2'500us);
  CHECK(two.first < 0.28);
  CHECK(two.second < 700);
  const auto peak = run(peak_ewma{}, 2'500us);
  CHECK(peak.first < 0.25);
  CHECK(peak.second < two.second);
  // 500 a second. Two choices cannot avoid the slow ones any more: both of a pair are slow two times out of nine, and they can do 100.
  CHECK(run(power_of_two_choices{}, 2ms).first > 2.0 / 9 - margin(2.0 / 9, calls));
  CHECK(run(least_connections{}, 2ms).second < 500);
}

TEST_CASE("balancer simulation: an endpoint that fails at once does not attract traffic", "[balancer]") {
  std::vector<server> servers(10);
  servers[0].fails = 1;
  constexpr int calls = 20'000;
  const auto share_of_failures = [&](auto tag, balancer_options options) {
    using policy = decltype(tag);
    return cluster<policy>{servers, options, 11}.run(calls, 1'250us).share_of(0, 1);
  };
  // Without ejection: what failures take of its share is enough.
  const balancer_options no_ejection{.ejection = {.consecutive_failures = 0}};
  const double least = share_of_failures(least_connections{}, no_ejection);
  const double two = share_of_failures(power_of_two_choices{}, no_ejection);
  const double peak = share_of_failures(peak_ewma{}, no_ejection);
  const double turns = share_of_failures(round_robin{}, no_ejection);
  CHECK(least < 0.01);
  CHECK(two < 0.01);
  CHECK(peak < 0.01);
  CHECK(turns < 0.01);
  // With it: five failures, and then one or two each time that it is let in again (40 s: after 10 s, and after 20 s more).
  CHECK(share_of_failures(least_connections{}, {}) <= 8.0 / calls);
  // If they did not count, the least busy one would be the one that fails.
  const double without = share_of_failures(least_connections{}, {.ejection = {.consecutive_failures = 0}, .recovery = 1ns});
  CHECK(without > 0.15);
  // One of three calls fails: less than its share, and yet some.
  servers[0].fails = 1.0 / 3;
  const double sometimes = share_of_failures(least_connections{}, no_ejection);
  CHECK(sometimes < 0.05);
  CHECK(sometimes > 0.001);
}

TEST_CASE("balancer simulation: a new endpoint warms up", "[balancer]") {
  cluster<power_of_two_choices> c{std::vector<server>(10), {.slow_start = {.duration = 10s}}, 13};
  c.advance(10s);
  (void)c.run(2'000, 5ms);  // ten seconds, after which all are warm
  REQUIRE(c.balancing().drain(c.id(0)));
  REQUIRE(c.balancing().restore(c.id(0)));
  double before = 0;
  for (int i = 0; i < 4; ++i) {
    const double share = c.run(1'000, 2'500us).share_of(0, 1);  // a quarter of the time of the slow start
    CHECK(share < 0.1 + margin(0.1, 1'000));
    CHECK(share > before - margin(0.1, 1'000));
    before = share;
  }
  CHECK(c.run(5'000, 2'500us).share_of(0, 1) == Approx(0.1).margin(margin(0.1, 5'000)));
}
