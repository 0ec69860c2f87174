// What it costs to wait for penstock in Asio, and for Asio in a task, on one thread. Beside it what Asio takes for the same way by itself, an asio::post() for
// each handler, and an asio::awaitable that awaits one.
#include <benchmark/benchmark.h>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cstdint>
#include <system_error>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/asio.hpp>
#include <penstock/sync/semaphore.hpp>

namespace {

// So many in a row: each begins when the one before has ended, so that none is waited for by run() alone.
constexpr std::int64_t in_a_row = 10'000;

// The peer: handlers that post the next one.
struct posts {
  asio::io_context& io;
  std::int64_t left;
  void operator()() {
    if (--left > 0) asio::post(io, *this);
  }
};
void BM_asio_post(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context io{1};
    asio::post(io, posts{io, in_a_row});
    io.run();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_asio_post)->Name("BM_asio_post<reference: asio alone>");

// A permit is free; the handler gives it back and asks for the next one.
struct acquires {
  asio::io_context& io;
  penstock::semaphore& permits;
  std::int64_t left;
  void operator()(std::error_code) {
    permits.release();
    if (--left > 0) penstock::as_asio(io, permits.async_acquire(), *this);
  }
};
void BM_as_asio_free_permit(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context io{1};
    penstock::semaphore permits{1};
    penstock::as_asio(io, permits.async_acquire(), acquires{io, permits, in_a_row});
    io.run();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_as_asio_free_permit)->Name("BM_as_asio_free_permit<penstock::as_asio>");

// Nobody's is free: what waits is begun, and then released.
struct waits {
  asio::io_context& io;
  penstock::semaphore& permits;
  std::int64_t left;
  void operator()(std::error_code) {
    if (--left == 0) return;
    penstock::as_asio(io, permits.async_acquire(), *this);
    permits.release();
  }
};
void BM_as_asio_wait(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context io{1};
    penstock::semaphore permits{0};
    penstock::as_asio(io, permits.async_acquire(), waits{io, permits, in_a_row});
    permits.release();
    io.run();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_as_asio_wait)->Name("BM_as_asio_wait<penstock::as_asio>");

asio::awaitable<void> awaits_posts(asio::io_context& io) {
  for (std::int64_t i = 0; i < in_a_row; ++i) co_await asio::post(io, asio::use_awaitable);
}
void BM_use_awaitable_post(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context io{1};
    asio::co_spawn(io, awaits_posts(io), asio::detached);
    io.run();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_use_awaitable_post)->Name("BM_asio_await_post<asio::use_awaitable>");

penstock::task<> task_of_posts(asio::io_context& io) {
  for (std::int64_t i = 0; i < in_a_row; ++i) co_await asio::post(io, penstock::use_task);
}
void BM_use_task_post(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context io{1};
    auto running = penstock::spawn(task_of_posts(io));
    io.run();
    running.result();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_use_task_post)->Name("BM_asio_await_post<penstock::use_task>");

}  // namespace

BENCHMARK_MAIN();
