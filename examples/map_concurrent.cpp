// Ten thousand pages from a slow server, at most so many in flight: how the time falls with the limit, and how a hedged request cuts the tail.
//
//   map_concurrent [items]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <penstock/combine/hedge.hpp>
#include <penstock/combine/map_concurrent.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

namespace {

using namespace std::chrono_literals;
using penstock::limit;
using penstock::result;
using penstock::task;
using ms = std::chrono::duration<double, std::milli>;

/// Answers after a while: most of the time after 0.2 ms, one time in fifty after 20 ms. Waits without a thread.
class server {
 public:
  task<std::string> fetch(int page) {
    ++requests_;
    in_flight_ += 1;
    most_ = std::max(most_, in_flight_);
    const auto latency = random_() % 50 == 0 ? 20'000us : 200us;
    const result<void> r = co_await (never_.async_wait() | penstock::with_timeout(latency));
    in_flight_ -= 1;
    if (r.error() == penstock::errc::cancelled) throw std::system_error{r.error()};
    co_return "page " + std::to_string(page);
  }

  int requests() const { return requests_; }
  int most() const { return most_; }

 private:
  penstock::event never_;
  penstock::splitmix64 random_{1};
  int requests_ = 0;
  int in_flight_ = 0;
  int most_ = 0;
};

double since(std::chrono::steady_clock::time_point t) { return ms{std::chrono::steady_clock::now() - t}.count(); }

// One after the other, each by `fetch`: the latencies in order.
template <class Fetch>
task<std::vector<double>> latencies(int n, Fetch fetch) {
  std::vector<double> all;
  for (int i = 0; i < n; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const std::string page = co_await fetch(i);
    all.push_back(since(begin));
  }
  std::sort(all.begin(), all.end());
  co_return all;
}

}  // namespace

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 10'000;
  bool good = true;
  penstock::worker_pool pool{{.threads = 1}};  // everything waits on one thread; so `server` needs no lock

  for (const std::size_t most : {std::size_t{10}, std::size_t{100}, std::size_t{1000}}) {
    server s;
    const auto fetch = [&s](int page) { return s.fetch(page); };
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<std::string> pages =
        penstock::sync_wait(penstock::map_concurrent(std::views::iota(0, n), limit(most), fetch) | penstock::via(pool));
    std::printf("%zu pages, at most %4zu in flight: %7.1f ms (%d at the most)\n", pages.size(), most, since(begin), s.most());
    good = good && static_cast<int>(pages.size()) == n && pages.back() == "page " + std::to_string(n - 1) &&
           s.most() <= static_cast<int>(most);
  }

  server plain;
  server hedged;
  const auto once = [&plain](int page) { return plain.fetch(page); };
  const auto twice = [&hedged](int page) { return penstock::hedge([&hedged, page] { return hedged.fetch(page); }, 1ms, 2); };
  const std::vector<double> without = penstock::sync_wait(latencies(500, once) | penstock::via(pool));
  const std::vector<double> with = penstock::sync_wait(latencies(500, twice) | penstock::via(pool));
  std::printf("500 requests:       P50 %5.2f ms, P99 %5.2f ms\n", without[250], without[495]);
  std::printf("hedged after 1 ms:  P50 %5.2f ms, P99 %5.2f ms, %d requests\n", with[250], with[495], hedged.requests());
  return good ? 0 : 1;
}
