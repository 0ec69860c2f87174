// Which cases a property test tries.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "slow.hpp"

namespace test_support {

/// In rapidcheck's words (RC_PARAMS, which wins if it is set): what is given, and the same in every run; but the long tier looks for new ones. Of
/// "max_success=N" there are a quarter where each takes long.
inline void try_cases(const char* usually, const char* in_the_long_tier) {
  const char* const tier = std::getenv("PENSTOCK_TIER");
  const bool is_long = tier != nullptr && std::string_view{tier} == "long";
  std::string words = is_long ? in_the_long_tier : usually;
  constexpr std::string_view number = "max_success=";
  if (const auto at = words.find(number); slow && at != std::string::npos) {
    const auto digits = at + number.size();
    std::size_t length = 0;
    const int n = std::stoi(words.substr(digits), &length);
    words.replace(digits, length, std::to_string(n / 4));
  }
  ::setenv("RC_PARAMS", words.c_str(), 0);
}

}  // namespace test_support
