// penstock/observe/detail/readable.hpp: times and rates as people read them in tables: in at most 8 characters, with the unit that suits.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace penstock::inline v0_1::detail {

template <class = void>
std::string readable(std::chrono::nanoseconds d) {
  const auto ns = static_cast<double>(d.count());
  char text[32];
  if (ns < 1e3) {
    std::snprintf(text, sizeof text, "%.0f ns", ns);
  } else if (ns < 1e6) {
    std::snprintf(text, sizeof text, "%.1f us", ns / 1e3);
  } else if (ns < 1e9) {
    std::snprintf(text, sizeof text, "%.1f ms", ns / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f s", ns / 1e9);
  }
  return text;
}
template <class = void>
std::string readable(double per_second) {
  char text[32];
  std::snprintf(text, sizeof text, per_second < 100 ? "%.1f" : "%.0f", per_second);
  return text;
}

}  // namespace penstock::inline v0_1::detail
