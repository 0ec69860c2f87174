// Two pools, for work of two kinds: many threads for what waits (here: for a "server"), one for each processor for what computes. On one pool the
// requests that wait would hold the threads that the computing needs.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

using namespace std::chrono_literals;

enum class kind { waits, computes };

class pools {
 public:
  pools()
      : compute_{{.threads = penstock::sizing::cpu_bound(), .name = "compute"}},
        // A request waits 10 ms and computes 1 ms: eleven for each processor. No more than 64, though: the server takes no more at a time.
        io_{{.threads = std::min<std::size_t>(64, penstock::sizing::io_bound(10ms, 1ms)), .name = "io"}} {}

  penstock::worker_pool& of(kind k) noexcept { return k == kind::waits ? io_ : compute_; }

 private:
  penstock::worker_pool compute_;
  penstock::worker_pool io_;
};

// What stands for a blocking call: a database, a file, a request.
std::uint64_t fetch(std::uint64_t key) {
  std::this_thread::sleep_for(10ms);
  return key * 2654435761U;
}

std::uint64_t digest(std::uint64_t value) {
  for (int i = 0; i < 100'000; ++i) value = value * 6364136223846793005U + 1442695040888963407U;
  return value;
}

struct figures {
  std::atomic<int> fetched{0};
  std::atomic<int> digested{0};
  std::atomic<std::uint64_t> sum{0};
};

// A coroutine that goes where its next step belongs.
penstock::task<> handle(pools& p, std::uint64_t key, figures& f) {
  co_await p.of(kind::waits).schedule();
  const std::uint64_t value = fetch(key);
  if (p.of(kind::waits).running_here()) ++f.fetched;
  co_await p.of(kind::computes).schedule();
  f.sum += digest(value);
  if (p.of(kind::computes).running_here()) ++f.digested;
}

}  // namespace

int main() {
  constexpr int requests = 500;
  pools both;
  std::printf("computing: %zu thread(s), waiting: %zu\n", both.of(kind::computes).threads(), both.of(kind::waits).threads());

  // The same as tasks: routed by kind.
  auto value = both.of(kind::waits).submit([] { return fetch(1); });
  auto digested = both.of(kind::computes).submit([&] { return digest(1); });
  std::printf("one of each: %llx %llx\n", static_cast<unsigned long long>(value.get()),
              static_cast<unsigned long long>(digested.get()));

  figures f;
  const auto begin = std::chrono::steady_clock::now();
  penstock::task_group group{both.of(kind::computes)};
  for (int key = 0; key < requests; ++key) group.spawn(handle(both, static_cast<std::uint64_t>(key), f));
  group.wait();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;

  std::printf("%d fetched on the threads that wait, %d digested on those that compute, in %.2f s: %.0f requests a second\n",
              f.fetched.load(), f.digested.load(), took.count(), requests / took.count());
  std::printf("one after the other the waiting alone takes %.1f s\n", requests * 0.010);
  return f.fetched == requests && f.digested == requests ? 0 : 1;
}
