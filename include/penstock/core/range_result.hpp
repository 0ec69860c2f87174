// penstock/core/range_result.hpp: how far an operation on many items came.
//
//   if (const auto put = pages.push_range(batch); !put) log(put.count, put.error);
#pragma once

#include <cstddef>
#include <system_error>

namespace penstock::inline v0_1 {

/// How many items a range operation moved, and why it ended before the last one (no error: it did not).
struct [[nodiscard]] range_result {
  std::size_t count = 0;
  std::error_code error{};
  explicit operator bool() const noexcept { return !error; }
};

}  // namespace penstock::inline v0_1
