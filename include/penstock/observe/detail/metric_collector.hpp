// penstock/observe/detail/metric_collector.hpp: the sink of a registry, which makes names as Prometheus wants them.
#pragma once

#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/metric_distribution.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1::detail {

/// [a-z][a-z0-9_]*
[[nodiscard]] constexpr bool is_metric_name(std::string_view name) noexcept {
  if (name.empty() || name.front() < 'a' || name.front() > 'z') return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

template <class = void>
void check_metric_name(std::string_view name, const char* what) {
  if (is_metric_name(name)) return;
  throw std::invalid_argument{std::string{"penstock::metric_sink: "} + what + " is called \"" + std::string{name} + "\""};
}

/// Families that a snapshot has so far, and their types: one name has one type, whichever component it comes from.
using metric_families_seen = std::map<std::string, metric_type, std::less<>>;

// A template, so that only who takes a snapshot compiles it.
template <class Families = metric_families_seen>
class metric_collector final : public metric_sink {
 public:
  metric_collector(const std::string& prefix, component_snapshot& into, Families& families) noexcept
      : prefix_{prefix}, into_{into}, families_{families} {}
  ~metric_collector() = default;

  void kind(std::string_view name) override {
    check_metric_name(name, "a kind");
    if (into_.kind.empty()) into_.kind = name;
  }

  /// Everything was told: adds whether it was well.
  void end() {
    if (into_.kind.empty()) {
      if (into_.error.empty()) into_.error = "penstock::metric_sink: a component names no kind()";
      into_.kind = "unknown";
    }
    metric_value v{.name = std::string{up.name},
                   .family = prefix_ + '_' + std::string{up.name},
                   .help = std::string{up.help},
                   .every_kind = true};
    v.value = into_.error.empty() ? 1 : 0;
    into_.metrics.push_back(std::move(v));
  }

 private:
  static constexpr metric up{"up", "1 if the component could be described, else 0.", true};

  void number(const metric& m, metric_type type, metric_unit unit, double value, const metric_label& label) override {
    metric_value v = named(m, type, unit, label);
    v.value = value;
    add(std::move(v));
  }
  void distribution(const metric& m, metric_unit unit, const metric_distribution& values, const metric_label& label) override {
    metric_value v = named(m, metric_type::distribution, unit, label);
    v.distribution = values;
    add(std::move(v));
  }

  metric_value named(const metric& m, metric_type type, metric_unit unit, const metric_label& label) const {
    check_metric_name(m.name, "a metric");
    if (m.every_kind && m.name == up.name)
      throw std::invalid_argument{"penstock::metric_sink: the metric up is the registry's own"};
    for (const std::string_view end : {"_total", "_seconds", "_count", "_sum", "_bucket"}) {
      if (m.name.ends_with(end) || m.name == end.substr(1)) {
        throw std::invalid_argument{"penstock::metric_sink: the metric " + std::string{m.name} +
                                    " says a unit or type in its name"};
      }
    }
    if (!label.name.empty()) check_metric_name(label.name, "a label");
    if (label.name == "component" || label.name == "kind" || label.name == "le" || label.name == "quantile") {
      throw std::invalid_argument{"penstock::metric_sink: a label is called \"" + std::string{label.name} + "\""};
    }
    if (into_.kind.empty()) throw std::logic_error{"penstock::metric_sink: a component names no kind()"};
    metric_value v{
        .name = std::string{m.name}, .help = std::string{m.help}, .type = type, .unit = unit, .every_kind = m.every_kind};
    if (unit == metric_unit::seconds) v.name += "_seconds";
    if (type == metric_type::count) v.name += "_total";
    v.family = prefix_ + '_' + (m.every_kind ? "" : into_.kind + '_') + v.name;
    v.label = label.name;
    v.label_value = utf8_text_with_bytes(label.value);
    return v;
  }
  void add(metric_value&& v) {
    const auto [family, fresh] = families_.try_emplace(v.family, v.type);
    if (!fresh && family->second != v.type) {
      throw std::logic_error{"penstock::metric_sink: " + v.family + " is of another type elsewhere"};
    }
    // With a label or without: JSON has either a number or an object of the labels' values.
    const auto first = told_.lower_bound({v.family, {}});
    const bool both_ways = first != told_.end() && first->first == v.family && (v.label.empty() || first->second.empty());
    if (both_ways || !told_.emplace(v.family, v.label.empty() ? text{} : '=' + v.label_value).second) {
      throw std::logic_error{"penstock::metric_sink: " + v.family + " is told twice" +
                             (v.label.empty() ? std::string{} : ", with " + v.label + " " + v.label_value)};
    }
    into_.metrics.push_back(std::move(v));
  }

  const std::string& prefix_;
  component_snapshot& into_;
  using text = typename Families::key_type;
  Families& families_;
  std::set<std::pair<text, dependent<text, Families>>> told_;
};

}  // namespace penstock::inline v0_1::detail
