#include "../../examples/common/argument_reader.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../support/catch.hpp"

using command_line::argument_reader;
using command_line::usage_error;
using namespace std::chrono_literals;

namespace {

// A reader that stands at the option `--x` with this value.
argument_reader of(std::string value) {
  argument_reader a{{"--x", std::move(value)}};
  REQUIRE((a.next() && a.is("--x")));
  return a;
}

}  // namespace

TEST_CASE("argument_reader: options, their values, and operands", "[options]") {
  argument_reader a{{"--flag", "word", "--name=a=b", "-", "--list", "1,,2", "--", "--flag", "--"}};
  REQUIRE((a.next() && a.is("--flag") && !a.is("flag")));
  REQUIRE((a.next() && !a.is_option() && a.operand() == "word"));
  REQUIRE((a.next() && a.is("--name") && a.value() == "a=b"));
  REQUIRE((a.next() && a.operand() == "-"));
  REQUIRE((a.next() && a.values() == std::vector<std::string>{"1", "", "2"}));
  REQUIRE((a.next() && !a.is("--flag") && a.operand() == "--flag"));
  REQUIRE((a.next() && a.operand() == "--"));
  REQUIRE_FALSE(a.next());
}

TEST_CASE("argument_reader: what is wrong is said with the option's name", "[options]") {
  argument_reader flag{{"--flag=3", "more"}};
  REQUIRE(flag.next());
  REQUIRE_THROWS_AS(flag.next(), usage_error);  // nobody took the value
  argument_reader last{{"--last"}};
  REQUIRE(last.next());
  REQUIRE_THROWS_AS(last.value(), usage_error);
  REQUIRE_THROWS_AS(last.operand(), usage_error);
  REQUIRE_THROWS_WITH(of("7").number(8, 9), "--x: 7 is too little");
  REQUIRE_THROWS_WITH(of("10").number(8, 9), "--x: 10 is too much");
  REQUIRE_THROWS_WITH(of("9x").number(8, 9), "--x: 9x is not a number");
}

TEST_CASE("argument_reader: numbers with units", "[options]") {
  REQUIRE(of("65535").number<std::uint16_t>(0, 65535) == 65535);
  REQUIRE(of("1.5ms").time() == 1500us);
  REQUIRE(of("0s").time() == 0s);
  REQUIRE(of("2h").time() == 2h);
  REQUIRE(of("3k").bytes(0, 4096) == 3072);
  REQUIRE(of("2%").share() == 0.02);
  REQUIRE(of("1GiB/s").bytes_per_second(1, std::size_t{1} << 30) == std::size_t{1} << 30);
  for (const char* wrong : {"", "5", "s", "-1s", "1e30h", "nans", "1d", "1 s"}) {
    INFO(wrong);
    REQUIRE_THROWS_AS(of(wrong).time(), usage_error);
  }
  for (const char* wrong : {"", "5k", "4097", "k", "1kB", "-1", "18446744073709551615G"}) {
    INFO(wrong);
    REQUIRE_THROWS_AS(of(wrong).bytes(0, 4096), usage_error);
  }
}
