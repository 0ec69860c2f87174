// penstock/core/retry_allowance.hpp: what says whether there may be another attempt, for all who ask it together.
//
//   penstock::retry_budget budget;                                              // job/retry_budget.hpp: one of them
//   penstock::retry(fetch, {.attempts = 5, .budget = budget});
//
// Retries multiply where everything fails at once: three layers with four attempts each are 64 calls. An allowance bounds retries by what goes right.
#pragma once

#include <concepts>
#include <type_traits>

namespace penstock::inline v0_1 {

/// `deposit()`: there is a new request, its first attempt. `try_withdraw()`: one more attempt, of whichever request; false: not now.
template <class A>
concept retry_allowance = requires(A& a) {
  { a.deposit() } noexcept;
  { a.try_withdraw() } noexcept -> std::convertible_to<bool>;
};

/// Refers to an allowance, of whatever type, which must outlive it; or to none, which allows everything.
class retry_allowance_ref {
 public:
  constexpr retry_allowance_ref() noexcept = default;
  template <retry_allowance A>
    requires(!std::same_as<std::remove_cv_t<A>, retry_allowance_ref> && !std::is_const_v<A>)
  constexpr retry_allowance_ref(A& allowance) noexcept
      : allowance_{&allowance},
        deposit_{[](void* a) noexcept { static_cast<A*>(a)->deposit(); }},
        try_withdraw_{[](void* a) noexcept -> bool { return static_cast<A*>(a)->try_withdraw(); }} {}

  explicit constexpr operator bool() const noexcept { return allowance_ != nullptr; }

  void deposit() const noexcept {
    if (allowance_ != nullptr) deposit_(allowance_);
  }
  [[nodiscard]] bool try_withdraw() const noexcept { return allowance_ == nullptr || try_withdraw_(allowance_); }

 private:
  void* allowance_ = nullptr;
  void (*deposit_)(void*) noexcept = nullptr;
  bool (*try_withdraw_)(void*) noexcept = nullptr;
};

}  // namespace penstock::inline v0_1
