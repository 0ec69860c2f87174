#include <penstock/job/memory_store.hpp>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../support/store_conformance.hpp"

using namespace std::chrono_literals;
using penstock::enqueue_options;
using penstock::job_entry;
using penstock::job_state;
using penstock::job_time;
using penstock::memory_store;

namespace {

struct bench {
  memory_store<int>& store() { return store_; }
  memory_store<int> store_{{.capacity = 8, .keep_completed = {.count = 2}, .keep_failed = {.count = 3}}};
};

/// Its destructor looks at the store: it must run under no lock.
struct curious {
  explicit curious(memory_store<curious>* s) noexcept : store{s} { ++living; }
  curious(curious&& other) noexcept : store{other.store} { ++living; }
  ~curious() {
    --living;
    if (store != nullptr) static_cast<void>(store->counts());
  }
  memory_store<curious>* store;
  static inline int living = 0;
};

}  // namespace

TEST_CASE("memory_store: fetches by priority, then in order", "[memory_store]") { store_conformance::order<bench>(); }
TEST_CASE("memory_store: holds delayed jobs back until their time", "[memory_store]") { store_conformance::delays<bench>(); }
TEST_CASE("memory_store: a settlement decides what becomes of a job", "[memory_store]") { store_conformance::settling<bench>(); }
TEST_CASE("memory_store: who lost his lease is refused", "[memory_store][hazard-32]") { store_conformance::fencing<bench>(); }
TEST_CASE("memory_store: a name is one job's at a time", "[memory_store]") { store_conformance::names<bench>(); }
TEST_CASE("memory_store: keeps others of a key away", "[memory_store]") { store_conformance::deduplication<bench>(); }
TEST_CASE("memory_store: holds so many and no more", "[memory_store]") { store_conformance::bounds<bench>(); }
TEST_CASE("memory_store: knows since when jobs were due", "[memory_store]") { store_conformance::due_times<bench>(); }
TEST_CASE("memory_store: can be paused, looked at and cleaned", "[memory_store]") { store_conformance::by_hand<bench>(); }
TEST_CASE("memory_store: parents wait for their children", "[memory_store]") { store_conformance::families<bench>(); }
TEST_CASE("memory_store: tells who wants to know", "[memory_store]") { store_conformance::telling<bench>(); }

TEST_CASE("memory_store: destroys payloads once, under no lock, and not while somebody reads them", "[memory_store][hazard-17]") {
  {
    memory_store<curious> store{{.capacity = 4, .keep_completed = {.count = 0}}};
    std::vector<penstock::memory_lease<curious>> leases;
    const enqueue_options o{.deduplicate = penstock::deduplication{.id = "k", .ttl = 1s}};
    for (int i = 0; i < 4; ++i) {
      curious c{&store};
      const job_entry<curious> one{&c, &o};
      CHECK(store.add({&one, 1}, job_time{i * 1s}));  // the later ones of a second are duplicates: they stay the caller's
    }
    CHECK(curious::living == 4);
    store.fetch({.most = 3, .now = 10s, .lease_until = 20s}, {}, leases).value();
    store.obliterate(true).value();
    CHECK(curious::living == 3);
    leases.pop_back();
    CHECK(curious::living == 2);
    penstock::job_settlement<penstock::memory_lease<curious>> s{.lease = &leases[0]};
    store.settle({&s, 1}, 11s).value();
    CHECK(s.stale);
    leases.clear();
    CHECK(curious::living == 0);
    curious last{nullptr};
    CHECK(store.put_schedule({.id = "s", .every = 1s}, last, 12s).error() == penstock::errc::unsupported);  // it cannot be copied
    const enqueue_options plain;
    const job_entry<curious> one{&last, &plain};
    CHECK(store.add({&one, 1}, 12s));  // goes with the store
  }
  CHECK(curious::living == 0);
}

TEST_CASE("memory_store: a number finds its own job only, however often its place is used", "[memory_store]") {
  memory_store<int> store{{.keep_completed = {.count = 0}}};
  const enqueue_options o;
  std::vector<penstock::job_id> ids;
  for (int i = 0; i < 600; ++i) {
    int payload = i;
    penstock::job_added added;
    const job_entry<int> one{&payload, &o};
    store.add({&one, 1}, job_time{i}, {&added, 1}).value();
    ids.push_back(added.id);
    if (i % 3 == 0) store.remove(ids[static_cast<std::size_t>(i)]).value();
  }
  int wrong = 0;
  for (int i = 0; i < 600; ++i) {
    const auto payload = store.payload(ids[static_cast<std::size_t>(i)]);
    if (i % 3 == 0 ? payload.has_value() : !payload || *payload != i) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK_THROWS_AS(memory_store<int>{{.capacity = 0}}, std::invalid_argument);
}

TEST_CASE("memory_store: its heaps keep their order whoever leaves them", "[memory_store]") {
  memory_store<int> store;
  std::uint64_t random = 7;
  const auto below = [&random](std::uint64_t n) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return (random >> 33) % n;
  };
  std::vector<penstock::job_id> ids;
  for (int i = 0; i < 2000; ++i) {
    int payload = i;
    const enqueue_options o{.priority = static_cast<std::uint32_t>(1 + below(9)),
                            .delay = std::chrono::seconds{below(3) * below(50)}};
    penstock::job_added added;
    const job_entry<int> one{&payload, &o};
    store.add({&one, 1}, 0s, {&added, 1}).value();
    ids.push_back(added.id);
    if (below(3) == 0) static_cast<void>(store.remove(ids[below(ids.size())]));
  }
  std::vector<penstock::memory_lease<int>> leases;
  std::size_t out_of_order = 0;
  penstock::job_info last;
  for (job_time now{0}; now <= 100s; now += 1s) {
    std::size_t from = leases.size();
    store.fetch({.most = 2000, .now = now, .lease_until = 1000s}, {}, leases).value();
    for (std::size_t i = from; i < leases.size(); ++i) {
      const auto info = store.find(leases[i].id()).value();
      if (i != from && info.priority < last.priority) ++out_of_order;
      if (info.due_at > now || info.due_at + 1s <= now) ++out_of_order;
      last = info;
    }
  }
  CHECK(out_of_order == 0);
  CHECK(leases.size() > 1000);
  CHECK(store.counts().value().delayed + store.counts().value().waiting == 0);
}
