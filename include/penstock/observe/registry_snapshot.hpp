// penstock/observe/registry_snapshot.hpp: what the components of a registry said at one moment, and what happened between two.
//
//   const penstock::registry_snapshot before = all.snapshot();
//   …
//   const penstock::registry_interval i = all.snapshot().since(before);
//   const penstock::component_interval* api = i.find("api");
//   api->rate("completed_total");                          // a second
//   api->utilization();                                    // of its slots' time
//   if (!api->queue_law().holds()) …                       // Little's law: what waits inside is not what went through it lately
//   std::cout << to_table(i) << to_json(i);                // observe/metric_table.hpp, metric_json.hpp
//
// Plain values. Names are those that the outside sees, with unit and "_total": "depth", "rejected_total", "queue_wait_seconds".
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/observe/metric_distribution.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct metric_value {
  std::string name = {};    ///< with unit and "_total"
  std::string family = {};  ///< with prefix and, if it belongs to one kind only, the kind
  std::string help = {};
  metric_type type = metric_type::level;
  metric_unit unit = metric_unit::none;
  bool every_kind = false;
  std::string label = {};  ///< empty: none
  std::string label_value = {};
  double value = 0;                       ///< of a counter or gauge, in its unit
  metric_distribution distribution = {};  ///< of a histogram; nanoseconds if the unit is seconds
};

struct component_snapshot {
  std::string name = {};
  std::string kind = {};
  std::uint64_t membership = 0;  ///< another one for each join()
  std::string error = {};        ///< why describing it failed; what it had said until then is there
  std::vector<metric_value> metrics = {};

  /// The first of that name, or the one with this value of its label; null: none.
  template <class = void>
  [[nodiscard]] const metric_value* find(std::string_view metric, std::string_view label_value = {}) const noexcept {
    for (const metric_value& m : metrics) {
      if (m.name == metric && (label_value.empty() || m.label_value == label_value)) return &m;
    }
    return nullptr;
  }
  /// A counter's or gauge's value, the sum of all labels'; 0: none.
  template <class = void>
  [[nodiscard]] double total(std::string_view metric) const noexcept {
    double sum = 0;
    for (const metric_value& m : metrics) {
      if (m.name == metric) sum += m.value;
    }
    return sum;
  }
};

/// J. D. C. Little's law: on average over a long time, what is inside is the rate at which things go through times the time that they take. It knows
/// nothing of how they are scheduled. Where it does not hold in an interval, what is inside is not what comes out: it grows, shrinks, or is stuck.
struct littles_law {
  double rate = 0;        ///< of those that came out, a second
  double time = 0;        ///< they had been inside, on average, in seconds
  double seen = 0;        ///< what was inside, on average, as far as it was looked at
  bool measured = false;  ///< the component tells both, the times (of one at least that came out) and what is inside

  /// What would be inside, on average, if it were steady.
  [[nodiscard]] double expected() const noexcept { return rate * time; }
  /// Whether the two are no more than `factor` apart, or than chance may put them: what is seen at two moments is off by some square root of it.
  [[nodiscard]] bool holds(double factor = 2) const noexcept {
    const double low = std::min(expected(), seen);
    const double high = std::max(expected(), seen);
    return high <= low * factor || high - low <= 1 + 2 * std::sqrt(high);
  }
};

/// What one component did in an interval.
struct component_interval {
  component_snapshot now = {};
  /// What counters and histograms have got more, and the means of what gauges were at both ends. Only gauges, as they are now, if the component was not
  /// there, as the same membership, at the beginning.
  component_snapshot change = {};
  bool whole = false;  ///< it was there all the time
  std::chrono::nanoseconds elapsed{};

  /// By how much a counter grew a second, or how many values a histogram got; 0: there is none, or not for the whole interval.
  template <class = void>
  [[nodiscard]] double rate(std::string_view metric) const noexcept {
    const metric_value* const m = change.find(metric);
    if (m == nullptr || m->type == metric_type::level || elapsed.count() <= 0) return 0;
    return (m->type == metric_type::distribution ? static_cast<double>(m->distribution.count()) : change.total(metric)) /
           seconds();
  }
  /// The values that a histogram got; null: there is none.
  template <class = void>
  [[nodiscard]] const metric_distribution* values(std::string_view metric) const noexcept {
    const metric_value* const m = change.find(metric);
    return m != nullptr && m->type == metric_type::distribution ? &m->distribution : nullptr;
  }
  /// The share of its slots that was in use: of their time where the component measures that, else on average at the two ends. Nothing if it has no limit.
  template <class = void>
  [[nodiscard]] std::optional<double> utilization() const noexcept {
    if (const double offered = change.total("offered_seconds_total"); offered > 0) {
      return change.total("busy_seconds_total") / offered;
    }
    const double limit = change.total("limit");
    if (limit > 0 && change.find("in_flight") != nullptr) return change.total("in_flight") / limit;
    return std::nullopt;
  }
  /// Of what waits: depth against queue_wait. All 0 if it does not measure how long things wait, or tells no depth.
  template <class = void>
  [[nodiscard]] littles_law queue_law() const noexcept {
    if (change.find("depth") == nullptr) return {};
    return law("queue_wait_seconds", change.total("depth"));
  }
  /// Of what is under way: the time of busy slots, or in_flight where that is not measured, against run.
  template <class = void>
  [[nodiscard]] littles_law run_law() const noexcept {
    const bool integral = change.find("busy_seconds_total") != nullptr && elapsed.count() > 0;
    if (!integral && change.find("in_flight") == nullptr) return {};
    return law("run_seconds", integral ? change.total("busy_seconds_total") / seconds() : change.total("in_flight"));
  }

 private:
  [[nodiscard]] double seconds() const noexcept { return static_cast<double>(elapsed.count()) / 1e9; }
  template <class = void>
  [[nodiscard]] littles_law law(std::string_view times, double seen) const noexcept {
    const metric_distribution* const d = values(times);
    if (d == nullptr || elapsed.count() <= 0) return {};
    // Where not all of them are timed the mean is that of a sample, but the rate need not be.
    const metric_value* const every = now.find(metrics::time_every.name);
    const bool sampled = every != nullptr && every->value > 1;
    const double out = sampled ? change.total("completed_total") + change.total("failed_total") : static_cast<double>(d->count());
    if (out > 0 && d->count() == 0) return {};  // none of these was timed
    return {out / seconds(), d->mean() / 1e9, seen, true};
  }
};

struct registry_interval {
  std::chrono::nanoseconds elapsed{};
  std::vector<component_interval> components = {};

  template <class = void>
  [[nodiscard]] const component_interval* find(std::string_view component) const noexcept {
    const auto it = std::find_if(components.begin(), components.end(), [&](const auto& c) { return c.now.name == component; });
    return it == components.end() ? nullptr : &*it;
  }
};

struct registry_snapshot {
  std::chrono::nanoseconds at{};  ///< by the registry's clock
  std::string prefix = {};
  std::vector<component_snapshot> components = {};  ///< in the order in which they joined

  template <class = void>
  [[nodiscard]] const component_snapshot* find(std::string_view component) const noexcept {
    const auto it = std::find_if(components.begin(), components.end(), [&](const auto& c) { return c.name == component; });
    return it == components.end() ? nullptr : &*it;
  }

  /// What happened after `earlier`, a snapshot of the same registry, to those that are there now. A counter that has become less began anew: what it
  /// has counts.
  template <class = void>
  [[nodiscard]] registry_interval since(const registry_snapshot& earlier) const;
};

namespace detail {

template <class = void>
[[nodiscard]] component_interval interval_of(const component_snapshot& now, const component_snapshot* before,
                                             std::chrono::nanoseconds elapsed) {
  component_interval i{now, now, before != nullptr && before->membership == now.membership, elapsed};
  std::vector<metric_value>& metrics = i.change.metrics;
  if (!i.whole) {
    std::erase_if(metrics, [](const metric_value& m) { return m.type != metric_type::level; });
    return i;
  }
  // What is described at both ends mostly stands at the same place.
  for (std::size_t at = 0; at < metrics.size(); ++at) {
    metric_value& m = metrics[at];
    const auto same = [&](const metric_value& b) { return b.name == m.name && b.label_value == m.label_value; };
    const metric_value* b = at < before->metrics.size() ? &before->metrics[at] : nullptr;
    if (b == nullptr || !same(*b)) {
      const auto it = std::find_if(before->metrics.begin(), before->metrics.end(), same);
      b = it == before->metrics.end() ? nullptr : &*it;
    }
    if (b == nullptr) continue;  // from 0: it was told for the first time
    if (m.type == metric_type::distribution) {
      m.distribution = m.distribution.since(b->distribution);
    } else if (m.type == metric_type::level) {
      m.value = (m.value + b->value) / 2;
    } else if (m.value >= b->value) {
      m.value -= b->value;
    }
  }
  return i;
}

}  // namespace detail

template <class>
registry_interval registry_snapshot::since(const registry_snapshot& earlier) const {
  registry_interval i{at - earlier.at};
  i.components.reserve(components.size());
  for (const component_snapshot& c : components) i.components.push_back(detail::interval_of(c, earlier.find(c.name), i.elapsed));
  return i;
}

}  // namespace penstock::inline v0_1
