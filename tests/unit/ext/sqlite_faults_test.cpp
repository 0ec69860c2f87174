#include <penstock/ext/sqlite_store.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../../support/catch.hpp"
#include "../../support/faulty_vfs.hpp"
#include "../../support/temporary_folder.hpp"

using namespace std::chrono_literals;
using penstock::enqueue_options;
using penstock::job_entry;
using penstock::job_state;
using penstock::result;
using penstock::sqlite_errc;
using penstock::sqlite_store_options;
using store_type = penstock::sqlite_store<std::string>;
using lease_type = penstock::sqlite_lease<std::string>;

namespace {

const sqlite_store_options alone{.poll_interval = std::chrono::nanoseconds::max()};
const sqlite_store_options faulty{.poll_interval = std::chrono::nanoseconds::max(), .vfs = faulty_vfs::name};

result<void> add(store_type& store, std::string payload, penstock::job_watch* watch = nullptr) {
  const enqueue_options o;
  const job_entry<std::string> one{&payload, &o, watch};
  return store.add({&one, 1}, 1s);
}
result<penstock::job_fetched> fetch(store_type& store, std::vector<lease_type>& leases) {
  return store.fetch({.most = 1, .now = 1s, .lease_until = 31s}, {}, leases);
}
result<void> complete(store_type& store, lease_type& lease) {
  penstock::job_settlement<lease_type> s{.lease = &lease};
  auto done = store.settle({&s, 1}, 2s);
  if (done && s.stale) return penstock::errc::stale;
  return done;
}
std::string counts(store_type& store) {
  const penstock::job_counts c = store.counts().value();
  return std::to_string(c.waiting) + "/" + std::to_string(c.active) + "/" + std::to_string(c.completed);
}
std::string contents(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
/// Why there is no store in that file; it is left as it was.
std::error_code refused(const std::string& path, const sqlite_store_options& o = alone) {
  const std::string before = contents(path);
  std::error_code why;
  try {
    const store_type store{path, o};
  } catch (const std::system_error& e) {
    why = e.code();
    CHECK(std::string{e.what()}.find(path) != std::string::npos);
  }
  CHECK(contents(path) == before);
  return why;
}
/// Somebody else's connection.
struct other {
  explicit other(const std::string& path) { sqlite3_open(path.c_str(), &db); }
  ~other() { sqlite3_close(db); }
  void run(const char* sql) { CHECK(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK); }
  sqlite3* db = nullptr;
};

}  // namespace

TEST_CASE("sqlite_store: refuses files that are none of its own, and says why", "[sqlite_store]") {
  const temporary_folder folder;
  std::ofstream{folder.file("text")} << std::string(5000, 'x');
  CHECK(refused(folder.file("text")) == sqlite_errc::no_database);
  other{folder.file("other")}.run("CREATE TABLE t(x)");
  CHECK(refused(folder.file("other")) == sqlite_errc::other_file);
  {
    const store_type made{folder.file("newer"), alone};
  }
  other{folder.file("newer")}.run("PRAGMA user_version = 99");
  CHECK(refused(folder.file("newer")) == sqlite_errc::newer_version);
  {
    other earlier{folder.file("newer")};  // the first version
    earlier.run("ALTER TABLE schedules DROP COLUMN zone; PRAGMA user_version = 1");
  }
  for (int again = 0; again < 2; ++again) {
    store_type brought_up{folder.file("newer"), alone};
    brought_up.put_schedule({.id = "s", .every = 1s}, "p", 1s).value();
    CHECK(brought_up.schedules().value().size() == 1);
  }
  CHECK(refused(folder.file("none/jobs.db")) == sqlite_errc::cannot_open);
  CHECK_THROWS_AS((store_type{":memory:", alone}), std::system_error);
  CHECK_THROWS_AS((store_type{folder.file("x"), {.capacity = 0}}), std::invalid_argument);

  const faulty_vfs disk;
  {
    const store_type made{folder.file(), alone};
  }
  faulty_vfs::read_only = true;
  const std::error_code why = refused(folder.file(), faulty);
  CHECK(why == sqlite_errc::read_only);
  CHECK(why == std::errc::read_only_file_system);
  CHECK(why.message() == "attempt to write a readonly database");
  faulty_vfs::heal();

  // Pages of nothing in the middle.
  {
    store_type store{folder.file(), alone};
    for (int i = 0; i < 200; ++i) add(store, std::string(500, 'p')).value();
  }
  const auto size = std::filesystem::file_size(folder.file());
  std::fstream scribble{folder.file(), std::ios::in | std::ios::out | std::ios::binary};
  scribble.seekp(4096);
  scribble << std::string(size - 4096, '\x7f');
  scribble.close();
  store_type store{folder.file(), alone};
  std::vector<lease_type> leases;
  CHECK(add(store, "p").error() == sqlite_errc::corrupt);
  CHECK(fetch(store, leases).error() == sqlite_errc::corrupt);
  CHECK(store.counts().error() == sqlite_errc::corrupt);
}

TEST_CASE("sqlite_store: a file that others hold, or that has no room, gives errors until it has", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store_options o = alone;
  o.busy_timeout = 1ms;
  o.max_bytes = 256 * 1024;
  store_type store{folder.file(), o};
  std::vector<lease_type> leases;
  add(store, "first").value();
  {
    other holder{folder.file()};
    holder.run("BEGIN IMMEDIATE");
    const auto busy = add(store, "p");
    CHECK(busy.error() == sqlite_errc::busy);
    CHECK(busy.error() == std::errc::device_or_resource_busy);
    CHECK(counts(store) == "1/0/0");  // looking is not in the way
    holder.run("ROLLBACK");
  }
  fetch(store, leases).value();

  int fit = 0;
  while (true) {
    const auto r = add(store, std::string(5000, 'p'));
    if (!r) {
      CHECK(r.error() == sqlite_errc::full);
      break;
    }
    ++fit;
  }
  CHECK(fit > 10);
  CHECK(counts(store) == std::to_string(fit) + "/1/0");
  complete(store, leases[0]).value();  // small ones have room
  // What a schedule wants and the file has no room for keeps nobody from running what is there, which makes some.
  CHECK(store.drain(false).value() == static_cast<std::size_t>(fit));
  store.put_schedule({.id = "s", .every = 1h, .start = 1h}, std::string(5000, 's'), 1s).value();
  while (add(store, std::string(5000, 'p'))) {
  }
  const auto later = [&] { return store.fetch({.most = 1, .now = 1h, .lease_until = 9h}, {}, leases); };
  const auto got = later();
  CHECK((got && got->next_due == 1h + 1s && leases.size() == 2 && store.schedules().value().at(0).made == 0));
  for (int n = 0; leases.size() < 5 && n < 9; ++n) static_cast<void>(later());
  for (std::size_t i = 1; i < leases.size(); ++i) complete(store, leases[i]).value();
  CHECK(store.clean(job_state::completed, 9h, 9).value() == leases.size());
  CHECK((later() && store.schedules().value().at(0).made == 1));
  static_cast<void>(store.drain(false).value());
  CHECK(add(store, std::string(5000, 'p')));
}

TEST_CASE("sqlite_store: one that fails undoes nobody else of its group", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store_options o = alone;
  o.max_bytes = 256 * 1024;
  store_type store{folder.file(), o};
  other holder{folder.file()};
  holder.run("BEGIN IMMEDIATE");
  std::string said[4];
  {
    const auto as_text = [](const result<void>& r) { return r ? std::string{"ok"} : r.error().message(); };
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { said[0] = as_text(add(store, "leads")); });
    while (store.stats().in_line != 0) std::this_thread::yield();
    threads.emplace_back([&] { said[1] = as_text(add(store, "small")); });
    threads.emplace_back([&] { said[2] = as_text(add(store, std::string(400'000, 'p'))); });
    threads.emplace_back([&] { said[3] = as_text(add(store, "small")); });
    while (store.stats().in_line < 2) std::this_thread::yield();
    holder.run("ROLLBACK");
  }
  CHECK(said[0] + said[1] + said[3] == "okokok");
  CHECK(said[2] == "database or disk is full");
  CHECK(counts(store) == "3/0/0");
}

TEST_CASE("sqlite_store: each write and each synchronisation may fail, and a call has happened or not", "[sqlite_store][fault]") {
  const temporary_folder folder;
  const faulty_vfs disk;
  std::string wrong;
  int failed = 0;
  for (const int code : {SQLITE_IOERR, SQLITE_FULL}) {
    for (const bool stays : {false, true}) {
      for (int n = 1;; ++n) {
        const std::string path =
            folder.file(("f" + std::to_string(code) + std::to_string(stays) + "-" + std::to_string(n)).c_str());
        bool failing = false;
        {
          store_type store{path, faulty};
          std::vector<lease_type> leases;
          for (int i = 0; i < 30; ++i) add(store, std::string(200, 'p')).value();
          fetch(store, leases).value();
          const auto check = [&](const char* what, const std::string& before, const std::string& after, auto call) {
            faulty_vfs::fail_at(n, code, stays);
            const bool ok = call();
            const bool hit = faulty_vfs::hits != 0;
            // What somebody who starts now would find, had this process ended.
            const std::string copy = path + "-copy";
            for (const char* part : {"", "-wal"}) {
              std::filesystem::copy_file(path + part, copy + part, std::filesystem::copy_options::overwrite_existing);
            }
            faulty_vfs::heal();
            std::string found;
            {
              store_type later{copy, alone};
              found = counts(later);
            }
            for (const char* part : {"", "-wal", "-shm"}) std::filesystem::remove(copy + part);
            const std::string here = counts(store);
            const bool whole = ok ? here == after && found == after : here == before && (found == before || found == after);
            if (!whole || (!ok && !hit))
              wrong += std::string{what} + " at " + std::to_string(n) + ": " + here + ", " + found + "; ";
            failing = failing || hit;
            if (ok) return;
            ++failed;
            if (!call() || counts(store) != after) wrong += std::string{what} + " again at " + std::to_string(n) + "; ";
          };
          check("add", "29/1/0", "30/1/0", [&] { return add(store, std::string(3000, 'q')).has_value(); });
          check("fetch", "30/1/0", "29/2/0", [&] { return fetch(store, leases).has_value(); });
          check("settle", "29/2/0", "29/1/1", [&] { return complete(store, leases[0]).has_value(); });
        }
        if (!failing) break;
      }
    }
  }
  CHECK(wrong.empty());
  INFO(wrong);
  CHECK(failed > 20);
}

TEST_CASE("sqlite_store: a payload that cannot be read is a dead letter", "[sqlite_store]") {
  const temporary_folder folder;
  store_type texts{folder.file(), alone};
  add(texts, "no number").value();
  add(texts, "7").value();
  penstock::sqlite_store<int> numbers{folder.file(), alone};
  std::vector<penstock::sqlite_lease<int>> leases;
  numbers.fetch({.most = 9, .now = 1s, .lease_until = 31s}, {}, leases).value();
  CHECK(leases.size() == 1);
  CHECK(leases.at(0).payload() == 7);
  CHECK(numbers.list(job_state::failed, 0, 9).value().at(0).why->find("the payload cannot be read") == 0);
}

TEST_CASE("sqlite_store: who waits for another process's work is told, though a look at the file failed",
          "[sqlite_store][fault]") {
  const temporary_folder folder;
  const faulty_vfs disk;
  std::string untold;
  for (int n = 1; n <= 6; ++n) {
    const std::string path = folder.file(std::to_string(n).c_str());
    struct told final : penstock::job_watch {
      void over(job_state, const penstock::job_text&) noexcept override { event.set(); }
      penstock::event event;
    } first, second;
    store_type there{path, alone};
    store_type here{path, {.poll_interval = 1ms, .vfs = faulty_vfs::name}};
    std::vector<lease_type> leases;
    add(here, "p", &first).value();
    add(here, "p", &second).value();
    fetch(there, leases).value();
    fetch(there, leases).value();
    complete(there, leases.at(0)).value();
    first.event.wait();  // so the file was looked at as it is now
    faulty_vfs::fail_read_at(n);
    complete(there, leases.at(1)).value();
    if (!second.event.try_wait_for(5s)) untold += std::to_string(n) + " ";  // nothing happens that would have it look again
    faulty_vfs::heal();
  }
  INFO(untold);
  CHECK(untold.empty());
}
