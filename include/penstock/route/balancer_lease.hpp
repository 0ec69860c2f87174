// penstock/route/balancer_lease.hpp: what a balancer gives: one call in flight, and the attempts that one call may make.
//
//   auto lease = backends.pick();
//   if (lease && !lease->ask(query, answer)) lease.failure();
//
// Thread safety  a lease belongs to one thread at a time, and may end on another one than it began on; the attempts of a call belong to one thread.
// Destruction    of a lease: success(), or failure() if an exception is on its way out of the scope.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/route/balancer_options.hpp>
#include <penstock/route/detail/checked_options.hpp>

namespace penstock::inline v0_1 {

template <class Balancer>
class balancer_attempts;

/// One call in flight. If nothing is said, the end of its scope is a success, or a failure if an exception is on its way out of it (by
/// std::uncaught_exceptions(): a lease that a coroutine keeps while it waits should say its end itself).
template <class Balancer>
class [[nodiscard]] balancer_lease {
 public:
  /// Of nothing.
  balancer_lease() noexcept = default;
  balancer_lease(balancer_lease&& other) noexcept
      : from_{std::exchange(other.from_, nullptr)}, place_{other.place_}, exceptions_{other.exceptions_}, began_{other.began_} {}
  balancer_lease& operator=(balancer_lease&& other) noexcept {
    if (this != &other) {
      end();
      from_ = std::exchange(other.from_, nullptr);
      place_ = other.place_;
      exceptions_ = other.exceptions_;
      began_ = other.began_;
    }
    return *this;
  }
  ~balancer_lease() { end(); }

  explicit operator bool() const noexcept { return from_ != nullptr; }
  /// The endpoint, which others use, too. It lives until the lease ends.
  [[nodiscard]] auto& operator*() const noexcept { return from_->values_[place_].value; }
  [[nodiscard]] auto* operator->() const noexcept { return std::addressof(from_->values_[place_].value); }
  [[nodiscard]] endpoint_id id() const noexcept { return from_->table_.id_of(place_); }

  /// Each ends the lease now; nothing happens if it has ended. The endpoint is not touched after it.
  void success() noexcept { end_as(lease_outcome::success); }
  void failure() noexcept { end_as(lease_outcome::failure); }
  void ignore() noexcept { end_as(lease_outcome::ignored); }
  void end_as(lease_outcome how) noexcept {
    if (from_ != nullptr) std::exchange(from_, nullptr)->end_lease(place_, began_, how);
  }

 private:
  friend Balancer;
  friend balancer_attempts<Balancer>;
  balancer_lease(Balancer& from, std::uint32_t place, detail::nanoseconds_point began) noexcept
      : from_{&from}, place_{place}, exceptions_{std::uncaught_exceptions()}, began_{began} {}

  void end() noexcept {
    if (from_ != nullptr) end_as(std::uncaught_exceptions() > exceptions_ ? lease_outcome::failure : lease_outcome::success);
  }

  Balancer* from_ = nullptr;
  std::uint32_t place_ = 0;
  int exceptions_ = 0;
  detail::nanoseconds_point began_ = 0;
};

/// The endpoints that one call may be tried at, one after the other and none twice.
template <class Balancer>
class balancer_attempts {
 public:
  /// Another endpoint; an empty lease if the attempts are used up, the balancer's retries are (retry_share, or its budget), or every endpoint was tried.
  [[nodiscard]] balancer_lease<Balancer> next() noexcept {
    if (made_ == limit_ || !from_.may_try_again(made_ == 0)) return {};
    balancer_lease<Balancer> another = from_.pick_other(key_, std::span{tried_}.first(made_));
    if (another) {
      tried_[made_++] = another.place_;
    } else if (made_ > 0) {
      from_.give_retry_back();
    }
    return another;
  }
  /// How many leases there were.
  [[nodiscard]] unsigned made() const noexcept { return made_; }

 private:
  friend Balancer;
  static constexpr unsigned most = 16;
  balancer_attempts(Balancer& from, std::uint64_t key, unsigned limit) : from_{from}, key_{key}, limit_{limit} {
    detail::require_option(limit >= 1 && limit <= most, "attempts must be 1 to 16");
  }

  Balancer& from_;
  const std::uint64_t key_;
  const unsigned limit_;
  unsigned made_ = 0;
  std::array<detail::dependent<std::uint32_t, Balancer>, most> tried_{};
};

}  // namespace penstock::inline v0_1
