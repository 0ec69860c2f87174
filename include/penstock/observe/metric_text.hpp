// penstock/observe/metric_text.hpp: what a component says, or all of a registry, as text for logs: a line for each.
//
//   log(penstock::to_text(pool.stats()));
//
//   worker_pool: depth=3 waiters=0 in_flight=4 limit=4 accepted_total=931 completed_total=920 rejected_total{full}=4 busy_total=3.61 s
//     queue_wait=(920: P50 1.2 ms, P99 4.0 ms, max 20.3 ms)                                       (on the same line)
//
// Names are those that JSON and Prometheus have, but that a time has its unit behind the number and not in the name; what stands in braces is the value of
// a label. Counters and values by label that are 0, and histograms without values, are left out unless `zeros` is set. A component of a snapshot has its name
// in front; one that could not be described, why: "api (worker_pool): [it threw: …] depth=3". Rates and percentiles of an interval:
// observe/metric_table.hpp. With fmt and std::format: ext/fmt.hpp, ext/format.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/detail/metric_collector.hpp>
#include <penstock/observe/detail/readable.hpp>
#include <penstock/observe/metric_distribution.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1 {

struct metric_text_options {
  bool zeros = false;  ///< also what has not happened: counters and values by label that are 0, histograms without values
};

/// "920: P50 1.2 ms, P99 4.0 ms, max 20.3 ms". Of nanoseconds if the unit is seconds. "0" if there is no value.
template <class = void>
[[nodiscard]] std::string to_text(const metric_distribution& d, metric_unit unit = metric_unit::none) {
  std::string text = std::to_string(d.count());
  if (d.count() == 0) return text;
  const auto add = [&](const char* name, std::uint64_t value) {
    text += name;
    text += unit == metric_unit::seconds ? detail::readable(std::chrono::nanoseconds{static_cast<std::int64_t>(value)})
                                         : std::to_string(value);
  };
  add(": P50 ", d.quantile(0.5));
  add(", P99 ", d.quantile(0.99));
  add(", max ", d.max());
  return text;
}

namespace detail {

/// "busy_seconds_total" as "busy_total".
template <class = void>
[[nodiscard]] std::string without_unit(std::string name) {
  constexpr std::string_view unit = "_seconds";
  if (const std::size_t at = name.rfind(unit); at != name.npos) name.erase(at, unit.size());
  return name;
}

}  // namespace detail

/// A line, without its end.
template <class = void>
[[nodiscard]] std::string to_text(const component_snapshot& c, metric_text_options options = {}) {
  std::string metrics;
  if (!c.error.empty()) metrics += " [" + detail::plain_text(c.error) + ']';
  for (const metric_value& m : c.metrics) {
    if (m.every_kind && m.name == "up") continue;  // whether there is an error
    const bool values = m.type == metric_type::distribution;
    const bool zero = values ? m.distribution.count() == 0 : m.value == 0;
    if (zero && !options.zeros && (m.type != metric_type::level || !m.label.empty())) continue;
    const bool time = m.unit == metric_unit::seconds;
    metrics += ' ';
    metrics += time ? detail::without_unit(m.name) : m.name;
    if (!m.label.empty()) metrics += '{' + detail::plain_text(m.label_value) + '}';
    metrics += '=';
    if (values) {
      metrics += '(' + to_text(m.distribution, m.unit) + ')';
    } else if (time) {
      metrics += detail::readable(std::chrono::nanoseconds{std::llround(std::clamp(m.value * 1e9, -9e18, 9e18))});
    } else {
      metrics += detail::number_text(m.value);
    }
  }
  std::string line = c.name.empty() ? c.kind : detail::plain_text(c.name) + " (" + c.kind + ')';
  if (!metrics.empty()) line += ':' + metrics;
  return line;
}

/// A line for each component, each with its end.
template <class = void>
[[nodiscard]] std::string to_text(const registry_snapshot& s, metric_text_options options = {}) {
  std::string lines;
  for (const component_snapshot& c : s.components) lines += to_text(c, options) + '\n';
  return lines;
}

/// What a component, or its stats(), says of itself. Throws what describing it throws.
template <class T>
  requires measurable<const T>
[[nodiscard]] std::string to_text(const T& component, metric_text_options options = {}) {
  component_snapshot said;
  const std::string prefix = "penstock";
  detail::metric_families_seen families;
  detail::metric_collector to{prefix, said, families};
  detail::describe_any(component, to);
  return to_text(said, options);
}

}  // namespace penstock::inline v0_1
