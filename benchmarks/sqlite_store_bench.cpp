// Jobs on a disk: what one costs from its addition to its end, and what an addition costs that is on the disk when it returns.
//
// one_write_and_sync  what the disk needs for a page that is written and synchronised: nothing durable is quicker, alone.
// add                 threads that add one by one; nothing is fetched. A time is per job.
// through             producers add, in bulks or one by one, while a worker with two threads fetches and settles 64 at a time. A time is per job,
// from the first that
//                     is added to the last that has ended.
// The files lie in the folder for temporary files, or in the one that PENSTOCK_BENCH_FOLDER names.
#include <fcntl.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <penstock/ext/sqlite_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

using namespace std::chrono_literals;
using store_type = penstock::sqlite_store<std::string>;
using queue_type = penstock::job_queue<std::string, store_type>;

struct temporary_folder {
  temporary_folder() {
    const char* const where = std::getenv("PENSTOCK_BENCH_FOLDER");
    std::string name =
        ((where != nullptr ? std::filesystem::path{where} : std::filesystem::temp_directory_path()) / "penstock-bench-XXXXXX")
            .string();
    path = mkdtemp(name.data());
  }
  ~temporary_folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

void BM_one_write_and_sync(benchmark::State& state) {
  const temporary_folder folder;
  const int file = open((folder.path / "file").c_str(), O_RDWR | O_CREAT, 0600);
  const std::string page(4096, 'x');
  off_t at = 0;
  for (auto _ : state) {
    if (pwrite(file, page.data(), page.size(), at) < 0 || fdatasync(file) != 0) state.SkipWithError("the disk");
    at = (at + 4096) % (16 << 20);
  }
  close(file);
}

struct jobs_on_disk {
  explicit jobs_on_disk(penstock::sqlite_durability durability)
      : store{(folder.path / "jobs.db").string(), {.durability = durability, .poll_interval = std::chrono::nanoseconds::max()}} {}
  temporary_folder folder;
  std::chrono::system_clock wall;
  store_type store;
  queue_type queue{store, {.clock = wall}};
};

template <penstock::sqlite_durability Durability>
void BM_add(benchmark::State& state) {
  static std::optional<jobs_on_disk> jobs;
  if (state.thread_index() == 0) jobs.emplace(Durability);
  const std::string payload(100, 'p');
  for (auto _ : state) jobs->queue.add(payload).value();
  if (state.thread_index() == 0) {
    state.SetItemsProcessed(state.iterations() * state.threads());
    jobs.reset();
  }
}

template <penstock::sqlite_durability Durability>
void BM_through(benchmark::State& state) {
  const auto producers = static_cast<std::size_t>(state.range(0));
  const auto bulk = static_cast<std::size_t>(state.range(1));
  jobs_on_disk jobs{Durability};
  penstock::worker_pool pool{{.threads = 2}};
  penstock::job_worker worker{jobs.queue,
                              pool,
                              [](penstock::job<std::string>& j) { benchmark::DoNotOptimize(j.payload()); },
                              {.concurrency = 2, .batch = 64}};
  std::uint64_t added = 0;
  const std::size_t round = 64 * 256;
  while (state.KeepRunningBatch(round)) {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < producers; ++t) {
      threads.emplace_back([&] {
        std::vector<std::string> payloads(bulk, std::string(100, 'p'));
        for (std::size_t n = 0; n < round / producers; n += bulk) jobs.queue.put_bulk(payloads).value();
      });
    }
    threads.clear();
    added += round;
  }
  while (worker.stats().completed < added) std::this_thread::sleep_for(100us);
  state.SetItemsProcessed(state.iterations());
}

constexpr auto full = penstock::sqlite_durability::full;
constexpr auto normal = penstock::sqlite_durability::normal;
BENCHMARK(BM_one_write_and_sync)->Name("BM_one_write_and_sync<reference: the disk>")->UseRealTime();
BENCHMARK(BM_add<full>)->Name("BM_sqlite_add<penstock::sqlite_store, full>")->Threads(1)->Threads(8)->Threads(64)->UseRealTime();
BENCHMARK(BM_add<normal>)->Name("BM_sqlite_add<penstock::sqlite_store, normal>")->Threads(1)->Threads(64)->UseRealTime();
BENCHMARK(BM_through<full>)
    ->Name("BM_sqlite_through<penstock::sqlite_store, full>")
    ->ArgNames({"producers", "bulk"})
    ->Args({4, 64})
    ->Args({64, 1})
    ->UseRealTime();
BENCHMARK(BM_through<normal>)
    ->Name("BM_sqlite_through<penstock::sqlite_store, normal>")
    ->ArgNames({"producers", "bulk"})
    ->Args({4, 64})
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
