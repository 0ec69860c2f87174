// The paths that nothing slows down, by one thread: how many instructions each takes. Run by tests/scripts/check_fast_paths.py under callgrind, which
// counts each of the functions below by itself; benchmarks/results/fast_paths.txt has the table. They run a path `rounds` times.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <penstock/batch/batcher.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/job/circuit_breaker.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/measured.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/keyed_limiter.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/route/balancer.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/mutex.hpp>
#include <penstock/sync/semaphore.hpp>

using namespace std::chrono_literals;

namespace {

constexpr std::size_t rounds = 1000;

// What a path must do; a benchmark that does nothing is quick.
template <class Outcome>
void check(const Outcome& outcome) {
  if (!outcome) std::abort();
}

struct everything {
  penstock::manual_clock clock;
  penstock::semaphore semaphore{4};
  penstock::measured<penstock::semaphore> measured{4};
  penstock::mutex mutex;
  penstock::event event{};
  penstock::channel<std::uint64_t> channel{64};
  penstock::channel<std::uint64_t, penstock::channel_policy::spsc> spsc{64};
  penstock::token_bucket<penstock::manual_clock> bucket{penstock::rate{1'000'000'000, 1s}, 1'000'000, clock};
  penstock::limiter limiter{{.max_concurrent = 8}};
  penstock::keyed_limiter<std::uint64_t> keyed{
      penstock::rate{1'000'000'000, 1s}, 1'000'000, {.max_keys = 1024, .clock = clock, .seed = 1}};
  penstock::circuit_breaker breaker{{}};
  penstock::histogram histogram;
  penstock::counter counter;
  penstock::hash_ring<std::string> ring;
  penstock::maglev<std::string> table;
  penstock::balancer<std::string> balancer;
  penstock::worker_pool pool{{.threads = 1, .queue_capacity = 4 * rounds}};
  penstock::batcher<std::uint64_t, std::uint64_t> batcher{
      penstock::any_scheduler{},
      [](std::span<const std::uint64_t> keys) { return std::vector<std::uint64_t>(keys.begin(), keys.end()); },
      {.cache = {.max_entries = 10}}};
  penstock::job_queue<std::uint64_t> jobs;

  everything() {
    for (int n = 0; n < 10; ++n) {
      ring.insert("node-" + std::to_string(n));
      table.insert("node-" + std::to_string(n));
      check(balancer.insert("node-" + std::to_string(n)));
    }
    batcher.prime(7, 7);
    pool.pause();
  }
};

}  // namespace

// Not in the unnamed namespace: callgrind knows them by name.

[[gnu::noinline]] void path_semaphore(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.semaphore.try_acquire());
    e.semaphore.release();
  }
}
[[gnu::noinline]] void path_semaphore_measured(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.measured.try_acquire());
    e.measured.release();
  }
}
[[gnu::noinline]] void path_mutex(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.mutex.try_lock());
    e.mutex.unlock();
  }
}
[[gnu::noinline]] void path_event(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.event.set();
    e.event.reset();
  }
}
[[gnu::noinline]] void path_future(everything&) {
  for (std::size_t i = 0; i < rounds; ++i) {
    penstock::promise<std::uint64_t> promise;
    auto future = promise.get_future();
    promise.set_value(i);
    check(future.get() == i);
  }
}
[[gnu::noinline]] void path_channel(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.channel.push(i));
    check(e.channel.pop().value() == i);
  }
}
[[gnu::noinline]] void path_channel_spsc(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.spsc.push(i));
    check(e.spsc.pop().value() == i);
  }
}
[[gnu::noinline]] void path_token_bucket(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.bucket.try_acquire());
}
[[gnu::noinline]] void path_limiter(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.limiter.try_acquire_permit());
}
[[gnu::noinline]] void path_keyed_limiter(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.keyed.try_acquire(i % 100));
}
[[gnu::noinline]] void path_circuit_breaker(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.breaker.try_acquire());
}
[[gnu::noinline]] void path_histogram(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) e.histogram.record(1000 + i);
}
[[gnu::noinline]] void path_counter(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) e.counter.add();
}
[[gnu::noinline]] void path_hash_ring(everything& e) {
  for (std::uint64_t i = 0; i < rounds; ++i) check(e.ring.find(i) != nullptr);
}
[[gnu::noinline]] void path_maglev(everything& e) {
  for (std::uint64_t i = 0; i < rounds; ++i) check(e.table.find(i) != nullptr);
}
[[gnu::noinline]] void path_balancer(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.balancer.pick());
}
[[gnu::noinline]] void path_worker_pool_post(everything& e) {  // to a pool that pauses: what the submitter does
  for (std::size_t i = 0; i < rounds; ++i) check(e.pool.try_post([] {}));
}
[[gnu::noinline]] void path_batcher_hit(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.batcher.load(7).get() == 7);
}
[[gnu::noinline]] void path_job_queue_add(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.jobs.add(i));
}

int main() {
  everything e;
  for (void (*path)(everything&) :
       {path_semaphore, path_semaphore_measured, path_mutex, path_event, path_future, path_channel, path_channel_spsc,
        path_token_bucket, path_limiter, path_keyed_limiter, path_circuit_breaker, path_histogram, path_counter, path_hash_ring,
        path_maglev, path_balancer, path_worker_pool_post, path_batcher_hit, path_job_queue_add}) {
    path(e);
  }
  e.pool.resume();
}
