// penstock/core/errc.hpp: why an operation did not do what was asked.
//
// An std::error_code enum: `result.error() == errc::timeout`. Where the standard has a condition of the same meaning, the two
// compare equal: `result.error() == std::errc::timed_out`.
//
// Thread safety  all of it may be used at any time, also while statics are built and torn down.
#pragma once

#include <cstdio>
#include <string>
#include <system_error>
#include <type_traits>

namespace penstock::inline v0_1 {

/// The condition of std::errc that a code is equivalent to is in brackets.
enum class errc {
  empty = 1,       ///< there is nothing to take now [resource_unavailable_try_again]
  full,            ///< there is no room now [resource_unavailable_try_again]
  closed,          ///< it was closed: this will not change [broken_pipe]
  timeout,         ///< the deadline passed [timed_out]
  cancelled,       ///< stop was requested [operation_canceled]
  rejected,        ///< refused by an overflow policy
  deadlock,        ///< waiting here could never end [resource_deadlock_would_occur]
  broken_promise,  ///< who was to give the value went away without
  lagged,          ///< fell behind: items were lost, what comes next is still to be had
  disconnected,    ///< fell behind and was cut off for it: this will not change
  not_found,       ///< it was looked for, and there is none
  stale,           ///< what it was asked for with (a lease, a token) counts no more: somebody else may have it
  busy,            ///< it is in use now [device_or_resource_busy]
  unsupported,     ///< what was asked cannot do this at all [operation_not_supported]
  exception,       ///< something was thrown that has no code of its own
};

namespace detail {

class errc_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "penstock"; }

  // Every program that includes this compiles it, since the category is an object: so one string is made, in one place.
  [[nodiscard]] std::string message(int value) const override {
    char unknown[48];
    const char* text = text_of(static_cast<errc>(value));
    if (text == nullptr) {
      std::snprintf(unknown, sizeof unknown, "unknown penstock error %d", value);
      text = unknown;
    }
    return text;
  }

  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<errc>(value)) {
      case errc::empty:
      case errc::full:
        return std::make_error_condition(std::errc::resource_unavailable_try_again);
      case errc::closed:
        return std::make_error_condition(std::errc::broken_pipe);
      case errc::timeout:
        return std::make_error_condition(std::errc::timed_out);
      case errc::cancelled:
        return std::make_error_condition(std::errc::operation_canceled);
      case errc::deadlock:
        return std::make_error_condition(std::errc::resource_deadlock_would_occur);
      case errc::busy:
        return std::make_error_condition(std::errc::device_or_resource_busy);
      case errc::unsupported:
        return std::make_error_condition(std::errc::operation_not_supported);
      case errc::rejected:
      case errc::broken_promise:
      case errc::lagged:
      case errc::disconnected:
      case errc::not_found:
      case errc::stale:
      case errc::exception:
        break;  // the standard has no condition that means this
    }
    return {value, *this};
  }

 private:
  // Null: it is none of them.
  static const char* text_of(errc value) noexcept {
    switch (value) {
      case errc::empty:
        return "nothing to take";
      case errc::full:
        return "no room";
      case errc::closed:
        return "closed";
      case errc::timeout:
        return "timed out";
      case errc::cancelled:
        return "cancelled";
      case errc::rejected:
        return "rejected";
      case errc::deadlock:
        return "waiting would never end";
      case errc::broken_promise:
        return "the promise was dropped without a value";
      case errc::lagged:
        return "fell behind and lost items";
      case errc::disconnected:
        return "fell behind and was disconnected";
      case errc::not_found:
        return "not found";
      case errc::stale:
        return "the lease was lost";
      case errc::busy:
        return "in use";
      case errc::unsupported:
        return "not supported";
      case errc::exception:
        return "an exception was thrown";
    }
    return nullptr;
  }
};

// A union, so that the category is never destroyed: a destructor that runs late may still ask for the message of an error.
union immortal_errc_category {
  constexpr immortal_errc_category() noexcept : category{} {}
  ~immortal_errc_category() {}
  errc_category category;
};

inline constinit const immortal_errc_category the_errc_category{};

}  // namespace detail

/// The category of errc, "penstock".
[[nodiscard]] inline const std::error_category& error_category() noexcept { return detail::the_errc_category.category; }

[[nodiscard]] inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

}  // namespace penstock::inline v0_1

template <>
struct std::is_error_code_enum<penstock::errc> : std::true_type {};
