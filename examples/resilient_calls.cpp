// A service that goes down for 20 s of a minute, and 50 clients that each ask it ten times a second, with three attempts: what reaches it when they
// only retry, when they share a budget, and when they look at a circuit breaker besides. The minute is a manual clock's.
#include <chrono>
#include <cstdio>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/job/circuit_breaker.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/job/retry_budget.hpp>
#include <penstock/sync/event.hpp>

using namespace std::chrono_literals;
using penstock::result;
using penstock::task;

namespace {

struct world {
  bool with_budget;
  bool with_breaker;
  penstock::manual_clock clock = penstock::manual_clock{};
  const penstock::manual_clock::time_point start = clock.now();
  penstock::retry_budget budget{{.ratio = 0.1, .min_per_second = 1, .clock = clock}};
  penstock::circuit_breaker breaker{{.open_for = penstock::backoff::fixed(1s), .clock = clock}};
  penstock::event never{};
  int calls_while_down = 0;
  int answers = 0;

  result<int> ask() {
    const auto t = clock.now() - start;
    if (t < 20s || t >= 40s) return 1;
    ++calls_while_down;
    return std::make_error_code(std::errc::connection_refused);
  }
  task<void> client() {
    const penstock::retry_policy policy{
        .attempts = 3,
        .backoff = penstock::backoff::exponential(20ms, 1s).with_jitter(penstock::jitter::full),
        .budget = with_budget ? penstock::retry_allowance_ref{budget} : penstock::retry_allowance_ref{},
    };
    auto guarded = [this] { return with_breaker ? breaker.call([this] { return ask(); }) : ask(); };
    for (int n = 0; n < 600; ++n) {
      auto asking = penstock::async_retry(guarded, policy, {.timeout = 5s, .clock = clock});
      if (const auto answer = co_await std::move(asking)) ++answers;
      auto pause = never.async_wait() | penstock::with_deadline({start + (n + 1) * 100ms, clock});
      static_cast<void>(co_await std::move(pause));
    }
  }
  int run() {
    std::vector<penstock::spawned<void>> clients;
    for (int i = 0; i < 50; ++i) clients.push_back(penstock::spawn(client()));
    clock.advance(2min);
    for (auto& c : clients) c.result();
    std::printf("%-22s %6d calls while it was down, %d answers\n",
                with_breaker  ? "budget and breaker:"
                : with_budget ? "with a budget:"
                              : "retries alone:",
                calls_while_down, answers);
    return calls_while_down;
  }
};

}  // namespace

int main() {
  const int alone = world{.with_budget = false, .with_breaker = false}.run();
  const int bounded = world{.with_budget = true, .with_breaker = false}.run();
  const int broken = world{.with_budget = true, .with_breaker = true}.run();
  return alone > 25'000 && bounded < 12'500 && broken < 500 ? 0 : 1;
}
