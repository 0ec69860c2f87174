#include <penstock/ext/sqlite_store.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/observe/registry.hpp>

#include "../../support/store_conformance.hpp"
#include "../../support/temporary_folder.hpp"

using namespace std::chrono_literals;
using penstock::enqueue_options;
using penstock::job_entry;
using penstock::job_state;
using penstock::sqlite_errc;
using penstock::sqlite_store;
using penstock::sqlite_store_options;

namespace {

sqlite_store_options small() {
  return {.durability = penstock::sqlite_durability::normal,
          .capacity = 8,
          .keep_completed = {.count = 2},
          .keep_failed = {.count = 3},
          .time_zones = store_conformance::time_zones,
          .poll_interval = std::chrono::nanoseconds::max()};
}

struct bench {
  sqlite_store<int>& store() { return store_; }
  temporary_folder folder;
  sqlite_store<int> store_{folder.file(), small()};
};

}  // namespace

TEST_CASE("sqlite_store: does what every store does", "[sqlite_store][hazard-32]") {
  store_conformance::order<bench>();
  store_conformance::delays<bench>();
  store_conformance::due_times<bench>();
  store_conformance::settling<bench>();
  store_conformance::fencing<bench>();
  store_conformance::names<bench>();
  store_conformance::deduplication<bench>();
  store_conformance::bounds<bench>();
  store_conformance::by_hand<bench>();
  store_conformance::telling<bench>();
  store_conformance::families<bench>();
  store_conformance::groups<bench>();
  store_conformance::schedules<bench>();
  store_conformance::zones<bench>();
}

TEST_CASE("sqlite_store: processes that share a file see each other's jobs, endings and room", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store<int> here{folder.file(), small()};
  sqlite_store<int> there{folder.file(), small()};  // as another process would
  const auto listener = std::make_shared<store_conformance::noted_listener>();
  here.subscribe(listener);
  store_conformance::noted_watch watches[8];
  const enqueue_options usual;
  const enqueue_options nothing_kept{.job_id = "twice", .remove_on_complete = true};
  for (int i = 0; i < 8; ++i) {
    int payload = i;
    const job_entry<int> one{&payload, i == 0 ? &nothing_kept : &usual, &watches[i]};
    here.add({&one, 1}, 1s).value();
  }
  store_conformance::noted_watch also;
  int payload = 0;
  const job_entry<int> again{&payload, &nothing_kept, &also};
  there.add({&again, 1}, 1s).value();
  const job_entry<int> one{&payload, &usual};
  CHECK(here.add({&one, 1}, 1s).error() == penstock::errc::full);

  std::vector<penstock::sqlite_lease<int>> mine;
  std::vector<penstock::sqlite_lease<int>> others;
  here.fetch({.most = 1, .now = 1s, .lease_until = 2s}, {}, mine).value();
  CHECK(there.take_back_stalled(2s, 1).value().back == 1);
  there.fetch({.most = 2, .now = 2s, .lease_until = 9s}, {}, others).value();
  CHECK(others.at(0).fence() > mine.at(0).fence());
  using lease = penstock::sqlite_lease<int>;
  penstock::job_settlement<lease> late{.lease = &mine[0]};
  here.settle({&late, 1}, 2s).value();
  CHECK(late.stale);
  penstock::job_settlement<lease> done[] = {
      {.lease = &others.at(0), .value = std::make_shared<const std::string>("42")},
      {.lease = &others.at(1), .how = penstock::settle_as::failed, .why = std::make_shared<const std::string>("why")}};
  there.settle(done, 3s).value();
  CHECK(also.calls == 1);
  CHECK(watches[0].calls + watches[1].calls + listener->room == 0);
  here.look_around().value();
  CHECK(watches[0].calls + watches[1].calls == 2);
  CHECK(watches[0].said == "42");
  CHECK(watches[1].said == "why");
  CHECK(watches[1].state == job_state::failed);
  CHECK(listener->room == 1);
  here.look_around().value();
  CHECK(watches[0].calls + watches[2].calls == 1);

  // What a file holds outlives the store, schedules too; who waited is told that it is gone.
  here.put_schedule({.id = "s", .every = 10s, .options = {.name = "n", .attempts = 3, .backoff = penstock::backoff::fixed(1s)}},
                    77, 3s)
      .value();
  here.drain(false).value();
  CHECK(watches[2].calls == 1);
  sqlite_store<int> later{folder.file(), small()};
  std::vector<lease> leases;
  later.fetch({.most = 9, .now = 3s, .lease_until = 9s}, {}, leases).value();
  CHECK(leases.at(0).payload() == 77);
  CHECK(leases.at(0).name() == "n");
  CHECK(leases.at(0).policy().attempts == 3);
  CHECK(leases.at(0).policy().backoff.growth_at(2) == 1s);
  CHECK(later.schedules().value().at(0).made == 1);
  CHECK(later.stats().commits > 0);
}

TEST_CASE("sqlite_store: one that is to keep all keeps all", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store_options all = small();
  all.keep_completed.count = all.keep_failed.count = std::numeric_limits<std::size_t>::max();
  sqlite_store<int> store{folder.file(), all};
  const enqueue_options usual;
  for (int payload = 0; payload < 6; ++payload) {
    const job_entry<int> one{&payload, &usual};
    store.add({&one, 1}, 1s).value();
    std::vector<penstock::sqlite_lease<int>> leases;
    CHECK(store.fetch({.most = 1, .now = 1s, .lease_until = 2s}, {}, leases).has_value());
    penstock::job_settlement<penstock::sqlite_lease<int>> end{
        .lease = &leases[0], .how = payload % 2 == 0 ? penstock::settle_as::completed : penstock::settle_as::failed};
    store.settle({&end, 1}, 1s).value();
  }
  CHECK((store.counts()->completed == 3 && store.counts()->failed == 3));
}

TEST_CASE("sqlite_store: one that polls asks again by then, and tells without being asked", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store_options o = small();
  o.poll_interval = 1ms;
  sqlite_store<int> here{folder.file(), o};
  sqlite_store<int> there{folder.file(), small()};
  struct told final : penstock::job_watch {
    void over(job_state, const penstock::job_text&) noexcept override { event.set(); }
    penstock::event event;
  } watch;
  std::vector<penstock::sqlite_lease<int>> leases;
  CHECK(here.fetch({.most = 1, .now = 5s, .lease_until = 9s}, {}, leases).value().next_due == 5s + 1ms);
  int payload = 1;
  const enqueue_options usual;
  const job_entry<int> one{&payload, &usual, &watch};
  here.add({&one, 1}, 5s).value();
  there.fetch({.most = 1, .now = 5s, .lease_until = 9s}, {}, leases).value();
  penstock::job_settlement<penstock::sqlite_lease<int>> done{.lease = &leases.at(0)};
  there.settle({&done, 1}, 5s).value();
  watch.event.wait();
}

TEST_CASE("sqlite_store: who waits for a job that another process removed is told, whatever else ends before he looks",
          "[sqlite_store]") {
  const temporary_folder folder;
  store_conformance::noted_watch watches[3];
  sqlite_store<int> here{folder.file(), small()};
  sqlite_store<int> there{folder.file(), small()};
  const enqueue_options usual;
  penstock::job_id ids[3];
  for (int i = 0; i < 3; ++i) {
    int payload = i;
    const job_entry<int> one{&payload, &usual, &watches[i]};
    penstock::job_added added;
    here.add({&one, 1}, 5h, {&added, 1}).value();
    ids[i] = added.id;
  }
  there.remove(ids[0]).value();  // at a time that nobody says
  std::vector<penstock::sqlite_lease<int>> leases;
  there.fetch({.most = 2, .now = 5h, .lease_until = 6h}, {}, leases).value();
  for (auto& l : leases) {
    penstock::job_settlement<penstock::sqlite_lease<int>> done{.lease = &l};
    there.settle({&done, 1}, 5h).value();
  }
  here.look_around().value();
  CHECK(watches[0].calls == 1);
  CHECK(watches[0].state == job_state::waiting);
  CHECK(watches[1].calls + watches[2].calls == 2);
}

TEST_CASE(
    "sqlite_store: a process asks its time zones under no lock, and leaves what is due in those that it does not know to others",
    "[sqlite_store][job_time_zone][hazard-17]") {
  const temporary_folder folder;
  std::function<void()> meddle;
  sqlite_store_options o = small();
  o.time_zones = [&](std::string_view name) {
    if (const auto once = std::exchange(meddle, nullptr)) once();
    return store_conformance::time_zones(name);
  };
  sqlite_store<int> here{folder.file(), o};
  o.time_zones = [asked = 0](std::string_view) mutable -> std::shared_ptr<const penstock::job_time_zone> {
    if (++asked == 1) return nullptr;
    throw std::invalid_argument{"there is none"};
  };
  sqlite_store<int> elsewhere{folder.file(), o};
  o.time_zones = nullptr;
  sqlite_store<int> without{folder.file(), o};
  const auto fetch = [](sqlite_store<int>& store, penstock::job_time now) {
    std::vector<penstock::sqlite_lease<int>> leases;
    const penstock::job_time next = store.fetch({.most = 9, .now = now, .lease_until = now + 9h}, {}, leases).value().next_due;
    return std::to_string(leases.size()) + ", " + (next == penstock::no_time ? "never" : std::to_string((next - now) / 1s));
  };
  const penstock::job_schedule_options hourly{.id = "z", .when = "0 * * * *", .time_zone = "east"};
  CHECK(without.put_schedule(hourly, 1, 1s).error() == penstock::errc::unsupported);
  CHECK_THROWS_AS(elsewhere.put_schedule(hourly, 1, 1s), std::invalid_argument);
  here.put_schedule(hourly, 1, 1s).value();
  CHECK(fetch(without, 30min) == "0, 1800");
  const auto commits = without.stats().commits + elsewhere.stats().commits;
  CHECK(fetch(without, 1h) == "0, never");  // nor does it look again at once
  CHECK(fetch(elsewhere, 1h) == "0, never");
  CHECK(without.stats().commits + elsewhere.stats().commits == commits);
  int payload = 2;
  const enqueue_options usual;
  const job_entry<int> one{&payload, &usual};
  without.add({&one, 1}, 1h).value();
  without.put_schedule({.id = "u", .every = 20min}, 3, 1h).value();
  CHECK(fetch(without, 1h) == "2, 1200");

  // A zone that uses the store, one that is not to be had, and somebody who is quicker.
  meddle = [&] { CHECK(here.promote(penstock::job_id{99}).error() == penstock::errc::not_found); };
  CHECK(fetch(here, 1h) == "1, 1200");
  meddle = [] { throw std::runtime_error{"no"}; };
  CHECK_THROWS_AS(fetch(here, 2h), std::runtime_error);
  CHECK(here.schedules().value().at(0).made == 1);
  // It does not keep what has ended.
  without.add({&one, 1}, 1h).value();
  std::vector<penstock::sqlite_lease<int>> leases;
  here.fetch({.most = 1, .now = 1h, .lease_until = 9h}, {}, leases).value();
  penstock::job_settlement<penstock::sqlite_lease<int>> ended{.lease = &leases.at(0), .stale = true};
  meddle = [] { throw std::runtime_error{"no"}; };
  CHECK_NOTHROW(here.fetch({.most = 0, .now = 2h, .lease_until = 9h}, {&ended, 1}, leases).value());
  CHECK(!ended.stale);
  meddle = [&] {
    CHECK(fetch(here, 2h) == "2, 1200");
    here.put_schedule({.id = "v", .every = 20min}, 4, 2h).value();
  };
  CHECK(fetch(here, 2h) == "1, 1200");
}

TEST_CASE("sqlite_store: who waits for a job is told its end, and not an earlier one of its name or number", "[sqlite_store]") {
  const temporary_folder folder;
  sqlite_store<int> here{folder.file(), small()};
  sqlite_store<int> there{folder.file(), small()};
  const enqueue_options a{.job_id = "a"};
  const auto add = [&a](sqlite_store<int>& store, std::initializer_list<penstock::job_watch*> watches) {
    int payload = 1;
    std::vector<job_entry<int>> all;
    for (penstock::job_watch* w : watches) all.push_back({&payload, &a, w});
    store.add(all, 1s).value();
  };
  const auto run = [](sqlite_store<int>& store, penstock::settle_as how) {
    std::vector<penstock::sqlite_lease<int>> leases;
    store.fetch({.most = 9, .now = 1s, .lease_until = 9s}, {}, leases).value();
    penstock::job_settlement<penstock::sqlite_lease<int>> s{.lease = &leases.at(0), .how = how};
    store.settle({&s, 1}, 1s).value();
  };
  using penstock::settle_as;
  store_conformance::noted_watch w[6];
  const auto told = [&w] {
    std::string all;
    for (const auto& one : w) {
      all += one.calls == 0 ? "-" : one.calls > 1 ? "!" : one.state == job_state::completed ? "c" : "f";
    }
    return all;
  };
  // Another process ends and removes it, and adds one of that name.
  add(here, {&w[0]});
  run(there, settle_as::completed);
  there.remove(penstock::job_id{"a"}).value();
  add(there, {});
  add(here, {&w[1]});
  here.look_around().value();
  CHECK(told() == "c-----");
  // Another process redrives it: it is the same one, and has not ended for those who come then.
  run(there, settle_as::failed);
  there.redrive(penstock::job_id{"a"}).value();
  add(here, {&w[2], &w[3]});
  here.look_around().value();
  CHECK(told() == "cf----");
  // The same of what was ended here while others waited, too.
  add(there, {&w[4]});
  run(here, settle_as::failed);
  CHECK(told() == "cfff--");
  here.redrive(penstock::job_id{"a"}).value();
  add(here, {&w[5]});
  here.look_around().value();
  CHECK(told() == "cfff--");
  there.look_around().value();
  CHECK(told() == "cffff-");
  run(there, settle_as::completed);
  here.look_around().value();
  CHECK(told() == "cffffc");
}

TEST_CASE("sqlite_store: a registry sees its steps and transactions", "[sqlite_store]") {
  store_conformance::user<bench> b;
  penstock::registry all;
  const auto joined = all.join("store", b.store);
  const auto before = all.snapshot();
  REQUIRE(before.components.at(0).kind == "sqlite_store");
  b.add(1);
  const auto now = all.snapshot();
  CHECK(now.components.at(0).error.empty());
  CHECK(now.components[0].total("depth") == 0);
  CHECK(now.components[0].total("steps_total") == before.components[0].total("steps_total") + 1);
  CHECK(now.components[0].total("commits_total") == before.components[0].total("commits_total") + 1);
}
