// Which cases a property test tries.
#pragma once

#include <cstdlib>
#include <string_view>

namespace test_support {

/// In rapidcheck's words (RC_PARAMS, which wins if it is set): what is given, and the same in every run; but the long tier looks for new ones.
inline void try_cases(const char* usually, const char* in_the_long_tier) {
  const char* const tier = std::getenv("PENSTOCK_TIER");
  const bool is_long = tier != nullptr && std::string_view{tier} == "long";
  ::setenv("RC_PARAMS", is_long ? in_the_long_tier : usually, 0);
}

}  // namespace test_support
