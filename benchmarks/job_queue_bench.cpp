// Jobs that are added, run and settled by two workers, while a third thread adds: what a job costs beyond its work.
//
// plain: in bulks of 256, fetched 64 at a time. single: added one by one, and fetched one by one. mixed: a third with priorities, a third delayed by up to a
// millisecond, two thirds with attempts of which one in ten fails once. Peer: a mutex, a deque and a condition variable, without leases, priorities,
// delays or retries; one by one, and in the same bulks. A time is per job, from the first that is added to the last that has ended.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t bulk = 256;
constexpr std::size_t capacity = 64 * 1024;

/// Counts on a line of its own thread, as a handler of a service would.
struct alignas(64) tally {
  std::atomic<std::uint64_t> n{0};
};

class queue_of_jobs {
 public:
  explicit queue_of_jobs(std::size_t batch)
      : worker_{jobs_,
                pool_,
                [](penstock::job<std::uint64_t>& j) {
                  benchmark::DoNotOptimize(j.payload());
                  if (j.payload() % 10 == 9 && j.attempt() == 1) {
                    return penstock::job_outcome::failed("once");
                  }
                  return penstock::job_outcome::done();
                },
                {.concurrency = 2, .batch = batch}} {}

  void add_bulk(std::vector<std::uint64_t>& payloads) {
    jobs_.put_bulk(payloads).value();
    added_ += payloads.size();
  }
  void add(std::uint64_t payload, const penstock::enqueue_options& o = {}) {
    jobs_.add(payload, o).value();
    ++added_;
  }
  void finish() {
    while (worker_.stats().completed < added_) std::this_thread::sleep_for(50us);
  }

 private:
  penstock::worker_pool pool_{{.threads = 2}};
  penstock::memory_store<std::uint64_t> store_{{.capacity = capacity}};
  penstock::job_queue<std::uint64_t> jobs_{store_};
  std::uint64_t added_ = 0;
  penstock::job_worker<std::uint64_t> worker_;
};

class mutex_and_deque {
 public:
  explicit mutex_and_deque(std::size_t batch) : batch_{batch} {}
  ~mutex_and_deque() {
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
    }
    some_.notify_all();
  }
  void add_bulk(const std::vector<std::uint64_t>& payloads) {
    {
      std::unique_lock guard{lock_};
      room_.wait(guard, [&] { return jobs_.size() + payloads.size() <= capacity; });
      jobs_.insert(jobs_.end(), payloads.begin(), payloads.end());
    }
    some_.notify_all();
    added_ += payloads.size();
  }
  void add(std::uint64_t payload) {
    {
      std::unique_lock guard{lock_};
      room_.wait(guard, [&] { return jobs_.size() < capacity; });
      jobs_.push_back(payload);
    }
    some_.notify_one();
    ++added_;
  }
  void finish() {
    while (done_[0].n.load() + done_[1].n.load() < added_) std::this_thread::sleep_for(50us);
  }

 private:
  void run(std::atomic<std::uint64_t>& done) {
    std::vector<std::uint64_t> mine;
    for (;;) {
      mine.clear();
      {
        std::unique_lock guard{lock_};
        some_.wait(guard, [&] { return closed_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        while (!jobs_.empty() && mine.size() < batch_) {
          mine.push_back(jobs_.front());
          jobs_.pop_front();
        }
      }
      room_.notify_one();
      for (const std::uint64_t& j : mine) benchmark::DoNotOptimize(j);
      done.fetch_add(mine.size());
    }
  }

  const std::size_t batch_;
  std::mutex lock_;
  std::condition_variable some_;
  std::condition_variable room_;
  std::deque<std::uint64_t> jobs_;
  bool closed_ = false;
  std::uint64_t added_ = 0;
  tally done_[2];
  std::jthread first_{[this] { run(done_[0].n); }};
  std::jthread second_{[this] { run(done_[1].n); }};
};

template <class Queue, std::size_t Batch>
void BM_bulk(benchmark::State& state) {
  Queue jobs{Batch};
  std::vector<std::uint64_t> payloads(bulk);
  while (state.KeepRunningBatch(bulk)) jobs.add_bulk(payloads);
  jobs.finish();
}
template <class Queue, std::size_t Batch>
void BM_single(benchmark::State& state) {
  Queue jobs{Batch};
  for (auto _ : state) jobs.add(1);
  jobs.finish();
}
void BM_mixed(benchmark::State& state) {
  queue_of_jobs jobs{64};
  std::vector<penstock::enqueue_options> kinds;
  for (unsigned i = 0; i < 30; ++i) {
    kinds.push_back({.attempts = i % 3 == 0 ? 1U : 3U,
                     .priority = i % 3 == 1 ? 1 + i : 0,
                     .delay = i % 3 == 2 ? std::chrono::microseconds{i * 33} : 0us});
  }
  std::uint64_t n = 0;
  for (auto _ : state) {
    const auto& o = kinds[n % kinds.size()];
    jobs.add(o.attempts > 1 ? n : 1, o);
    ++n;
  }
  jobs.finish();
}

BENCHMARK(BM_bulk<queue_of_jobs, 64>)->Name("BM_job_queue_bulk<penstock::job_queue>")->UseRealTime();
BENCHMARK(BM_bulk<mutex_and_deque, 64>)->Name("BM_job_queue_bulk<mutex and deque>")->UseRealTime();
BENCHMARK(BM_single<queue_of_jobs, 1>)->Name("BM_job_queue_single<penstock::job_queue>")->UseRealTime();
BENCHMARK(BM_single<queue_of_jobs, 64>)->Name("BM_job_queue_single<penstock::job_queue, batch of 64>")->UseRealTime();
BENCHMARK(BM_single<mutex_and_deque, 1>)->Name("BM_job_queue_single<mutex and deque>")->UseRealTime();
BENCHMARK(BM_mixed)->Name("BM_job_queue_mixed<penstock::job_queue>")->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
