#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "../index/json.hpp"
#include "../index/memory.hpp"
#include "../index/report.hpp"

namespace files {

namespace {

using fulltext::human_bytes;
using fulltext::human_count;
using fulltext::human_memory;
using fulltext::human_time;
using fulltext::json_object;

double rate(std::uint64_t n, double seconds) { return static_cast<double>(n) / std::max(seconds, 1e-9); }

}  // namespace

std::string as_table(const run_report& r) {
  std::string out = fmt::format("{:<10}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>14}\n", "", "files", "bytes", "files/s", "P50",
                                "P99", "broken", "at a time");
  for (const kind k : kinds) {
    const stage& s = r.of.of(k);
    const auto times = s.latency.snapshot();
    out += fmt::format("{:<10}{:>10}{:>12}{:>10.1f}{:>10}{:>10}{:>10}{:>14}\n", fmt::format("{}s", name_of(k)),
                       human_count(s.done.value()), human_bytes(s.bytes.value()), rate(s.done.value(), r.seconds),
                       human_time(times.quantile(0.5)), human_time(times.quantile(0.99)), human_count(s.broken.value()),
                       fmt::format("{} of {}", s.reading.peak(), s.threads));
    if (const std::uint64_t n = r.of.left_alone(k); n != 0)
      out += fmt::format("{:<10}{:>10}  left alone{}\n", "", human_count(n),
                         can_read(k) ? "" : ": this program was built without what reads them");
  }
  out += fmt::format("\n{} files in {:.1f} s; {} were known, {} are of no kind that is read\n", human_count(r.of.found()),
                     r.seconds, human_count(r.of.unchanged()), human_count(r.of.of_no_kind()));
  for (const fulltext::skip_count& s : r.of.skipped()) {
    out +=
        fmt::format("{} passed over: {}\n", human_count(s.count), fulltext::skip_texts[static_cast<std::size_t>(s.reason)].words);
    for (const std::string& e : s.examples) out += fmt::format("    {}\n", fulltext::printable(e));
  }
  out += fmt::format("memory: {} of the {} that files may take, {} in all\n", human_memory(r.of.most_in_flight()),
                     human_memory(r.options.max_memory), human_memory(fulltext::peak_resident_bytes()));
  if (const auto n = r.of.jobs().failed; n != 0)
    out += fmt::format("{} dead letters: penstock-jobs failed --db {}/jobs.db\n", human_count(n), r.options.folder);
  if (r.interrupted) out += "interrupted: run it again to go on\n";
  return out;
}

std::string as_json(const run_report& r) {
  json_object by_kind;
  for (const kind k : kinds) {
    const stage& s = r.of.of(k);
    const auto times = s.latency.snapshot();
    by_kind.raw(name_of(k), json_object{}
                                .add("can_be_read", can_read(k))
                                .add("files", s.done.value())
                                .add("bytes", s.bytes.value())
                                .add("files_per_second", rate(s.done.value(), r.seconds))
                                .add("p50_seconds", static_cast<double>(times.quantile(0.5)) / 1e9)
                                .add("p99_seconds", static_cast<double>(times.quantile(0.99)) / 1e9)
                                .add("broken", s.broken.value())
                                .add("failed_attempts", s.failed.value())
                                .add("written_before", s.known.value())
                                .add("vanished", s.vanished.value())
                                .add("left_alone", r.of.left_alone(k))
                                .add("concurrency", s.threads)
                                .add("most_at_a_time", s.reading.peak())
                                .add("most_in_hand", s.in_hand.peak())
                                .text());
  }
  const penstock::job_counts c = r.of.jobs();
  return json_object{}
             .add("seconds", r.seconds)
             .add("interrupted", r.interrupted)
             .add("found", r.of.found())
             .add("unchanged", r.of.unchanged())
             .add("of_no_kind", r.of.of_no_kind())
             .raw("kinds", by_kind.text())
             .add("dead_letters", c.failed)
             .add("max_memory_bytes", r.options.max_memory)
             .add("most_in_flight_bytes", r.of.most_in_flight())
             .add("peak_resident_bytes", fulltext::peak_resident_bytes())
             .text() +
         "\n";
}

}  // namespace files
