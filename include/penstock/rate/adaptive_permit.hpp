// penstock/rate/adaptive_permit.hpp: one call in flight, as adaptive_limit counts and times it.
//
//   auto permit = limit.acquire();           // result<adaptive_permit>
//   if (!permit) return permit.error();
//   reply r = service.ask(query);
//   if (r.refused()) permit->dropped();      // overload; otherwise the end of the scope counts as a success
//
// Thread safety  belongs to one thread at a time, and may be given back on another one than acquired it.
// Destruction    success(), or ignored() if an exception is on its way out of the scope (a failure says nothing of how long the work takes, and a
//                quick one would pass for a fast service). Compared with the time of acquisition by std::uncaught_exceptions(): a permit that a
//                coroutine keeps while it waits should say its end itself where the coroutine may be resumed inside a destructor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1 {

/// What became of a call.
enum class call_outcome : std::uint8_t {
  success,  ///< its latency counts; it is ignored if the clock was set back so far that it ended before it began
  dropped,  ///< refused, or timed out, for overload: the limit is too high
  ignored,  ///< says nothing: failed by itself, was served from a cache, was cancelled
};

namespace detail {

/// What a permit is given back to.
class permit_source {
 public:
  virtual void end_call(std::size_t share, nanoseconds_point began, call_outcome how) noexcept = 0;

 protected:
  ~permit_source() = default;
};

}  // namespace detail

class [[nodiscard]] adaptive_permit {
 public:
  /// Owns nothing.
  adaptive_permit() noexcept = default;
  adaptive_permit(detail::permit_source& from, std::size_t share, detail::nanoseconds_point began) noexcept
      : from_{&from}, share_{share}, began_{began}, exceptions_{std::uncaught_exceptions()} {}
  adaptive_permit(adaptive_permit&& other) noexcept
      : from_{std::exchange(other.from_, nullptr)}, share_{other.share_}, began_{other.began_}, exceptions_{other.exceptions_} {}
  adaptive_permit& operator=(adaptive_permit&& other) noexcept {
    if (this != &other) {
      end();
      from_ = std::exchange(other.from_, nullptr);
      share_ = other.share_;
      began_ = other.began_;
      exceptions_ = other.exceptions_;
    }
    return *this;
  }
  ~adaptive_permit() { end(); }

  explicit operator bool() const noexcept { return from_ != nullptr; }

  /// Each ends the call, gives the permit back now, and serves who waits; nothing happens if it owns nothing any more.
  void success() noexcept { end_as(call_outcome::success); }
  void dropped() noexcept { end_as(call_outcome::dropped); }
  void ignored() noexcept { end_as(call_outcome::ignored); }
  void end_as(call_outcome how) noexcept {
    if (from_ != nullptr) std::exchange(from_, nullptr)->end_call(share_, began_, how);
  }

 private:
  void end() noexcept {
    if (from_ != nullptr) end_as(std::uncaught_exceptions() > exceptions_ ? call_outcome::ignored : call_outcome::success);
  }

  detail::permit_source* from_ = nullptr;
  std::size_t share_ = 0;
  detail::nanoseconds_point began_ = 0;
  int exceptions_ = 0;
};

}  // namespace penstock::inline v0_1
