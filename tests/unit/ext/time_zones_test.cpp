#include <penstock/ext/time_zones.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include <penstock/job/memory_store.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

namespace {

sys_seconds utc(int y, unsigned m, unsigned d, std::chrono::seconds time = 0s) {
  return sys_days{std::chrono::year{y} / std::chrono::month{m} / std::chrono::day{d}} + time;
}
/// Day and time, in UTC, of the next ones.
std::string times(const char* zone, std::string_view calendar, sys_seconds after, int n) {
  std::string all;
  const auto there = penstock::tz_database(zone);
  for (const penstock::cron c{calendar}; n > 0; --n) {
    after = next_in(*there, c, after);
    const auto day = std::chrono::floor<std::chrono::days>(after);
    const auto minutes = (after - day) / 1min;
    all += std::to_string(static_cast<unsigned>(std::chrono::year_month_day{day}.day())) + "/" + std::to_string(minutes / 60) +
           ":" + std::to_string(minutes % 60) + " ";
  }
  return all;
}

}  // namespace

TEST_CASE("tz_database: calendars by the clocks of a place, also where these are changed", "[time_zones][job_time_zone]") {
  // Forward from 02:00 to 03:00 on 2026-03-29, back from 03:00 to 02:00 on 2026-10-25; both at 01:00 UTC.
  CHECK(times("Europe/Berlin", "30 2 * * *", utc(2026, 3, 28), 3) == "28/1:30 29/1:0 30/0:30 ");
  CHECK(times("Europe/Berlin", "30 2 * * *", utc(2026, 10, 24), 3) == "24/0:30 25/0:30 26/1:30 ");
  CHECK(times("Europe/Berlin", "30 * * * *", utc(2026, 10, 25), 3) == "25/0:30 25/1:30 25/2:30 ");
  // From 02:00 to 03:00 on 2026-03-08, at 07:00 UTC; from 02:00 to 01:00 on 2026-11-01, at 06:00 UTC.
  CHECK(times("America/New_York", "0 2 * * *", utc(2026, 3, 7), 3) == "7/7:0 8/7:0 9/6:0 ");
  CHECK(times("America/New_York", "15 1 * * SUN", utc(2026, 10, 31), 2) == "1/5:15 8/6:15 ");
  CHECK(times("America/New_York", "15 1,2 * * *", utc(2026, 10, 31, 12h), 3) == "1/5:15 1/7:15 2/6:15 ");
  // By half an hour: from 02:00 to 02:30 on 2026-10-04, at 15:30 UTC of the day before; from 02:00 to 01:30 on 2026-04-05, at 15:00 UTC.
  CHECK(times("Australia/Lord_Howe", "15 2 * * *", utc(2026, 10, 2, 12h), 3) == "2/15:45 3/15:30 4/15:15 ");
  CHECK(times("Australia/Lord_Howe", "45 1 * * *", utc(2026, 4, 3, 12h), 3) == "3/14:45 4/14:45 5/15:15 ");
  CHECK(times("Australia/Lord_Howe", "15,45 * * * *", utc(2026, 4, 4, 14h), 4) == "4/14:15 4/14:45 4/15:15 4/15:45 ");
  // Far ahead, and a date that comes once in four years.
  CHECK(times("Europe/Berlin", "0 12 29 2 *", utc(2197, 1, 1), 2) == "29/11:0 29/11:0 ");
  CHECK_THROWS_AS(penstock::tz_database("Europe/Atlantis"), std::invalid_argument);

  penstock::memory_store<int> store{{.time_zones = penstock::tz_database}};
  store.put_schedule({.id = "nightly", .when = "0 3 * * *", .time_zone = "Asia/Tokyo"}, 1, utc(2026, 11, 26).time_since_epoch())
      .value();
  CHECK(store.schedules().value().at(0).next_at == utc(2026, 11, 26, 18h).time_since_epoch());
  CHECK_THROWS_AS(store.put_schedule({.id = "x", .when = "@daily", .time_zone = "Mars/Olympus"}, 1, 0s), std::invalid_argument);
}
