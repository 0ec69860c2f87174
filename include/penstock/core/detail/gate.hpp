// penstock/core/detail/gate.hpp: a lock, a line, and a condition that lets those in line pass. Ends of coroutines, joins, futures, events and
// counters are made of it.
//
//   bool open() const noexcept   of Derived, without the lock: whether it is worth looking. An acquire load of what is written with the lock held
//   bool enter() noexcept        of Derived, with the lock held: whether one wait passes now; takes what passing takes. Const: it takes nothing
//
// Invariants     open() implies that waiters_ is empty, when the lock is free. Derived opens and serves the line in one locked section.
// Lifetime       whoever returned from a wait may destroy the gate at once: who opened it touches nothing after unlocking but the nodes that it
//                won, and a wait passes only when that one has left. Taking the lock shows that; where passing takes nothing, a look at it does
//                (polled_mutex.hpp). Nobody may be waiting then: debug builds report it.
// Memory order   what was done before the gate was opened is visible to who passed. Passing publishes nothing: who closes the gate later need not see
//                what was done before.
// Cost           a wait at an open gate: two loads where passing takes nothing, else one lock.
#pragma once

#include <cassert>
#include <cstddef>
#include <mutex>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

/// What a wait without a value ends with.
[[nodiscard]] inline result<void> to_result(outcome how) noexcept {
  switch (how) {
    case outcome::granted:
      return {};
    case outcome::closed:
      return errc::closed;
    case outcome::timeout:
      return errc::timeout;
    case outcome::rejected:
      return errc::rejected;
    default:
      return errc::cancelled;
  }
}

/// A node that asks for nothing but its turn.
template <class Sync>
struct plain_node : wait_node<Sync> {
  static result<void> take_result(outcome decided) noexcept { return to_result(decided); }
};

template <class Derived, class Sync>
class gate {
 public:
  using sync = Sync;
  using node = plain_node<Sync>;

  gate(const gate&) = delete;
  gate& operator=(const gate&) = delete;

  /// How many stand in line now.
  [[nodiscard]] std::size_t waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return waiters_.size();
  }

  // The hooks of wait_operation; not for users.
  polled_mutex<Sync>& wait_lock() noexcept { return lock_; }
  bool try_pass(node& n) noexcept {
    if (!self().open()) return false;
    if constexpr (requires(const Derived& d) { d.enter(); }) {
      if (lock_.is_free()) {
        n.how = outcome::granted;
        return true;
      }
    }
    std::scoped_lock guard{lock_};  // who opened may still hold it; once it does not, it touches nothing of *this any more
    return passes(n);
  }
  step try_or_link(node& n, link_at where, wait_list<Sync>&) noexcept {
    if (passes(n)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    waiters_.push_back(n);
    return step::linked;
  }
  void unlinked(node&, wait_list<Sync>&) noexcept {}  // the others in line are owed nothing: the gate is closed for them too

 protected:
  gate() = default;
  ~gate() { assert(waiters_.empty() && "destroyed while somebody waits for it"); }

  mutable polled_mutex<Sync> lock_;
  wait_queue<Sync> waiters_;  // guarded by lock_

 private:
  Derived& self() noexcept { return static_cast<Derived&>(*this); }
  bool passes(node& n) noexcept {
    if (!self().enter()) return false;
    n.how = outcome::granted;
    return true;
  }
};

}  // namespace penstock::inline v0_1::detail
