// The service of docs/getting-started.md: it refuses what it cannot do in time, and so what it accepts is done in time. Three times the load that it
// can do, first without bounds, then with them. The page shows parts of this file, line by line (tests/docs/check_guides.py).
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_table.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/keyed_limiter.hpp>

using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

struct request {
  std::string client;
};
struct response {
  int status;
  std::string body;
};

// What it takes to answer: here a pause, in yours a database.
std::string render(const request& r) {
  std::this_thread::sleep_for(10ms);
  return "hello " + r.client;
}

struct bounds {
  std::size_t queue = 16;                         // that wait for one of the four threads
  std::chrono::nanoseconds latest_start = 100ms;  // who would wait longer has gone by then
  penstock::rate per_client{200, 1s};
};

class service {
 public:
  explicit service(const bounds& b)
      : bounds_{b},
        pool_{{.threads = 4, .queue_capacity = b.queue, .name = "api", .overflow = penstock::overflow::reject, .metrics = true}},
        per_client_{b.per_client, 20, {.max_keys = 10'000}} {}

  penstock::task<response> handle(request r) {
    const auto arrived = std::chrono::steady_clock::now();
    if (!per_client_.try_acquire(r.client)) {
      greedy.add();
      co_return response{429, "slow down"};
    }
    auto page = pool_.submit([&r] { return render(r); }, {.expires_in = bounds_.latest_start});
    try {
      std::string body = co_await std::move(page);  // no thread waits here
      latency.record(std::chrono::steady_clock::now() - arrived);
      co_return response{200, std::move(body)};
    } catch (const std::system_error&) {  // errc::rejected: the queue is full. errc::timeout: it has waited too long
      busy.add();
      co_return response{503, "busy"};
    }
  }

  [[nodiscard]] const penstock::worker_pool& pool() const { return pool_; }

  penstock::histogram latency;  // of what was served
  penstock::counter greedy, busy;

 private:
  bounds bounds_;
  penstock::worker_pool pool_;
  penstock::keyed_limiter<std::string> per_client_;
};

// 1,200 requests in a second, whatever becomes of them. Half of them are of one client.
std::size_t storm(service& s) {
  constexpr std::size_t requests = 1200;
  std::size_t served = 0;
  {
    penstock::task_group clients;
    auto next = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < requests; ++i) {
      clients.spawn(s.handle({i % 2 == 0 ? "greedy"s : "client " + std::to_string(i % 10)}));
      std::this_thread::sleep_until(next += 833us);
    }
    clients.wait();
  }
  const auto latency = s.latency.snapshot();
  served = latency.count();
  std::printf("  200: %4zu   429: %4llu   503: %4llu   P50 %6.1f ms   P99 %6.1f ms\n", served,
              static_cast<unsigned long long>(s.greedy.value()), static_cast<unsigned long long>(s.busy.value()),
              static_cast<double>(latency.quantile(0.5)) / 1e6, static_cast<double>(latency.quantile(0.99)) / 1e6);
  return requests - served - s.greedy.value() - s.busy.value();  // that nobody answered
}

}  // namespace

int main() {
  std::puts("without bounds:");
  service patient{{.queue = 100'000, .latest_start = 1h, .per_client{1'000'000, 1s}}};
  const std::size_t lost = storm(patient);

  std::puts("with bounds:");
  service strict{bounds{}};
  penstock::registry all;
  const auto member = all.join("api", strict.pool());
  const auto before = all.snapshot();
  const std::size_t lost_again = storm(strict);
  std::fputs(penstock::to_table(all.snapshot().since(before)).c_str(), stdout);
  return lost == 0 && lost_again == 0 && patient.busy.value() == 0 && strict.busy.value() > 0 && strict.greedy.value() > 0 ? 0
                                                                                                                           : 1;
}
