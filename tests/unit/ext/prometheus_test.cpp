#include <penstock/ext/prometheus.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/prometheus_text.hpp>

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <sstream>
#include <string>

#include "../../support/catch.hpp"

namespace {

// Names and labels with their values, and the comments: what two texts of one snapshot have in common, however they write numbers and in which order.
std::map<std::string, double> series_of(const std::string& text) {
  std::map<std::string, double> series;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    if (line.front() == '#') {
      series[line] = 0;
      continue;
    }
    const std::size_t end = line.rfind(' ');
    std::string name = line.substr(0, end);
    // A bound of a bucket is a number, too.
    if (const std::size_t le = name.find("le=\""); le != std::string::npos) {
      name = name.substr(0, le) + std::to_string(std::stod(name.substr(le + 4)));
    }
    series[name] = std::stod(line.substr(end + 1));
  }
  return series;
}

}  // namespace

TEST_CASE("prometheus: prometheus-cpp serializes what the text without it says", "[prometheus]") {
  using namespace std::chrono_literals;
  penstock::registry all;
  penstock::histogram waits;
  for (const auto t : {900ns, 3000ns, 1'000'000ns, 70'000'000'000ns}) waits.record(t);
  const auto a = all.join("a \"name\"\\ of\nt\xc3\xb6rk", [&](penstock::metric_sink& to) {
    to.kind("mill");
    to.gauge(penstock::metrics::depth, 3.25);
    to.counter(penstock::metrics::rejected, 1e6, {"reason", "full"});
    to.counter(penstock::metrics::rejected, 2, {"reason", "a \"b\"\\\n"});
    to.counter(penstock::metrics::busy, 1500ms);
    to.times(penstock::metrics::queue_wait, waits.snapshot());
    to.histogram({"stones", "Stones."}, waits.snapshot());
  });
  const auto b = all.join("b", [](penstock::metric_sink& to) {
    to.kind("other");
    to.gauge(penstock::metrics::depth, -1);
  });

  const penstock::prometheus_collectable exposed{all};
  const auto families = exposed.Collect();
  CHECK(std::count_if(families.begin(), families.end(), [](const auto& f) { return f.name == "penstock_depth"; }) == 1);
  std::ostringstream theirs;
  prometheus::TextSerializer{}.Serialize(theirs, families);
  const auto expected = series_of(theirs.str());
  const auto ours = series_of(to_prometheus_text(all.snapshot()));
  CHECK(ours.size() > 60);
  REQUIRE(ours.size() == expected.size());
  for (const auto& [name, value] : expected) {
    CAPTURE(name);
    REQUIRE(ours.contains(name));
    CHECK(ours.at(name) == Approx(value));
  }
}
