// Picks against insertions, drains, weights, ejections and erasures: who is leased is alive, an erased one is picked by nobody, everybody is destroyed once.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/route/balancer.hpp>
#include <penstock/route/consistent_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/peak_ewma.hpp>
#include <penstock/route/round_robin.hpp>
#include <penstock/route/sticky.hpp>
#include <penstock/route/weighted_round_robin.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;

struct ledger {
  std::atomic<int> alive{0};
  std::atomic<int> made{0};
};

// Its memory is read by those who lease it, so the sanitizers see a use after its end.
class endpoint {
 public:
  explicit endpoint(ledger& l) : ledger_{&l}, magic_{std::make_unique<std::uint64_t>(good)} {
    ++ledger_->alive;
    ++ledger_->made;
  }
  endpoint(endpoint&& other) noexcept : ledger_{other.ledger_}, magic_{std::move(other.magic_)} { ++ledger_->alive; }
  endpoint(const endpoint&) = delete;
  ~endpoint() {
    if (magic_ != nullptr) *magic_ = 0;
    --ledger_->alive;
  }
  [[nodiscard]] bool is_good() const { return magic_ != nullptr && *magic_ == good; }

 private:
  static constexpr std::uint64_t good = 0x600df00d600df00d;
  ledger* ledger_;
  std::unique_ptr<std::uint64_t> magic_;
};

template <class Policy>
void churn(stress::context& c) {
  using balancer = penstock::balancer<endpoint, Policy>;
  ledger counts;
  {
    // A small table, so that places are used again at once; failures eject, and come back, within the run.
    balancer b{{.max_endpoints = 12,
                .ejection = {.consecutive_failures = 3, .duration = 200us, .max_duration = 1ms},
                .slow_start = {.duration = 1ms},
                .recovery = 1ms,
                .measure_latency = true}};
    std::atomic<std::uint64_t> picks{0};
    std::atomic<bool> stop{false};
    const auto pick = [&](stress::random& random) {
      if constexpr (requires { b.pick(random()); }) {
        return b.pick(random());
      } else {
        return b.pick();
      }
    };
    stress::start_line start{4};
    {
      std::vector<std::jthread> pickers;
      for (std::uint64_t t = 0; t < 3; ++t) {
        pickers.emplace_back([&, t] {
          auto random = c.generator(t);
          std::vector<typename balancer::lease> held(4);
          start.wait();
          while (!stop) {
            auto lease = pick(random);
            if (!lease) continue;
            ++picks;
            c.check(lease->is_good(), "an endpoint that is not there was leased");
            if (random.one_in(4)) {
              lease.failure();
            } else if (random.one_in(2)) {
              held[random.below(4U)] = std::move(lease);
            }
          }
        });
      }
      auto random = c.generator(99);
      std::vector<penstock::endpoint_id> ids;
      start.wait();
      while (c.time_left()) {
        const std::size_t at = ids.empty() ? 0 : random.below(ids.size());
        switch (random.below(ids.size() > 6 ? 6U : 5U)) {
          case 0:
          case 1:
            if (const auto id = b.insert(endpoint{counts}, {.weight = 1.0 + random.below(3U)})) ids.push_back(*id);
            break;
          case 2:
            if (!ids.empty()) c.check(random.one_in(2) ? b.drain(ids[at]) : b.restore(ids[at]), "who is there can be drained");
            break;
          case 3:
            if (!ids.empty()) c.check(b.reweight(ids[at], 1.0 + random.below(3U)), "who is there can be weighed");
            c.check(b.stats().size() == ids.size(), "all are told of");
            break;
          default:
            if (ids.size() < 2) break;
            c.check(b.erase(ids[at]), "who is there can be erased");
            c.check(!b.erase(ids[at]), "once");
            ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at));
        }
      }
      stop = true;
    }
    c.check(picks > 100, "hardly anybody was picked");
    std::uint32_t in_flight = 0;
    for (const penstock::endpoint_stats& s : b.stats()) in_flight += s.in_flight;
    c.check(in_flight == 0, "a lease is left");
    c.check(counts.alive == static_cast<int>(b.stats().size()), "an erased endpoint lives on, or one was destroyed twice");
  }
  c.check(counts.alive == 0, "an endpoint was not destroyed");
}

}  // namespace

int main() {
  stress::run run{"balancer"};
  run.scenario("round robin (hazard-30)", 150ms, churn<penstock::round_robin>);
  run.scenario("weighted round robin", 100ms, churn<penstock::weighted_round_robin>);
  run.scenario("least connections", 150ms, churn<penstock::least_connections>);
  run.scenario("peak ewma", 120ms, churn<penstock::peak_ewma>);
  run.scenario("sticky", 120ms, churn<penstock::sticky>);
  run.scenario("consistent hash", 150ms, churn<penstock::consistent_hash<penstock::hash_ring>>);
  // Erased while others pick: nobody who begins after erase() has returned gets it.
  run.scenario("erased ones are picked by nobody", 150ms, [](stress::context& c) {
    penstock::balancer<std::shared_ptr<std::atomic<bool>>, penstock::round_robin> b{{.max_endpoints = 4}};
    b.insert(std::make_shared<std::atomic<bool>>(false)).value();
    while (c.time_left()) {
      auto gone = std::make_shared<std::atomic<bool>>(false);
      const auto id = b.insert(gone);
      if (!id) continue;
      stress::start_line start{3};
      std::vector<std::jthread> pickers;
      for (int t = 0; t < 2; ++t) {
        pickers.emplace_back([&] {
          start.wait();
          for (int i = 0; i < 200; ++i) {
            const bool was_gone = *gone;
            auto lease = b.pick();
            c.check(!was_gone || *lease != gone, "an erased one was picked");
          }
        });
      }
      start.wait();
      b.erase(*id);
      *gone = true;
    }
  });
  return run.finish();
}
