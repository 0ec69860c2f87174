// Tracers come and go while tasks, coroutines and waits are under way, and somebody looks all the while at who waits: a tracer is told nothing once its
// session is over, and nobody stays in the list. And with one tracer for all the time: each coroutine keeps its own context.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/observe/who_waits.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/stress.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

struct counting final : tracer {
  explicit counting(stress::context& c) : c_{c} {}
  ~counting() override { gone_ = true; }
  void enqueued(trace_span& s) noexcept override {
    call();
    s.note[0] = me();
  }
  void started(trace_span& s) noexcept override {
    call();
    c_.check(s.note[0] == me(), "a span came to a tracer that is not its own");
  }
  void finished(trace_span& s, trace_outcome, const std::exception_ptr&) noexcept override {
    call();
    c_.check(s.note[0] == me(), "a span ended with a tracer that is not its own");
  }
  void wait_begins(const trace_wait&) noexcept override {
    call();
    ++begun;
  }
  void wait_ended(const trace_wait&, std::error_code) noexcept override {
    call();
    ++ended;
  }
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};

 private:
  [[nodiscard]] std::uint64_t me() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }
  void call() const noexcept {
    static thread_local unsigned calls = 0;
    if (++calls % 4 == 0) std::this_thread::yield();  // the session may end meanwhile, if nobody waits for this call
    c_.check(!gone_, "a tracer was told something after its end");
  }

  stress::context& c_;
  bool gone_ = false;  // not atomic: the thread sanitizer is to see that the end of a session comes after every call
};

task<bool> visit(semaphore& permits, worker_pool& pool, std::uint64_t mine) {
  const trace_scope here{trace_context{.trace_low = 1, .span = mine}};
  bool kept = true;
  for (int i = 0; i < 8; ++i) {
    auto got = co_await permits.async_acquire();
    kept = kept && current_trace().span == mine;
    if (got) permits.release();
    auto elsewhere = pool.schedule();
    co_await elsewhere;
    kept = kept && current_trace().span == mine;
  }
  co_return kept;
}

void work(stress::context& c, worker_pool& pool, semaphore& permits, bool keeps) {
  while (c.time_left()) {
    std::vector<spawned<bool>> some;
    for (std::uint64_t i = 1; i <= 4; ++i) some.push_back(spawn(pool, visit(permits, pool, i)));
    auto f = pool.submit([&] {
      const auto got = permits.try_acquire_for(20us);
      if (got) permits.release();
    });
    pool.post([] {}).value();
    for (auto& s : some) c.check(s.result() || !keeps, "a coroutine has lost its context");
    f.get();
  }
  pool.drain().value();
}

void come_and_go(stress::context& c) {
  worker_pool pool{{.threads = 3, .queue_capacity = 64}};
  semaphore permits{1};
  std::jthread tracers{[&] {
    while (c.time_left()) {
      counting mine{c};
      const trace_session session{mine};
      for (int i = 0; i < 20; ++i) std::this_thread::yield();
    }
  }};
  std::jthread watchers{[&] {
    const named_place name{permits, "permits"};
    while (c.time_left()) {
      const wait_watch watch;
      for (int i = 0; i < 20; ++i) {
        for (const waiter_info& w : who_waits()) c.check(!w.where.empty() && w.waits < 60s, "nonsense was read");
      }
    }
  }};
  work(c, pool, permits, false);
  tracers.join();
  watchers.join();
  c.check(who_waits().empty(), "somebody stays in the list");
}

void stays(stress::context& c) {
  counting mine{c};
  {
    worker_pool pool{{.threads = 3, .queue_capacity = 64}};
    semaphore permits{1};
    const trace_session session{mine};
    work(c, pool, permits, true);
  }
  c.check(mine.begun == mine.ended, "a wait has no end");
}

}  // namespace

int main() {
  stress::run run{"tracing"};
  run.scenario("tracers come and go", 300ms, come_and_go);
  run.scenario("one tracer", 200ms, stays);
  return run.finish();
}
