// penstock/job/cron.hpp: a calendar of times, in cron's notation.
//
//   const penstock::cron backups{"30 3 * * MON-FRI"};
//   std::chrono::sys_seconds t = backups.next(std::chrono::system_clock::now());     // the first of its times after that
//
// Fields         [second] minute hour day-of-month month day-of-week: five of them, at second 0, or six. In UTC; other zones: job_time_zone.hpp.
//
//                | field        | values                      | besides                                                                          |
//                |--------------|-----------------------------|----------------------------------------------------------------------------------|
//                | second       | 0-59                        |                                                                                  |
//                | minute       | 0-59                        |                                                                                  |
//                | hour         | 0-23                        |                                                                                  |
//                | day of month | 1-31                        | ?  L (the last day)  L-3 (three before it)  LW (the last from Monday to Friday)  |
//                |              |                             | 15W (the day from Monday to Friday that is nearest to the 15th, in its month)    |
//                | month        | 1-12, JAN-DEC               |                                                                                  |
//                | day of week  | 0-7, SUN-SAT; 0, 7: Sunday  | ?  5L (the last Friday of the month)  5#2 (the second one)                       |
//
//                Each is a list, with commas, of  *  a  a-b  and, with a step,  */n  a-b/n  a/n (from a on). Or one of @yearly (@annually), @monthly,
//                @weekly, @daily (@midnight), @hourly.
// Both days      a day matches if it matches both fields of days; but where neither is * (or ?), if it matches one of them (POSIX). `*/2` is not *
//                here, as in robfig/cron and cron-parser; in Vixie's cron it is.
// Impossible     dates that never come (30 February) are refused.
// Thread safety  a value; trivially copyable.
// Cost           next(): from field to field with bit scans, never minute by minute; a day's search takes one step a month. 20 to 50 ns. Nothing
//                allocates.
// Source         POSIX.1-2017, crontab; the extensions are Quartz'.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ratio>
#include <stdexcept>
#include <string>
#include <string_view>

#include <penstock/job/detail/cron_parser.hpp>

namespace penstock::inline v0_1 {

class cron {
 public:
  /// Throws std::invalid_argument that names the field and what is wrong with it.
  template <class = void>
  explicit cron(std::string_view expression) : f_{detail::cron_parser<>{expression}.parse()} {
    if (!possible()) throw std::invalid_argument{"penstock::cron: \"" + std::string{expression} + "\": there is no such date"};
  }

  /// The first of its times that is later than `after`; sys_seconds::max() if that is after the year 32767.
  template <class Duration>
  [[nodiscard]] std::chrono::sys_seconds next(std::chrono::sys_time<Duration> after) const noexcept {
    using namespace std::chrono;
    const seconds given = whole_seconds(after.time_since_epoch());
    if (given >= last_moment().time_since_epoch()) return sys_seconds::max();
    const sys_seconds from = sys_seconds{given} + seconds{1};
    const sys_days day = floor<days>(from);
    const year_month_day date{day};
    int y = static_cast<int>(date.year());
    auto m = static_cast<unsigned>(date.month());
    const auto d = static_cast<unsigned>(date.day());
    if ((f_.months >> m & 1) != 0 && (days_of(y, m) >> d & 1) != 0) {
      if (const auto time = time_from(from - day); time != none) return day + time;
    }
    for (unsigned first = d + 1;; first = 1) {
      if ((f_.months >> m & 1) != 0) {
        const std::uint64_t left = std::uint64_t{days_of(y, m)} >> first << first;
        if (left != 0) return sys_days{year{y} / month{m} / std::countr_zero(left)} + first_time();
      }
      const std::uint32_t later = std::uint32_t{f_.months} >> (m + 1) << (m + 1);
      if (later == 0 && ++y > static_cast<int>(year::max())) return sys_seconds::max();
      m = static_cast<unsigned>(std::countr_zero(later != 0 ? later : std::uint32_t{f_.months}));
    }
  }

  /// Whether a time is one of its times (to the second; of any second's fraction). None outside the years -32767 to 32767 is.
  template <class Duration>
  [[nodiscard]] bool matches(std::chrono::sys_time<Duration> t) const noexcept {
    const std::chrono::sys_seconds second{whole_seconds(t.time_since_epoch())};
    return second > before_first_moment() && second <= last_moment() && next(second - seconds{1}) == second;
  }

  /// Whether no hour is left out, as with * in the field of hours. It matters where clocks are changed (job_time_zone.hpp).
  [[nodiscard]] bool each_hour() const noexcept { return f_.hours == (1U << 24) - 1; }

  friend bool operator==(const cron&, const cron&) = default;

 private:
  using seconds = std::chrono::seconds;
  static constexpr seconds none = seconds::max();

  // The last second before the calendar, and its last one.
  static constexpr std::chrono::sys_seconds before_first_moment() noexcept {
    return std::chrono::sys_days{std::chrono::year{-32767} / 1 / 1} - seconds{1};
  }
  static constexpr std::chrono::sys_seconds last_moment() noexcept {
    return std::chrono::sys_days{std::chrono::year{32767} / 12 / 31} + std::chrono::hours{24} - seconds{1};
  }

  // Rounded down; what lies outside the calendar is the second before it, or after it.
  template <class Duration>
  static constexpr seconds whole_seconds(Duration d) noexcept {
    constexpr seconds begin = before_first_moment().time_since_epoch(), end = last_moment().time_since_epoch() + seconds{1};
    using rep = typename Duration::rep;
    // Else it would overflow; not a number is after it.
    if constexpr (std::ratio_greater_v<typename Duration::period, std::ratio<1>> || std::chrono::treat_as_floating_point_v<rep>) {
      if (!(d < std::chrono::ceil<Duration>(end))) return end;
      if (d <= std::chrono::floor<Duration>(begin)) return begin;
    }
    return std::clamp(std::chrono::floor<seconds>(d), begin, end);
  }

  // The first time of day that is not earlier than `t`.
  template <class = void>
  [[nodiscard]] seconds time_from(seconds t) const noexcept {
    const auto at = static_cast<unsigned>(t.count());
    const unsigned h = at / 3600, m = at / 60 % 60, s = at % 60;
    if ((f_.hours >> h & 1) != 0) {
      if ((f_.minutes >> m & 1) != 0) {
        if (const std::uint64_t left = f_.seconds >> s << s; left != 0) return time(h, m, lowest(left));
      }
      if (const std::uint64_t left = f_.minutes >> (m + 1) << (m + 1); left != 0)
        return time(h, lowest(left), lowest(f_.seconds));
    }
    const std::uint64_t left = std::uint64_t{f_.hours} >> (h + 1) << (h + 1);
    return left != 0 ? time(lowest(left), lowest(f_.minutes), lowest(f_.seconds)) : none;
  }
  template <class = void>
  [[nodiscard]] seconds first_time() const noexcept {
    return time(lowest(f_.hours), lowest(f_.minutes), lowest(f_.seconds));
  }

  static constexpr unsigned lowest(std::uint64_t set) noexcept { return static_cast<unsigned>(std::countr_zero(set)); }
  static constexpr seconds time(unsigned h, unsigned m, unsigned s) noexcept { return seconds{(h * 60 + m) * 60 + s}; }

  // The days of a month that match: bit d for the d-th.
  template <class = void>
  [[nodiscard]] std::uint32_t days_of(int y, unsigned m) const noexcept {
    using namespace std::chrono;
    const sys_days begin{year{y} / month{m} / 1};
    const unsigned first = weekday{begin}.c_encoding();
    const auto length = static_cast<unsigned>((year{y} / month{m} / std::chrono::last).day());
    const std::uint32_t all = static_cast<std::uint32_t>((std::uint64_t{1} << (length + 1)) - 2);
    if (f_.any_day && f_.any_weekday) return all;
    const std::uint32_t by_day = f_.any_day ? 0 : f_.days | special_days(first, length);
    const std::uint32_t by_weekday = f_.any_weekday ? 0 : weekdays(first, length);
    return (by_day | by_weekday) & all;
  }
  template <class = void>
  [[nodiscard]] std::uint32_t special_days(unsigned first, unsigned length) const noexcept {
    std::uint32_t set = 0;
    for (std::uint32_t left = f_.before_last; left != 0; left &= left - 1) {
      if (const unsigned n = lowest(left); n < length) set |= 1U << (length - n);
    }
    for (std::uint32_t left = f_.nearest; left != 0; left &= left - 1) {
      if (const unsigned d = lowest(left); d <= length) set |= 1U << working_day(d, first, length);
    }
    if (f_.last_working_day) set |= 1U << working_day(length, first, length);
    return set;
  }
  template <class = void>
  [[nodiscard]] std::uint32_t weekdays(unsigned first, unsigned length) const noexcept {
    // Of the first week, from its first day on; then of all weeks.
    const std::uint64_t week = (std::uint64_t{f_.weekdays} | std::uint64_t{f_.weekdays} << 7) >> first & 127;
    std::uint64_t set = week << 1 | week << 8 | week << 15 | week << 22 | week << 29;
    for (unsigned n = 0; n < f_.nth.size(); ++n) {
      for (std::uint32_t left = f_.nth[n]; left != 0; left &= left - 1) {
        set |= std::uint64_t{1} << (1 + (lowest(left) + 7 - first) % 7 + 7 * n);
      }
    }
    for (std::uint32_t left = f_.last_weekday; left != 0; left &= left - 1) {
      const unsigned back = (first + length - 1 + 7 - lowest(left)) % 7;
      set |= std::uint64_t{1} << (length - back);
    }
    return static_cast<std::uint32_t>(set);
  }
  // The day from Monday to Friday that is nearest to the d-th.
  template <class = void>
  static unsigned working_day(unsigned d, unsigned first, unsigned length) noexcept {
    const unsigned weekday = (first + d - 1) % 7;
    if (weekday == 6) return d > 1 ? d - 1 : d + 2;
    if (weekday == 0) return d < length ? d + 1 : d - 2;
    return d;
  }

  // The calendar comes round after 400 years, days of the week included.
  template <class = void>
  [[nodiscard]] bool possible() const noexcept {
    for (int y = 2000; y < 2400; ++y) {
      for (std::uint32_t left = f_.months; left != 0; left &= left - 1) {
        if (days_of(y, lowest(left)) != 0) return true;
      }
    }
    return false;
  }

  detail::cron_fields f_;
};

}  // namespace penstock::inline v0_1
