// penstock/channel/detail/channel_waiting.hpp: pushing, popping and waiting: the second part of channel.hpp, which includes it.
#pragma once

#include <cassert>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

/// Who waits for room: for an item that is to go in, or for places that it may use later.
template <class T, channel_policy Policy, class Sync>
struct basic_channel<T, Policy, Sync>::room_node : detail::channel_node<Sync>, thrown_by_move {
  room_node(T* i, std::size_t p, std::size_t w) noexcept : item{i}, places{p}, weight{w} {}

  T* const item;  // null: a reservation
  const std::size_t places;
  const std::size_t weight;
};

template <class T, channel_policy Policy, class Sync>
struct basic_channel<T, Policy, Sync>::push_node : room_node {
  push_node(basic_channel* c, T* i) : room_node{i, 1, c->checked_weight(*i)} {}

  result<void> result_of(detail::outcome decided) {
    this->rethrow();
    return detail::to_result(decided);
  }
  result<void> take_result(detail::outcome decided) { return result_of(decided); }
};

template <class T, channel_policy Policy, class Sync>
struct basic_channel<T, Policy, Sync>::copy_node : detail::kept_item<T>, push_node {
  static constexpr const char* known_as = "push";
  copy_node(basic_channel* c, T&& i) : detail::kept_item<T>{std::move(i)}, push_node{c, &this->kept} {}
};

template <class T, channel_policy Policy, class Sync>
struct basic_channel<T, Policy, Sync>::reserve_node : room_node {
  reserve_node(basic_channel* c, std::size_t p, std::size_t w) noexcept : room_node{nullptr, p, w}, channel{c} {}

  result<slots> take_result(detail::outcome decided) noexcept {
    if (decided != detail::outcome::granted) return detail::to_result(decided).error();
    return slots{*channel, this->places, this->weight};
  }

  basic_channel* const channel;
};

template <class T, channel_policy Policy, class Sync>
struct basic_channel<T, Policy, Sync>::pop_node : detail::channel_node<Sync>, thrown_by_move {
  explicit pop_node(basic_channel* c) noexcept : channel{c} {}

  result<T> result_of(detail::outcome decided) {
    this->rethrow();
    if (decided == detail::outcome::closed) return channel->failure();
    if (decided != detail::outcome::granted) return detail::to_result(decided).error();
    return std::move(*item);
  }
  result<T> take_result(detail::outcome decided) { return result_of(decided); }

  basic_channel* const channel;
  std::optional<T> item;
};

template <class T, channel_policy Policy, class Sync>
result<void> basic_channel<T, Policy, Sync>::to_result(detail::ring_step s) noexcept {
  switch (s) {
    case detail::ring_step::done:
      return {};
    case detail::ring_step::closed:
      return errc::closed;
    case detail::ring_step::rejected:
      return errc::rejected;
    default:
      return errc::full;
  }
}

template <class T, channel_policy Policy, class Sync>
detail::ring_step basic_channel<T, Policy, Sync>::push_now(T& item) {
  const detail::ring_step s = items_.try_push(item);
  if (s == detail::ring_step::done) [[likely]] {
    wake(available_, 1);
  } else if (s == detail::ring_step::guarded) {
    return push_guarded(item, checked_weight(item));
  }
  return s;
}

template <class T, channel_policy Policy, class Sync>
detail::ring_step basic_channel<T, Policy, Sync>::pop_now(std::optional<T>& item) noexcept(nothrow) {
  const detail::ring_step s = take_out(item);
  if (s != detail::ring_step::done) return s;
  if (rules_ == nullptr) [[likely]] {
    wake(room_, 1);
  } else {
    account_for(rules_->weigh(*item), &channel_stats::popped);
  }
  return s;
}

// Tells nobody, unless the move throws: then the item is lost, and its place is free for who waits for room.
template <class T, channel_policy Policy, class Sync>
detail::ring_step basic_channel<T, Policy, Sync>::take_out(std::optional<T>& item) noexcept(nothrow) {
  const auto take = [&] {
    const detail::ring_step s = items_.try_pop(item);
    if (s != detail::ring_step::closed) [[likely]]
      return s;
    // Slots that are held may still bring items. None is held: what they brought is inside since before they were given back.
    return drained_for_good() ? items_.try_pop(item) : detail::ring_step::empty;
  };
  if constexpr (nothrow) {
    return take();
  } else {
    try {
      return take();
    } catch (...) {
      if (tally_ != nullptr) tally_->discarded();
      if (rules_ == nullptr) {
        wake(room_, 1);
      } else {
        account_for(1, &channel_stats::discarded);
      }
      throw;
    }
  }
}

template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] result<void> basic_channel<T, Policy, Sync>::wait_for_room(T& item) {
  push_wait wait{*this, this, &item};
  return wait.result_of(wait.run());
}

template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] result<T> basic_channel<T, Policy, Sync>::wait_for_item() {
  pop_wait wait{*this, this};
  return wait.result_of(wait.run());
}

template <class T, channel_policy Policy, class Sync>
[[gnu::noinline]] void basic_channel<T, Policy, Sync>::wake_waiting(side& other, std::size_t n) noexcept {
  if (tally_ != nullptr && &other == &available_) {
    tally_->went_in(items_);
    if (other.length() == 0) return;
  }
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (&other == &room_) {
      room_is_free(n, won);
    } else {
      available_.wake(n, won);
    }
  }
  won.complete_all();
}

template <class T, channel_policy Policy, class Sync>
bool basic_channel<T, Policy, Sync>::try_pass(room_node& n) noexcept {
  detail::ring_step s = detail::ring_step::guarded;
  if constexpr (nothrow) {
    if (n.item != nullptr) s = items_.try_push(*n.item);
  } else {
    try {
      if (n.item != nullptr) s = items_.try_push(*n.item);
    } catch (...) {
      n.caught = std::current_exception();
      wake(room_, 1);  // it may have been woken for a place that it does not take: that is the next one's (race 12)
      n.how = detail::outcome::granted;
      return true;
    }
  }
  if (s == detail::ring_step::done) wake(available_, 1);
  if (s == detail::ring_step::guarded) return pass_guarded(n);
  if (s == detail::ring_step::full) return false;
  n.how = s == detail::ring_step::done ? detail::outcome::granted : detail::outcome::closed;
  return true;
}

template <class T, channel_policy Policy, class Sync>
bool basic_channel<T, Policy, Sync>::try_pass(pop_node& n) noexcept {
  detail::ring_step s = detail::ring_step::done;
  if constexpr (nothrow) {
    s = pop_now(n.item);
  } else {
    try {
      s = pop_now(n.item);
    } catch (...) {
      n.caught = std::current_exception();
    }
  }
  if (s == detail::ring_step::empty) return false;
  n.how = s == detail::ring_step::done ? detail::outcome::granted : detail::outcome::closed;
  return true;
}

template <class T, channel_policy Policy, class Sync>
detail::step basic_channel<T, Policy, Sync>::try_or_link(room_node& n, detail::link_at where,
                                                         detail::wait_list<Sync>& won) noexcept {
  return items_.is_guarded() ? link_guarded(n, where, won) : park(n, room_, where);
}

template <class T, channel_policy Policy, class Sync>
detail::step basic_channel<T, Policy, Sync>::try_or_link(pop_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept {
  return park(n, available_, where);
}

template <class T, channel_policy Policy, class Sync>
inline void basic_channel<T, Policy, Sync>::unlinked(room_node& n, detail::wait_list<Sync>& won) noexcept {
  room_.left(n);
  if (items_.is_guarded()) hand_over_room(won);  // a heavy one that blocked lighter ones may be gone
}

template <class T, channel_policy Policy, class Sync>
inline void basic_channel<T, Policy, Sync>::unlinked(pop_node& n, detail::wait_list<Sync>&) noexcept {
  available_.left(n);
}

template <class T, channel_policy Policy, class Sync>
inline void basic_channel<T, Policy, Sync>::gave_up(room_node& n, detail::wait_list<Sync>& won) noexcept {
  if (ready(n)) room_is_free(1, won);
}

template <class T, channel_policy Policy, class Sync>
inline void basic_channel<T, Policy, Sync>::gave_up(pop_node& n, detail::wait_list<Sync>& won) noexcept {
  if (ready(n)) available_.wake(1, won);
}

template <class T, channel_policy Policy, class Sync>
template <class Node>
detail::step basic_channel<T, Policy, Sync>::park(Node& n, side& mine, detail::link_at where) noexcept {
  assert((!spsc || where == detail::link_at::nowhere || mine.idle()) &&
         "two wait at the same end of a channel_policy::spsc channel");
  return mine.park(n, where, [&] { return ready(n); });
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::close(std::error_code why, std::exception_ptr exception) noexcept {
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    close_locked(why, std::move(exception), won);
  }
  won.complete_all();
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::close_locked(std::error_code why, std::exception_ptr exception,
                                                  detail::wait_list<Sync>& won) noexcept {
  if (!items_.is_closed()) {
    why_closed_ = why;
    exception_ = std::move(exception);
    items_.close();  // publishes both
  }
  room_.wake_all(detail::outcome::closed, won);
  available_.wake_all(detail::outcome::woken, won);
  if (rules_ != nullptr) rules_->mark.retire(won);
}

// What a pop ends with when nothing will come any more.
template <class T, channel_policy Policy, class Sync>
std::error_code basic_channel<T, Policy, Sync>::failure() const {
  if (exception_ != nullptr) std::rethrow_exception(exception_);
  return why_closed_;
}

}  // namespace penstock::inline v0_1
