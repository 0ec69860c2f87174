// penstock/observe/metric_table.hpp: what happened in an interval, a line for each component.
//
//   component    kind          waits   runs  used    in/s   out/s   lost/s   wait P50       P99    run P50       P99  expected
//   api          worker_pool      12    8/8  98 %    9310    9290       20     1.2 ms    4.0 ms   512.0 us    1.9 ms  11.2 8.0
//   connections  semaphore         3 100/100 100 %      -       -        -          -         -          -         -
//
//   waits     depth now, and how many callers wait for room ("+2")
//   runs      in flight now, of how many at the most
//   used      utilization in the interval
//   in, out   accepted; completed and failed
//   lost      rejected and dropped
//   wait, run quantiles of those that ended in the interval
//   expected  Little's law: what would wait, and be under way, if the component were steady; "!" where that is not what is seen
//
// "-" is what a component does not measure, or what cannot be known, for it joined in the interval. One that could not be described has the reason in
// place of the numbers.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/detail/readable.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1 {

namespace detail {

inline constexpr std::array<std::string_view, 13> metric_columns{
    "component", "kind", "waits", "runs", "used", "in/s", "out/s", "lost/s", "wait P50", "P99", "run P50", "P99", "expected"};
using metric_row = std::array<std::string, metric_columns.size()>;

template <class = void>
std::string rate_cell(const component_interval& c, std::string_view one, std::string_view other = {}) {
  const bool counted = c.whole && (c.change.find(one) != nullptr || c.change.find(other) != nullptr);
  return counted ? readable(c.rate(one) + (other.empty() ? 0 : c.rate(other))) : "-";
}

template <class = void>
std::string quantile_cell(const component_interval& c, std::string_view times, double q) {
  const metric_distribution* const d = c.values(times);
  if (d == nullptr || d->count() == 0) return "-";
  return readable(std::chrono::nanoseconds{static_cast<std::chrono::nanoseconds::rep>(d->quantile(q))});
}

template <class = void>
std::string law_cell(const littles_law& law) {
  if (!law.measured) return {};
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.1f%s", law.expected(), law.holds() ? "" : "!");
  return text.data();
}

template <class = void>
metric_row row_of(const component_interval& c) {
  const component_snapshot& now = c.now;
  metric_row row{plain_text(now.name), now.kind};
  const auto whole = [&](std::string_view name) { return number_text(std::trunc(now.total(name))); };
  const auto has = [&](std::string_view name) { return now.find(name) != nullptr; };
  row[2] = has("depth") ? whole("depth") : "-";
  if (now.total("waiters") > 0) row[2] += "+" + whole("waiters");
  row[3] = has("in_flight") ? whole("in_flight") + (has("limit") ? "/" + whole("limit") : "") : "-";
  const auto used = c.utilization();
  row[4] = used ? number_text(std::round(*used * 100)) + " %" : "-";
  row[5] = rate_cell(c, "accepted_total");
  row[6] = rate_cell(c, "completed_total", "failed_total");
  row[7] = rate_cell(c, "rejected_total", "dropped_total");
  row[8] = quantile_cell(c, "queue_wait_seconds", 0.5);
  row[9] = quantile_cell(c, "queue_wait_seconds", 0.99);
  row[10] = quantile_cell(c, "run_seconds", 0.5);
  row[11] = quantile_cell(c, "run_seconds", 0.99);
  const std::string waits = law_cell(c.queue_law());
  const std::string runs = law_cell(c.run_law());
  row[12] = waits + (waits.empty() || runs.empty() ? "" : " ") + runs;
  return row;
}

/// In columns, as people see it: a code point is one wide.
template <class = void>
std::size_t width_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace detail

template <std::same_as<registry_interval> Interval>
[[nodiscard]] std::string to_table(const Interval& i) {
  using row = detail::dependent<detail::metric_row, Interval>;
  std::vector<row> rows(1);
  std::copy(detail::metric_columns.begin(), detail::metric_columns.end(), rows.front().begin());
  for (const auto& c : i.components) rows.push_back(detail::row_of(c));

  std::array<std::size_t, detail::metric_columns.size()> widths{};
  for (const row& r : rows) {
    for (std::size_t at = 0; at < r.size(); ++at) widths[at] = std::max(widths[at], detail::width_of(r[at]));
  }
  std::string table;
  for (std::size_t n = 0; n < rows.size(); ++n) {
    std::string line;
    const std::string& error = n == 0 ? std::string{} : i.components[n - 1].now.error;
    const std::size_t cells = error.empty() ? rows[n].size() : 2;
    for (std::size_t at = 0; at < cells; ++at) {
      const std::string padding(widths[at] - detail::width_of(rows[n][at]), ' ');
      if (at != 0) line += "  ";
      line += at < 2 ? rows[n][at] + padding : padding + rows[n][at];
    }
    if (!error.empty()) line += "  " + detail::plain_text(error);
    line.resize(line.find_last_not_of(' ') + 1);
    table += line + '\n';
  }
  return table;
}

}  // namespace penstock::inline v0_1
