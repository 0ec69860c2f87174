#include <penstock/core/version.hpp>

#include <string>

#include "../../support/catch.hpp"

TEST_CASE("version: the text and the numbers say the same", "[version]") {
  using namespace penstock;
  CHECK(version_string ==
        std::to_string(version_major) + "." + std::to_string(version_minor) + "." + std::to_string(version_patch));
}
