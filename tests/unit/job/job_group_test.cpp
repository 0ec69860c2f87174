#include <penstock/job/job_group.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <penstock/job/memory_store.hpp>

#include "../../support/store_conformance.hpp"

using namespace std::chrono_literals;
using penstock::job_group_rule;
using penstock::job_time;
using penstock::memory_store;

namespace {

struct bench {
  memory_store<int>& store() { return store_; }
  memory_store<int> store_{{.capacity = 8, .keep_completed = {.count = 2}, .keep_failed = {.count = 3}}};
};

/// A store that keeps nothing of those that are over, so that groups are forgotten as early as they may be. Payloads are numbers of groups.
struct tenants {
  explicit tenants(const job_group_rule& usual = {})
      : store{{.keep_completed = {.count = 0}, .keep_failed = {.count = 0}, .group_rule = usual}} {}
  void add(int tenant, int jobs = 1) {
    const penstock::enqueue_options o{.priority = static_cast<std::uint32_t>(tenant % 2), .group = "t" + std::to_string(tenant)};
    for (int i = 0; i < jobs; ++i) {
      const penstock::job_entry<int> one{&tenant, &o};
      store.add({&one, 1}, now).value();
    }
  }
  /// The tenant whose job runs now; -1: none may.
  int start() {
    const auto f = store.fetch({.most = 1, .now = now, .lease_until = now + 1h}, {}, leases).value();
    next_due = f.next_due;
    if (leases.empty()) return -1;
    const int tenant = leases.back().payload();
    running.push_back(std::move(leases.back()));
    leases.clear();
    return tenant;
  }
  void end() {
    penstock::job_settlement<penstock::memory_lease<int>> s{.lease = &running.front()};
    store.settle({&s, 1}, now).value();
    running.pop_front();
  }
  int run() {
    const int tenant = start();
    if (tenant >= 0) end();
    return tenant;
  }

  memory_store<int> store;
  job_time now{1h};
  job_time next_due{0};
  std::vector<penstock::memory_lease<int>> leases;
  std::deque<penstock::memory_lease<int>> running;
};

/// What job_groups asks of a job.
struct fake_job {
  fake_job* after = nullptr;
  fake_job* before = nullptr;
  std::uint32_t place = 0;
  std::uint32_t priority = 0;
  penstock::detail::job_group<fake_job>* group = nullptr;
};

}  // namespace

TEST_CASE("memory_store: groups take turns, and keep within their bounds", "[job_group]") { store_conformance::groups<bench>(); }

TEST_CASE("job_group: no group is ever more than one job ahead of its share or behind it", "[job_group]") {
  const std::vector<std::vector<std::uint32_t>> cases{{1, 4, 2}, {1, 1, 1, 1, 1}, {1000, 1, 1, 1, 30}, {3, 7}};
  for (const auto& weights : cases) {
    tenants t;
    double all = 0;
    const int n = static_cast<int>(weights.size());
    for (int g = 0; g < n; ++g) {
      const std::uint32_t weight = weights[static_cast<std::size_t>(g)];
      all += weight;
      t.store.set_group("t" + std::to_string(g), {.weight = weight}).value();
      t.add(g, 700);
    }
    std::vector<int> started(weights.size());
    double worst = 0;
    for (int i = 1; i <= 700; ++i) {
      ++started[static_cast<std::size_t>(t.run())];
      for (std::size_t g = 0; g < weights.size(); ++g) {
        worst = std::max(worst, std::abs(started[g] - weights[g] * (i / all)));
      }
    }
    CHECK(worst <= 1.001);
    if (n == 3) CHECK(started == std::vector<int>{100, 400, 200});
  }
}

TEST_CASE("job_group: who had no jobs, or might not run them, gets no credit for it", "[job_group]") {
  tenants t;
  t.store.set_group("t2", {.concurrency = 1}).value();
  t.add(0, 1000), t.add(1, 1000);
  for (int i = 0; i < 500; ++i) t.run();
  // One comes late; another one of which a job runs for long.
  t.add(2, 200);
  std::map<int, int> started;
  while (started[2] == 0) ++started[t.start()];
  while (t.running.size() > 1) t.end();
  started.clear();
  for (int i = 0; i < 90; ++i) ++started[t.start()];
  CHECK(started == std::map<int, int>{{0, 45}, {1, 45}});
  while (!t.running.empty()) t.end();
  t.add(3, 200);
  started.clear();
  for (int i = 0; i < 120; ++i) ++started[t.run()];
  CHECK((started[2] >= 29 && started[2] <= 31 && started[3] >= 29 && started[3] <= 31));

  // A closed loop: one job at a time, and nothing is left of it in between. It gets its half and no more; so do those who never come twice.
  started.clear();
  tenants u;
  u.add(0, 1000), u.add(1);
  for (int i = 0; i < 100; ++i) {
    const int who = u.run();
    ++started[who];
    if (who == 1) u.add(1);
  }
  CHECK((started[0] >= 49 && started[0] <= 51));
  started.clear();
  u.add(2);
  for (int i = 0, guest = 2; i < 99; ++i) {
    const int who = u.run();
    ++started[who != 0];
    if (who == guest) u.add(++guest);
  }
  CAPTURE(started[1]);
  CHECK((started[1] >= 48 && started[1] <= 68));
}

TEST_CASE("job_group: in no time of its length are there more starts than its rule says", "[job_group]") {
  std::uint64_t random = 11;
  const auto below = [&random](std::uint64_t n) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return static_cast<int>((random >> 33) % n);
  };
  const job_group_rule usual{.max = 5, .duration = 100ns};
  tenants t{usual};
  t.store.set_group("t0", {.max = 1, .duration = 30ns}).value();
  t.store.set_group("t1", {.weight = 3, .concurrency = 7, .max = 40, .duration = 1us}).value();
  const std::vector<job_group_rule> rules{{.max = 1, .duration = 30ns}, {.max = 40, .duration = 1us}, usual, usual, usual};
  std::vector<std::vector<job_time>> starts(rules.size());
  std::vector<int> waiting(rules.size());
  int too_late = 0;
  for (int step = 0; step < 30'000; ++step) {
    if (const int g = below(5); waiting[static_cast<std::size_t>(g)] < 20) {
      t.add(g);
      ++waiting[static_cast<std::size_t>(g)];
    }
    t.now += std::chrono::nanoseconds{below(10)};
    for (int k = below(4); k > 0; --k) {
      const int g = t.start();
      if (g < 0) break;
      starts[static_cast<std::size_t>(g)].push_back(t.now);
      --waiting[static_cast<std::size_t>(g)];
    }
    while (t.running.size() > 6) t.end();  // so `concurrency` holds nobody back
    if (step % 100 == 99) {  // what may start does: all that is left waits for its time, and next_due is the first of these
      for (int g; (g = t.start()) >= 0; t.end()) {
        starts[static_cast<std::size_t>(g)].push_back(t.now);
        --waiting[static_cast<std::size_t>(g)];
      }
      job_time due = penstock::no_time;
      for (std::size_t g = 0; g < rules.size(); ++g) {
        if (waiting[g] == 0) continue;
        const job_time free =
            starts[g].size() < rules[g].max ? t.now : starts[g][starts[g].size() - rules[g].max] + rules[g].duration;
        due = std::min(due, free);
      }
      if (due <= t.now || t.next_due != due) ++too_late;
    }
  }
  int too_many = 0;
  std::size_t all = 0;
  for (std::size_t g = 0; g < rules.size(); ++g) {
    all += starts[g].size();
    for (std::size_t i = rules[g].max; i < starts[g].size(); ++i) {
      if (starts[g][i] - starts[g][i - rules[g].max] < rules[g].duration) ++too_many;
    }
  }
  CHECK(too_many == 0);
  CHECK(too_late == 0);
  CHECK(all > 10'000);
  while (!t.running.empty()) t.end();
  t.store.obliterate(true).value();
}

TEST_CASE("job_group: a million tenants leave nothing behind", "[job_group]") {
  penstock::detail::job_groups<fake_job> groups{{.max = 3, .duration = 10ns}};
  fake_job endless[2];
  groups.reserve(2);
  for (fake_job& j : endless) static_cast<void>(groups.push(j, false, 1));
  std::size_t most = 0;
  job_time now{0};
  for (int i = 0; i < 20'000; ++i) {
    penstock::detail::new_job_groups<fake_job> fresh;
    const std::string name = std::to_string(i);
    penstock::detail::prepare_group(fresh, name);
    groups.reserve(fresh);
    fake_job j;
    groups.admit(j, fresh, name, 0);
    static_cast<void>(groups.push(j, false, 1));
    groups.wake(++now);
    for (fake_job* next = nullptr; next != &j;) {  // those without a group never end
      next = groups.pop(now);
      if (next == nullptr) FAIL("nobody's turn");
      groups.ended(*next);
      if (next != &j) static_cast<void>(groups.push(*next, false, 1));
    }
    groups.forget(j);
    most = std::max(most, groups.size());
  }
  CHECK(most <= 12);
  groups.wake(now + 9ns);
  CHECK(groups.size() == 1);  // its start still counts
  groups.wake(now + 10ns);
  CHECK(groups.size() == 0);
  // With the last of them the turns end: jobs without a group are the only ones.
  groups.erase(endless[0]);
  CHECK(groups.pop(now) == &endless[1]);
}
