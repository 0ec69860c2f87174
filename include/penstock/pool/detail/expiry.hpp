// penstock/pool/detail/expiry.hpp: the latest start of one task, and who hears that it was missed.
#pragma once

#include <memory>
#include <stdexcept>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/pool/submit_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class expiry {
 public:
  /// What the options say, or null. Throws std::invalid_argument if they say it twice.
  [[nodiscard]] static std::unique_ptr<expiry> of(submit_options& options, const any_clock& clock) {
    deadline before = options.start_before;
    if (!options.expires_in.is_for_ever()) {
      if (!before.is_never()) throw std::invalid_argument{"penstock::worker_pool: start_before and expires_in were both given"};
      before = clock.after(options.expires_in.length());
    }
    if (before.is_never()) return nullptr;
    return std::make_unique<expiry>(before, std::move(options.on_expired));
  }

  expiry(deadline before, move_only_function<void()> on_expired) noexcept : before_{before}, on_expired_{std::move(on_expired)} {}

  /// Whether it is too late now.
  [[nodiscard]] bool missed() const noexcept { return before_.passed(); }
  /// Throws what the callback throws.
  void tell() {
    if (on_expired_) on_expired_();
  }

 private:
  const deadline before_;
  move_only_function<void()> on_expired_;
};

}  // namespace penstock::inline v0_1::detail
