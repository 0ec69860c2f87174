// penstock/core/attempt_failure.hpp: how an attempt failed: what is told to those who decide whether there will be another one.
//
//   penstock::retry_policy patient{.retry_if = [](const penstock::attempt_failure& f) { return f.code() == std::errc::connection_refused; }};
//
// Thread safety  a value.
#pragma once

#include <exception>
#include <system_error>

namespace penstock::inline v0_1 {

struct attempt_failure {
  std::exception_ptr exception = {};  ///< what was thrown; null if an error was given
  std::error_code error = {};         ///< that error
  unsigned attempt = 1;               ///< the first one is 1

  /// The error that was given, or that of a std::system_error that was thrown; of other exceptions none.
  template <class = void>
  [[nodiscard]] std::error_code code() const {
    if (exception == nullptr) return error;
    try {
      std::rethrow_exception(exception);
    } catch (const std::system_error& e) {
      return e.code();
    } catch (...) {  // it has none
      return {};
    }
  }
};

}  // namespace penstock::inline v0_1
