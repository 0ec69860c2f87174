// cron::next() is the first second that brute force finds: for random expressions, from a random second on, day after day and second after second,
// with days that are looked at one by one. And an expression is refused if and only if none of 400 years has such a day.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include <penstock/job/cron.hpp>

#include "support/property.hpp"

namespace {

using std::chrono::sys_days;
using std::chrono::sys_seconds;

int between(int low, int high) { return *rc::gen::inRange(low, high + 1); }
bool one_in(int n) { return between(1, n) == 1; }

// A day, and what a calendar on the wall says of it.
struct day {
  int year, month, number, weekday;  // 0: Sunday

  static bool leap(int y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }
  int length() const {
    constexpr std::array<int, 12> days{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && leap(year) ? 29 : days[static_cast<std::size_t>(month - 1)];
  }
  int weekday_of(int n) const { return ((weekday + n - number) % 7 + 7) % 7; }
  bool works(int n) const { return weekday_of(n) >= 1 && weekday_of(n) <= 5; }
  void next() {
    weekday = (weekday + 1) % 7;
    if (++number <= length()) return;
    number = 1;
    if (++month <= 12) return;
    month = 1;
    ++year;
  }
};

// A field: how it is written, and whether it takes a day or a number.
struct field {
  std::string text;
  bool star = false;
  std::vector<std::function<bool(const day&, int)>> items;
  bool takes(const day& d, int n) const {
    for (const auto& i : items) {
      if (i(d, n)) return true;
    }
    return false;
  }
  void add(const std::string& item, std::function<bool(const day&, int)> what) {
    text += (text.empty() ? "" : ",") + item;
    items.push_back(std::move(what));
  }
};

void add_numbers(field& f, int low, int high) {
  const int a = between(low, high);
  const int b = between(a, high);
  const int step = between(1, one_in(2) ? 3 : high);
  const std::string from = std::to_string(a);
  const std::string by = "/" + std::to_string(step);
  switch (between(0, 4)) {
    case 0:
      f.add(from, [=](const day&, int n) { return n == a; });
      break;
    case 1:
      f.add(from + "-" + std::to_string(b), [=](const day&, int n) { return n >= a && n <= b; });
      break;
    case 2:
      f.add(from + "-" + std::to_string(b) + by, [=](const day&, int n) { return n >= a && n <= b && (n - a) % step == 0; });
      break;
    case 3:
      f.add(from + by, [=](const day&, int n) { return n >= a && (n - a) % step == 0; });
      break;
    default:
      f.star = f.star || step == 1;
      f.add("*" + by, [=](const day&, int n) { return (n - low) % step == 0; });
  }
}

field numbers(int low, int high) {
  field f;
  if (one_in(3)) {
    f.star = true;
    f.add("*", [](const day&, int) { return true; });
    return f;
  }
  for (int i = between(1, 3); i > 0; --i) add_numbers(f, low, high);
  return f;
}

// The working day that is nearest to the n-th: the one that differs from it by least.
int nearest_working_day(const day& d, int n) {
  int best = 0;
  for (int c = 1; c <= d.length(); ++c) {
    if (d.works(c) && (best == 0 || std::abs(c - n) < std::abs(best - n))) best = c;
  }
  return best;
}

field days() {
  if (!one_in(3)) return numbers(1, 31);
  field f;
  for (int i = between(1, 2); i > 0; --i) {
    const int n = between(0, 4) == 0 ? between(0, 30) : between(0, 3);
    switch (between(0, 3)) {
      case 0:
        f.add(n == 0 ? "L" : "L-" + std::to_string(n), [=](const day& d, int number) { return number == d.length() - n; });
        break;
      case 1:
        f.add("LW", [](const day& d, int number) {
          int last = d.length();
          while (!d.works(last)) --last;
          return number == last;
        });
        break;
      case 2: {
        const int near = one_in(2) ? between(1, 31) : one_in(2) ? 1 : 31;  // the ends of a month are what is difficult
        f.add(std::to_string(near) + "W",
              [=](const day& d, int number) { return near <= d.length() && number == nearest_working_day(d, near); });
        break;
      }
      default:
        add_numbers(f, 1, 31);
    }
  }
  return f;
}

field weekdays() {
  if (!one_in(3)) return numbers(0, 6);
  field f;
  for (int i = between(1, 2); i > 0; --i) {
    const int w = between(0, 6);
    const int nth = between(1, 5);
    if (one_in(2)) {
      f.add(std::to_string(w == 0 && one_in(2) ? 7 : w) + "#" + std::to_string(nth),
            [=](const day& d, int weekday) { return weekday == w && (d.number + 6) / 7 == nth; });
    } else {
      f.add(std::to_string(w) + "L", [=](const day& d, int weekday) { return weekday == w && d.number + 7 > d.length(); });
    }
  }
  return f;
}

void finds_what_brute_force_finds() {
  const field second = one_in(2) ? numbers(0, 59) : field{};
  const field minute = numbers(0, 59), hour = numbers(0, 23), dom = days(), month = numbers(1, 12), dow = weekdays();
  const std::string text = (second.text.empty() ? "" : second.text + " ") + minute.text + " " + hour.text + " " + dom.text + " " +
                           month.text + " " + dow.text;
  RC_LOG(text + "\n");

  const sys_seconds after{std::chrono::seconds{*rc::gen::inRange<std::int64_t>(-2'208'988'800, 7'258'118'400)}};  // 1900 to 2199
  const sys_days first = std::chrono::floor<std::chrono::days>(after);
  const std::chrono::year_month_day ymd{first};
  day d{static_cast<int>(ymd.year()), static_cast<int>(static_cast<unsigned>(ymd.month())),
        static_cast<int>(static_cast<unsigned>(ymd.day())), static_cast<int>(std::chrono::weekday{first}.c_encoding())};

  std::array<bool, 86'400> times{};
  for (int t = 0; t < 86'400; ++t) {
    times[static_cast<std::size_t>(t)] =
        hour.takes(d, t / 3600) && minute.takes(d, t / 60 % 60) && (second.text.empty() ? t % 60 == 0 : second.takes(d, t % 60));
  }
  const auto first_time = [&](int from) {
    while (from < 86'400 && !times[static_cast<std::size_t>(from)]) ++from;
    return from;
  };
  const auto fits = [&] {
    if (!month.takes(d, d.month)) return false;
    const bool by_day = dom.takes(d, d.number), by_weekday = dow.takes(d, d.weekday);
    return dom.star || dow.star ? (dom.star || by_day) && (dow.star || by_weekday) : by_day || by_weekday;
  };
  sys_seconds expected = sys_seconds::max();
  for (int n = 0; n < 146'097 + 1 && expected == sys_seconds::max(); ++n, d.next()) {
    if (!fits()) continue;
    const int t = first_time(n == 0 ? static_cast<int>((after - first).count()) + 1 : 0);
    if (t < 86'400) expected = first + std::chrono::days{n} + std::chrono::seconds{t};
  }
  try {
    const penstock::cron c{text};
    RC_ASSERT(c.next(after).time_since_epoch().count() == expected.time_since_epoch().count());
    RC_ASSERT(c.matches(expected));
    RC_ASSERT(c.next(expected - std::chrono::nanoseconds{1}) == expected);
  } catch (const std::invalid_argument&) {
    RC_ASSERT(expected == sys_seconds::max());
  }
}

}  // namespace

int main() {
  test_support::try_cases("seed=20261126 max_success=300", "max_success=20000");
  return rc::check("cron: next() is what brute force finds", finds_what_brute_force_finds) ? 0 : 1;
}
