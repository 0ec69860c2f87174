#include <penstock/job/job_schedule.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/job/job_time_zone.hpp>
#include <penstock/job/memory_store.hpp>

#include "../../support/store_conformance.hpp"

using namespace std::chrono_literals;
using penstock::errc;
using penstock::job_time;
using penstock::memory_store;
using std::chrono::sys_days;
using std::chrono::sys_seconds;
using store_conformance::options_of;

namespace {

struct bench {
  memory_store<int>& store() { return store_; }
  memory_store<int> store_{
      {.capacity = 8, .keep_completed = {.count = 2}, .keep_failed = {.count = 3}, .time_zones = store_conformance::time_zones}};
};

/// Its copying is user's code: it may throw, or use the store.
struct meddler {
  explicit meddler(std::function<void()>* f) noexcept : meddle{f} {}
  meddler(const meddler& other) : meddle{other.meddle} {
    if (meddle != nullptr && *meddle) (*meddle)();
  }
  meddler(meddler&&) noexcept = default;
  std::function<void()>* meddle;
};

/// Berlin's clocks in 2026; a day that Samoa left out, and one that it might have twice.
class table_zone final : public penstock::job_time_zone {
 public:
  explicit table_zone(std::vector<std::pair<sys_seconds, std::chrono::seconds>> changes) : changes_{std::move(changes)} {}
  [[nodiscard]] period at(sys_seconds t) const override {
    period p{sys_seconds::min(), sys_seconds::max(), changes_.front().second};
    for (std::size_t i = 1; i < changes_.size(); ++i) {
      if (t < changes_[i].first) {
        p.end = changes_[i].first;
        break;
      }
      p = {changes_[i].first, sys_seconds::max(), changes_[i].second};
    }
    return p;
  }

 private:
  std::vector<std::pair<sys_seconds, std::chrono::seconds>> changes_;
};

sys_seconds utc(int y, unsigned m, unsigned d, std::chrono::seconds time = 0s) {
  return sys_days{std::chrono::year{y} / static_cast<int>(m) / static_cast<int>(d)} + time;
}
std::string text(sys_seconds t) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date{day};
  const auto minutes = (t - day) / 1min;
  return std::to_string(static_cast<unsigned>(date.day())) + "/" + std::to_string(minutes / 60) + ":" +
         std::to_string(minutes % 60) + " ";
}
std::string times(const penstock::job_time_zone& zone, std::string_view calendar, sys_seconds after, int n) {
  std::string all;
  for (const penstock::cron c{calendar}; n > 0; --n) all += text(after = next_in(zone, c, after));
  return all;
}

}  // namespace

TEST_CASE("memory_store: adds what schedules say is due", "[job_schedule]") {
  store_conformance::schedules<bench>();
  store_conformance::zones<bench>();
}

TEST_CASE("job_schedule: whoever copies payloads meanwhile, a time has one job", "[job_schedule][hazard-17]") {
  memory_store<meddler> store;
  std::function<void()> meddle;
  std::vector<penstock::memory_lease<meddler>> leases;
  const auto fetch = [&](job_time now) { return store.fetch({.most = 9, .now = now, .lease_until = now + 1h}, {}, leases); };
  store.put_schedule(options_of({.id = "s", .every = 10s}), meddler{&meddle}, 0s).value();
  fetch(0s).value();
  // Another worker is quicker; then one that cannot copy; then the schedule is gone, and another one is put.
  int inner = 0;
  meddle = [&] {
    if (++inner == 1) fetch(10s).value();
  };
  fetch(10s).value();
  CHECK(inner == 2);
  CHECK(leases.size() == 2);
  meddle = [] { throw std::runtime_error{"copy"}; };
  CHECK_THROWS_AS(fetch(20s), std::runtime_error);
  CHECK(leases.size() == 2);
  meddle = [&] {
    meddle = nullptr;
    store.remove_schedule("s").value();
    store.put_schedule(options_of({.id = "s", .every = 10s, .start = 40s}), meddler{&meddle}, 20s).value();
  };
  fetch(20s).value();
  CHECK(leases.size() == 2);
  CHECK(fetch(30s).value().next_due == 40s);
  CHECK(store.schedules().value().at(0).made == 0);
  leases.clear();
}

TEST_CASE("job_schedule: several who fetch at a time make one job of each time", "[job_schedule]") {
  memory_store<int> store{{.keep_completed = {.count = 0}}};
  std::atomic<int> now{0};
  std::atomic<int> jobs{0};
  const auto work = [&] {
    std::vector<penstock::memory_lease<int>> leases;
    for (int i = 0; i < 200; ++i) {
      const job_time t{++now};
      store.fetch({.most = 3, .now = t, .lease_until = t + 1h}, {}, leases).value();
      for (auto& l : leases) {
        penstock::job_settlement<penstock::memory_lease<int>> s{.lease = &l};
        store.settle({&s, 1}, t).value();
        ++jobs;
      }
      leases.clear();
    }
  };
  store.put_schedule(options_of({.id = "s", .every = 1ns, .start = 1ns}), 1, 0s).value();
  {
    const std::jthread one{work};
    const std::jthread two{work};
    for (int i = 0; i < 50; ++i)
      store.put_schedule(options_of({.id = "s", .every = 1ns, .start = 1ns}), i, job_time{now}).value();
  }
  const auto made = store.schedules().value().at(0).made;
  CHECK(made == static_cast<std::size_t>(jobs) + store.counts().value().waiting);
  CHECK(made > 100);
  CHECK(made <= 400);
}

TEST_CASE("job_schedule: a calendar goes by the zone that it names, and needs a clock that tells the date", "[job_schedule]") {
  memory_store<int> store{{.time_zones = [](std::string_view name) -> std::shared_ptr<const penstock::job_time_zone> {
    if (name != "there") return nullptr;
    return std::make_shared<const table_zone>(std::vector<std::pair<sys_seconds, std::chrono::seconds>>{{sys_seconds{}, 1h}});
  }}};
  const job_time now = utc(2026, 11, 26, 9h).time_since_epoch();
  store.put_schedule({.id = "daily", .when = "30 10 * * *", .time_zone = "there"}, 1, now).value();
  CHECK(store.schedules().value().at(0).next_at == now + 30min);
  CHECK_THROWS_AS(store.put_schedule({.id = "x", .when = "@daily", .time_zone = "nowhere"}, 1, now), std::invalid_argument);
  memory_store<int> plain;
  CHECK(plain.put_schedule({.id = "x", .when = "@daily", .time_zone = "there"}, 1, now).error() == errc::unsupported);
}

TEST_CASE("job_time_zone: where clocks are changed no hour's job is lost, and none of certain hours runs twice",
          "[job_schedule][job_time_zone]") {
  const table_zone berlin{{{sys_seconds{}, 1h}, {utc(2026, 3, 29, 1h), 2h}, {utc(2026, 10, 25, 1h), 1h}}};
  // 02:00 to 03:00 there is left out on the 29th of March: made up for at 03:00, which is 01:00 UTC.
  const sys_seconds march = utc(2026, 3, 28);
  CHECK(times(berlin, "30 2 * * *", march, 3) == "28/1:30 29/1:0 30/0:30 ");
  CHECK(times(berlin, "*/20 2 * * *", utc(2026, 3, 29), 2) == "29/1:0 30/0:0 ");
  CHECK(times(berlin, "0 2,3 * * *", utc(2026, 3, 29), 2) == "29/1:0 30/0:0 ");
  CHECK(times(berlin, "30 1,2,3 * * *", utc(2026, 3, 29), 4) == "29/0:30 29/1:0 29/1:30 29/23:30 ");
  CHECK(times(berlin, "30 * * * *", utc(2026, 3, 29), 3) == "29/0:30 29/1:30 29/2:30 ");
  CHECK(times(berlin, "30 2 29 3 *", march, 1) == "29/1:0 ");
  // 02:00 to 03:00 comes twice on the 25th of October, from 00:00 and from 01:00 UTC.
  const sys_seconds october = utc(2026, 10, 24, 12h);
  CHECK(times(berlin, "30 2 * * *", october, 2) == "25/0:30 26/1:30 ");
  CHECK(times(berlin, "30 2 * * *", utc(2026, 10, 25, 1h), 1) == "26/1:30 ");
  CHECK(times(berlin, "0 2,3 * * *", october, 3) == "25/0:0 25/2:0 26/1:0 ");
  CHECK(times(berlin, "30 * * * *", utc(2026, 10, 25), 3) == "25/0:30 25/1:30 25/2:30 ");
  // A day that is left out, and one that comes twice.
  const table_zone samoa{{{sys_seconds{}, -10h}, {utc(2011, 12, 30, 10h), 14h}, {utc(2011, 12, 31, 10h), -10h}}};
  CHECK(times(samoa, "0 9 * * *", utc(2011, 12, 29, 12h), 4) == "29/19:0 30/10:0 30/19:0 1/19:0 ");
  CHECK(next_in(samoa, penstock::cron{"0 0 * * *"}, sys_seconds::max()) == sys_seconds::max());
}
