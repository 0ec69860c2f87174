// penstock/core/detail/blocking_wait.hpp: a thread waits.
//
// Look, poll a little, link, look again under the lock, park. The node and the parker lie in this call's frame. Stop and deadlines on
// clocks other than the steady one end the wait through interrupt(); the steady deadline is the futex's own, without a timer.
#pragma once

#include <cassert>
#include <optional>
#include <type_traits>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/wait_mark.hpp>
#include <penstock/core/detail/wait_operation.hpp>

namespace penstock::inline v0_1::detail {

template <class Owner, class Node>
class blocking_wait : public wait_operation<Owner, Node> {
 public:
  using operation = wait_operation<Owner, Node>;
  using sync = typename operation::sync;
  using stop_token = typename sync::stop_token;
  using operation::operation;

  /// Waits without limit.
  outcome run() noexcept { return poll_and_wait(never); }

  /// The same for one that has polled already.
  outcome run_without_polling() noexcept { return link_and_park(never); }
  /// Until a deadline. Throws what arming a timer throws; then the wait has not begun.
  outcome run_without_polling(const basic_deadline<sync>& limit) {
    if (limit.queue() == nullptr) return link_and_park(limit.when());
    armed_timer<operation> timer{*limit.queue(), limit.when(), *this};
    return link_and_park(never);
  }
  /// The same until stop is requested, too; after one look, for one that has not looked either. If stop was requested before the call, or the
  /// deadline has passed and nothing is to be had, the wait has not begun.
  outcome run_without_polling(const stop_token& stop, const basic_deadline<sync>& limit) {
    if (stop.stop_requested()) return outcome::cancelled;
    if (this->owner().try_pass(*this)) return this->how;
    if (limit.passed()) return outcome::timeout;
    assert((limit.queue() == nullptr || limit.queue() != timers_of_this_thread) &&
           "waits for a timer on the very thread that fires it");
    if (!stop.stop_possible()) return run_without_polling(limit);
    typename sync::template stop_callback<on_stop> callback{stop, on_stop{this}};  // as in run()
    return run_without_polling(limit);
  }

  /// Waits until `deadline` on the steady clock. A deadline that has passed allows one look. How late it ends is up to the system's
  /// scheduler: polling yields no further when the deadline is near.
  outcome run(nanoseconds_point deadline) noexcept {
    if (this->owner().try_pass(*this)) return this->how;
    if (deadline != never && sync::now() >= deadline) return outcome::timeout;
    return poll_and_wait(deadline);
  }

  /// Waits until stop is requested, too. If it was before the call, nothing is looked at.
  outcome run(const stop_token& stop, nanoseconds_point deadline) {
    if (stop.stop_requested()) return outcome::cancelled;
    if (!stop.stop_possible()) return run(deadline);
    if (this->owner().try_pass(*this)) return this->how;
    // Registered before linking (race 7), unregistered after unlocking (race 8): its destructor waits for a callback that runs elsewhere.
    typename sync::template stop_callback<on_stop> callback{stop, on_stop{this}};
    return run(deadline);
  }

  /// Waits until a deadline on any clock: other clocks than the steady one interrupt the wait from their timer queue.
  outcome run(const stop_token& stop, const basic_deadline<sync>& limit) {
    if (limit.queue() == nullptr) return run(stop, limit.when());
    if (stop.stop_requested()) return outcome::cancelled;
    if (this->owner().try_pass(*this)) return this->how;
    if (limit.passed()) return outcome::timeout;
    assert(limit.queue() != timers_of_this_thread && "waits for a timer on the very thread that fires it");
    armed_timer<operation> timer{*limit.queue(), limit.when(), *this};
    return run(stop, never);
  }

 private:
  struct on_stop {
    blocking_wait* wait;
    void operator()() const noexcept { wait->interrupt(outcome::cancelled); }
  };

  outcome poll_and_wait(nanoseconds_point deadline) noexcept {
    for (polling<sync> poll{deadline};;) {
      if (worth_a_look() && this->owner().try_pass(*this)) return this->how;
      if (poll.yields_next() && better_in_line()) return link_and_park(deadline, true);
      if (!poll.again()) break;
    }
    return link_and_park(deadline);
  }

  // For who is about to yield: that may take a time slice.
  bool better_in_line() const noexcept {
    if constexpr (requires { this->owner().better_in_line(static_cast<const Node&>(*this)); }) {
      return this->owner().better_in_line(static_cast<const Node&>(*this));
    } else {
      return false;
    }
  }

  // For who polls: a whole look may disturb the other side.
  bool worth_a_look() const noexcept {
    if constexpr (requires { this->owner().worth_a_look(static_cast<const Node&>(*this)); }) {
      return this->owner().worth_a_look(static_cast<const Node&>(*this));
    } else {
      return true;
    }
  }

  // `soon`: what it stands in line for may be handed over in less time than sleeping and waking take.
  outcome link_and_park(nanoseconds_point deadline, bool soon = false) noexcept {
    [[maybe_unused]] const marked_wait<sync> observed{&this->owner(), kind_of_wait<std::remove_const_t<Owner>, Node>, deadline,
                                                      *this};
    this->complete = [](wait_node<sync>& node) noexcept { static_cast<blocking_wait&>(node).parker_.unpark(); };
    for (link_at where = link_at::back; !this->advance(where); where = link_at::front) {
      if (soon) look_from_line();
      if (!parker_.park_until(deadline)) {
        if (this->withdraw(outcome::timeout)) return this->how;
        parker_.park();  // somebody won the node and is about to complete it: that outcome counts (race 9)
      }
      if (this->how != outcome::woken) return this->how;
      parker_.reset();
      if (look_around(deadline)) return this->how;
    }
    return this->how;
  }

  // Without yields, as if they had been slow: one to whom something is handed while another thread has its processor holds up all who want it.
  void look_from_line() const noexcept {
    yield_memory slow{.dear_until = never};
    for (polling<sync> poll{slow}; !parker_.is_notified() && poll.again();) continue;
  }

  // Woken: what is there is for whoever comes first, so poll again before going back to sleep.
  bool look_around(nanoseconds_point deadline) noexcept {
    if constexpr (requires { this->owner().ready(static_cast<const Node&>(*this)); }) {
      for (polling<sync> poll{deadline}; poll.again();) {
        if (!this->owner().ready(static_cast<const Node&>(*this))) continue;
        this->advance(link_at::nowhere);
        if (this->how != outcome::woken) return true;
      }
    }
    return false;
  }

  basic_parker<sync> parker_;
};

}  // namespace penstock::inline v0_1::detail
