// Channels with weights, water marks and overflow policies between real threads: nothing is refused that need not be, what went in comes out, is
// dropped or is told to be inside, and nobody is left waiting.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;

constexpr int each = stress::sanitized ? 200 : 1000;

void check_accounts(stress::context& c, const penstock::channel<int>& ch, long popped, long dropped) {
  const auto told = ch.stats();
  c.check(told.depth == 0 && told.weight == 0, "what is inside is counted");
  c.check(told.popped == static_cast<std::size_t>(popped), "what was popped is counted");
  c.check(told.dropped_oldest == static_cast<std::size_t>(dropped), "what was dropped is counted");
  c.check(told.pushed == told.popped + told.dropped_oldest + told.discarded, "what went in came out or was dropped");
}

// Producers that never wait and are never refused, consumers that do not wait either.
void drop_oldest(stress::context& c, std::uint64_t round, bool weighed) {
  std::atomic<long> dropped{0};
  penstock::channel_options<int> o{.capacity = 1 + round % 5};
  if (weighed) {
    o.max_weight = 6;
    o.weight = [](const int& i) { return static_cast<std::size_t>(i % 4); };
  }
  o.when_full = penstock::when_full::drop_oldest;
  o.on_drop = [&](int&&) { ++dropped; };
  o.metrics = true;
  penstock::channel<int> ch{std::move(o)};
  std::atomic<long> popped{0};
  std::atomic<int> producing{2};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) c.check(ch.push(i).has_value(), "there is always room");
        --producing;
      });
      threads.emplace_back([&] {
        while (producing > 0 || !ch.empty()) {
          if (ch.try_pop()) ++popped;
        }
      });
    }
  }
  check_accounts(c, ch, popped, dropped);
}

// Producers wait for room by weight, or for the mark; some reserve. Heavy items are among them: who is starved hangs.
void by_weight(stress::context& c, std::uint64_t round) {
  park_delay::enable(round, 20'000);
  penstock::channel<int> ch{{.capacity = 4,
                             .max_weight = 8,
                             .weight = [](const int& i) { return static_cast<std::size_t>(i % 9); },
                             .high_water = 6,
                             .low_water = 2,
                             .metrics = true}};
  std::atomic<long> sum_in{0};
  std::atomic<long> sum_out{0};
  std::atomic<long> popped{0};
  {
    std::vector<std::jthread> consumers;
    for (int t = 0; t < 2; ++t) {
      consumers.emplace_back([&] {
        while (auto i = ch.pop()) {
          sum_out += *i;
          ++popped;
        }
      });
    }
    {
      std::vector<std::jthread> producers;
      for (std::uint64_t t = 0; t < 3; ++t) {
        producers.emplace_back([&, random = c.generator(round * 10 + t)]() mutable {
          for (int i = 0; i < each / 4; ++i) {
            bool in = false;
            switch (random.below(5)) {
              case 0: {
                auto slots = ch.reserve(1, static_cast<std::size_t>(i % 9));
                in = slots && slots->push(int{i});
                break;
              }
              case 1:
                in = ch.try_push_for(random.below(50) * 1us, int{i}).has_value();
                break;
              case 2:
                ch.drained().wait();
                [[fallthrough]];
              default:
                in = ch.push(int{i}).has_value();
            }
            if (in) sum_in += i;
          }
        });
      }
    }
    ch.close();
  }
  park_delay::disable();
  c.check(sum_in == sum_out, "what went in came out");
  c.check(!ch.above_high_water(), "an empty channel is not above its mark");
  check_accounts(c, ch, popped, 0);
}

}  // namespace

int main() {
  stress::run run{"channel_options"};
  run.scenario("the oldest is dropped", 300ms, [](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) drop_oldest(c, i, false);
  });
  run.scenario("the oldest are dropped, by weight", 300ms, [](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) drop_oldest(c, i, true);
  });
  run.scenario("room by weight, reservations and water marks", 500ms, [](stress::context& c) {
    for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) by_weight(c, i);
  });
  return run.finish();
}
