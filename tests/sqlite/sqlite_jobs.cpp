// What run_sqlite.py starts several of, and kills.
//
//   sqlite_jobs churn FILE LEDGER SEED   adds, runs and settles jobs until it is killed. Each line of the ledger is written after the store has
//   answered:
//                                        "added ID", "completed ID FENCE". A lease is short, and what others left behind is taken back.
//   sqlite_jobs finish FILE LEDGER       runs what is left, writes the same lines, and ends
//   sqlite_jobs fill FILE LEDGER         adds jobs until one is refused, 50 at the most, and says why; the same whenever it reads a byte, and then it says how many there are
//   sqlite_jobs work FILE                a worker on a pool, until its standard input is closed
//   sqlite_jobs submit FILE COUNT        submits so many jobs, and waits for each one's end, though no worker is in this process
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/ext/sqlite_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

using namespace std::chrono_literals;
using store_type = penstock::sqlite_store<std::string>;
using lease_type = penstock::sqlite_lease<std::string>;

constexpr auto lease_time = 30ms;

penstock::job_time now() { return std::chrono::system_clock::now().time_since_epoch(); }

penstock::sqlite_store_options options() {
  return {.keep_completed = {.count = 1'000'000'000}, .keep_failed = {.count = 1'000'000'000}, .poll_interval = 20ms};
}

class ledger {
 public:
  explicit ledger(const char* path) : file_{open(path, O_WRONLY | O_APPEND | O_CREAT, 0600)} {}
  void write(const std::string& line) const {
    if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

 private:
  int file_;
};

void add(store_type& store, const ledger& book, std::uint64_t seed) {
  penstock::splitmix64 random{seed};
  for (;;) {
    std::vector<std::string> payloads(1 + random() % 3, std::string(random() % 10 == 0 ? 3000 : 50, 'p'));
    const penstock::enqueue_options o{.attempts = 3,
                                      .priority = static_cast<std::uint32_t>(random() % 3),
                                      .delay = std::chrono::milliseconds{random() % 2 * (random() % 50)}};
    std::vector<penstock::job_entry<std::string>> entries;
    for (auto& p : payloads) entries.push_back({&p, &o});
    std::vector<penstock::job_added> added(entries.size());
    store.add(entries, now(), added).value();
    std::string lines;
    for (const auto& a : added) lines += "added " + a.id.to_string() + "\n";
    book.write(lines);
  }
}

/// Settles a batch, and writes down what counted.
void settle(store_type& store, const ledger& book, std::vector<lease_type>& leases, penstock::splitmix64& random,
            bool only_complete) {
  using penstock::settle_as;
  static constexpr settle_as ways[] = {settle_as::completed, settle_as::completed, settle_as::completed, settle_as::retry,
                                       settle_as::released};
  std::vector<penstock::job_settlement<lease_type>> all;
  for (auto& l : leases)
    all.push_back({.lease = &l, .how = only_complete ? settle_as::completed : ways[random() % 5], .at = now()});
  store.settle(all, now()).value();
  std::string lines;
  for (const auto& s : all) {
    if (s.how == settle_as::completed && !s.stale) {
      lines += "completed " + s.lease->id().to_string() + " " + std::to_string(s.lease->fence()) + "\n";
    }
  }
  if (!lines.empty()) book.write(lines);
}
std::vector<lease_type> fetch(store_type& store, penstock::splitmix64& random) {
  std::vector<lease_type> leases;
  store.fetch({.most = 1 + random() % 8, .now = now(), .lease_until = now() + lease_time}, {}, leases).value();
  return leases;
}

int churn(const char* path, const char* book_path, std::uint64_t seed) {
  const ledger book{book_path};
  store_type store{path, options()};
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 2; ++t) threads.emplace_back([&, t] { add(store, book, seed + t); });
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      penstock::splitmix64 random{seed + 10 + t};
      std::vector<lease_type> late;
      penstock::job_time late_until{0};
      for (;;) {
        if (random() % 16 == 0) static_cast<void>(store.take_back_stalled(now(), 1'000'000).value());
        std::vector<lease_type> leases = fetch(store, random);
        if (late.empty() && random() % 8 == 0) {  // as one that stands still: settled when others have them
          late = std::move(leases);
          late_until = now() + 2 * lease_time;
        } else {
          settle(store, book, leases, random, false);
        }
        if (!late.empty() && now() >= late_until) {
          settle(store, book, late, random, true);
          late.clear();
        }
      }
    });
  }
  return 0;
}

int finish(const char* path, const char* book_path) {
  const ledger book{book_path};
  store_type store{path, options()};
  penstock::splitmix64 random{1};
  static_cast<void>(store.take_back_stalled(now() + 1h, 1'000'000).value());
  for (;;) {
    const auto delayed = store.list(penstock::job_state::delayed, 0, 1000).value();
    for (const auto& d : delayed) static_cast<void>(store.promote(d.id));
    for (auto leases = fetch(store, random); !leases.empty(); leases = fetch(store, random)) {
      settle(store, book, leases, random, true);
    }
    if (store.counts().value().delayed == 0) return 0;
  }
}

int fill(const char* path, const char* book_path) {
  const ledger book{book_path};
  store_type store{path, options()};
  for (char byte = 0;;) {
    int added = 0;
    const auto add_one = [&] {
      std::string payload(3000, 'p');
      const penstock::enqueue_options o;
      const penstock::job_entry<std::string> one{&payload, &o};
      penstock::job_added answer;
      const auto r = store.add({&one, 1}, now(), {&answer, 1});
      if (r) book.write("added " + answer.id.to_string() + "\n"), ++added;
      return r;
    };
    penstock::result<void> r = add_one();
    while (r && added < 50) r = add_one();
    // What has no room either is refused in the same way; looking needs none.
    std::vector<lease_type> leases;
    const auto fetched = store.fetch({.most = 1, .now = now(), .lease_until = now() + 1h}, {}, leases);
    if (!fetched && fetched.error() != r.error()) return 3;
    if (!leases.empty()) {
      penstock::job_settlement<lease_type> s{.lease = &leases[0]};
      const auto settled = store.settle({&s, 1}, now());
      if (settled) book.write("completed " + leases[0].id().to_string() + " " + std::to_string(leases[0].fence()) + "\n");
      if (!settled && settled.error() != r.error()) return 4;
    }
    const penstock::job_counts c = store.counts().value();
    std::printf("%d added, %zu there: %s, %s\n", added, c.waiting + c.active + c.completed,
                r                                            ? ""
                : r.error() == std::errc::no_space_on_device ? "no space"
                                                             : "other",
                r ? "" : r.error().message().c_str());
    std::fflush(stdout);
    if (read(0, &byte, 1) <= 0) return 0;
  }
}

int work(const char* path) {
  std::chrono::system_clock wall;
  store_type store{path, options()};
  penstock::job_queue<std::string, store_type> jobs{store, {.clock = wall}};
  penstock::worker_pool pool{{.threads = 2}};
  penstock::job_worker worker{jobs,
                              pool,
                              [](penstock::job<std::string>& j) {
                                if (j.payload() == "bad") throw std::runtime_error{"it was bad"};
                              },
                              {.concurrency = 2, .batch = 8}};
  char byte = 0;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}

int submit(const char* path, int count) {
  std::chrono::system_clock wall;
  store_type store{path, options()};
  penstock::job_queue<std::string, store_type> jobs{store, {.clock = wall}};
  std::vector<penstock::submitted_job<>> all;
  for (int i = 0; i < count; ++i) all.push_back(jobs.submit(std::string{i % 10 == 0 ? "bad" : "good"}).value());
  int good = 0;
  int bad = 0;
  for (auto& one : all) {
    try {
      one.finished.get();
      ++good;
    } catch (const penstock::job_failed& e) {
      if (std::string_view{e.what()} == "it was bad") ++bad;
    }
  }
  std::printf("%d good, %d bad\n", good, bad);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> a{argv, argv + argc};
  if (argc == 5 && a[1] == "churn") return churn(argv[2], argv[3], std::stoull(a[4]));
  if (argc == 4 && a[1] == "finish") return finish(argv[2], argv[3]);
  if (argc == 4 && a[1] == "fill") return fill(argv[2], argv[3]);
  if (argc == 3 && a[1] == "work") return work(argv[2]);
  if (argc == 4 && a[1] == "submit") return submit(argv[2], std::stoi(a[3]));
  std::fprintf(stderr, "usage: see the source\n");
  return 2;
}
