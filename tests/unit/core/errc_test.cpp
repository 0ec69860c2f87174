#include <penstock/core/errc.hpp>

#include <set>
#include <string>
#include <system_error>

#include "../../support/catch.hpp"

using penstock::errc;

namespace {

constexpr errc every[] = {errc::empty,     errc::full,     errc::closed,         errc::timeout,     errc::cancelled,
                          errc::rejected,  errc::deadlock, errc::broken_promise, errc::lagged,      errc::disconnected,
                          errc::not_found, errc::stale,    errc::busy,           errc::unsupported, errc::exception};

}  // namespace

TEST_CASE("errc: is an error code that equals itself and no other", "[errc]") {
  for (const errc a : every) {
    const std::error_code code = a;
    CHECK(code);
    CHECK(code.category() == penstock::error_category());
    for (const errc b : every) CHECK((code == b) == (a == b));
    CHECK(code != std::error_code{static_cast<int>(a), std::generic_category()});
  }
}

TEST_CASE("errc: every error says what it is", "[errc]") {
  std::set<std::string> messages;
  for (const errc e : every) messages.insert(make_error_code(e).message());
  CHECK(messages.size() == std::size(every));
  CHECK(messages.count("") == 0);
  CHECK(std::string{penstock::error_category().name()} == "penstock");
  CHECK(penstock::error_category().message(12345).find("12345") != std::string::npos);
}

TEST_CASE("errc: equals the standard's condition where there is one", "[errc]") {
  const auto is = [](errc e, std::errc condition) { return std::error_code{e} == condition; };
  CHECK(is(errc::timeout, std::errc::timed_out));
  CHECK(is(errc::cancelled, std::errc::operation_canceled));
  CHECK(is(errc::closed, std::errc::broken_pipe));
  CHECK(is(errc::deadlock, std::errc::resource_deadlock_would_occur));
  CHECK(is(errc::empty, std::errc::resource_unavailable_try_again));
  CHECK(is(errc::full, std::errc::resource_unavailable_try_again));
  CHECK(is(errc::busy, std::errc::device_or_resource_busy));
  CHECK(is(errc::unsupported, std::errc::operation_not_supported));
  CHECK_FALSE(is(errc::closed, std::errc::timed_out));
  CHECK_FALSE(is(errc::rejected, std::errc::operation_canceled));
  CHECK(std::error_code{errc::rejected}.default_error_condition().category() == penstock::error_category());
}
