#include "arrivals.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace load {

namespace {

double seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

/// A seed for each thread; neighbouring ones have nothing in common.
std::uint64_t seed_of(std::uint64_t seed, std::size_t index) {
  penstock::splitmix64 random{seed};
  for (std::size_t i = 0; i < index; ++i) static_cast<void>(random());
  return random();
}

}  // namespace

rate_profile::rate_profile(std::vector<rate_step> steps) : steps_{std::move(steps)} {
  std::chrono::nanoseconds begin{0};
  for (const rate_step& s : steps_) {
    begins_.push_back(begin);
    before_.push_back(total_);
    begin += s.length;
    total_ += (s.from + s.to) / 2 * seconds(s.length);
  }
}

std::optional<rate_profile::moment> rate_profile::when(double expected, std::size_t from) const {
  if (!(expected < total_ - 1e-6)) return std::nullopt;  // 200/s for 2.2 s are 440, and not 440.00000000000006
  std::size_t i = from;
  while (i + 1 < steps_.size() && expected >= before_[i + 1]) ++i;
  const rate_step& s = steps_[i];
  const double within = expected - before_[i];
  // within = from * t + slope / 2 * t², in the form that does not subtract what is nearly equal
  const double slope = (s.to - s.from) / seconds(s.length);
  const double t = 2 * within / (s.from + std::sqrt(std::max(0.0, s.from * s.from + 2 * slope * within)));
  const auto after = std::chrono::nanoseconds{within == 0 ? 0 : static_cast<std::int64_t>(t * 1e9)};
  return moment{begins_[i] + std::min(after, s.length), i};
}

arrivals::arrivals(const rate_profile& profile, spacing how, std::uint64_t seed, std::size_t index, std::size_t of)
    : profile_{&profile},
      how_{how},
      share_{static_cast<double>(of)},
      random_{seed_of(seed, index)},
      expected_{how == spacing::constant ? static_cast<double>(index) - share_ : 0} {}

std::optional<rate_profile::moment> arrivals::next() {
  if (how_ == spacing::constant) {
    expected_ += share_;
  } else {
    const double uniform = (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53;  // within (0, 1)
    expected_ -= std::log(uniform) * share_;
  }
  const auto at = profile_->when(expected_, step_);
  if (at) step_ = at->step;
  return at;
}

}  // namespace load
