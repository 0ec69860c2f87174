// penstock/ext/prometheus.hpp: the components of a registry for prometheus-cpp, beside the metrics that a program has there already.
//
//   penstock::registry all;
//   prometheus::Exposer server{"0.0.0.0:9100"};
//   server.RegisterCollectable(std::make_shared<penstock::prometheus_collectable>(all));     // one call exposes every component
//
// The same numbers, names and bounds as to_prometheus_text() (observe/prometheus_text.hpp), which needs no package. The registry must outlive it.
//
// Thread safety  as the registry: Collect() may run on several threads at a time.
// CMake          penstock::prometheus, where prometheus-cpp is installed (Debian: prometheus-cpp-dev).
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/detail/metric_families.hpp>
#include <penstock/observe/registry.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class Label>
Label prometheus_label(std::string_view name, std::string_view value) {
  return {std::string{name}, utf8_text(value)};
}

template <class Metric>
Metric prometheus_metric(const component_snapshot& c, const metric_value& m) {
  using label = typename Metric::Label;
  Metric told;
  told.label.push_back(prometheus_label<label>("component", c.name));
  if (m.every_kind) told.label.push_back(prometheus_label<label>("kind", c.kind));
  if (!m.label.empty()) told.label.push_back(prometheus_label<label>(m.label, m.label_value));
  switch (m.type) {
    case metric_type::count:
      told.counter.value = m.value;
      break;
    case metric_type::level:
      told.gauge.value = m.value;
      break;
    case metric_type::distribution:
      for_each_bound(m, [&](double le, std::uint64_t within) { told.histogram.bucket.push_back({within, le}); });
      told.histogram.bucket.push_back({m.distribution.count(), std::numeric_limits<double>::infinity()});
      told.histogram.sample_count = m.distribution.count();
      told.histogram.sample_sum = m.distribution.sum() / (m.unit == metric_unit::seconds ? 1e9 : 1);
      break;
  }
  return told;
}

}  // namespace detail

/// A snapshot as prometheus-cpp's families.
template <std::same_as<registry_snapshot> Snapshot>
[[nodiscard]] std::vector<prometheus::MetricFamily> to_prometheus_families(const Snapshot& s) {
  using family_type = detail::dependent<prometheus::MetricFamily, Snapshot>;
  using told_metric = detail::dependent<prometheus::ClientMetric, Snapshot>;
  std::vector<family_type> families;
  for (const auto& f : detail::families_of(s)) {
    const prometheus::MetricType type = f.type == metric_type::count   ? prometheus::MetricType::Counter
                                        : f.type == metric_type::level ? prometheus::MetricType::Gauge
                                                                       : prometheus::MetricType::Histogram;
    family_type family{std::string{f.name}, std::string{f.help}, type, {}};
    for (const auto& [component, value] : f.members)
      family.metric.push_back(detail::prometheus_metric<told_metric>(*component, *value));
    families.push_back(std::move(family));
  }
  return families;
}

template <class Sync = detail::std_sync>
class basic_prometheus_collectable final : public prometheus::Collectable {
 public:
  explicit basic_prometheus_collectable(const basic_registry<Sync>& of) noexcept : of_{&of} {}

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override { return to_prometheus_families(of_->snapshot()); }

 private:
  const basic_registry<Sync>* of_;
};

using prometheus_collectable = basic_prometheus_collectable<>;

}  // namespace penstock::inline v0_1
