// A future asks its task to stop.
#include <penstock/sync/future.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stop_token>
#include <system_error>
#include <utility>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

using namespace penstock;
using namespace std::chrono_literals;

namespace {

// Keeps the worker of a pool of one busy.
struct blocker {
  explicit blocker(worker_pool& pool) {
    REQUIRE(pool.post([this] {
      begun.set();
      go.wait();
      left.set();
    }));
    begun.wait();
  }
  blocker(const blocker&) = delete;
  blocker& operator=(const blocker&) = delete;
  ~blocker() {
    go.set();
    left.wait();
  }
  event begun, go, left;
};

template <class T>
std::error_code error_of(future<T> f) {
  try {
    static_cast<void>(f.get());
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("future: a task that has not begun never will when it is asked to stop, and what it holds is released",
          "[pool][future]") {
  worker_pool pool{{.threads = 1}};
  bool ran = false;
  auto held = std::make_shared<int>(1);
  future<void> dropped;
  {
    const blocker busy{pool};
    dropped = pool.submit([&ran, held] { ran = true; });
    REQUIRE(held.use_count() == 2);
    dropped.request_stop();
    CHECK(dropped.is_ready());
    CHECK(held.use_count() == 1);
    dropped.request_stop();     // no effect
    CHECK(pool.queued() == 1);  // an empty place, until the worker comes by it
    future<int> gone = pool.submit([] { return 1; });
    gone.request_stop();
    static_cast<void>(std::exchange(gone, {}));
    CHECK(pool.purge() == 2);  // the one kind counts as well as the other
    future<int> left_behind = pool.submit([] { return 1; });
    left_behind.request_stop();
  }
  CHECK(error_of(std::move(dropped)) == errc::cancelled);
  REQUIRE(pool.drain());
  CHECK_FALSE(ran);
  const pool_stats s = pool.stats();
  CHECK(s.cancelled == 3);
  CHECK(s.completed == 1);
  CHECK(s.submitted == 4);
  CHECK(s.queued == 0);
}

TEST_CASE("future: a task that runs sees that it is asked to stop, and no other task does", "[pool][future]") {
  event never;
  worker_pool pool{{.threads = 2}};
  const auto until_stopped = [&never](std::stop_token stop) { return never.wait(stop).error() == errc::cancelled ? 1 : 0; };
  event begun[2];
  future<int> one = pool.submit([&](std::stop_token stop) { return begun[0].set(), until_stopped(stop); });
  future<int> other = pool.submit([&](std::stop_token stop) { return begun[1].set(), until_stopped(stop); });
  begun[0].wait();
  begun[1].wait();
  one.request_stop();
  CHECK(one.get() == 1);
  CHECK_FALSE(other.is_ready());
  pool.request_stop();  // reaches them all
  CHECK(other.get() == 1);
}

TEST_CASE("future: a task that runs and takes no token, an outcome that is there, and a promise are left as they are",
          "[pool][future]") {
  event begun, go;
  worker_pool pool{{.threads = 1}};
  future<int> runs = pool.submit([&] {
    begun.set();
    go.wait();
    return 1;
  });
  begun.wait();
  runs.request_stop();
  CHECK_FALSE(runs.is_ready());
  go.set();
  CHECK(runs.get() == 1);
  future<int> ready = make_ready_future(2);
  ready.request_stop();
  CHECK(ready.get() == 2);
  promise<int> p;
  future<int> promised = p.get_future();
  promised.request_stop();
  p.set_value(3);
  CHECK(promised.get() == 3);
}

TEST_CASE("future: a coroutine that awaits it, or gives up, does not stop its task", "[pool][future]") {
  event go;
  std::atomic<bool> stopped{false};
  worker_pool pool{{.threads = 1}};
  future<int> f = pool.submit([&](std::stop_token stop) {
    go.wait();
    stopped = stop.stop_requested();
    return 1;
  });
  CHECK(sync_wait(std::move(f) | with_timeout(0ms)).error() == errc::timeout);  // and not only when the task has ended
  go.set();
  REQUIRE(pool.drain());
  CHECK_FALSE(stopped);
}

TEST_CASE("future: what a stopped task holds, and what hears of it, may use the pool and the future",
          "[pool][future][hazard-17]") {
  event never;
  worker_pool pool{{.threads = 1}};
  future<int> runs, waits;
  int heard = 0;
  struct uses_the_pool {
    uses_the_pool(worker_pool& p, int& n) : pool{&p}, count{&n} {}
    uses_the_pool(uses_the_pool&& other) noexcept : pool{std::exchange(other.pool, nullptr)}, count{other.count} {}
    ~uses_the_pool() {
      if (pool == nullptr) return;
      ++*count;
      static_cast<void>(pool->queued());
      static_cast<void>(pool->try_post([] {}));
      static_cast<void>(pool->purge());
    }
    worker_pool* pool;
    int* count;
  };
  event begun;
  runs = pool.submit([&](std::stop_token stop) {
    const std::stop_callback tell{stop, [&] {
                                    ++heard;
                                    runs.request_stop();
                                    waits.request_stop();
                                  }};
    begun.set();
    return never.wait(stop) ? 0 : 1;
  });
  begun.wait();
  waits = pool.submit([held = uses_the_pool{pool, heard}] { return 2; });
  runs.request_stop();
  CHECK(runs.get() == 1);
  CHECK(error_of(std::move(waits)) == errc::cancelled);
  CHECK(heard == 2);
}

TEST_CASE("future: who is woken by a stop request may destroy the future at once", "[pool][future][hazard-12]") {
  worker_pool pool{{.threads = 1}};
  for (int i = 0; i < 200; ++i) {
    const blocker busy{pool};
    auto f = std::make_unique<future<int>>(pool.submit([] { return 1; }));
    auto waits = [](std::unique_ptr<future<int>>& of) -> task<> {
      const result<void> ready = co_await of->async_wait();
      CHECK(ready);
      of.reset();  // inside request_stop()
    };
    auto waiting = spawn(waits(f));
    f->request_stop();
    CHECK(waiting.done());
  }
}

TEST_CASE("strand: a function that has not begun never will when its future is asked to stop", "[strand][future]") {
  manual_executor executor;
  strand s{executor};
  bool ran = false;
  future<void> dropped = s.submit([&] { ran = true; });
  future<int> kept = s.submit([] { return 1; });
  dropped.request_stop();
  CHECK(dropped.is_ready());
  executor.run_all();
  CHECK(error_of(std::move(dropped)) == errc::cancelled);
  CHECK(kept.get() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("strand: one over another keeps what it needs of that", "[strand]") {
  manual_executor executor;
  auto outer = std::make_unique<strand>(executor);
  strand inner{*outer};
  outer.reset();
  future<int> f = inner.submit([] { return 5; });
  CHECK(f.try_wait_for(0ms).error() == errc::timeout);  // looks whether this is a piece of the other one
  executor.run_all();
  CHECK(f.get() == 5);
}
