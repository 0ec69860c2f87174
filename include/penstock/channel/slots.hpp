// penstock/channel/slots.hpp: places in a channel that are kept for their holder.
//
//   auto slot = requests.reserve();                        // waits for room, before there is anything to push
//   if (slot) (void)slot->push(read(socket));              // does not wait, and is not refused
//
// Thread safety  a slots object belongs to one thread at a time. The channel must outlive it.
// Destruction    gives back the places that were not used.
#pragma once

#include <cstddef>
#include <utility>

#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

/// What `channel::reserve()` gives; move-only.
template <class Channel>
class [[nodiscard]] basic_slots {
 public:
  using value_type = typename Channel::value_type;

  basic_slots(basic_slots&& other) noexcept
      : channel_{other.channel_}, places_{std::exchange(other.places_, 0)}, weight_{std::exchange(other.weight_, 0)} {}
  basic_slots& operator=(basic_slots&& other) noexcept {
    if (this != &other) {
      release();
      channel_ = other.channel_;
      places_ = std::exchange(other.places_, 0);
      weight_ = std::exchange(other.weight_, 0);
    }
    return *this;
  }
  ~basic_slots() { release(); }

  /// Pushes into one of the places, also when the channel has been closed meanwhile. errc::closed only after abort(), errc::full if no place
  /// is left; the item is then untouched. Throws std::invalid_argument if it weighs more than what is left of the reserved weight,
  /// and what moving the item throws.
  result<void> push(value_type&& item) { return channel_->push_reserved(item, *this); }

  /// Gives the places back that were not used. Idempotent.
  void release() noexcept {
    if (places_ > 0) channel_->give_back(*this);
  }

  /// Places, and weight, that are left.
  [[nodiscard]] std::size_t places() const noexcept { return places_; }
  [[nodiscard]] std::size_t weight() const noexcept { return weight_; }

 private:
  friend Channel;
  basic_slots(Channel& channel, std::size_t places, std::size_t weight) noexcept
      : channel_{&channel}, places_{places}, weight_{weight} {}

  Channel* channel_;
  std::size_t places_;
  std::size_t weight_;
};

}  // namespace penstock::inline v0_1
