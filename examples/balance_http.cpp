// A simulated fleet behind a balancer, in virtual time: one of eight web servers is slow, one begins to answer "500" at once. What do the callers see,
// by policy? Each call is tried at up to two servers.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include <penstock/penstock.hpp>

namespace {

using namespace std::chrono_literals;
using penstock::manual_clock;

struct web_server {
  std::chrono::nanoseconds takes = 20ms;
  bool broken = false;
};

struct seen {
  double p99_milliseconds = 0;
  int errors = 0;     // after two attempts
  int to_broken = 0;  // calls that the broken server got
};

template <class Policy>
seen simulate() {
  manual_clock clock;
  penstock::balancer<web_server, Policy, manual_clock> fleet{{.slow_start = {.duration = 2s}}, clock};
  std::vector<penstock::endpoint_id> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(fleet.insert(web_server{.takes = i == 0 ? 100ms : 20ms, .broken = i == 1}).value());

  using lease = typename penstock::balancer<web_server, Policy, manual_clock>::lease;
  struct call {
    manual_clock::time_point ends;
    std::shared_ptr<lease> in_flight;
    bool operator>(const call& other) const { return ends > other.ends; }
  };
  std::priority_queue<call, std::vector<call>, std::greater<>> calls;
  const auto end_until = [&](manual_clock::time_point at) {
    for (; !calls.empty() && calls.top().ends <= at; calls.pop()) {
      clock.set(calls.top().ends);
      calls.top().in_flight->success();
    }
    clock.set(at);
  };

  seen result;
  std::vector<double> milliseconds;
  penstock::splitmix64 random{1};
  const auto exponential = [&](std::chrono::nanoseconds mean) {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(-std::log((static_cast<double>(random() >> 11) + 0.5) * 0x1p-53) *
                                                              static_cast<double>(mean.count()))};
  };
  std::vector<manual_clock::time_point> free_at(ids.size());
  for (int i = 0; i < 20'000; ++i) {
    end_until(clock.now() + exponential(5ms));
    bool answered = false;
    for (auto attempts = fleet.attempts(2); auto at = attempts.next();) {
      if (at->broken) {
        ++result.to_broken;
        at.failure();  // "500", at once
        continue;
      }
      auto& busy_until = free_at[static_cast<std::size_t>(std::find(ids.begin(), ids.end(), at.id()) - ids.begin())];
      busy_until = std::max(busy_until, clock.now()) + exponential(at->takes);
      milliseconds.push_back(std::chrono::duration<double, std::milli>(busy_until - clock.now()).count());
      calls.push({busy_until, std::make_shared<lease>(std::move(at))});
      answered = true;
      break;
    }
    result.errors += !answered;
  }
  end_until(manual_clock::time_point::max());
  std::sort(milliseconds.begin(), milliseconds.end());
  result.p99_milliseconds = milliseconds[milliseconds.size() * 99 / 100];
  return result;
}

void print(const char* policy, const seen& s) {
  std::printf("%-22s p99 %7.0f ms, %d errors, %d calls to the broken server\n", policy, s.p99_milliseconds, s.errors,
              s.to_broken);
}

}  // namespace

int main() {
  const seen turns = simulate<penstock::round_robin>();
  const seen two = simulate<penstock::power_of_two_choices>();
  const seen least = simulate<penstock::least_connections>();
  const seen peak = simulate<penstock::peak_ewma>();
  print("round robin", turns);
  print("power of two choices", two);
  print("least connections", least);
  print("peak ewma", peak);

  int failed = 0;
  const auto check = [&](bool holds, const char* what) {
    if (!holds) std::printf("NOT SO: %s\n", what);
    failed += !holds;
  };
  check(turns.p99_milliseconds > 1'000, "taking turns overloads the slow server");
  for (const seen& s : {two, least, peak}) {
    check(s.p99_milliseconds < 500, "looking at load avoids it");
  }
  for (const seen& s : {turns, two, least, peak}) {
    check(s.errors == 0, "the second attempt goes elsewhere");
    check(s.to_broken < 50, "a server that fails at once is left alone, although it is the least busy one");
  }
  return failed;
}
