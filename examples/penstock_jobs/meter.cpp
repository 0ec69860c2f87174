#include "meter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include <penstock/observe/histogram.hpp>

#include "../index/json.hpp"

namespace jobs {

namespace {

using fulltext::json_object;
using penstock::job_counts;
using penstock::job_info;
using penstock::job_state;
using penstock::job_time;

double seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }
std::size_t held(const job_counts& c) { return c.waiting + c.delayed + c.active + c.waiting_children; }

std::optional<percentiles> percentiles_of(const penstock::histogram& h) {
  const auto s = h.snapshot();
  if (s.count() == 0) return std::nullopt;
  const auto at = [&s](double q) { return std::chrono::nanoseconds{s.quantile(q)}; };
  return percentiles{at(0.5), at(0.95), at(0.99)};
}

std::string human(std::chrono::nanoseconds d) {
  const double s = seconds(d);
  if (s < 1e-3) return fmt::format("{:.0f} us", s * 1e6);
  if (s < 1) return fmt::format("{:.1f} ms", s * 1e3);
  return fmt::format("{:.1f} s", s);
}
std::string row(const char* name, const std::optional<percentiles>& p) {
  if (!p) return fmt::format("  {:<12}{:>12}{:>12}{:>12}\n", name, "-", "-", "-");
  return fmt::format("  {:<12}{:>12}{:>12}{:>12}\n", name, human((*p)[0]), human((*p)[1]), human((*p)[2]));
}
std::string json_of(const std::optional<percentiles>& p) {
  if (!p) return "null";
  return json_object{}.add("p50", seconds((*p)[0])).add("p95", seconds((*p)[1])).add("p99", seconds((*p)[2])).text();
}
json_object json_object_of(const job_counts& c) {
  return json_object{}
      .add("waiting", c.waiting)
      .add("delayed", c.delayed)
      .add("active", c.active)
      .add("waiting_children", c.waiting_children)
      .add("completed", c.completed)
      .add("failed", c.failed)
      .add("paused", c.paused);
}

}  // namespace

meter::meter(const text_queue& queue) : queue_{queue}, last_{queue.now()}, held_{held(queue.counts())} {}

reading meter::read() {
  reading r{.counts = queue_.counts()};
  const job_time now = queue_.now();
  const double passed = std::max(seconds(now - last_), 1e-9);
  const auto wait = std::make_unique<penstock::histogram>();
  const auto run = std::make_unique<penstock::histogram>();
  double busy = 0;  // seconds
  for (const job_state s : {job_state::completed, job_state::failed}) {
    const std::size_t kept = s == job_state::completed ? r.counts.completed : r.counts.failed;
    const std::vector<job_info> over = queue_.list(s, kept > kept_completed ? kept - kept_completed : 0, kept_completed);
    std::size_t ended = 0;
    std::chrono::nanoseconds ran{0};
    for (const job_info& j : over) {
      if (j.started_at == penstock::no_time) continue;  // it was never run
      if (j.ended_at > last_) {
        ++ended;
        ran += j.ended_at - std::max(j.started_at, last_);
      }
      if (s == job_state::failed || now - j.ended_at > std::chrono::minutes{1}) continue;
      if (j.due_at != penstock::no_time)
        wait->record(std::max(j.started_at - std::max(j.added_at, j.due_at), std::chrono::nanoseconds{0}));
      run->record(std::max(j.ended_at - j.started_at, std::chrono::nanoseconds{0}));
    }
    // If all that are kept are new, more have ended than one can see: as fast as these.
    const double since =
        ended == over.size() && ended >= kept_completed ? std::max(seconds(now - over.front().ended_at), 1e-9) : passed;
    r.out += static_cast<double>(ended) / since;
    busy += seconds(ran) * std::max(passed / since, 1.0);
  }
  for (const job_info& j : queue_.list(job_state::active, 0, kept_completed))
    busy += seconds(now - std::max(j.started_at, last_));
  r.busy = busy / passed;
  r.in = std::max(0.0, r.out + (static_cast<double>(held(r.counts)) - static_cast<double>(held_)) / passed);
  r.wait = percentiles_of(*wait);
  r.run = percentiles_of(*run);
  last_ = now;
  held_ = held(r.counts);
  return r;
}

std::string as_table(const job_counts& c) {
  return fmt::format("{:>10}{:>10}{:>10}{:>12}{:>10}{}\n{:>10}{:>10}{:>10}{:>12}{:>10}\n", "waiting", "delayed", "active",
                     "completed", "failed", c.paused ? "    paused" : "", c.waiting, c.delayed, c.active, c.completed, c.failed);
}
std::string as_json(const job_counts& c) { return json_object_of(c).text() + "\n"; }

std::string as_table(const reading& r, std::size_t concurrency) {
  std::string text = as_table(r.counts);
  text += fmt::format("  in {:.1f}/s, out {:.1f}/s, {:.2f} running", r.in, r.out, r.busy);
  if (concurrency != 0)
    text += fmt::format(" of {}: {:.0f} % used", concurrency, 100 * r.busy / static_cast<double>(concurrency));
  text += fmt::format("\n  {:<12}{:>12}{:>12}{:>12}\n", "last minute", "P50", "P95", "P99");
  return text + row("wait", r.wait) + row("run", r.run);
}
std::string as_json(const reading& r, std::size_t concurrency) {
  json_object o = json_object_of(r.counts);
  o.add("in_per_second", r.in).add("out_per_second", r.out).add("busy", r.busy);
  if (concurrency != 0) o.add("utilization", r.busy / static_cast<double>(concurrency));
  return o.raw("wait_seconds", json_of(r.wait)).raw("run_seconds", json_of(r.run)).text() + "\n";
}

}  // namespace jobs
