#include <penstock/job/cron.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::cron;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

namespace {

std::string text(sys_seconds t) {
  if (t == sys_seconds::max()) return "never";
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day d{day};
  const std::chrono::hh_mm_ss time{t - day};
  const auto two = [](auto n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  return std::to_string(static_cast<int>(d.year())) + "-" + two(static_cast<unsigned>(d.month())) + "-" +
         two(static_cast<unsigned>(d.day())) + " " + two(time.hours().count()) + ":" + two(time.minutes().count()) + ":" +
         two(time.seconds().count());
}

// 2026-11-26 is a Thursday.
const sys_seconds noon = sys_days{std::chrono::year{2026} / 11 / 26} + 12h + 34min + 56s;

// The first `n` times after noon.
std::string times(std::string_view expression, int n = 1) {
  const cron c{expression};
  std::string all;
  for (sys_seconds t = noon; n > 0; --n) {
    t = c.next(t);
    all += (all.empty() ? "" : ", ") + text(t);
  }
  return all;
}

std::string refusal(std::string_view expression) {
  try {
    const cron c{expression};
    return "none";
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("cron: gives the first time that is later", "[cron]") {
  CHECK(times("* * * * *", 2) == "2026-11-26 12:35:00, 2026-11-26 12:36:00");
  CHECK(times("* * * * * *", 2) == "2026-11-26 12:34:57, 2026-11-26 12:34:58");
  CHECK(times("*/20 30-32/2 23 * * *", 4) ==
        "2026-11-26 23:30:00, 2026-11-26 23:30:20, 2026-11-26 23:30:40, 2026-11-26 23:32:00");
  CHECK(times("34 12 * * *") == "2026-11-27 12:34:00");
  CHECK(times("0 0 1 1 *") == "2027-01-01 00:00:00");
  CHECK(times("  15,45\t3  * * *  ", 3) == "2026-11-27 03:15:00, 2026-11-27 03:45:00, 2026-11-28 03:15:00");
  CHECK(times("0 0 29 2 *", 2) == "2028-02-29 00:00:00, 2032-02-29 00:00:00");
  CHECK(times("0 12 31 * *", 2) == "2026-12-31 12:00:00, 2027-01-31 12:00:00");
  CHECK(times("30 40/10 * * * *", 3) == "2026-11-26 12:40:30, 2026-11-26 12:50:30, 2026-11-26 13:40:30");
  // Any duration, and of a fraction of a second what follows it.
  const cron each_second{"* * * * * *"};
  CHECK(each_second.next(std::chrono::sys_time<std::chrono::nanoseconds>{noon} + 1ns) == noon + 1s);
  CHECK(each_second.next(std::chrono::sys_time<std::chrono::nanoseconds>{noon} - 1ns) == noon);
  CHECK(each_second.matches(std::chrono::sys_time<std::chrono::milliseconds>{noon} + 999ms));
  CHECK_FALSE(cron{"* * * * *"}.matches(noon));
  CHECK(cron{"0 0 1 1 *"}.next(sys_days{std::chrono::year{1900} / 1 / 1}) == sys_days{std::chrono::year{1901} / 1 / 1});
}

TEST_CASE("cron: days of the week and of the month; where both are told, one of them suffices", "[cron]") {
  CHECK(times("0 9 * * MON-FRI", 3) == "2026-11-27 09:00:00, 2026-11-30 09:00:00, 2026-12-01 09:00:00");
  CHECK(times("0 0 * * 7") == "2026-11-29 00:00:00");
  CHECK(times("0 0 * * sat-sun", 2) == "2026-11-28 00:00:00, 2026-11-29 00:00:00");
  CHECK(times("0 0 * * 5-7", 4) == "2026-11-27 00:00:00, 2026-11-28 00:00:00, 2026-11-29 00:00:00, 2026-12-04 00:00:00");
  CHECK(cron{"0 0 * * 0"} == cron{"0 0 ? * SUN"});
  CHECK(times("0 0 1,15 * TUE", 4) == "2026-12-01 00:00:00, 2026-12-08 00:00:00, 2026-12-15 00:00:00, 2026-12-22 00:00:00");
  CHECK(times("0 0 13 * FRI", 2) == "2026-11-27 00:00:00, 2026-12-04 00:00:00");
  CHECK(times("0 0 */10 dec ?", 3) == "2026-12-01 00:00:00, 2026-12-11 00:00:00, 2026-12-21 00:00:00");
  CHECK(times("0 0 */2 * 1", 3) == "2026-11-27 00:00:00, 2026-11-29 00:00:00, 2026-11-30 00:00:00");
}

TEST_CASE("cron: last days, nearest working days, n-th days of the week", "[cron]") {
  CHECK(times("0 0 L * *", 3) == "2026-11-30 00:00:00, 2026-12-31 00:00:00, 2027-01-31 00:00:00");
  CHECK(times("0 0 L 2 *", 2) == "2027-02-28 00:00:00, 2028-02-29 00:00:00");
  CHECK(times("0 0 L-2,1 * *", 2) == "2026-11-28 00:00:00, 2026-12-01 00:00:00");
  CHECK(times("0 0 LW 1,2,5 *", 3) == "2027-01-29 00:00:00, 2027-02-26 00:00:00, 2027-05-31 00:00:00");
  CHECK(times("0 0 1W * *", 3) == "2026-12-01 00:00:00, 2027-01-01 00:00:00, 2027-02-01 00:00:00");
  CHECK(times("0 0 1W 5,8 *", 2) == "2027-05-03 00:00:00, 2027-08-02 00:00:00");      // a Saturday and a Sunday
  CHECK(times("0 0 31W 1,2,10 *", 2) == "2027-01-29 00:00:00, 2027-10-29 00:00:00");  // not in February
  CHECK(times("0 0 * * 5L", 2) == "2026-11-27 00:00:00, 2026-12-25 00:00:00");
  CHECK(times("0 0 * * friL,MON", 3) == "2026-11-27 00:00:00, 2026-11-30 00:00:00, 2026-12-07 00:00:00");
  CHECK(times("0 0 * * 4#2", 2) == "2026-12-10 00:00:00, 2027-01-14 00:00:00");
  CHECK(times("0 0 * * 0#5", 2) == "2026-11-29 00:00:00, 2027-01-31 00:00:00");
  CHECK(times("0 0 * 2 1#5", 2) == "2044-02-29 00:00:00, 2072-02-29 00:00:00");
}

TEST_CASE("cron: 7 is Sunday in every place, and an item that is * counts wherever it stands", "[cron]") {
  CHECK(cron{"0 0 * * 7#2"} == cron{"0 0 * * 0#2"});
  CHECK(cron{"0 0 * * 7L"} == cron{"0 0 * * sunL"});
  CHECK(cron{"0 0 * * 7/2"} == cron{"0 0 * * 0,2,4,6"});
  CHECK(cron{"0 0 * * 0-7"} == cron{"0 0 * * 0-6"});
  CHECK(cron{"0 0 * * MON-SUN/2"} == cron{"0 0 * * 0,1,3,5"});
  CHECK(times("0 0 *,*/2 * MON") == "2026-11-30 00:00:00");
  CHECK(times("0 0 1,* * MON") == "2026-11-30 00:00:00");
}

TEST_CASE("cron: names for whole expressions", "[cron]") {
  CHECK(times("@hourly") == "2026-11-26 13:00:00");
  CHECK(times("@daily") == "2026-11-27 00:00:00");
  CHECK(times(" @Midnight ") == "2026-11-27 00:00:00");
  CHECK(times("@weekly") == "2026-11-29 00:00:00");
  CHECK(times("@monthly") == "2026-12-01 00:00:00");
  CHECK(cron{"@yearly"} == cron{"@annually"});
}

TEST_CASE("cron: what cannot be is refused, with the reason", "[cron]") {
  CHECK(refusal("* * * *") == "penstock::cron: \"* * * *\": fewer than five fields");
  CHECK(refusal("60 * * * *") == "penstock::cron: \"60 * * * *\": minute: 60 is not in 0-59");
  CHECK(refusal("0 0 30 2 *") == "penstock::cron: \"0 0 30 2 *\": there is no such date");
  CHECK(refusal("0 0 31 2,4,6,9,11 ?") != "none");
  CHECK(refusal("0 0 L-30 2 *") != "none");
  CHECK(refusal("0 0 30 2 1") == "none");  // any Monday of February
  for (const char* bad : {"",
                          "@reboot",
                          "* * * * * * *",
                          "* 24 * * *",
                          "* * 0 * *",
                          "* * * 13 *",
                          "* * * * 8",
                          "5-3 * * * *",
                          "*/0 * * * *",
                          "1,,2 * * * *",
                          "a * * * *",
                          "1- * * * *",
                          "1-2-3 * * * *",
                          "? * * * *",
                          "* * * FOO *",
                          "* * 1-5W * *",
                          "* * W * *",
                          "* * * * L",
                          "* * * * 1#6",
                          "* * * * 1#0",
                          "0 0 1,L-31 * *",
                          "0 0 31W 2,4,6,9,11 *",
                          "* * * * 1-2#1",
                          "* * L-31 * *",
                          "*5 * * * *",
                          "-1 * * * *",
                          "1/ * * * *",
                          "99999999999 * * * *",
                          "* * L/2 * *",
                          ", * * * *"}) {
    INFO(bad);
    CHECK(refusal(bad) != "none");
  }
}

TEST_CASE("cron: holds to the ends of the calendar", "[cron]") {
  const cron c{"0 0 29 2 *"};
  CHECK(text(c.next(sys_days{std::chrono::year{32764} / 2 / 28})) == "32764-02-29 00:00:00");
  CHECK(text(c.next(sys_days{std::chrono::year{32764} / 2 / 29})) == "never");
  CHECK(c.next(sys_seconds::max()) == sys_seconds::max());
  CHECK(c.next(sys_seconds::min()) == sys_days{std::chrono::year{-32764} / 2 / 29});
  const cron yearly{"@yearly"};
  CHECK(yearly.next(sys_seconds::min()) == sys_days{std::chrono::year::min() / 1 / 1});
  CHECK(yearly.matches(sys_days{std::chrono::year::min() / 1 / 1}));
  CHECK_FALSE(yearly.matches(sys_seconds::min()));
  CHECK_FALSE(c.matches(sys_seconds::max()));
  CHECK_FALSE(cron{"* * * * * *"}.matches(std::chrono::sys_time<std::chrono::hours>::max()));
  using fractions = std::chrono::sys_time<std::chrono::duration<double>>;
  CHECK(yearly.next(fractions::max()) == sys_seconds::max());
  CHECK(yearly.next(fractions::min()) == yearly.next(sys_seconds::min()));
  CHECK(yearly.next(fractions{-0.5s}) == sys_seconds{});
  CHECK(cron{"* * * * * *"}.next(std::chrono::sys_time<std::chrono::hours>::max()) == sys_seconds::max());
  CHECK(text(cron{"59 23 31 12 *"}.next(sys_days{std::chrono::year{32767} / 12 / 31})) == "32767-12-31 23:59:00");
}
