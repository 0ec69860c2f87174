#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>

namespace load {

namespace {

using json = nlohmann::ordered_json;

constexpr std::array class_names{"2xx", "3xx", "4xx", "5xx"};

double seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }
double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; }

std::string human(std::uint64_t nanoseconds) {
  const double s = seconds(nanoseconds);
  if (s < 1e-3) return fmt::format("{:.0f} us", s * 1e6);
  if (s < 0.1) return fmt::format("{:.2f} ms", s * 1e3);
  return s < 1 ? fmt::format("{:.1f} ms", s * 1e3) : fmt::format("{:.2f} s", s);
}
std::string bytes(double n) {
  for (const char* unit : {"B", "KiB", "MiB", "GiB"}) {
    if (n < 1024) return fmt::format("{:.1f} {}", n, unit);
    n /= 1024;
  }
  return fmt::format("{:.1f} TiB", n);
}
std::string row(const char* name, const latencies_snapshot& s) {
  if (s.count() == 0) return "";
  std::string text = fmt::format("  {:<9}{:>10}", name, human(static_cast<std::uint64_t>(s.mean())));
  for (const double q : {0.5, 0.75, 0.9, 0.99, 0.999, 0.9999}) text += fmt::format("{:>10}", human(s.quantile(q)));
  return text + fmt::format("{:>10}\n", human(s.max()));
}
std::string_view trimmed_rate(std::string& text) {
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}
std::string number(double n) {
  std::string text = fmt::format("{:.3f}", n);
  return std::string{trimmed_rate(text)};
}
std::string rates(const rate_step& s) { return s.from == s.to ? number(s.from) : number(s.from) + ":" + number(s.to); }

json json_of(const latencies_snapshot& s) {
  if (s.count() == 0) return nullptr;
  json j{{"count", s.count()}, {"mean", s.mean() * 1e-9}, {"min", seconds(s.min())}};
  for (const auto& [name, q] :
       {std::pair{"p50", 0.5}, {"p75", 0.75}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99_9", 0.999}, {"p99_99", 0.9999}})
    j[name] = seconds(s.quantile(q));
  j["max"] = seconds(s.max());
  return j;
}
json json_of(const live_row& r) {
  return {{"at_seconds", seconds(r.at)},
          {"seconds", r.seconds},
          {"sent", r.sent},
          {"answered", r.answered},
          {"failed", r.failed},
          {"in_flight", r.in_flight},
          {"queued", r.queued},
          {"p50_seconds", seconds(r.p50)},
          {"p99_seconds", seconds(r.p99)},
          {"max_seconds", seconds(r.max)}};
}
/// As HdrHistogram prints it: the share grows by halves of what is left.
json spectrum(const latencies_snapshot& s) {
  json points = json::array();
  const auto n = static_cast<double>(s.count());
  for (double left = 1; n != 0 && left * n >= 0.5; left *= 0.8408964152537145)
    points.push_back({1 - left, seconds(s.quantile(1 - left))});
  if (n != 0) points.push_back({1.0, seconds(s.max())});
  return points;
}
json counts_of(const options& o, const totals& t, double length) {
  json status = json::object();
  for (std::size_t i = 0; i < t.status.size(); ++i) {
    if (t.status[i] != 0) status[std::to_string(i)] = t.status[i];
  }
  json failed = json::object();
  for (std::size_t i = 0; i < failure_names.size(); ++i) failed[failure_names[i]] = t.failed[i];
  json latency_by_class = json::object();
  for (std::size_t i = 0; i < classes; ++i) {
    if (t.by_class[i].count() != 0) latency_by_class[class_names[i]] = json_of(t.by_class[i]);
  }
  return {{"seconds", length},
          {"intended", t.intended},
          {"answered", t.answered()},
          {"errors", t.errors(o)},
          {"rate", static_cast<double>(t.answered()) / length},
          {"goodput", static_cast<double>(t.by_class[0].count() + t.by_class[1].count()) / length},
          {"by_status", status},
          {"unanswered", failed},
          {"unfinished", t.unfinished},
          {"queued", t.queued},
          {"connects", t.connects},
          {"bytes_read", t.bytes_read},
          {"bytes_written", t.bytes_written},
          {"latency_seconds", json_of(t.latency)},
          {"service_seconds", json_of(t.service)},
          {"late_seconds", json_of(t.late)},
          {"latency_seconds_by_class", latency_by_class}};
}

double share_of_errors(const options& o, const totals& t) {
  const std::uint64_t all = t.answered() + t.unanswered();
  return all == 0 ? 1 : static_cast<double>(t.errors(o)) / static_cast<double>(all);
}

}  // namespace

void totals::add(const measurements& m) {
  for (std::size_t i = 0; i < classes; ++i) {
    const auto s = m.latency[i].snapshot();
    by_class[i].merge(s);
    latency.merge(s);
  }
  service.merge(m.service.snapshot());
  late.merge(m.late.snapshot());
  for (std::size_t i = 0; i < status.size(); ++i) status[i] += m.status[i].value();
  for (std::size_t i = 0; i < failed.size(); ++i) failed[i] += m.failed[i].value();
  intended += m.intended.value();
  queued += m.queued.value();
  unfinished += m.unfinished.value();
  bytes_read += m.bytes_read.value();
  bytes_written += m.bytes_written.value();
  connects += m.connects.value();
}

void totals::add(const totals& t) {
  for (std::size_t i = 0; i < classes; ++i) by_class[i].merge(t.by_class[i]);
  latency.merge(t.latency);
  service.merge(t.service);
  late.merge(t.late);
  for (std::size_t i = 0; i < status.size(); ++i) status[i] += t.status[i];
  for (std::size_t i = 0; i < failed.size(); ++i) failed[i] += t.failed[i];
  intended += t.intended;
  queued += t.queued;
  unfinished += t.unfinished;
  bytes_read += t.bytes_read;
  bytes_written += t.bytes_written;
  connects += t.connects;
}

std::uint64_t totals::unanswered() const { return std::accumulate(failed.begin(), failed.end(), std::uint64_t{0}); }

std::uint64_t totals::errors(const options& o) const {
  std::uint64_t n = unanswered();
  for (std::size_t i = 0; i < status.size(); ++i) n += o.accepted[i] ? 0 : status[i];
  return n;
}

live_meter::live_meter(const std::vector<std::unique_ptr<engine>>& engines) : engines_{engines} {}

live_row live_meter::read() {
  live_row all;
  penstock::histogram_snapshot latency;
  for (const auto& e : engines_) {
    const live_view& v = e->live();
    latency.merge(v.latency.snapshot());
    all.sent += v.sent.value();
    all.answered += v.answered.value();
    all.failed += v.failed.value();
    all.in_flight += v.in_flight.value();
    all.queued += v.queued.value();
  }
  const auto now = std::chrono::steady_clock::now();
  const auto interval = latency.since(latency_);
  live_row r = all;
  r.at = now - begin_;
  r.seconds = std::max(seconds(now - last_), 1e-9);
  r.sent -= before_.sent;
  r.answered -= before_.answered;
  r.failed -= before_.failed;
  r.p50 = interval.quantile(0.5);
  r.p99 = interval.quantile(0.99);
  r.max = interval.max();
  last_ = now;
  before_ = all;
  latency_ = std::move(latency);
  return r;
}

std::vector<std::string> exceeded(const options& o, const outcome& result) {
  std::vector<std::string> said;
  const totals& t = result.all;
  if (o.most_p99 && (t.answered() == 0 || std::chrono::nanoseconds{t.latency.quantile(0.99)} > *o.most_p99)) {
    said.push_back(t.answered() == 0 ? std::string{"P99: there were no answers"}
                                     : fmt::format("P99 is {}, more than {}", human(t.latency.quantile(0.99)),
                                                   human(static_cast<std::uint64_t>(o.most_p99->count()))));
  }
  if (o.most_errors && share_of_errors(o, t) > *o.most_errors)
    said.push_back(fmt::format("{:.4g} % errors, more than {:.4g} %", share_of_errors(o, t) * 100, *o.most_errors * 100));
  const double rate = static_cast<double>(t.answered()) / result.seconds;
  if (o.least_rate && rate < *o.least_rate)
    said.push_back(fmt::format("{:.1f} answers a second, less than {}", rate, number(*o.least_rate)));
  return said;
}

const char* const live_head = "  second      sent/s  answers/s   failed  in flight    queued       P50       P99       max\n";

std::string as_row(const live_row& r) {
  return fmt::format("{:>8.1f}{:>12.0f}{:>11.0f}{:>9}{:>11}{:>10}{:>10}{:>10}{:>10}", seconds(r.at),
                     static_cast<double>(r.sent) / r.seconds, static_cast<double>(r.answered) / r.seconds, r.failed, r.in_flight,
                     r.queued, human(r.p50), human(r.p99), human(r.max));
}

std::string as_text(const options& o, const outcome& result) {
  const totals& t = result.all;
  std::string text =
      fmt::format("http://{}:{}{}{}\n", o.urls[0].host, o.urls[0].port, o.urls[0].path, o.urls.size() > 1 ? " ..." : "");
  if (o.open_loop) {
    std::string steps;
    for (const rate_step& s : o.steps) steps += (steps.empty() ? "" : ",") + rates(s);
    text += fmt::format("open loop, {}/s {}, at the most", steps,
                        o.how == spacing::poisson ? fmt::format("at random (seed {})", o.seed) : "evenly");
  } else {
    text += "closed loop,";
  }
  text += fmt::format(" {} connection{}, {} thread{}; {:.1f} s{}{}\n", o.connections, o.connections == 1 ? "" : "s", o.threads,
                      o.threads == 1 ? "" : "s", result.seconds,
                      o.warm_up.count() != 0 ? fmt::format(" after {:.1f} s of warm-up", seconds(o.warm_up)) : "",
                      result.interrupted ? ", interrupted" : "");
  const auto rate = [&result](std::uint64_t n) { return static_cast<double>(n) / result.seconds; };
  text += fmt::format("  requests {:>12}  {:.1f}/s\n  answers  {:>12}  {:.1f}/s;", t.intended, rate(t.intended), t.answered(),
                      rate(t.answered()));
  for (std::size_t i = 0; i < t.status.size(); ++i) {
    if (t.status[i] != 0) text += fmt::format(" {}: {}", i, t.status[i]);
  }
  text += fmt::format("\n  errors   {:>12}  {:.3g} %", t.errors(o), share_of_errors(o, t) * (t.intended == 0 ? 0 : 100));
  for (std::size_t i = 0; i < failure_names.size(); ++i) {
    if (t.failed[i] != 0) text += fmt::format("; {}: {}", failure_names[i], t.failed[i]);
  }
  if (o.open_loop) text += fmt::format("\n  queued   {:>12}  for want of a connection", t.queued);
  if (t.unfinished != 0) text += fmt::format("\n  unfinished {:>10}", t.unfinished);
  text += fmt::format(
      "\n  read {}, {}/s; written {}; {} connections made anew; {:.0f} answers for a second of this program's processor time\n",
      bytes(static_cast<double>(t.bytes_read)), bytes(rate(t.bytes_read)), bytes(static_cast<double>(t.bytes_written)),
      t.connects, static_cast<double>(result.answers) / std::max(result.cpu_seconds, 1e-3));
  text += fmt::format("\n  {:<9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "", "mean", "P50", "P75", "P90", "P99",
                      "P99.9", "P99.99", "max");
  text += row("latency", t.latency);
  if (o.open_loop) text += row("service", t.service) + row("late", t.late);
  if (std::count_if(t.by_class.begin(), t.by_class.end(), [](const auto& s) { return s.count() != 0; }) > 1) {
    for (std::size_t i = 0; i < classes; ++i) text += row(class_names[i], t.by_class[i]);
  }
  if (result.steps.size() > 1) {
    text += fmt::format("\n  {:<15}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "step", "answers/s", "errors", "P50", "P99", "P99.9",
                        "max");
    for (std::size_t i = 0; i < result.steps.size(); ++i) {
      const totals& s = result.steps[i];
      text +=
          fmt::format("  {:<15}{:>11.1f}{:>10}{:>10}{:>10}{:>10}{:>10}\n", rates(o.steps[i]) + "/s",
                      static_cast<double>(s.answered()) / seconds(o.steps[i].length), s.errors(o), human(s.latency.quantile(0.5)),
                      human(s.latency.quantile(0.99)), human(s.latency.quantile(0.999)), human(s.latency.max()));
    }
  }
  for (const std::string& e : exceeded(o, result)) text += "TOO MUCH: " + e + "\n";
  return text;
}

std::string as_json(const options& o, const outcome& result) {
  json j{{"urls", json::array()},
         {"mode", o.open_loop ? "open" : "closed"},
         {"connections", o.connections},
         {"threads", o.threads},
         {"warm_up_seconds", seconds(o.warm_up)},
         {"began_at", std::chrono::duration<double>(result.began.time_since_epoch()).count()},  // seconds since 1970
         {"interrupted", result.interrupted},
         {"cpu_seconds", result.cpu_seconds},
         {"answers_per_cpu_second", static_cast<double>(result.answers) / std::max(result.cpu_seconds, 1e-3)}};
  for (const url& u : o.urls) j["urls"].push_back("http://" + u.host + ":" + u.port + u.path);
  if (o.open_loop) {
    j["arrivals"] = o.how == spacing::poisson ? "poisson" : "constant";
    j["seed"] = o.seed;
  }
  j.update(counts_of(o, result.all, result.seconds));
  j["spectrum"] = spectrum(result.all.latency);
  if (o.open_loop) {
    for (std::size_t i = 0; i < result.steps.size(); ++i) {
      json step{{"from", o.steps[i].from}, {"to", o.steps[i].to}};
      step.update(counts_of(o, result.steps[i], seconds(o.steps[i].length)));
      j["steps"].push_back(std::move(step));
    }
  }
  j["timeline"] = json::array();
  for (const live_row& r : result.rows) j["timeline"].push_back(json_of(r));
  j["exceeded"] = exceeded(o, result);
  return j.dump() + "\n";
}

}  // namespace load
