// penstock/channel/detail/broadcast_publish.hpp: the publisher's half of broadcast.hpp, which includes this at its end.
//
// A publication takes the lock twice: it takes the turn, if there is room; it moves its item into the slot at the end without the lock; then, in
// one locked step, it publishes the position, ends the turn and wins all who wait. They are completed after unlocking.
#pragma once

#include <penstock/channel/broadcast.hpp>

namespace penstock::inline v0_1 {

template <std::copy_constructible T, class Sync>
struct basic_broadcast<T, Sync>::publish_node : detail::channel_node<Sync>, thrown_by_move {
  explicit publish_node(T& i) noexcept : item{&i} {}
  publish_node(basic_broadcast* b, T* i) noexcept : item{i}, into{b} {}

  result<void> result_of(detail::outcome decided) {
    this->rethrow();
    return detail::to_result(decided);
  }
  result<void> take_result(detail::outcome decided) { return into->end(*this, decided); }

  T* item;
  basic_broadcast* into = nullptr;  // of a coroutine's
};

template <std::copy_constructible T, class Sync>
result<void> basic_broadcast<T, Sync>::end(publish_node& n, detail::outcome how) {
  if (how != detail::outcome::granted) [[unlikely]] {
    (how == detail::outcome::closed    ? refused_.closed
     : how == detail::outcome::timeout ? refused_.timeout
                                       : refused_.cancelled)
        .add();
  }
  return n.result_of(how);
}

template <std::copy_constructible T, class Sync>
broadcast_stats basic_broadcast<T, Sync>::stats() const noexcept {
  broadcast_stats s{.subscribers = subscribers(),
                    .capacity = capacity(),
                    .waiting_publishers = waiting_publishers(),
                    .refused = {.full = refused_.full.value(),
                                .timeout = refused_.timeout.value(),
                                .cancelled = refused_.cancelled.value(),
                                .closed = refused_.closed.value()},
                    .lost = lost_.value(),
                    .disconnected = disconnected_.value()};
  std::scoped_lock guard{lock_};
  s.unheard = unheard_;
  // Each of the others has a position. relaxed: changed under lock_
  s.published = (end_.load(std::memory_order_relaxed) >> 1) + s.unheard;
  return s;
}

template <std::copy_constructible T, class Sync>
bool basic_broadcast<T, Sync>::try_pass(publish_node& n) noexcept {
  progress p = progress::done;
  if constexpr (ring::moves_safely) {
    p = publish_now(*n.item);
  } else {
    try {
      p = publish_now(*n.item);
    } catch (...) {
      n.caught = std::current_exception();
    }
  }
  if (p == progress::full) return false;
  n.how = p == progress::done ? detail::outcome::granted : detail::outcome::closed;
  return true;
}

template <std::copy_constructible T, class Sync>
detail::step basic_broadcast<T, Sync>::try_or_link(publish_node& n, detail::link_at where, detail::wait_list<Sync>&) noexcept {
  return room_.park(n, where, [&] { return ready(n); });
}

template <std::copy_constructible T, class Sync>
auto basic_broadcast<T, Sync>::publish_now(T& item) noexcept(ring::moves_safely) -> progress {
  detail::turn_wait<Sync> others;
  position at = 0;
  progress p = begin_turn(at);
  for (; p == progress::others_turn; p = begin_turn(at)) others.wait();
  if (p != progress::done) return p;
  if (at == nobody_listens) {
    [[maybe_unused]] const T gone(std::move(item));
    if constexpr (!ring::moves_safely) count_unheard();  // not what threw: it came to nothing
    return p;
  }
  std::optional<T> old;  // destroyed last: its destructor may publish
  move_in(at, item, old);
  if (!end_turn(at)) {
    // Whoever had subscribed left meanwhile.
    std::optional<T> unheard;
    if (items_.discard(at, unheard)) made_room();
  }
  return p;
}

template <std::copy_constructible T, class Sync>
auto basic_broadcast<T, Sync>::begin_turn(position& at) noexcept -> progress {
  std::scoped_lock guard{lock_};
  const std::uint64_t end = end_.load(std::memory_order_relaxed);  // relaxed: changed under lock_, as the others here
  if ((end & closed) != 0) return progress::closed;
  if (busy_) return progress::others_turn;
  at = nobody_listens;
  if (subscribers_.load(std::memory_order_relaxed) == 0) {  // relaxed: changes under lock_
    if constexpr (ring::moves_safely) unheard_ = unheard_ + 1;
    return progress::done;
  }
  if (!items_.lossy()) {
    if (!items_.vacant(end >> 1)) return progress::full;
  } else if ((end >> 1) >= items_.capacity()) {
    // Before the item goes: a reader that misses it has seen the stamp change, so it sees this, too. release: pairs with the acquire in
    // fall_behind(), so that it also sees the end that this turn began at.
    oldest_.store((end >> 1) - items_.capacity() + 1, std::memory_order_release);
  }
  at = end >> 1;
  busy_ = true;
  return progress::done;
}

template <std::copy_constructible T, class Sync>
void basic_broadcast<T, Sync>::count_unheard() noexcept {
  std::scoped_lock guard{lock_};
  unheard_ = unheard_ + 1;
}

template <std::copy_constructible T, class Sync>
void basic_broadcast<T, Sync>::move_in(position at, T& item, std::optional<T>& evicted) noexcept(ring::moves_safely) {
  if (items_.lossy()) items_.evict(at, evicted);
  if constexpr (ring::moves_safely) {
    items_.write(at, item);
  } else {
    try {
      items_.write(at, item);
    } catch (...) {
      give_turn_back();
      throw;
    }
  }
}

// False: there was nobody to publish it to.
template <std::copy_constructible T, class Sync>
bool basic_broadcast<T, Sync>::end_turn(position at) noexcept {
  detail::wait_list<Sync> won;
  std::size_t listening = 0;
  {
    std::scoped_lock guard{lock_};
    listening = subscribers_.load(std::memory_order_relaxed);  // relaxed: changed under lock_
    items_.publish(at, listening);                             // before anyone is woken for it
    // release: pairs with the acquire in subscription::end_seen()
    end_.store((at + 1) << 1, std::memory_order_release);
    busy_ = false;
    readers_.win_all(detail::outcome::granted, won);
    call_publisher(won);
  }
  won.complete_all();
  return listening != 0;
}

// Moving the item threw: the end is where it was, and the room is the next one's.
template <std::copy_constructible T, class Sync>
void basic_broadcast<T, Sync>::give_turn_back() noexcept {
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    busy_ = false;
    call_publisher(won);
  }
  won.complete_all();
}

template <std::copy_constructible T, class Sync>
void basic_broadcast<T, Sync>::close(std::error_code why) noexcept {
  for (detail::turn_wait<Sync> others;; others.wait()) {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      if (busy_) continue;                                             // a publication that has begun comes before
      const std::uint64_t end = end_.load(std::memory_order_relaxed);  // relaxed: changed under lock_
      if ((end & closed) != 0) return;
      if (why) why_ = why;
      end_.store(end | closed,
                 std::memory_order_release);            // release: pairs with the acquire in subscription::end_seen(), for why_
      readers_.win_all(detail::outcome::granted, won);  // granted: there is something to tell
      room_.wake_all(detail::outcome::closed, won);
    }
    won.complete_all();
    return;
  }
}

}  // namespace penstock::inline v0_1
