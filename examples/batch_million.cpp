// A million records of a table, each processed once, by a hundred workers, with a bar that says how long it will take; killed at any time, it goes on
// where it was.
//
//   batch_million DIRECTORY [--records 1000000] [--per-job 1000] [--concurrency 100] [--json]
//
// records.db has the table, jobs.db the queue (sqlite_store): a job is a range of records. What makes it safe to kill:
//   - jobs are added in bulks; how far that came is noted in records.db after each, so a bulk may be added twice, and never not at all;
//   - a job reads those of its records that have no result yet, and ends when their results are on the disk: so running it twice changes nothing.
//     Results of many jobs travel in one transaction (accumulator);
//   - whoever is killed leaves jobs active. This program is the only one on its queue, so it takes them back at once when it begins.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/sqlite_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "common/final_failure.hpp"
#include "common/run_program.hpp"
#include "index/sqlite.hpp"

namespace {

using namespace std::chrono_literals;
using fulltext::database;
using fulltext::statement;
using steady = std::chrono::steady_clock;

/// Records first, first + 1, …, last.
struct range {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

}  // namespace

/// How it is written to the queue's file.
template <>
struct penstock::job_codec<range> {
  static std::string encode(const range& r) { return std::to_string(r.first) + "-" + std::to_string(r.last); }
  static penstock::result<range> decode(std::string_view text) {
    range r;
    const auto [dash, error] = std::from_chars(text.data(), text.data() + text.size(), r.first);
    if (error != std::errc{} || dash == text.data() + text.size() || *dash != '-')
      return std::make_error_code(std::errc::invalid_argument);
    const auto end = std::from_chars(dash + 1, text.data() + text.size(), r.last);
    if (end.ec != std::errc{} || end.ptr != text.data() + text.size()) return std::make_error_code(std::errc::invalid_argument);
    return r;
  }
};

namespace {

struct settings {
  std::filesystem::path directory;
  std::int64_t records = 1'000'000;
  std::int64_t per_job = 1'000;
  std::size_t concurrency = 100;
  bool json = false;
};

/// What is to be done with a record: something that can be checked.
std::int64_t process(std::int64_t value) {
  return static_cast<std::int64_t>(penstock::splitmix64{static_cast<std::uint64_t>(value)}() >> 1);
}

struct processed {
  std::int64_t id;
  std::int64_t result;
};
using results = std::vector<processed>;

/// A connection that reads what is still to be done.
struct reader {
  explicit reader(const std::string& path) : db{std::make_unique<database>(path, SQLITE_OPEN_READONLY)} {
    todo = std::make_unique<statement>(*db, "SELECT id, value FROM record WHERE id BETWEEN ?1 AND ?2 AND result IS NULL");
  }
  std::unique_ptr<database> db;
  std::unique_ptr<statement> todo;
};

/// The connection that writes; used by one thread at a time.
class table {
 public:
  table(const std::string& path, std::int64_t records) : db_{path} {
    db_.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    if (db_.integer("SELECT count(*) FROM sqlite_schema WHERE name = 'record'") == 0) {
      db_.run("BEGIN");  // all of it, or nothing
      db_.run("CREATE TABLE record(id INTEGER PRIMARY KEY, value INTEGER NOT NULL, result INTEGER)");
      db_.run("CREATE TABLE batch(next INTEGER NOT NULL)");  // the first record that is in no job yet
      db_.run("INSERT INTO batch VALUES(1)");
      statement insert{db_, "INSERT INTO record(id, value) VALUES(?1, ?2)"};
      for (std::int64_t id = 1; id <= records; ++id) insert.run(id, id * 7919 % 1'000'003);
      db_.run("COMMIT");
    }
    write_ = std::make_unique<statement>(db_, "UPDATE record SET result = ?2 WHERE id = ?1");
  }
  [[nodiscard]] std::int64_t count() { return db_.integer("SELECT count(*) FROM record"); }
  [[nodiscard]] std::int64_t done() { return db_.integer("SELECT count(result) FROM record"); }
  /// Of several jobs, in one transaction.
  void write(std::span<const results> all) {
    db_.run("BEGIN IMMEDIATE");
    try {
      for (const results& some : all) {
        for (const processed& p : some) write_->run(p.id, p.result);
      }
      db_.run("COMMIT");
    } catch (...) {
      // The transaction may be over, as after a full disk; why, is told by what was thrown.
      sqlite3_exec(db_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
      throw;
    }
  }
  /// How many have no result, or a wrong one.
  [[nodiscard]] std::int64_t wrong() {
    std::int64_t n = 0;
    statement all{db_, "SELECT value, result FROM record"};
    for (all.bind(); all.step();) n += all.integer(1) != process(all.integer(0)) ? 1 : 0;
    return n;
  }

 private:
  database db_;
  std::unique_ptr<statement> write_;
};

struct workshop {
  penstock::resource_pool<reader>& readers;
  penstock::accumulator<results>& writer;
  std::atomic<std::int64_t> done{0};
};

penstock::task<penstock::result<void>> work(range r, workshop& w) {
  results todo;
  {
    auto turn = w.readers.async_acquire();
    auto lease = co_await std::move(turn);
    if (!lease) co_return lease.error();
    statement& select = *(*lease)->todo;
    for (select.bind(r.first, r.last); select.step();) todo.push_back({select.integer(0), process(select.integer(1))});
  }
  if (todo.empty()) co_return penstock::result<void>{};
  const auto n = static_cast<std::int64_t>(todo.size());
  auto adding = w.writer.async_add(std::move(todo));
  const penstock::result<void> written = co_await std::move(adding);
  if (written) w.done += n;
  co_return written;
}

void show(std::int64_t done, std::int64_t all, std::int64_t at_first, double seconds, bool ends) {
  const double rate = static_cast<double>(done - at_first) / std::max(seconds, 1e-3);
  const double left = rate > 0 ? static_cast<double>(all - done) / rate : 0;
  const int filled = static_cast<int>(30 * done / std::max<std::int64_t>(all, 1));
  std::fprintf(stderr, "\r[%-30.*s] %lld of %lld, %.0f/s, %.1f s left %s", filled, "##############################",
               static_cast<long long>(done), static_cast<long long>(all), rate, left, ends ? "\n" : "");
}

int run(const settings& s) {
  const auto begin = steady::now();
  const auto seconds_since = [](steady::time_point t) { return std::chrono::duration<double>(steady::now() - t).count(); };
  std::filesystem::create_directories(s.directory);
  const std::string path = (s.directory / "records.db").string();
  table records{path, s.records};
  const std::int64_t all = records.count();
  const std::int64_t at_first = records.done();
  const double filling = seconds_since(begin);

  const auto start = steady::now();
  std::chrono::system_clock wall;
  penstock::sqlite_store<range> store{
      (s.directory / "jobs.db").string(),
      {.keep_completed = {.count = 0}, .poll_interval = std::chrono::nanoseconds::max()}};  // nobody else uses it
  penstock::job_queue<range, penstock::sqlite_store<range>> queue{store, {.clock = wall}};
  const auto left = store.take_back_stalled(penstock::no_time - 1ns, 1'000'000);  // of whoever was killed
  if (!left) throw std::system_error{left.error()};
  if (const auto again = queue.redrive_all(); !again) throw std::system_error{again.error()};  // what failed in an earlier run

  // The queue waits for the disk on the thread that asks: those who wait at the same time share one wait (group commit).
  penstock::worker_pool pool{{.threads = s.concurrency}};
  penstock::resource_pool<reader> readers{[&path] { return reader{path}; }, {.max_size = penstock::sizing::cpu_bound()}};
  command_line::final_failure failure;
  penstock::accumulator<results> writer{pool,
                                        [&](std::span<const results> some) {
                                          try {
                                            records.write(some);
                                          } catch (const std::exception& e) {
                                            failure.tell("records.db: " + std::string{e.what()});
                                            throw;
                                          }
                                        },
                                        {.max_batch_size = 256}};
  workshop shop{readers, writer};
  shop.done = at_first;
  std::uint64_t lost = 0;
  {
    const auto handle = [&shop](penstock::job<range>& j) { return work(j.payload(), shop); };
    penstock::job_worker worker{
        queue, pool, handle, {.concurrency = s.concurrency, .lock_duration = 1min, .on_store_error = [&](std::error_code e) {
                                failure.tell("jobs.db: " + e.message());
                              }}};
    std::jthread bar{[&](const std::stop_token& end) {
      penstock::event rest;
      while (rest.wait({.stop = end, .deadline = penstock::deadline::after(200ms)}).error() != penstock::errc::cancelled) {
        show(shop.done, all, at_first, seconds_since(start), false);
      }
    }};
    {
      database marks{path};
      marks.run("PRAGMA synchronous = FULL");
      statement note{marks, "UPDATE batch SET next = ?1"};
      std::vector<range> some;
      for (std::int64_t next = marks.integer("SELECT next FROM batch"); next <= all;) {
        some.clear();
        for (; next <= all && some.size() < 5000; next += s.per_job) some.push_back({next, std::min(next + s.per_job - 1, all)});
        if (const auto added = queue.put_bulk(some, {}, {.stop = failure.get_stop_token()}); !added) {
          failure.rethrow();
          throw std::system_error{added.error()};
        }
        note.run(next);
      }
    }
    penstock::event rest;
    while (!failure.was_told()) {
      const penstock::job_counts c = queue.counts().value();
      if (c.waiting + c.delayed + c.active == 0) break;
      static_cast<void>(rest.wait({.deadline = penstock::deadline::after(10ms)}));
    }
    bar = {};
    static_cast<void>(worker.shutdown());
    lost = worker.stats().lost;
  }
  const double took = seconds_since(start);
  failure.rethrow();
  show(shop.done, all, at_first, took, true);
  const std::int64_t wrong = records.wrong();
  if (s.json) {
    std::printf(
        R"({"records": %lld, "done_before": %lld, "wrong": %lld, "dead_letters": %zu, "lost": %llu, "filling": %.3f, "seconds": %.3f})"
        "\n",
        static_cast<long long>(all), static_cast<long long>(at_first), static_cast<long long>(wrong),
        queue.counts().value().failed, static_cast<unsigned long long>(lost), filling, took);
  } else {
    std::printf("%lld records, of which %lld were done before, in %.2f s (and %.2f s to make them); %lld wrong\n",
                static_cast<long long>(all), static_cast<long long>(at_first), took, filling, static_cast<long long>(wrong));
  }
  return wrong == 0 ? 0 : 1;
}

settings parse(const std::vector<std::string>& words) {
  settings s;
  for (command_line::argument_reader a{words}; a.next();) {
    constexpr std::int64_t most = 1'000'000'000'000;
    if (a.is("--records"))
      s.records = a.number<std::int64_t>(1, most);
    else if (a.is("--per-job"))
      s.per_job = a.number<std::int64_t>(1, most);
    else if (a.is("--concurrency"))
      s.concurrency = a.number(1, 10'000);
    else if (a.is("--json"))
      s.json = true;
    else if (s.directory.empty())
      s.directory = a.operand();
    else
      a.refuse();
  }
  if (s.directory.empty()) throw command_line::usage_error{"a directory is missing"};
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr const char* usage = "batch_million DIRECTORY [--records N] [--per-job N] [--concurrency N] [--json]\n";
  return command_line::run_program("batch_million", usage, argc, argv,
                                   [](const std::vector<std::string>& words) { return run(parse(words)); });
}
