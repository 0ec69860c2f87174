// penstock/route/balancer_options.hpp: what a balancer can be told, and what it tells.
//
//   penstock::balancer<backend> backends{{.ejection = {.consecutive_failures = 3}, .slow_start = {.duration = 30s}, .zone = "eu-1a"}};
//   auto id = backends.insert(backend{"10.0.0.7:80"}, {.weight = 2, .zone = "eu-1a"});
//   for (const penstock::endpoint_stats& s : backends.stats()) show(s);
//
// Thread safety  values.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <penstock/core/retry_allowance.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// When an endpoint that fails is taken out of the choice for a while (passive outlier ejection). One that is out serves the leases that it has.
struct ejection_options {
  std::uint32_t consecutive_failures = 5;  ///< so many in a row eject; 0: never for that
  double failure_rate = 0;  ///< this share of a window's calls (ignored ones are none) eject, in (0, 1]; 0: never for that
  std::uint32_t minimum_calls = 20;  ///< a window with fewer calls ejects nobody
  std::chrono::nanoseconds window =
      std::chrono::seconds{10};  ///< begins with the first failure after the one before has ended; > 0
  std::chrono::nanoseconds duration = std::chrono::seconds{
      10};  ///< the first time; twice as long each time until a probation is passed (0: until a success); > 0
  std::chrono::nanoseconds max_duration = std::chrono::minutes{5};  ///< no time is longer; >= duration
  /// Of the endpoints that are not drained, at most this share is out at a time, rounded down, but one may always be if another one is left; in [0, 1].
  double max_ejected_share = 0.5;
  std::uint32_t probation = 3;  ///< who comes back is ejected by its first failure until it has had so many successes
};

/// How an endpoint that is new, or comes back, begins.
struct slow_start_options {
  std::chrono::nanoseconds duration{
      0};                ///< its share grows to its weight in this time, in a straight line from 0; 0: at once; >= 0
  double minimum = 0.1;  ///< ... but is never less than this part of its weight, with which it begins; in (0, 1]
};

struct balancer_options {
  std::size_t max_endpoints = 256;  ///< 1 to 2^24; the memory for so many is allocated at construction
  ejection_options ejection = {};
  slow_start_options slow_start = {};
  /// Each failure halves an endpoint's share, down to a hundredth; what is lacking is made up for by an eighth with each success, and by half in
  /// this time without calls. > 0.
  std::chrono::nanoseconds recovery = std::chrono::seconds{5};
  std::string zone = {};  ///< whose endpoints are preferred; empty: no zone is
  /// ... as long as so much of their weight is not ejected; otherwise all endpoints serve. A call whose attempts have tried all of the zone goes on
  /// to the others. In (0, 1].
  double zone_available_share = 0.7;
  bool measure_latency = false;  ///< for stats(), where the policy does not measure anyway; two looks at the clock a call
  /// Of the first attempts made through attempts(), this share may be followed by another one, and ten more; so retries cannot drown what they
  /// are to save. In [0, 10].
  double retry_share = 0.2;
  /// Asked in place of that, if there is one: a retry_budget (job/retry_budget.hpp) that others share. It must outlive the balancer.
  retry_allowance_ref budget = {};
  std::uint64_t seed = 0;  ///< of what is drawn at random
  std::uint64_t key_seed =
      0;  ///< of the hash of keys and names: one number for all processes that shall agree, best a secret one
};

struct endpoint_options {
  double weight = 1;      ///< its share, against the others' weights; positive and finite
  std::string zone = {};  ///< where it is
  /// What its share of the keys depends on, with policies that choose by key: the same for the same endpoint in every process. If empty, the endpoint
  /// itself where it is a string or an integer, and its endpoint_id elsewhere.
  std::string name = {};
};

/// An endpoint of one balancer; never used again for another one (but after 2^32 others at the same place).
enum class endpoint_id : std::uint64_t {};

enum class endpoint_state : std::uint8_t {
  listed,    ///< can be picked (if its zone can)
  ejected,   ///< out for failures, and comes back by itself
  draining,  ///< not picked any more; the leases that it has end as usual
};

/// One moment of an endpoint, each number by itself.
struct endpoint_stats {
  endpoint_id id{};
  endpoint_state state = endpoint_state::listed;
  double weight = 1;
  double share = 1;                          ///< of the weight that counts now: less than 1 in slow start and after failures
  std::uint32_t in_flight = 0;               ///< leases
  std::uint32_t ended = 0;                   ///< leases that ended, modulo 2^32
  std::uint64_t failures = 0;                ///< of those
  std::uint32_t ejections = 0;               ///< in a row, without a probation that was passed
  std::chrono::nanoseconds mean_latency{0};  ///< of those that ended in success, if it is measured
};

/// How a call ended.
enum class lease_outcome : std::uint8_t {
  success,
  failure,  ///< the endpoint's fault: refused, timed out, answered with an error of its own
  ignored,  ///< says nothing of the endpoint: cancelled, a mistake of the caller
};

namespace detail {

template <class = void>
void describe_endpoint(const endpoint_stats& s, metric_sink& to, const metric_label& label = {}) {
  to.gauge(metrics::in_flight, s.in_flight, label);
  to.counter(metrics::completed, s.ended - std::min<std::uint64_t>(s.failures, s.ended), label);
  to.counter(metrics::failed, s.failures, label);
  to.gauge({"share", "What counts of the weight now."}, s.share, label);
  to.gauge({"latency_mean", "Of calls that ended well, if it is measured."}, s.mean_latency, label);
}

// What a registry sees of a balancer (observe/registry.hpp): its endpoints, by endpoint_id.
template <class = void>
void describe_endpoints(const std::vector<endpoint_stats>& endpoints, metric_sink& to) {
  static constexpr metric state{"endpoints", "Endpoints by state."};
  std::size_t in_state[3] = {};
  for (const endpoint_stats& s : endpoints) {
    const std::string id = std::to_string(static_cast<std::uint64_t>(s.id));
    ++in_state[static_cast<std::size_t>(s.state)];
    describe_endpoint(s, to, {"endpoint", id});
  }
  to.gauge(state, in_state[0], {"state", "listed"});
  to.gauge(state, in_state[1], {"state", "ejected"});
  to.gauge(state, in_state[2], {"state", "draining"});
}

}  // namespace detail

/// One of them alone.
template <class = void>
void describe(const endpoint_stats& s, metric_sink& to) {
  static constexpr metric state{"state", "1 for the state that it is in, else 0."};
  to.kind("endpoint");
  to.gauge({"id", "Its endpoint_id."}, static_cast<std::uint64_t>(s.id));
  to.gauge(state, s.state == endpoint_state::listed, {"state", "listed"});
  to.gauge(state, s.state == endpoint_state::ejected, {"state", "ejected"});
  to.gauge(state, s.state == endpoint_state::draining, {"state", "draining"});
  to.gauge({"weight", "Its weight."}, s.weight);
  detail::describe_endpoint(s, to);
}

}  // namespace penstock::inline v0_1
