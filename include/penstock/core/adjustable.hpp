// penstock/core/adjustable.hpp: what has a limit that somebody else moves while it is in use.
//
//   penstock::worker_pool pool{{.threads = 4, .max_threads = 64}};
//   penstock::adaptive_limit<penstock::vegas_limit> limit{{.target = pool}};   // from now on it says how many threads the pool has
//
// A semaphore is one (its permits), and so is a worker_pool (its threads). What drives a limit knows no more of it than this.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace penstock::inline v0_1 {

/// `set_limit(n)`, with n >= 1: at most `n` at a time from now on. Who is over it already goes on; it never waits for that.
template <class T>
concept adjustable = requires(T& t, std::ptrdiff_t n) { t.set_limit(n); };

/// Refers to an adjustable, of whatever type, which must outlive it; or to none.
class adjustable_ref {
 public:
  constexpr adjustable_ref() noexcept = default;
  template <adjustable T>
    requires(!std::same_as<std::remove_cv_t<T>, adjustable_ref> && !std::is_const_v<T>)
  constexpr adjustable_ref(T& target) noexcept
      : target_{&target}, set_{[](void* t, std::ptrdiff_t n) { static_cast<void>(static_cast<T*>(t)->set_limit(n)); }} {}

  explicit constexpr operator bool() const noexcept { return target_ != nullptr; }
  /// Precondition: it refers to something. Throws what that throws.
  void set_limit(std::ptrdiff_t n) const { set_(target_, n); }

 private:
  void* target_ = nullptr;
  void (*set_)(void*, std::ptrdiff_t) = nullptr;
};

}  // namespace penstock::inline v0_1
