// One feed, three kinds of subscriber: a ledger that must see everything holds the feed back, a display may lose quotes and is told how many, and
// a lamp looks at the latest state only.
#include <cstdio>
#include <thread>

#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/watch.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

using penstock::slow_subscriber;

struct quote {
  int number;
  double price;
};

// A coroutine that pops until the broadcast is closed and drained.
penstock::task<double> add_up(penstock::subscription<quote> quotes) {
  double sum = 0;
  for (;;) {
    const penstock::result<quote> q = co_await quotes.async_pop();
    if (!q) break;
    sum += q->price;
  }
  co_return sum;
}

int main() {
  constexpr int count = 10'000;
  penstock::broadcast<quote> ledger{64};                                                // waits for its slowest subscriber
  penstock::broadcast<quote> display{16, {.when_slow = slow_subscriber::lose_oldest}};  // never waits
  penstock::watch<bool> trading{true};

  auto sum = penstock::spawn(add_up(ledger.subscribe()));
  std::jthread screen{[quotes = display.subscribe()]() mutable {
    int shown = 0;
    for ([[maybe_unused]] const quote& q : quotes) ++shown;
    std::printf("the screen showed %d quotes and lost %llu\n", shown, static_cast<unsigned long long>(quotes.total_lost()));
  }};
  std::jthread lamp{[state = trading.subscribe()]() mutable {
    while (state.wait_changed()) std::printf("the lamp is %s\n", state.get() ? "on" : "off");
  }};

  for (int i = 0; i < count; ++i) {
    const quote q{i, 0.5};
    if (!ledger.publish(q) || !display.publish(q)) return 1;
  }
  ledger.close();
  display.close();
  if (!trading.set(false)) return 1;
  trading.close();

  const double total = sum.result();
  std::printf("the ledger has %.1f\n", total);
  return total == count * 0.5 ? 0 : 1;
}
