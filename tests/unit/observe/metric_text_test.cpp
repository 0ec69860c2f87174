#include <penstock/observe/metric_text.hpp>

#include <penstock/observe/histogram.hpp>
#include <penstock/observe/registry.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

#include "../../support/catch.hpp"

// How lines look of stats and of snapshots: support/format_cases.hpp.

namespace {

using namespace std::chrono_literals;
using penstock::metric_sink;
using penstock::metrics;

struct mill_stats {
  int stones = 0;
  std::chrono::nanoseconds turned{};
  penstock::histogram_snapshot sacks = {};

  friend void describe(const mill_stats& s, metric_sink& to) {
    if (s.stones < 0) throw std::runtime_error{"a negative number of stones"};
    to.kind("mill");
    to.gauge({"seconds_hands", "A metric's own word."}, 1);
    to.counter(metrics::dropped, s.stones, {"reason", "a \x01 crack\n"});
    to.counter(metrics::busy, s.turned);
    to.histogram({"sacks", "Sacks."}, s.sacks);
  }
};

// A component whose stats() describe it, and that cannot be copied.
class mill {
 public:
  explicit mill(mill_stats s) : stats_{std::move(s)} {}
  mill(const mill&) = delete;
  mill& operator=(const mill&) = delete;
  [[nodiscard]] mill_stats stats() const { return stats_; }

 private:
  mill_stats stats_;
};

}  // namespace

TEST_CASE("to_text: a component says what its stats() say", "[metric_text]") {
  penstock::histogram sacks;
  for (const unsigned n : {3u, 5u}) sacks.record(n);
  const mill_stats s{2, 1'234'567ns, sacks.snapshot()};
  CHECK(penstock::to_text(s) ==
        "mill: seconds_hands=1 dropped_total{a ? crack?}=2 busy_total=1.2 ms sacks=(2: P50 3, P99 5, max 5)");
  CHECK(penstock::to_text(mill{s}) == penstock::to_text(s));
  CHECK(penstock::to_text(mill_stats{}) == "mill: seconds_hands=1");
  CHECK(penstock::to_text(mill_stats{}, {.zeros = true}) ==
        "mill: seconds_hands=1 dropped_total{a ? crack?}=0 busy_total=0 ns sacks=(0)");
}

TEST_CASE("to_text: what describing throws comes out, but of a snapshot, which has it as an error", "[metric_text]") {
  CHECK_THROWS_AS(penstock::to_text(mill_stats{-1}), std::runtime_error);
  const mill broken{mill_stats{-1}};
  penstock::registry all;
  const auto joined = all.join("the mill", broken);
  CHECK(penstock::to_text(all.snapshot()) == "the mill (unknown): [it threw: a negative number of stones]\n");
}
