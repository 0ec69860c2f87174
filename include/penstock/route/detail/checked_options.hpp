// penstock/route/detail/checked_options.hpp: what of a balancer's options cannot be is refused by name.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>

#include <penstock/route/balancer_options.hpp>

namespace penstock::inline v0_1::detail {

template <class = void>
void require_option(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument{std::string{"penstock::balancer: "} + what};
}

template <class = void>
[[nodiscard]] balancer_options checked(balancer_options o) {
  const ejection_options& e = o.ejection;
  require_option(o.max_endpoints >= 1 && o.max_endpoints <= std::size_t{1} << 24, "max_endpoints must be 1 to 2^24");
  require_option(e.failure_rate >= 0 && e.failure_rate <= 1, "ejection.failure_rate must be in [0, 1]");
  require_option(e.window.count() > 0, "ejection.window must be positive");
  require_option(e.duration.count() > 0, "ejection.duration must be positive");
  require_option(e.max_duration >= e.duration, "ejection.max_duration must not be less than ejection.duration");
  require_option(e.max_ejected_share >= 0 && e.max_ejected_share <= 1, "ejection.max_ejected_share must be in [0, 1]");
  require_option(o.slow_start.duration.count() >= 0, "slow_start.duration must not be negative");
  require_option(o.slow_start.minimum > 0 && o.slow_start.minimum <= 1, "slow_start.minimum must be in (0, 1]");
  require_option(o.recovery.count() > 0, "recovery must be positive");
  require_option(o.zone_available_share > 0 && o.zone_available_share <= 1, "zone_available_share must be in (0, 1]");
  require_option(o.retry_share >= 0 && o.retry_share <= 10, "retry_share must be in [0, 10]");
  return o;
}

[[nodiscard]] inline double checked_weight(double weight) {
  require_option(weight > 0 && std::isfinite(weight), "the weight of an endpoint must be positive and finite");
  return weight;
}

}  // namespace penstock::inline v0_1::detail
