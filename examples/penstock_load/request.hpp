// What is sent: the bytes of the requests, rendered once but for the numbers that are drawn for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/backoff.hpp>

#include "options.hpp"

namespace load {

class request_source {
 public:
  /// Throws usage_error for a {FROM-TO} whose numbers are none.
  request_source(const options& o, std::uint64_t seed);

  /// The next request: it is valid until the next call.
  [[nodiscard]] std::string_view next();
  [[nodiscard]] bool is_head() const noexcept { return head_; }

 private:
  struct drawn {
    std::string before;  ///< what precedes the number
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };
  struct pattern {
    std::vector<drawn> numbers;
    std::string rest;
  };

  std::vector<pattern> patterns_;
  std::size_t turn_ = 0;
  bool head_;
  penstock::splitmix64 random_;
  std::string rendered_;
};

}  // namespace load
