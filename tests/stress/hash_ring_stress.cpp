// Threads look keys up, and count requests, while others add, remove and reweight nodes.
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/route/concurrent_hash_ring.hpp>

#include "support/stress.hpp"

namespace {

using ring_of_names = penstock::concurrent_hash_ring<std::string>;

std::string name(int i) { return "a node whose name is too long to be kept in place: " + std::to_string(i); }

// Nodes 0 to 3 are always there: every lookup finds something, and a ring that a reader sees is whole, now and as long as it holds it.
void readers_and_writers(stress::context& c) {
  ring_of_names ring{{.virtual_nodes = 20}};
  for (int i = 0; i < 4; ++i) ring.insert(name(i));
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, random = c.generator(t)]() mutable {
      while (c.time_left() && !c.failed()) {
        const int i = 4 + random.below(40);
        switch (random.below(4)) {
          case 0:
            ring.reweight(name(random.below(4)), 1 + random.below(3));
            break;
          case 1:
            ring.update([&](penstock::hash_ring<std::string>& r) {
              for (int k = 0; k < 3; ++k) r.erase(name(4 + (i + k) % 40));
            });
            break;
          case 2:
            ring.erase(name(i));
            break;
          default:
            ring.insert(name(i), {.zone = random.one_in(2) ? "z" : ""});
        }
      }
    });
  }
  for (std::uint64_t t = 10; t < 13; ++t) {
    threads.emplace_back([&, random = c.generator(t)]() mutable {
      auto reader = ring.reader();
      while (c.time_left() && !c.failed()) {
        const std::uint64_t key = random();
        const std::string* const node = reader.find(key);
        c.check(node != nullptr && node->starts_with("a node"), "every key has a node");
        switch (random.below(64)) {
          case 0: {
            const auto snapshot = ring.snapshot();
            const std::string first = *snapshot->find(key);
            std::this_thread::yield();
            c.check(*snapshot->find(key) == first, "a snapshot does not change");
            c.check(snapshot->find_n(key, 4).size() == 4, "four nodes are always there");
            break;
          }
          case 1:
            c.check(ring.find(key).has_value(), "every key has a node, without a reader");
            break;
          case 2:
            reader.release();
            break;
          default:;
        }
      }
    });
  }
}

// A bound is kept at every moment, of all that is in flight, whichever ring counted it.
void bounded(stress::context& c) {
  ring_of_names ring{{.virtual_nodes = 20, .load_factor = 1.5}};
  for (int i = 0; i < 4; ++i) ring.insert(name(i));
  constexpr std::size_t mine = 25;
  constexpr std::uint64_t users = 3;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < users; ++t) {
      threads.emplace_back([&, random = c.generator(t)]() mutable {
        std::array<penstock::ring_token<std::string>, mine> tokens;
        while (c.time_left() && !c.failed()) {
          auto& token = tokens[random.below(mine)];
          token.release();
          token = ring.acquire(random.one_in(3) ? random() : 1);
          c.check(static_cast<bool>(token), "every request has a node");
          if (!random.one_in(16)) continue;
          const auto now = ring.snapshot();
          // At most `users * mine` are in flight; a node has its points of all of them.
          const double share = 20.0 / static_cast<double>(now->points());
          const auto most = static_cast<std::size_t>(1.5 * share * static_cast<double>(users * mine) + 1);
          c.check(now->size() != 4 || now->in_flight(name(0)) <= most, "a node beyond its bound");
        }
      });
    }
    threads.emplace_back([&, random = c.generator(9)]() mutable {
      while (c.time_left() && !c.failed()) {
        // A node that leaves takes the bounds of the others up, never down: nobody who was admitted is too many then.
        ring.insert(name(4));
        std::this_thread::yield();
        ring.erase(name(4));
      }
    });
  }
  for (int i = 0; i < 4; ++i) c.check(ring.snapshot()->in_flight(name(i)) == 0, "a request is counted for ever");
}

}  // namespace

int main() {
  stress::run run{"hash_ring"};
  run.scenario("readers and writers", std::chrono::milliseconds{400}, readers_and_writers);
  run.scenario("bounded loads", std::chrono::milliseconds{200}, bounded);
  return run.finish();
}
