#include <penstock/ext/fmt.hpp>

#include <fmt/ranges.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "../../support/catch.hpp"
#include "../../support/format_cases.hpp"

namespace fmt_test {  // named, because the formatter below is outside of it

struct by_fmt {
  template <class... A>
  static std::string format(std::string_view f, const A&... a) {
    return fmt::vformat(f, fmt::make_format_args(a...));
  }
  template <class T>
  static constexpr bool formats = fmt::is_formattable<T>::value;
  using error = fmt::format_error;
};

// Stats that are described, and have a formatter of their own.
struct clock_stats {
  int ticks = 0;
  friend void describe(const clock_stats&, penstock::metric_sink& to) { to.kind("clock"); }
};

}  // namespace fmt_test

template <>
struct fmt::formatter<fmt_test::clock_stats> : fmt::formatter<int> {
  template <class Context>
  auto format(const fmt_test::clock_stats& s, Context& c) const -> decltype(c.out()) {
    return fmt::formatter<int>::format(s.ticks, c);
  }
};

TEST_CASE("fmt: an errc is its message", "[fmt]") { format_cases::errors<fmt_test::by_fmt>(); }
TEST_CASE("fmt: a result is its value, by the value's specification, or its error in the same width", "[fmt]") {
  format_cases::results<fmt_test::by_fmt>();
}
TEST_CASE("fmt: stats are a line, without what is 0 unless asked for", "[fmt]") { format_cases::stats<fmt_test::by_fmt>(); }
TEST_CASE("fmt: a registry's snapshots are a line for each component, intervals a table", "[fmt]") {
  format_cases::snapshots<fmt_test::by_fmt>();
}

TEST_CASE("fmt: format strings are checked where they are compiled, and ranges format what they hold", "[fmt]") {
  const penstock::result<int> seven = 7;
  CHECK(fmt::format("{:>3}|{}|{:>7}", seven, penstock::errc::closed, penstock::result<void>{}) == "  7|closed|     ok");
  const std::vector<penstock::result<int>> some{7, penstock::errc::closed};
  CHECK(fmt::format("{}", some) == "[7, error: closed]");
  CHECK(penstock::to_text(fmt_test::clock_stats{7}) == "clock");
  CHECK(fmt::format("{:>3}", fmt_test::clock_stats{7}) == "  7");  // one's own formatter is preferred
  CHECK(fmt::format("{}", std::vector<format_cases::oven_stats>(2)) == "[oven: in_flight=0, oven: in_flight=0]");
}
