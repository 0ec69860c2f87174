// penstock/observe/metric_json.hpp: snapshots and intervals of a registry as JSON, one line.
//
//   {"at_seconds":12.5,"components":[{"name":"api","kind":"worker_pool","metrics":{"depth":3,"rejected_total":{"full":2,"closed":0},
//     "queue_wait_seconds":{"count":900,"sum":0.9,"min":0.0001,"p50":0.001,"p95":…,"p99":…,"p999":…,"max":0.02}}}]}
//
// An interval has "elapsed_seconds", and for each component besides the metrics as they are now: "rates" (a second, of counters), "values" (of histograms,
// in the interval), "utilization", and "queue" and "run", Little's law ("rate", "time_seconds", "expected", "seen", "holds"). A component that could not be
// described has "error". Names are UTF-8, whatever they were; what is no number is null.
#pragma once

#include <algorithm>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/observe/detail/json_writer.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class Json>
void write_values(Json& json, const metric_value& m) {
  const double unit = m.unit == metric_unit::seconds ? 1e9 : 1;
  const metric_distribution& d = m.distribution;
  json.open('{').key("count").number(static_cast<double>(d.count())).key("sum").number(d.sum() / unit);
  json.key("min").number(static_cast<double>(d.min()) / unit);
  struct share {
    const char* name;
    double q;
  };
  for (const share& s : {share{"p50", 0.5}, share{"p95", 0.95}, share{"p99", 0.99}, share{"p999", 0.999}}) {
    json.key(s.name).number(static_cast<double>(d.quantile(s.q)) / unit);
  }
  json.key("max").number(static_cast<double>(d.max()) / unit).close('}');
}

// The metrics that `wanted` wants, by name; those with labels as an object of their values.
template <class Json, class Wanted, class Write>
void write_metrics(Json& json, const component_snapshot& c, Wanted wanted, Write write) {
  json.open('{');
  for (auto m = c.metrics.begin(); m != c.metrics.end(); ++m) {
    if (!wanted(*m)) continue;
    if (m->label.empty()) {
      write(json.key(m->name), *m);
      continue;
    }
    // Those of a name stand together but for where a component told them otherwise: then the first one brings the others along.
    const auto of_this_name = [&](const metric_value& other) { return other.name == m->name && !other.label.empty(); };
    if (std::find_if(c.metrics.begin(), m, of_this_name) != m) continue;
    json.key(m->name).open('{');
    for (auto other = m; other != c.metrics.end(); ++other) {
      if (of_this_name(*other)) write(json.key(other->label_value), *other);
    }
    json.close('}');
  }
  json.close('}');
}

template <class Json>
void write_component(Json& json, const component_snapshot& c) {
  json.key("name").text(c.name).key("kind").text(c.kind);
  if (!c.error.empty()) json.key("error").text(c.error);
  json.key("metrics");
  write_metrics(
      json, c, [](const metric_value&) { return true; },
      [](Json& to, const metric_value& m) {
        m.type == metric_type::distribution ? write_values(to, m) : static_cast<void>(to.number(m.value));
      });
}

template <class Json>
void write_law(Json& json, std::string_view name, const littles_law& law) {
  json.key(name).open('{').key("rate").number(law.rate).key("time_seconds").number(law.time);
  json.key("expected").number(law.expected()).key("seen").number(law.seen).key("holds").boolean(law.holds()).close('}');
}

}  // namespace detail

template <std::same_as<registry_snapshot> Snapshot>
[[nodiscard]] std::string to_json(const Snapshot& s) {
  detail::json_writer json;
  json.open('{').key("at_seconds").number(static_cast<double>(s.at.count()) / 1e9).key("components").open('[');
  for (const component_snapshot& c : s.components) {
    json.open('{');
    detail::write_component(json, c);
    json.close('}');
  }
  json.close(']').close('}');
  return std::move(json).take();
}

template <std::same_as<registry_interval> Interval>
[[nodiscard]] std::string to_json(const Interval& i) {
  detail::json_writer json;
  json.open('{').key("elapsed_seconds").number(static_cast<double>(i.elapsed.count()) / 1e9).key("components").open('[');
  for (const component_interval& c : i.components) {
    json.open('{');
    detail::write_component(json, c.now);
    if (c.whole && c.elapsed.count() > 0) {
      const double seconds = static_cast<double>(c.elapsed.count()) / 1e9;
      json.key("rates");
      detail::write_metrics(
          json, c.change, [](const metric_value& m) { return m.type == metric_type::count; },
          [&](detail::json_writer& to, const metric_value& m) { to.number(m.value / seconds); });
      json.key("values");
      detail::write_metrics(
          json, c.change, [](const metric_value& m) { return m.type == metric_type::distribution; },
          [](detail::json_writer& to, const metric_value& m) { detail::write_values(to, m); });
      if (const littles_law law = c.queue_law(); law.measured) detail::write_law(json, "queue", law);
      if (const littles_law law = c.run_law(); law.measured) detail::write_law(json, "run", law);
    }
    if (const auto used = c.utilization()) json.key("utilization").number(*used);
    json.close('}');
  }
  json.close(']').close('}');
  return std::move(json).take();
}

}  // namespace penstock::inline v0_1
