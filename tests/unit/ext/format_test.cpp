// Nothing where the standard library has no <format>. tests/CMakeLists.txt compiles it with one that has, where there is one.
#include <version>

#ifdef __cpp_lib_format
#include <penstock/ext/format.hpp>

#include <string>
#include <string_view>
#include <type_traits>

#include "../../support/catch.hpp"
#include "../../support/format_cases.hpp"

namespace {

struct by_std {
  template <class... A>
  static std::string format(std::string_view f, const A&... a) {
    return std::vformat(f, std::make_format_args(a...));
  }
  template <class T>
  static constexpr bool formats = std::is_default_constructible_v<std::formatter<T>>;
  using error = std::format_error;
};

}  // namespace

TEST_CASE("format: an errc is its message", "[format]") { format_cases::errors<by_std>(); }
TEST_CASE("format: a result is its value, by the value's specification, or its error in the same width", "[format]") {
  format_cases::results<by_std>();
}
TEST_CASE("format: stats are a line, without what is 0 unless asked for", "[format]") { format_cases::stats<by_std>(); }
TEST_CASE("format: a registry's snapshots are a line for each component, intervals a table", "[format]") {
  format_cases::snapshots<by_std>();
}
TEST_CASE("format: format strings are checked where they are compiled", "[format]") {
  const penstock::result<int> seven = 7;
  CHECK(std::format("{:>3}|{}|{:>7}", seven, penstock::errc::closed, penstock::result<void>{}) == "  7|closed|     ok");
  CHECK(std::format("{:}>9", penstock::result<int>{penstock::errc::closed}) ==
        "error: closed>9");  // fmt 9 takes the brace for a fill
}
#endif
