// penstock/job/detail/cron_parser.hpp: the notation of cron, read into sets of bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::inline v0_1::detail {

/// Bit n stands for the value n.
struct cron_fields {
  std::uint64_t seconds = 1;
  std::uint64_t minutes = 0;
  std::uint32_t hours = 0;
  std::uint32_t days = 0;
  std::uint32_t before_last = 0;  // L-n
  std::uint32_t nearest = 0;      // nW
  std::uint16_t months = 0;
  std::uint8_t weekdays = 0;
  std::uint8_t last_weekday = 0;      // nL
  std::array<std::uint8_t, 5> nth{};  // n#1 to n#5
  bool last_working_day = false;      // LW
  bool any_day = false;               // the field is *
  bool any_weekday = false;

  friend bool operator==(const cron_fields&, const cron_fields&) = default;
};

struct cron_field {
  const char* name;
  unsigned low;
  unsigned high;
  unsigned last;           // of * and of steps: 7 and 0 are the same Sunday
  std::string_view names;  // of three letters each
  unsigned first_name;     // the value of the first of them
};
inline constexpr cron_field cron_second{"second", 0, 59, 59, {}, 0};
inline constexpr cron_field cron_minute{"minute", 0, 59, 59, {}, 0};
inline constexpr cron_field cron_hour{"hour", 0, 23, 23, {}, 0};
inline constexpr cron_field cron_day{"day of month", 1, 31, 31, {}, 0};
inline constexpr cron_field cron_month{"month", 1, 12, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 1};
inline constexpr cron_field cron_weekday{"day of week", 0, 7, 6, "SUNMONTUEWEDTHUFRISAT", 0};

template <class = void>
class cron_parser {
 public:
  explicit cron_parser(std::string_view expression) : all_{expression} {}

  /// Throws std::invalid_argument.
  cron_fields parse() {
    const std::string_view trimmed = trim(all_);
    const std::string_view text = trimmed.substr(0, 1) == "@" ? named(trimmed) : trimmed;
    std::array<std::string_view, 6> parts;
    std::size_t n = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find_first_of(" \t", at), text.size());
      if (end != at) {
        if (n == parts.size()) refuse("more than six fields");
        parts[n++] = text.substr(at, end - at);
      }
      at = end + 1;
    }
    if (n < 5) refuse("fewer than five fields");
    const std::string_view* part = parts.data();
    if (n == 6) f_.seconds = read(*part++, cron_second);
    f_.minutes = read(*part++, cron_minute);
    f_.hours = static_cast<std::uint32_t>(read(*part++, cron_hour));
    f_.days = static_cast<std::uint32_t>(read(*part++, cron_day));
    f_.any_day = any_;
    f_.months = static_cast<std::uint16_t>(read(*part++, cron_month));
    const std::uint64_t weekdays = read(*part, cron_weekday);
    f_.weekdays = static_cast<std::uint8_t>((weekdays | weekdays >> 7) & 127);
    f_.any_weekday = any_;
    return f_;
  }

 private:
  static void add(std::uint8_t& set, unsigned weekday) noexcept { set = static_cast<std::uint8_t>(set | 1U << weekday % 7); }
  static bool of_days(const cron_field& f) noexcept { return &f == &cron_day || &f == &cron_weekday; }

  std::uint64_t read(std::string_view list, const cron_field& f) {
    where_ = f.name;
    any_ = false;
    std::uint64_t set = 0;
    for (bool more = true; more;) {
      const std::size_t comma = std::min(list.find(','), list.size());
      const std::string_view item = list.substr(0, comma);
      more = comma < list.size();
      if (more) list.remove_prefix(comma + 1);
      if (item.empty()) refuse("an item is empty");
      if (!special(item, f)) set |= read_item(item, f);
    }
    return set;
  }

  std::uint64_t read_item(std::string_view item, const cron_field& f) {
    const std::string_view whole = item;
    unsigned low = f.low;
    unsigned high = f.last;
    const bool star = item.front() == '*' || (item.front() == '?' && of_days(f));
    if (star) {
      item.remove_prefix(1);
    } else {
      low = value(item, f);
      if (take(item, '-')) {
        high = value(item, f);
        if (&f == &cron_weekday && high == 0 && low > 0) high = 7;  // to Sunday
        if (high < low) refuse("the range " + std::string{whole} + " runs backwards");
      } else if (item.empty()) {
        high = low;
      }
    }
    unsigned step = 1;
    if (take(item, '/')) {
      step = number(item);
      if (step == 0) refuse("a step of 0");
    }
    if (!item.empty()) refuse("\"" + std::string{whole} + "\" is not understood");
    if (star && step == 1) any_ = true;
    if (low > high) low = 0;  // 7/2
    std::uint64_t set = 0;
    for (unsigned v = low; v <= high; v += step) set |= std::uint64_t{1} << v;
    return set;
  }

  // What only fields of days have.
  bool special(std::string_view item, const cron_field& f) {
    if (&f == &cron_day) {
      if (same(item, "L")) return f_.before_last |= 1, true;
      if (same(item, "LW")) return f_.last_working_day = true, true;
      if (item.size() > 2 && same(item.substr(0, 2), "L-")) {
        item.remove_prefix(2);
        const unsigned n = number(item);
        if (n > 30 || !item.empty()) refuse("L- takes 0 to 30");
        f_.before_last |= std::uint32_t{1} << n;
        return true;
      }
      if (same(item.substr(item.size() - 1), "W")) {
        const unsigned d = value(item, f);
        if (!same(item, "W")) refuse("W takes one day");
        f_.nearest |= std::uint32_t{1} << d;
        return true;
      }
    } else if (&f == &cron_weekday) {
      if (const std::size_t hash = item.find('#'); hash != item.npos) {
        const unsigned d = value(item, f);
        if (!take(item, '#')) refuse("# takes one day");
        const unsigned n = number(item);
        if (n < 1 || n > 5 || !item.empty()) refuse("# takes 1 to 5");
        add(f_.nth[n - 1], d);
        return true;
      }
      if (item.size() > 1 && same(item.substr(item.size() - 1), "L")) {
        const unsigned d = value(item, f);
        if (!same(item, "L")) refuse("L takes one day");
        add(f_.last_weekday, d);
        return true;
      }
    }
    return false;
  }

  // Each takes what it reads off the item.
  unsigned value(std::string_view& item, const cron_field& f) {
    for (std::size_t i = 0; i * 3 < f.names.size(); ++i) {
      if (same(item.substr(0, 3), f.names.substr(i * 3, 3))) {
        item.remove_prefix(3);
        return f.first_name + static_cast<unsigned>(i);
      }
    }
    const unsigned v = number(item);
    if (v < f.low || v > f.high) {
      refuse(std::to_string(v) + " is not in " + std::to_string(f.low) + "-" + std::to_string(f.high));
    }
    return v;
  }
  unsigned number(std::string_view& item) {
    if (item.empty() || item.front() < '0' || item.front() > '9') refuse("a number is missing at \"" + std::string{item} + "\"");
    unsigned v = 0;
    while (!item.empty() && item.front() >= '0' && item.front() <= '9') {
      v = v * 10 + static_cast<unsigned>(item.front() - '0');
      if (v > 9999) refuse("a number is too large");
      item.remove_prefix(1);
    }
    return v;
  }
  static bool take(std::string_view& item, char c) noexcept {
    if (item.empty() || item.front() != c) return false;
    item.remove_prefix(1);
    return true;
  }

  // In either case of letters; independent of the locale.
  static bool same(std::string_view a, std::string_view upper) noexcept {
    if (a.size() != upper.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const char c = a[i] >= 'a' && a[i] <= 'z' ? static_cast<char>(a[i] - 'a' + 'A') : a[i];
      if (c != upper[i]) return false;
    }
    return true;
  }
  static std::string_view trim(std::string_view s) noexcept {
    const std::size_t first = s.find_first_not_of(" \t");
    if (first == s.npos) return {};
    return s.substr(first, s.find_last_not_of(" \t") - first + 1);
  }
  std::string_view named(std::string_view name) {
    constexpr std::pair<std::string_view, std::string_view> names[]{
        {"@YEARLY", "0 0 1 1 *"}, {"@ANNUALLY", "0 0 1 1 *"}, {"@MONTHLY", "0 0 1 * *"}, {"@WEEKLY", "0 0 * * 0"},
        {"@DAILY", "0 0 * * *"},  {"@MIDNIGHT", "0 0 * * *"}, {"@HOURLY", "0 * * * *"},
    };
    for (const auto& [known, text] : names) {
      if (same(name, known)) return text;
    }
    refuse("there is no such name");
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw std::invalid_argument{"penstock::cron: \"" + std::string{all_} + "\": " + where_ + (where_.empty() ? "" : ": ") + why};
  }

  std::string_view all_;
  std::string where_;  // which field is read
  bool any_ = false;   // it has an item that is *
  cron_fields f_;
};

}  // namespace penstock::inline v0_1::detail
