// What each way of pacing admits, as a CSV to plot: scripts/plot_pacing.py makes the pictures of docs/pacing.md of it. The time is a manual clock's, so
// it is the same each time, and is through at once.
//
//   penstock_example_pacing_plot [FILE]     (without a file: to the standard output)
//
// Lines: picture,series,seconds,value. In "shapes", value counts what was admitted by then; in "adaptive" the series are algorithm/quantity.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/rate/adaptive_limit.hpp>
#include <penstock/rate/fixed_window.hpp>
#include <penstock/rate/leaky_bucket.hpp>
#include <penstock/rate/sliding_window.hpp>
#include <penstock/rate/token_bucket.hpp>

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

std::FILE* out = stdout;

void write(const char* picture, const std::string& series, double seconds, double value) {
  std::fprintf(out, "%s,%s,%.4f,%.6g\n", picture, series.c_str(), seconds, value);
}

double seconds(nanoseconds d) { return std::chrono::duration<double>(d).count(); }

// ---- shapes: ten a second, of callers that always want more, but for a pause

bool wanted(nanoseconds t) { return t >= 500ms && (t < 2750ms || t >= 4600ms); }

template <class Shape>
void flood(const char* name, manual_clock& clock, Shape& shape) {
  const auto begin = clock.now();
  int admitted = 0;
  write("shapes", name, 0, 0);
  for (nanoseconds t{0}; t < 7s; t += 5ms) {
    clock.set(begin + t);
    while (wanted(t) && shape.try_acquire()) write("shapes", name, seconds(t), ++admitted);
  }
  write("shapes", name, 7, admitted);
}

void shapes() {
  manual_clock clock;
  const auto begin = clock.now();
  const auto flood_one = [&](const char* name, auto&& shape) {
    flood(name, clock, shape);
    clock.set(begin);
  };
  flood_one("token_bucket (burst 10)", token_bucket{rate{10, 1s}, 10, clock});
  flood_one("token_bucket (no_burst)", token_bucket{rate{10, 1s}, no_burst, clock});
  flood_one("fixed_window", fixed_window{10, 1s, clock});
  flood_one("sliding_window", sliding_window{10, 1s, clock});
  flood_one("approximate_sliding_window", approximate_sliding_window{10, 1s, clock});
  flood_one("leaky_bucket", leaky_bucket{10, 1s, clock});
}

// ---- adaptive: servers of 50 ms a call and a queue, and callers that are turned away where the limit is full

struct stretch {
  nanoseconds length;
  int servers;
  int calls_per_second;
};
// Enough servers; then an overload; then half of them are lost; then they are back and the load is as in the beginning.
const std::vector<stretch> story = {{15s, 10, 100}, {35s, 10, 300}, {35s, 5, 300}, {35s, 10, 300}, {15s, 10, 100}};

template <class Algorithm>
void under_load(const std::string& name, adaptive_limit_options options, Algorithm algorithm) {
  struct call {
    adaptive_permit permit;
    manual_clock::time_point came, ends;
  };
  manual_clock clock;
  options.clock = clock;
  adaptive_limit<Algorithm> limit{options, algorithm};
  std::deque<call> queued;
  std::deque<call> served;  // all calls take as long, so in the order in which they end
  const auto begin = clock.now();
  auto from = begin;
  nanoseconds waited{0};
  nanoseconds next_line{0};
  for (const stretch& s : story) {
    const auto end = from + s.length;
    const auto serve = [&] {
      while (!queued.empty() && static_cast<int>(served.size()) < s.servers) {
        queued.front().ends = clock.now() + 50ms;
        waited = clock.now() - queued.front().came;
        served.push_back(std::move(queued.front()));
        queued.pop_front();
      }
    };
    for (auto t = from; t < end; t += nanoseconds{1s} / s.calls_per_second) {
      while (!served.empty() && served.front().ends <= t) {
        clock.set(served.front().ends);
        served.pop_front();  // its permit takes this for a success, and the time until now for its latency
        serve();
      }
      clock.set(t);
      if (auto permit = limit.try_acquire()) queued.push_back({std::move(*permit), t, {}});
      serve();
      if (t - begin < next_line) continue;
      next_line += 250ms;
      write("adaptive", name + "/limit", seconds(t - begin), static_cast<double>(limit.limit()));
      write("adaptive", name + "/wait_ms", seconds(t - begin), 1e3 * seconds(waited));
      write("adaptive", name + "/servers", seconds(t - begin), s.servers);
      write("adaptive", name + "/load", seconds(t - begin), s.calls_per_second);
    }
    from = end;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && (out = std::fopen(argv[1], "w")) == nullptr) {
    std::perror(argv[1]);
    return 1;
  }
  std::fprintf(out, "picture,series,seconds,value\n");
  shapes();
  under_load("fixed_limit{60}", {.initial = 60}, fixed_limit{});
  under_load("aimd_limit", {}, aimd_limit{{.latency_at_most = 100ms}});
  under_load("vegas_limit", {}, vegas_limit{});
  under_load("gradient2_limit", {}, gradient2_limit{});
  return std::fclose(out) == 0 ? 0 : 1;
}
