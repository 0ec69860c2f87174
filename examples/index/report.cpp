#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "json.hpp"

namespace fulltext {

namespace {

// The value in the greatest unit that leaves at least 1 of it, with three digits or so.
std::string scaled(double value, double step, const std::array<std::string_view, 4>& units) {
  std::size_t unit = 0;
  for (; value >= step && unit + 1 < units.size(); ++unit) value /= step;
  return unit == 0 || value >= 100 ? fmt::format("{:.0f} {}", value, units[unit]) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::uint64_t read_rate(const build_report& r) {
  return r.reading.count() > 0 ? static_cast<std::uint64_t>(static_cast<double>(r.bytes_read) / r.reading.count()) : 0;
}

double megabytes_per_second(const build_report& r) {
  return r.elapsed.count() > 0 ? static_cast<double>(r.bytes_indexed) / 1e6 / r.elapsed.count() : 0;
}

std::uint64_t skipped_files(const build_report& r) {
  std::uint64_t n = 0;
  for (const skip_count& s : r.skipped) n += s.reason == skip_reason::odd_name ? 0 : s.count;
  return n;
}

const skip_text& text_of(const skip_count& s) { return skip_texts[static_cast<std::size_t>(s.reason)]; }

}  // namespace

std::string human_bytes(std::uint64_t bytes) { return scaled(static_cast<double>(bytes), 1000, {"B", "kB", "MB", "GB"}); }
std::string human_memory(std::uint64_t bytes) { return scaled(static_cast<double>(bytes), 1024, {"B", "KiB", "MiB", "GiB"}); }
std::string human_time(std::uint64_t nanoseconds) {
  return scaled(static_cast<double>(nanoseconds), 1000, {"ns", "us", "ms", "s"});
}

std::string human_count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string printable(std::string_view text) {
  std::string s{text};
  std::replace_if(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return s;
}

std::string as_table(const build_report& r) {
  std::string out;
  const auto fact = [&out](std::string_view name, const std::string& value) {
    fmt::format_to(std::back_inserter(out), "{:<24}{}\n", name, value);
  };
  fact(r.interrupted ? "interrupted after" : "time", fmt::format("{:.2f} s", r.elapsed.count()));
  fact("files indexed",
       fmt::format("{} ({}, {:.1f} MB/s)", human_count(r.files_indexed), human_bytes(r.bytes_indexed), megabytes_per_second(r)));
  if (r.max_read_rate > 0) {
    fact("read", fmt::format("{} in {:.2f} s: {}/s (allowed: {}/s)", human_memory(r.bytes_read), r.reading.count(),
                             human_memory(read_rate(r)), human_memory(r.max_read_rate)));
  }
  if (r.files_unchanged > 0) {
    fact("files unchanged", fmt::format("{} ({})", human_count(r.files_unchanged), human_bytes(r.bytes_unchanged)));
  }
  if (r.files_removed > 0) fact("files removed", human_count(r.files_removed));
  fact("skipped", human_count(skipped_files(r)));
  for (const skip_count& s : r.skipped) {
    fact(fmt::format("  {}", text_of(s).words), human_count(s.count));
    for (const std::string& example : s.examples) fmt::format_to(std::back_inserter(out), "    {}\n", printable(example));
    if (!s.examples.empty() && s.count > s.examples.size()) out.append("    ...\n");
  }

  fmt::format_to(std::back_inserter(out), "\n{:<10}{:>8}{:>12}{:>10}{:>10}{:>10}{:>8}\n", "stage", "threads", "items", "P50",
                 "P95", "P99", "busy");
  for (const stage_report& s : r.stages) {
    fmt::format_to(std::back_inserter(out), "{:<10}{:>8}{:>12}{:>10}{:>10}{:>10}{:>8}\n", s.name,
                   s.threads == 0 ? "" : std::to_string(s.threads), human_count(s.nanoseconds.count()),
                   human_time(s.nanoseconds.quantile(0.50)), human_time(s.nanoseconds.quantile(0.95)),
                   human_time(s.nanoseconds.quantile(0.99)), s.utilization ? fmt::format("{:.0f} %", *s.utilization * 100) : "");
  }
  fmt::format_to(std::back_inserter(out), "\n{:<24}{:>12}{:>12}\n", "bound", "greatest", "allowed");
  for (const bound_report& b : r.bounds) {
    fmt::format_to(std::back_inserter(out), "{:<24}{:>12}{:>12}\n", b.name, human_count(b.greatest), human_count(b.capacity));
  }
  out.push_back('\n');
  const std::string divided = r.shards == 1 ? "" : fmt::format(" in {} shards", r.shards);
  fact("database", fmt::format("{} ({}{})", printable(r.database), human_bytes(r.database_bytes), divided));
  if (r.peak_memory > 0) {
    fact("peak memory", fmt::format("{} (allowed: {} and {} of SQLite's cache)", human_memory(r.peak_memory),
                                    human_memory(r.max_memory), human_memory(r.cache_memory)));
  }
  return out;
}

std::string as_json(const build_report& r) {
  json_object o;
  o.add("interrupted", r.interrupted).add("seconds", r.elapsed.count()).add("files_indexed", r.files_indexed);
  o.add("files_unchanged", r.files_unchanged).add("files_removed", r.files_removed).add("files_skipped", skipped_files(r));
  o.add("bytes_indexed", r.bytes_indexed)
      .add("bytes_unchanged", r.bytes_unchanged)
      .add("megabytes_per_second", megabytes_per_second(r));
  o.add("bytes_read", r.bytes_read).add("read_seconds", r.reading.count()).add("max_read_rate", r.max_read_rate);
  o.raw("skipped", json_array(r.skipped, [](const skip_count& s) {
          const std::string examples = json_array(s.examples, [](const std::string& e) { return json_string(e); });
          return json_object{}.add("reason", text_of(s).key).add("count", s.count).raw("examples", examples).text();
        }));
  o.raw("stages", json_array(r.stages, [](const stage_report& s) {
          json_object stage;
          stage.add("name", s.name).add("threads", s.threads).add("items", s.nanoseconds.count());
          stage.add("p50_ns", s.nanoseconds.quantile(0.50)).add("p95_ns", s.nanoseconds.quantile(0.95));
          stage.add("p99_ns", s.nanoseconds.quantile(0.99)).add("max_ns", s.nanoseconds.max());
          if (s.utilization) stage.add("utilization", *s.utilization);
          return stage.text();
        }));
  o.raw("bounds", json_array(r.bounds, [](const bound_report& b) {
          return json_object{}.add("name", b.name).add("greatest", b.greatest).add("allowed", b.capacity).text();
        }));
  o.add("database", r.database)
      .add("shards", r.shards)
      .add("database_bytes", r.database_bytes)
      .add("peak_memory_bytes", r.peak_memory);
  o.add("max_memory_bytes", r.max_memory).add("cache_bytes", r.cache_memory);
  return o.text() + "\n";
}

}  // namespace fulltext
