// penstock/observe/metric_sink.hpp: how a component says what can be known of it: numbers with names.
//
//   void describe(const mailer& m, penstock::metric_sink& to) {            // beside your class mailer, or its friend: all that it takes to join
//     to.kind("mailer");                                                   // a registry (observe/registry.hpp)
//     to.gauge(penstock::metrics::depth, m.waiting());
//     to.counter(penstock::metrics::rejected, m.refused(), {"reason", "full"});
//     to.times(penstock::metrics::queue_wait, m.waits.snapshot());
//     to.counter({"bytes_sent", "What went out, in bytes."}, m.bytes());   // one of its own
//   }
//
// A component counts as it likes, and is asked when somebody looks: being described costs its events nothing. The names of struct metrics are one
// vocabulary for all kinds, so that one table, one dashboard and one alert serve them all.
//
// Names          as Prometheus wants them, and made so here: a metric is named by a plain word ([a-z][a-z0-9_]*) without prefix or unit. A counter
//                gets "_total", what is measured in time "_seconds", what belongs to one kind only the kind's name in front:
//                penstock_depth{component="mail",kind="mailer"}, penstock_mailer_bytes_sent_total{component="mail"}.
//                A component tells a metric once for each value of its label, or once without one; not both.
// Exceptions     what a describe() throws, and misuse of the sink (std::logic_error), is told in the snapshot, as that component's error.
// Thread safety  a sink belongs to the describe() that it was given to. Several threads may call describe() of one component at a time.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string_view>

namespace penstock::inline v0_1 {

class metric_distribution;

enum class metric_type : std::uint8_t {
  count,         ///< of what has happened: only grows, from 0. A counter
  level,         ///< how much there is now. A gauge
  distribution,  ///< a histogram
};

enum class metric_unit : std::uint8_t {
  none,     ///< a number of things, or a share
  seconds,  ///< told to the sink in nanoseconds
};

/// What a number is about. The characters are copied where they are kept.
struct metric {
  std::string_view name;    ///< [a-z][a-z0-9_]*, without unit and "_total"
  std::string_view help;    ///< one sentence
  bool every_kind = false;  ///< means the same of every kind of component, as those of struct metrics
};

/// Tells numbers of one metric apart. By default none; else the name is as a metric's, and the value anything.
struct metric_label {
  std::string_view name = {};
  std::string_view value = {};
};

/// What is common to the kinds of components. Things enter one (accepted, or rejected), may wait in it (depth, for queue_wait), are under way
/// (in_flight, for run), and end (completed, failed, dropped).
struct metrics {
  static constexpr metric depth{"depth", "What waits inside now.", true};
  static constexpr metric capacity{"capacity", "The most that may wait inside.", true};
  static constexpr metric waiters{"waiters", "Callers that wait for room now.", true};
  static constexpr metric in_flight{"in_flight", "What is under way, or held, now.", true};
  static constexpr metric limit{"limit", "The most that may be under way, or held.", true};
  static constexpr metric accepted{"accepted", "What was let in.", true};
  static constexpr metric completed{"completed", "What ended well.", true};
  static constexpr metric failed{"failed", "What ended with an error.", true};
  static constexpr metric rejected{"rejected", "What was not let in, by why.", true};
  static constexpr metric dropped{"dropped", "What was let in and thrown away, by why.", true};
  static constexpr metric queue_wait{"queue_wait", "How long it waited inside before its turn.", true};
  static constexpr metric run{"run", "How long it was under way.", true};
  static constexpr metric time_every{"time_every",
                                     "Of many that completed or failed one in so many was timed, and counts as so many.", true};
  static constexpr metric busy{"busy", "Time of slots (threads, places) that were in use, added up.", true};
  static constexpr metric offered{"offered", "Time of slots that were there, added up.", true};
};

template <class N>
concept metric_number = std::integral<N> || std::floating_point<N>;

class metric_sink {
 public:
  using common = metrics;  ///< for what describes itself without this header

  metric_sink(const metric_sink&) = delete;
  metric_sink& operator=(const metric_sink&) = delete;

  /// What kind of component this is: a name as a metric's. The first word of a describe(). One that describes itself by way of another says its own
  /// kind before: the first one counts.
  virtual void kind(std::string_view name) = 0;

  /// How much there is now.
  template <metric_number N>
  void gauge(const metric& m, N value, const metric_label& label = {}) {
    number(m, metric_type::level, metric_unit::none, static_cast<double>(value), label);
  }
  void gauge(const metric& m, std::chrono::nanoseconds value, const metric_label& label = {}) {
    number(m, metric_type::level, metric_unit::seconds, static_cast<double>(value.count()) / 1e9, label);
  }
  /// How often something has happened since the beginning, or how long it has taken altogether.
  template <metric_number N>
  void counter(const metric& m, N value, const metric_label& label = {}) {
    number(m, metric_type::count, metric_unit::none, static_cast<double>(value), label);
  }
  void counter(const metric& m, std::chrono::nanoseconds value, const metric_label& label = {}) {
    number(m, metric_type::count, metric_unit::seconds, static_cast<double>(value.count()) / 1e9, label);
  }
  /// A snapshot of a histogram (observe/histogram.hpp) of numbers.
  template <class Snapshot>
  void histogram(const metric& m, const Snapshot& values, const metric_label& label = {}) {
    distribution(m, metric_unit::none, values.distribution(), label);
  }
  /// ... of nanoseconds.
  template <class Snapshot>
  void times(const metric& m, const Snapshot& values, const metric_label& label = {}) {
    distribution(m, metric_unit::seconds, values.distribution(), label);
  }

 protected:
  metric_sink() = default;
  ~metric_sink() = default;

  virtual void number(const metric& m, metric_type type, metric_unit unit, double value, const metric_label& label) = 0;
  virtual void distribution(const metric& m, metric_unit unit, const metric_distribution& values, const metric_label& label) = 0;
};

namespace detail {

template <class T>
concept described = requires(T& component, metric_sink& to) { describe(component, to); };
template <class T>
concept described_by_stats = requires(T& component, metric_sink& to) { describe(component.stats(), to); };

template <class T>
void describe_any(T& component, metric_sink& to) {
  if constexpr (described<T>) {
    describe(component, to);
  } else {
    describe(component.stats(), to);
  }
}

/// What was not let in, by why: those of these members that `refused` has, in this order. Components that tell them in another one do so themselves.
template <class Refusals>
void describe_refusals(const Refusals& refused, metric_sink& to) {
  const auto tell = [&to](std::string_view why, auto n) { to.counter(metrics::rejected, n, {"reason", why}); };
  if constexpr (requires { refused.empty; }) tell("empty", refused.empty);
  if constexpr (requires { refused.full; }) tell("full", refused.full);
  if constexpr (requires { refused.rejected; }) tell("rejected", refused.rejected);
  if constexpr (requires { refused.timeout; }) tell("timeout", refused.timeout);
  if constexpr (requires { refused.cancelled; }) tell("cancelled", refused.cancelled);
  if constexpr (requires { refused.deadlock; }) tell("deadlock", refused.deadlock);
  if constexpr (requires { refused.closed; }) tell("closed", refused.closed);
}

}  // namespace detail

/// What can join a registry (observe/registry.hpp), or be told as text (observe/metric_text.hpp).
template <class T>
concept measurable = detail::described<T> || detail::described_by_stats<T>;

}  // namespace penstock::inline v0_1
