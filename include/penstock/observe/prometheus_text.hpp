// penstock/observe/prometheus_text.hpp: a snapshot in the text format of Prometheus (version 0.0.4), without any package.
//
//   answer("text/plain; version=0.0.4", penstock::to_prometheus_text(all.snapshot()));
//
//   # HELP penstock_depth What waits inside now.
//   # TYPE penstock_depth gauge
//   penstock_depth{component="api",kind="worker_pool"} 3
//
// Each number carries the component's name, and its kind where the metric is one of all kinds. Bounds of buckets: detail/metric_families.hpp. Names of
// components may be any text: bytes that are no UTF-8 become U+FFFD; in values of labels U+FFFD and the byte in hexadecimal, <ff>, so that values stay
// apart. For prometheus-cpp: ext/prometheus.hpp.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/detail/metric_families.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1 {

namespace detail {

inline constexpr std::string_view prometheus_type(metric_type type) noexcept {
  return type == metric_type::count ? "counter" : type == metric_type::level ? "gauge" : "histogram";
}

template <class = void>
class prometheus_text_writer {
 public:
  void family(const metric_family& f) {
    out_.append("# HELP ").append(f.name) += ' ';
    escaped(f.help, false);
    out_.append("\n# TYPE ").append(f.name).append(" ").append(prometheus_type(f.type)) += '\n';
    for (const auto& [component, value] : f.members) member(f, *component, *value);
  }
  [[nodiscard]] std::string take() && { return std::move(out_); }

 private:
  void member(const metric_family& f, const component_snapshot& c, const metric_value& m) {
    labels_.clear();
    label("component", c.name);
    if (m.every_kind) label("kind", c.kind);
    if (!m.label.empty()) label(m.label, m.label_value);
    if (m.type != metric_type::distribution) return line(f.name, "", labels_, m.value);
    const std::string labels = labels_;
    for_each_bound(m, [&](double le, std::uint64_t within) { bucket(f.name, labels, number_text(le), within); });
    bucket(f.name, labels, "+Inf", m.distribution.count());
    line(f.name, "_sum", labels, m.distribution.sum() / (m.unit == metric_unit::seconds ? 1e9 : 1));
    line(f.name, "_count", labels, static_cast<double>(m.distribution.count()));
  }
  void bucket(std::string_view name, const std::string& labels, std::string_view le, std::uint64_t within) {
    labels_ = labels;
    label("le", le);
    line(name, "_bucket", labels_, static_cast<double>(within));
  }
  void line(std::string_view name, std::string_view suffix, std::string_view labels, double value) {
    out_.append(name).append(suffix).append("{").append(labels).append("} ").append(number_text(value)) += '\n';
  }
  void label(std::string_view name, std::string_view value) {
    if (!labels_.empty()) labels_ += ',';
    labels_.append(name).append("=\"");
    labels_.swap(out_);
    escaped(value, true);
    labels_.swap(out_);
    labels_ += '"';
  }
  void escaped(std::string_view text, bool quotes) {
    for_each_code_point(text, [&](std::string_view c) {
      if (c == "\n") {
        out_ += "\\n";
        return;
      }
      if (c == "\\" || (quotes && c == "\"")) out_ += '\\';
      out_ += c;
    });
  }

  std::string out_;
  std::string labels_;
};

}  // namespace detail

template <std::same_as<registry_snapshot> Snapshot>
[[nodiscard]] std::string to_prometheus_text(const Snapshot& s) {
  detail::prometheus_text_writer<> writer;
  for (const auto& f : detail::families_of(s)) writer.family(f);
  return std::move(writer).take();
}

}  // namespace penstock::inline v0_1
