// The paths that nothing slows down, by one thread: how many instructions each takes. Run by tests/scripts/check_fast_paths.py under callgrind, which
// counts each of the functions below by itself; benchmarks/results/fast_paths.txt has the table. They run a path `rounds` times.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/channel/select.hpp>
#include <penstock/channel/watch.hpp>
#include <penstock/combine/when_all.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/job/circuit_breaker.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/measured.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/strand.hpp>
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
#include <penstock/sync/shared_mutex.hpp>
#include <penstock/sync/wait_group.hpp>
#include <penstock/testing/manual_executor.hpp>

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
  penstock::shared_mutex shared_mutex;
  penstock::event event{};
  penstock::event set_event{true};
  penstock::wait_group wait_group;
  penstock::channel<std::uint64_t> channel{64};
  penstock::channel<std::uint64_t, penstock::channel_policy::spsc> spsc{64};
  penstock::channel<std::uint64_t> empty_channel{64};
  penstock::broadcast<std::uint64_t> broadcast{64};
  penstock::subscription<std::uint64_t> subscription = broadcast.subscribe();
  penstock::watch<std::uint64_t> watch{0};
  penstock::token_bucket<penstock::manual_clock> bucket{penstock::rate{1'000'000'000, 1s}, 1'000'000, clock};
  penstock::limiter limiter{{.max_concurrent = 8}};
  penstock::keyed_limiter<std::uint64_t> keyed{
      penstock::rate{1'000'000'000, 1s}, 1'000'000, {.max_keys = 1024, .clock = clock, .seed = 1}};
  penstock::circuit_breaker breaker{{}};
  penstock::retry_policy retry_policy;
  penstock::histogram histogram;
  penstock::counter counter;
  penstock::gauge gauge;
  penstock::hash_ring<std::string> ring;
  penstock::maglev<std::string> table;
  penstock::balancer<std::string> balancer;
  penstock::worker_pool pool{{.threads = 1, .queue_capacity = 4 * rounds}};
  penstock::manual_executor loop;
  penstock::strand strand{loop};
  penstock::resource_pool<std::uint64_t> resources{[] { return std::uint64_t{1}; }, {.clock = clock}};
  penstock::batcher<std::uint64_t, std::uint64_t> batcher{
      penstock::any_scheduler{},
      [](std::span<const std::uint64_t> keys) { return std::vector<std::uint64_t>(keys.begin(), keys.end()); },
      {.cache = {.max_entries = 10}}};
  penstock::batcher<std::uint64_t, std::uint64_t> uncached{
      penstock::any_scheduler{},
      [](std::span<const std::uint64_t> keys) { return std::vector<std::uint64_t>(keys.begin(), keys.end()); },
      {.cache = {.max_entries = 0}}};
  penstock::accumulator<std::uint64_t> at_once{penstock::any_scheduler{}, [](std::span<const std::uint64_t>) {}};
  penstock::accumulator<std::uint64_t> by_size{
      penstock::any_scheduler{}, [](std::span<const std::uint64_t>) {}, {.max_batch_size = 50, .max_delay = 1h, .clock = clock}};
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
[[gnu::noinline]] void path_shared_mutex_read(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.shared_mutex.lock_shared();
    e.shared_mutex.unlock_shared();
  }
}
[[gnu::noinline]] void path_shared_mutex_write(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.shared_mutex.lock();
    e.shared_mutex.unlock();
  }
}
[[gnu::noinline]] void path_event(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.event.set();
    e.event.reset();
  }
}
[[gnu::noinline]] void path_event_wait(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) e.set_event.wait();
}
[[gnu::noinline]] void path_wait_group(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.wait_group.add();
    e.wait_group.done();
    e.wait_group.wait();
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
[[gnu::noinline]] void path_select(everything& e) {  // and the push of what is there to be popped
  for (std::size_t i = 0; i < rounds; ++i) {
    std::uint64_t got = rounds;
    check(e.channel.push(i));
    const auto take = [&](penstock::result<std::uint64_t> item) { got = item.value(); };
    check(penstock::select(penstock::on_pop(e.channel, take), penstock::on_pop(e.empty_channel, take)) == 0 && got == i);
  }
}
[[gnu::noinline]] void path_broadcast(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.broadcast.publish(i));
    check(e.subscription.pop().value() == i);
  }
}
[[gnu::noinline]] void path_watch_set(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.watch.set(i));
}
[[gnu::noinline]] void path_watch_get(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.watch.get() == rounds - 1);
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
[[gnu::noinline]] void path_retry(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(penstock::retry([i] { return i + 1; }, e.retry_policy) == i + 1);
}
[[gnu::noinline]] void path_histogram(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) e.histogram.record(1000 + i);
}
[[gnu::noinline]] void path_counter(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) e.counter.add();
}
[[gnu::noinline]] void path_gauge(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) {
    e.gauge.add(1);
    e.gauge.add(-1);
  }
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
[[gnu::noinline]] void path_worker_pool_post_traced(everything& e) {  // by a tracer that does nothing
  penstock::tracer silent;
  const penstock::trace_session tracing{silent};
  for (std::size_t i = 0; i < rounds; ++i) check(e.pool.try_post([] {}));
}
[[gnu::noinline]] void path_strand(everything& e) {
  std::size_t ran = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    check(e.strand.post([&ran] { ++ran; }));
    check(e.loop.run_one());
  }
  check(ran == rounds);
}
[[gnu::noinline]] void path_resource_pool(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.resources.acquire());
}
[[gnu::noinline]] void path_batcher_hit(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.batcher.load(7).get() == 7);
}
[[gnu::noinline]] void path_batcher_miss(everything& e) {  // a batch of one, which the loader runs itself
  for (std::size_t i = 0; i < rounds; ++i) check(e.uncached.load(i).get() == i);
}
[[gnu::noinline]] void path_accumulator_add(everything& e) {  // a batch of one, which the adder writes itself
  for (std::size_t i = 0; i < rounds; ++i) e.at_once.add(i).get();
}
[[gnu::noinline]] void path_accumulator_push(everything& e) {  // batches of 50
  for (std::size_t i = 0; i < rounds; ++i) check(e.by_size.push(i));
}
[[gnu::noinline]] void path_job_queue_add(everything& e) {
  for (std::size_t i = 0; i < rounds; ++i) check(e.jobs.add(i));
}

// By coroutines, for which what they await is there.

namespace {

penstock::task<std::uint64_t> ready(std::uint64_t value) { co_return value; }

penstock::task<void> await_semaphore(penstock::semaphore& permits) {
  for (std::size_t i = 0; i < rounds; ++i) {
    check(co_await permits.async_acquire());
    permits.release();
  }
}
penstock::task<void> await_channel(penstock::channel<std::uint64_t>& items) {
  for (std::size_t i = 0; i < rounds; ++i) {
    std::uint64_t item = i;
    check(co_await items.async_push(item));
    check((co_await items.async_pop()).value() == i);
  }
}
penstock::task<void> await_task() {
  for (std::size_t i = 0; i < rounds; ++i) {
    auto awaited = ready(i);
    check(co_await std::move(awaited) == i);
  }
}

}  // namespace

[[gnu::noinline]] void path_await_semaphore(everything& e) { penstock::sync_wait(await_semaphore(e.semaphore)); }
[[gnu::noinline]] void path_await_channel(everything& e) { penstock::sync_wait(await_channel(e.channel)); }
[[gnu::noinline]] void path_await_task(everything&) { penstock::sync_wait(await_task()); }
[[gnu::noinline]] void path_sync_wait(everything&) {
  for (std::size_t i = 0; i < rounds; ++i) check(penstock::sync_wait(ready(i)) == i);
}
[[gnu::noinline]] void path_when_all(everything&) {
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto [a, b] = penstock::sync_wait(penstock::when_all(ready(i), ready(i + 1)));
    check(a + 1 == b);
  }
}

int main() {
  everything e;
  for (void (*path)(everything&) : {path_semaphore,
                                    path_semaphore_measured,
                                    path_mutex,
                                    path_shared_mutex_read,
                                    path_shared_mutex_write,
                                    path_event,
                                    path_event_wait,
                                    path_wait_group,
                                    path_future,
                                    path_channel,
                                    path_channel_spsc,
                                    path_select,
                                    path_broadcast,
                                    path_watch_set,
                                    path_watch_get,
                                    path_token_bucket,
                                    path_limiter,
                                    path_keyed_limiter,
                                    path_circuit_breaker,
                                    path_retry,
                                    path_histogram,
                                    path_counter,
                                    path_gauge,
                                    path_hash_ring,
                                    path_maglev,
                                    path_balancer,
                                    path_worker_pool_post,
                                    path_worker_pool_post_traced,
                                    path_strand,
                                    path_resource_pool,
                                    path_batcher_hit,
                                    path_batcher_miss,
                                    path_accumulator_add,
                                    path_accumulator_push,
                                    path_job_queue_add,
                                    path_await_semaphore,
                                    path_await_channel,
                                    path_await_task,
                                    path_sync_wait,
                                    path_when_all}) {
    path(e);
  }
  e.pool.resume();
}
