// A registry: a pool of workers, a pool of connections, a channel, a limit and a service of one's own under load; a table of all of them with each
// interval, what Little's law says, and what Prometheus would read.
//
//   penstock_example_observe            a second and a half of work, a table every half second
//   penstock_example_observe --json     the last interval as JSON
//   penstock_example_observe --metrics  what /metrics would answer at the end
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stop_token>
#include <string_view>
#include <thread>

#include <penstock/channel/channel.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/live_table.hpp>
#include <penstock/observe/metric_json.hpp>
#include <penstock/observe/prometheus_text.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/token_bucket.hpp>

namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

// Something of one's own joins in the same way: it counts as it likes, and says what it knows in describe().
class storefront {
 public:
  explicit storefront(penstock::resource_pool<int>& connections) : connections_{connections} {}

  void serve() {
    const auto began = steady::now();
    open_.add();
    if (const auto connection = connections_.try_acquire_for(20ms)) {
      for (const auto end = steady::now() + 400us; steady::now() < end;) {  // a query
      }
      served_.add();
    } else {
      turned_away_.add();
    }
    open_.sub();
    latency_.record(steady::now() - began);
  }

  friend void describe(const storefront& s, penstock::metric_sink& to) {
    to.kind("storefront");
    to.gauge(penstock::metrics::in_flight, s.open_.value());
    to.counter(penstock::metrics::completed, s.served_.value());
    to.counter(penstock::metrics::rejected, s.turned_away_.value(), {"reason", "no_connection"});
    to.times(penstock::metrics::run, s.latency_.snapshot());
    to.gauge({"busiest", "The most that were served at a time."}, s.open_.peak());
  }

 private:
  penstock::resource_pool<int>& connections_;
  penstock::counter served_;
  penstock::counter turned_away_;
  penstock::gauge open_;
  penstock::histogram latency_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  penstock::registry all;

  penstock::worker_pool workers{{.threads = 4, .queue_capacity = 64, .overflow = penstock::overflow::reject, .metrics = true}};
  penstock::resource_pool<int> connections{[] { return 1; }, {.max_size = 2, .metrics = true}};
  penstock::channel<std::uint64_t> arrivals{{.capacity = 100, .metrics = true}};
  penstock::token_bucket<> limit{penstock::rate{10'000, 1s}, 100};
  storefront shop{connections};

  const std::array joined{all.join("workers", workers), all.join("connections", connections), all.join("arrivals", arrivals),
                          all.join("limit", limit), all.join("shop", shop)};  // declared last, so they end first

  const penstock::registry_snapshot before = all.snapshot();
  {
    std::jthread customers{[&] {  // 6,000 a second, whether anybody keeps up or not
      const auto began = steady::now();
      for (std::uint64_t n = 0; n < 9000; ++n) {
        std::this_thread::sleep_until(began + n * 166us);
        static_cast<void>(arrivals.try_push(n));
      }
      arrivals.close();
    }};
    std::jthread door{[&] {
      while (arrivals.pop()) {
        if (limit.acquire()) static_cast<void>(workers.post([&] { shop.serve(); }));
      }
    }};
    std::jthread watching;
    if (wanted.empty()) {
      watching = std::jthread{[&](const std::stop_token& stop) { penstock::live_table(all, stdout, 500ms, stop); }};
    }
    door.join();
  }
  if (!workers.drain()) return 1;

  const penstock::registry_snapshot after = all.snapshot();
  const penstock::registry_interval i = after.since(before);
  if (wanted == "--json") {
    std::printf("%s\n", to_json(i).c_str());
  } else if (wanted == "--metrics") {
    std::fputs(to_prometheus_text(after).c_str(), stdout);
  } else {
    const penstock::component_interval& w = *i.find("workers");
    const penstock::littles_law law = w.queue_law();
    std::printf(
        "\n%.0f tasks a second waited %.2f ms on average, so %.1f of them at a time (Little's law); workers were busy %.0f %% of "
        "the time\n",
        law.rate, law.time * 1e3, law.expected(), 100 * w.utilization().value_or(0));
  }
  // Everything that was let in has had its end.
  const penstock::component_snapshot& w = *after.find("workers");
  return w.total("accepted_total") == w.total("completed_total") + w.total("failed_total") + w.total("dropped_total") ? 0 : 1;
}
