// penstock/stream/report.hpp: what the stages of a pipeline did, and which of them holds up the others.
//
//   std::cout << p.report();
//
//   stage           items in   items out     items/s        busy     wait in    wait out        load
//   from range             -      100000       99900     12.1 ms           -           -         1 %
//   parallel_map      100000      100000       99900      1.92 s      1.3 ms    903.0 ms        96 %  <- limits
//   to                100000           -       99900     40.0 ms           -           -         4 %
//   elapsed 1.00 s, limited by parallel_map, which took 96 % of it
//
// Any thread may ask, also while the pipeline runs; the numbers are then of about the same moment, and include what is still going on.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <vector>

#include <penstock/observe/detail/readable.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

enum class stage_kind : unsigned char {
  source,
  step,   ///< runs on the thread of who takes from it
  queue,  ///< has other threads in front of it than behind it
  sink,
};

struct stage_report {
  using duration = std::chrono::nanoseconds;

  std::string name;
  stage_kind kind = stage_kind::step;
  std::size_t group = 0;        ///< stages with the same number share their threads
  std::size_t parallelism = 1;  ///< how many threads they have
  std::uint64_t items_in = 0;   ///< what the stages before it have given; 0 for a source
  std::uint64_t items_out = 0;  ///< 0 for a sink
  double rate = 0;              ///< items out per second since run() began, until now or until it ended; for a sink, items in
  /// In the stage's own work, all threads added up. An estimate: quick calls are timed one in up to 64, slow ones (4 µs) all. For throttle: the
  /// time for which it held items back.
  duration busy{};
  duration wait_in{};  ///< for which who takes from this stage found nothing there (stages with a queue, and channels as sources)
  duration wait_out{};  ///< for which who gives to this stage found no room (stages with a queue, and channels as sinks)
};

struct pipeline_report {
  std::chrono::nanoseconds elapsed{};  ///< since run() began, until now or until it ended
  std::vector<stage_report> stages;    ///< in order from the sources to the sink

  /// Of its threads' time since the beginning, the part that a group of stages was at work: 0 to 1.
  template <class = void>
  [[nodiscard]] double load(std::size_t group) const noexcept {
    std::int64_t busy = 0;
    std::size_t threads = 1;
    for (const stage_report& s : stages) {
      if (s.group != group) continue;
      busy += s.busy.count();
      threads = std::max(threads, s.parallelism);
    }
    if (elapsed.count() <= 0) return 0;
    return std::min(1.0, static_cast<double>(busy) / (static_cast<double>(elapsed.count()) * static_cast<double>(threads)));
  }

  /// The stage that limits the speed: the busiest one of the group whose threads have the least rest. If a channel at an end kept the pipeline
  /// waiting for longer than that, the stage at that end, whose limit lies outside. Null if nothing was measured.
  template <class = void>
  [[nodiscard]] const stage_report* limiting() const noexcept {
    const stage_report* found = nullptr;
    double highest = 0;
    for (const stage_report& s : stages) {
      const double l = load(s.group);
      if (l > highest || (found != nullptr && s.group == found->group && s.busy > found->busy)) found = &s;
      highest = std::max(highest, l);
    }
    for (const stage_report& s : stages) {
      const double waited = waiting_outside(s);
      if (waited > highest) found = &s;
      highest = std::max(highest, waited);
    }
    return found;
  }

  /// The part of the time that a channel of somebody else's at this end kept the pipeline waiting: 0 to 1; 0 for stages in the middle.
  template <class = void>
  [[nodiscard]] double waiting_outside(const stage_report& s) const noexcept {
    if (elapsed.count() <= 0 || (s.kind != stage_kind::source && s.kind != stage_kind::sink)) return 0;
    return std::min(1.0, static_cast<double>((s.wait_in + s.wait_out).count()) / static_cast<double>(elapsed.count()));
  }
};

/// A table with a line per stage; the one that limits is marked.
template <class = void>
[[nodiscard]] std::string to_string(const pipeline_report& r) {
  std::size_t width = 5;
  for (const stage_report& s : r.stages) width = std::max(width, s.name.size());
  const auto pad = [](std::string text, std::size_t to, bool left) {
    if (text.size() < to) text.insert(left ? text.size() : 0, to - text.size(), ' ');
    return text;
  };
  const auto row = [&](const std::string& name, std::initializer_list<std::string> cells) {
    std::string line = pad(name, width, true);
    for (const std::string& c : cells) line += pad(c, 12, false);
    return line;
  };
  const auto time = [](std::chrono::nanoseconds d) { return d.count() == 0 ? std::string{"-"} : detail::readable(d); };

  const stage_report* const limit = r.limiting();
  std::string table = row("stage", {"items in", "items out", "items/s", "busy", "wait in", "wait out", "load"}) + '\n';
  for (const stage_report& s : r.stages) {
    const double load = r.elapsed.count() <= 0
                            ? 0
                            : std::min(100.0, 100 * static_cast<double>(s.busy.count()) /
                                                  (static_cast<double>(r.elapsed.count()) * static_cast<double>(s.parallelism)));
    table +=
        row(s.name, {s.kind == stage_kind::source ? "-" : std::to_string(s.items_in),
                     s.kind == stage_kind::sink ? "-" : std::to_string(s.items_out), s.rate > 0 ? detail::readable(s.rate) : "-",
                     time(s.busy), time(s.wait_in), time(s.wait_out), std::to_string(static_cast<int>(load + 0.5)) + " %"});
    if (&s == limit) table += "  <- limits";
    table += '\n';
  }
  table += "elapsed " + detail::readable(r.elapsed);
  if (limit != nullptr) {
    const double part = std::max(r.load(limit->group), r.waiting_outside(*limit));
    table += ", limited by " + limit->name + ", which took " + std::to_string(static_cast<int>(100 * part + 0.5)) + " % of it";
  }
  return table + '\n';
}

template <class = void>
std::ostream& operator<<(std::ostream& out, const pipeline_report& r) {
  return out << to_string(r);
}

namespace detail {

template <class = void>
void describe_stage(const stage_report& s, const std::string& name, metric_sink& to) {
  const metric_label stage{"stage", name};
  to.counter({"items_in", "Items that a stage took."}, s.items_in, stage);
  to.counter({"items_out", "Items that a stage gave."}, s.items_out, stage);
  to.counter({"stage_busy", "Time of a stage's own work, all threads added up."}, s.busy, stage);
  to.counter({"wait_in", "Time in which a stage's taker found nothing there."}, s.wait_in, stage);
  to.counter({"wait_out", "Time in which a stage's giver found no room."}, s.wait_out, stage);
}

}  // namespace detail

/// What a registry sees of a pipeline (observe/registry.hpp): its stages, by number and name.
template <class = void>
void describe(const pipeline_report& r, metric_sink& to) {
  to.kind("pipeline");
  for (std::size_t i = 0; i < r.stages.size(); ++i)
    detail::describe_stage(r.stages[i], std::to_string(i + 1) + ' ' + r.stages[i].name, to);
}
/// What formatters make of one stage (ext/fmt.hpp): the same.
template <class = void>
void describe(const stage_report& s, metric_sink& to) {
  to.kind("stage");
  detail::describe_stage(s, s.name, to);
}

}  // namespace penstock::inline v0_1
