// Jobs a second, how long one takes from being added to being begun, and how many are added one by one by 16 threads, on a queue of BullMQ's
// layout: throughput.py runs it beside BullMQ's own.
//
//   store_bench SOCKET QUEUE JOBS CONCURRENCY BATCH PROBES [THREADS]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <penstock/ext/redis_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

namespace {

using namespace std::chrono_literals;
using store_type = penstock::redis_store<std::string>;
using queue_type = penstock::job_queue<std::string, store_type>;
using steady = std::chrono::steady_clock;
unsigned threads = 2;

double seconds_since(steady::time_point t) { return std::chrono::duration<double>(steady::now() - t).count(); }

void throughput(queue_type& queue, long jobs, const penstock::job_worker_options& given) {
  const auto begin = steady::now();
  for (long i = 0; i < jobs; i += 1000) {
    std::vector<std::string> payloads(1000, "\"12345678\"");
    queue.put_bulk(payloads).value();
  }
  const double added = seconds_since(begin);
  std::atomic<long> runs{0};
  penstock::event all;
  penstock::worker_pool pool{{.threads = threads}};
  const auto started = steady::now();
  {
    penstock::job_worker worker{queue,
                                pool,
                                [&](penstock::job<std::string>&) {
                                  if (++runs == jobs) all.set();
                                },
                                {.concurrency = given.concurrency, .batch = given.batch}};
    static_cast<void>(all.wait());
  }
  const double run = seconds_since(started);
  std::printf("add %.0f run %.0f both %.0f\n", static_cast<double>(jobs) / added, static_cast<double>(jobs) / run,
              static_cast<double>(jobs) / (added + run));
}

/// By `producers` threads, one job at a time.
void singly(queue_type& queue, long jobs) {
  constexpr int producers = 16;
  std::atomic<long> next{0};
  const auto begin = steady::now();
  {
    std::vector<std::jthread> all;
    for (int i = 0; i < producers; ++i) {
      all.emplace_back([&] {
        while (next++ < jobs) queue.add("\"12345678\"").value();
      });
    }
  }
  std::printf("singly %.0f\n", static_cast<double>(jobs) / seconds_since(begin));
}

void latency(queue_type& queue, long probes, const penstock::job_worker_options& given) {
  std::vector<double> waited;
  std::mutex lock;
  std::atomic<long> runs{0};
  penstock::event all;
  penstock::event never;
  penstock::worker_pool pool{{.threads = threads}};
  penstock::job_worker worker{queue,
                              pool,
                              [&](penstock::job<std::string>& j) {
                                const steady::duration added{std::atoll(j.payload().c_str())};
                                const auto took = steady::now().time_since_epoch() - added;
                                std::scoped_lock guard{lock};
                                waited.push_back(std::chrono::duration<double, std::milli>(took).count());
                                if (++runs == probes) all.set();
                              },
                              {.concurrency = given.concurrency, .batch = given.batch}};
  for (long i = 0; i < probes; ++i) {
    queue.add(std::to_string(steady::now().time_since_epoch().count())).value();
    static_cast<void>(never.try_wait_for(4ms));
  }
  static_cast<void>(all.wait());
  std::sort(waited.begin(), waited.end());
  std::printf("p50 %.3f p99 %.3f\n", waited[waited.size() / 2], waited[waited.size() * 99 / 100]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) return 2;
  if (argc > 7) threads = static_cast<unsigned>(std::atoi(argv[7]));
  penstock::job_worker_options o;
  o.concurrency = std::strtoul(argv[4], nullptr, 10);
  o.batch = std::strtoul(argv[5], nullptr, 10);
  store_type store{{.unix_path = argv[1]}, {.queue = argv[2]}};
  queue_type queue{store, {.clock = store.clock()}};
  throughput(queue, std::atol(argv[3]), o);
  latency(queue, std::atol(argv[6]), o);
  singly(queue, std::atol(argv[3]) / 2);
}
