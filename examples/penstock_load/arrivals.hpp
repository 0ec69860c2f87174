// When requests are meant to start: at a constant rate, along ramps and in steps, evenly or as a Poisson process.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <penstock/core/backoff.hpp>

namespace load {

/// A stretch of time in which the rate goes evenly from one value to another.
struct rate_step {
  double from = 0;  ///< a second
  double to = 0;
  std::chrono::nanoseconds length{};
};

/// The rate over time, and its integral: how many arrivals are to be expected until a moment.
class rate_profile {
 public:
  rate_profile() = default;
  explicit rate_profile(std::vector<rate_step> steps);

  [[nodiscard]] const std::vector<rate_step>& steps() const noexcept { return steps_; }
  /// Expected arrivals in all.
  [[nodiscard]] double total() const noexcept { return total_; }
  /// Of steps before this one.
  [[nodiscard]] std::chrono::nanoseconds begin_of(std::size_t step) const noexcept { return begins_[step]; }

  struct moment {
    std::chrono::nanoseconds at{};
    std::size_t step = 0;
  };
  /// When as many as `expected` are to be expected; nothing if that is after the end. `from`: it is known to be in this step or a later one.
  [[nodiscard]] std::optional<moment> when(double expected, std::size_t from = 0) const;

 private:
  std::vector<rate_step> steps_;
  std::vector<std::chrono::nanoseconds> begins_;
  std::vector<double> before_;  // arrivals expected before a step
  double total_ = 0;
};

enum class spacing : std::uint8_t { constant, poisson };

/// The arrivals of one of `of` threads; together they have those of the profile: of a constant rate each takes every of-th; of a Poisson process each
/// has one of its own with its share of the rate, for their sum is one again. The same seed gives the same times.
class arrivals {
 public:
  arrivals(const rate_profile& profile, spacing how, std::uint64_t seed, std::size_t index, std::size_t of);

  /// The next one, from the beginning of the profile; nothing after its end. Never decreases.
  [[nodiscard]] std::optional<rate_profile::moment> next();

 private:
  const rate_profile* profile_;
  spacing how_;
  double share_;  // arrivals of all threads for one of this one
  penstock::splitmix64 random_;
  double expected_;
  std::size_t step_ = 0;
};

}  // namespace load
