// penstock/channel/detail/channel_slots.hpp: reserving places, and what becomes of them: a part of channel.hpp, which includes it.
#pragma once

#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::guard() noexcept {
  std::scoped_lock guard{lock_};
  if (!items_.is_guarded()) items_.guard();
}

template <class T, channel_policy Policy, class Sync>
auto basic_channel<T, Policy, Sync>::reserve(const wait_limits& limits, std::size_t places, std::size_t weight) -> result<slots> {
  check_reservation(places, weight);
  guard();
  detail::blocking_wait<basic_channel, reserve_node> wait{*this, this, places, weight};
  return wait.take_result(wait.run(limits.stop, limits.deadline));
}

template <class T, channel_policy Policy, class Sync>
auto basic_channel<T, Policy, Sync>::try_reserve(std::size_t places, std::size_t weight) -> result<slots> {
  check_reservation(places, weight);
  guard();
  reserve_node n{this, places, weight};
  if (!pass_guarded(n)) return errc::full;
  return n.take_result(n.how);
}

template <class T, channel_policy Policy, class Sync>
result<void> basic_channel<T, Policy, Sync>::push_reserved(T& item, slots& from) {
  if (from.places_ == 0) return errc::full;
  const bool weighed = rules_ != nullptr && rules_->options.weight;
  const std::size_t weight = weighed ? rules_->weigh(item) : 1;
  if (weighed && weight > from.weight_) {
    throw std::invalid_argument{"penstock::channel: an item weighs " + std::to_string(weight) + ", more than was reserved"};
  }
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (aborted_.load(std::memory_order_relaxed)) return errc::closed;  // relaxed: written under lock_
    enter(item, weight, won);
    --from.places_;
    const std::size_t spent = weighed ? weight : 0;
    from.weight_ -= spent;
    unreserve(1, spent + (from.places_ == 0 ? std::exchange(from.weight_, 0) : 0), won);
  }
  won.complete_all();
  return {};
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::give_back(slots& held) noexcept {
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    unreserve(std::exchange(held.places_, 0), std::exchange(held.weight_, 0), won);
  }
  won.complete_all();
}

// With lock_ held; what came of the places is inside by now.
template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::unreserve(std::size_t places, std::size_t weight, detail::wait_list<Sync>& won) noexcept {
  const std::size_t left = reserved_.load(std::memory_order_relaxed) - places;  // relaxed: changes under lock_
  reserved_.store(
      left, std::memory_order_seq_cst);  // seq_cst: comes after the push, for a consumer that finds nothing reserved looks again
  if (rules_ != nullptr) rules_->reserved_weight -= weight;
  if (left == 0 && items_.is_closed()) available_.wake_all(detail::outcome::woken, won);
  hand_over_room(won);
}

}  // namespace penstock::inline v0_1
