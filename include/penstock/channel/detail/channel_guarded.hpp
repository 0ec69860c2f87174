// penstock/channel/detail/channel_guarded.hpp: channels with options, and reserved places: a part of channel.hpp, which includes it.
//
// A ring that is *guarded* refuses plain pushes. They come here and take the channel's lock, under which what is inside, what is promised and
// who waits can be weighed together. Pops stay what they are, and account for what they took afterwards. Room is handed over: whoever
// makes room puts the item of the first in line in, or gives it its places, so a big request is not starved by small ones, and nobody
// overtakes. (A tentative one is only woken: it may take something else in the meantime.)
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, channel_policy Policy, class Sync>
std::size_t basic_channel<T, Policy, Sync>::checked_weight(const T& item) const {
  const std::size_t weight = rules_ == nullptr ? 1 : rules_->weigh(item);
  if (rules_ != nullptr && rules_->too_heavy(weight)) {
    throw std::invalid_argument{"penstock::channel: an item weighs " + std::to_string(weight)};
  }
  return weight;
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::check_reservation(std::size_t places, std::size_t weight) const {
  if (places == 0 || places > capacity()) {
    throw std::invalid_argument{"penstock::channel: places to reserve are " + std::to_string(places)};
  }
  if (rules_ != nullptr && rules_->too_heavy(weight)) {
    throw std::invalid_argument{"penstock::channel: the weight to reserve is " + std::to_string(weight)};
  }
}

template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] detail::ring_step basic_channel<T, Policy, Sync>::push_guarded(T& item, std::size_t weight) {
  using detail::ring_step;
  detail::turn_wait<Sync> others;
  for (;;) {
    detail::wait_list<Sync> won;
    std::optional<T> dropped;
    const auto locked_part = [&] {
      std::scoped_lock guard{lock_};
      const ring_step s = enter_if_first(item, weight, won);
      if (s != ring_step::full || rules_ == nullptr || rules_->options.when_full == when_full::wait) return s;
      if (rules_->options.when_full == when_full::drop_newest) {
        rules_->happened(&channel_stats::dropped_newest);
        return ring_step::dropped;
      }
      // Only what is inside can be dropped: not what is reserved, nor those who wait for places.
      const std::size_t reserved = reserved_.load(std::memory_order_relaxed);  // relaxed: changes under lock_
      if (rules_->options.when_full == when_full::reject || reserved == capacity() || !room_.idle() ||
          !rules_->could_bear(weight)) {
        rules_->happened(&channel_stats::refused);
        return ring_step::rejected;
      }
      if (!drop_one(dropped, won)) return ring_step::full;  // a pop is between the ring and its account, which gives room
      return enter_if_first(item, weight, won);
    };
    ring_step s;
    if constexpr (nothrow) {
      s = locked_part();
    } else {
      try {
        s = locked_part();
      } catch (...) {  // a move: who was won under the lock has to hear of it, and what was dropped is dropped
        won.complete_all();
        if (dropped) on_drop(std::move(*dropped));
        throw;
      }
    }
    won.complete_all();
    if (dropped) on_drop(std::move(*dropped));
    if (s == ring_step::dropped) {
      on_drop(T(std::move(item)));
      return ring_step::done;
    }
    if (s != ring_step::full || rules_ == nullptr || rules_->options.when_full != when_full::drop_oldest) return s;
    if (!dropped) others.wait();
  }
}

// With lock_ held. False: there is nothing to drop.
template <class T, channel_policy Policy, class Sync>
bool basic_channel<T, Policy, Sync>::drop_one(std::optional<T>& dropped, detail::wait_list<Sync>& won) {
  if constexpr (nothrow) {
    if (items_.try_pop(dropped) != detail::ring_step::done) return false;
  } else {
    try {
      if (items_.try_pop(dropped) != detail::ring_step::done) return false;
    } catch (...) {
      rules_->left(1, items_.size(), &channel_stats::discarded, won);  // lost, and its place is free
      hand_over_room(won);
      throw;
    }
  }
  rules_->left(rules_->weigh(*dropped), items_.size(), &channel_stats::dropped_oldest, won);
  hand_over_room(won);
  return true;
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::on_drop(T&& dropped) const {
  if (rules_->options.on_drop) rules_->options.on_drop(std::move(dropped));
}

// A waiter's look, without the lock.
template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] bool basic_channel<T, Policy, Sync>::pass_guarded(room_node& n) noexcept {
  using detail::ring_step;
  ring_step s = ring_step::done;
  if (n.item != nullptr) {
    if constexpr (nothrow) {
      s = push_guarded(*n.item, n.weight);
    } else {
      try {
        s = push_guarded(*n.item, n.weight);
      } catch (...) {
        n.caught = std::current_exception();
      }
    }
  } else {
    std::scoped_lock guard{lock_};
    if (items_.is_closed()) {
      s = ring_step::closed;
    } else if (room_.idle() && fits(n.places, n.weight)) {
      promise(n);
    } else {
      s = ring_step::full;
    }
  }
  if (s == ring_step::full) return false;
  n.how = s == ring_step::done       ? detail::outcome::granted
          : s == ring_step::rejected ? detail::outcome::rejected
                                     : detail::outcome::closed;
  return true;
}

// With lock_ held: the guarded form of park().
template <class T, channel_policy Policy, class Sync>
detail::step basic_channel<T, Policy, Sync>::link_guarded(room_node& n, detail::link_at where,
                                                          detail::wait_list<Sync>& won) noexcept {
  if (items_.is_closed()) {
    n.how = detail::outcome::closed;
    return detail::step::passed;
  }
  const bool at_front = where == detail::link_at::front;
  const bool first = at_front || room_.idle();
  if (!first || !fits(n.places, n.weight)) {
    if (where == detail::link_at::nowhere) return detail::step::refused;
    room_.link(n, at_front);
    // Announced; a pop that was before that, and saw nobody, is seen now.
    if (!first || !fits(n.places, n.weight)) return detail::step::linked;
    room_.unlink(n);
  }
  admit(n, won);
  n.how = detail::outcome::granted;
  hand_over_room(won);  // there may be room for the next one, too
  return detail::step::passed;
}

template <class T, channel_policy Policy, class Sync>
bool basic_channel<T, Policy, Sync>::fits(std::size_t places, std::size_t weight) const noexcept {
  // relaxed: reserved_ changes under lock_
  return items_.has_room(reserved_.load(std::memory_order_relaxed) + places) && (rules_ == nullptr || rules_->bears(weight));
}

template <class T, channel_policy Policy, class Sync>
detail::ring_step basic_channel<T, Policy, Sync>::enter_if_first(T& item, std::size_t weight, detail::wait_list<Sync>& won) {
  if (items_.is_closed()) return detail::ring_step::closed;
  if (!room_.idle() || !fits(1, weight)) return detail::ring_step::full;
  enter(item, weight, won);
  return detail::ring_step::done;
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::enter(T& item, std::size_t weight, detail::wait_list<Sync>& won) {
  items_.push_claimed(item);
  if (tally_ != nullptr) tally_->went_in(items_);
  if (rules_ != nullptr) rules_->entered(weight, items_.size(), won);
  available_.wake(1, won);
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::promise(room_node& n) noexcept {
  // relaxed: orders nothing; consumers look at it once the channel is closed, and that happens under lock_
  reserved_.store(reserved_.load(std::memory_order_relaxed) + n.places, std::memory_order_relaxed);
  if (rules_ != nullptr) rules_->reserved_weight += n.weight;
}

// Gives a waiter what it waits for; there is room.
template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::admit(room_node& n, detail::wait_list<Sync>& won) noexcept {
  if (n.item == nullptr) {
    promise(n);
  } else if constexpr (nothrow) {
    enter(*n.item, n.weight, won);
  } else {
    try {
      enter(*n.item, n.weight, won);
    } catch (...) {
      n.caught = std::current_exception();
    }
  }
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::hand_over_room(detail::wait_list<Sync>& won) noexcept {
  while (auto* const n = static_cast<room_node*>(room_.first())) {
    if (!fits(n->places, n->weight)) return;
    if (n->tentative) return room_.win(*n, detail::outcome::woken, won);
    admit(*n, won);
    room_.win(*n, detail::outcome::granted, won);
  }
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::room_is_free(std::size_t places, detail::wait_list<Sync>& won) noexcept {
  if (items_.is_guarded()) {
    hand_over_room(won);
  } else {
    room_.wake(places, won);
  }
}

// An item has left a channel with options. Without the lock.
template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] void basic_channel<T, Policy, Sync>::account_for(std::size_t weight,
                                                                   std::size_t channel_stats::* why) noexcept {
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    rules_->left(weight, items_.size(), why, won);
    hand_over_room(won);
  }
  won.complete_all();
}

// A try_push() that found no room.
template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::refused() noexcept {
  if (tally_ != nullptr) tally_->refused();
  if (rules_ == nullptr) return;
  std::scoped_lock guard{lock_};
  rules_->happened(&channel_stats::refused);
}

}  // namespace penstock::inline v0_1
