// What the tests of this folder share: hand-offs without sleeps, an executor that runs when it is told to, and a time that stands still.
//
// The tags of the tests name what they prove: [hazard-NN] and [race-NN] are the numbered lists of the project's design.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/scheduler.hpp>

#include "../../support/until.hpp"

namespace sync_testing {

using test_support::until;

/// Keeps what it is given until run_all(). For one thread.
class step_executor {
 public:
  void execute(penstock::work_item& item) noexcept { items_.push_back(item); }
  [[nodiscard]] penstock::any_scheduler get_scheduler() noexcept { return penstock::any_scheduler{*this}; }
  [[nodiscard]] bool idle() const noexcept { return items_.empty(); }
  void run_all() noexcept {
    while (penstock::work_item* const item = items_.pop_front()) (*item)();
  }

 private:
  penstock::detail::work_list items_;
};

/// A platform whose steady clock moves only by advance(). For one thread at a time.
struct frozen_sync : penstock::detail::std_sync {
  static penstock::detail::nanoseconds_point now() noexcept { return time; }
  static penstock::detail::basic_timer_queue<frozen_sync>& steady_timers();
  static void advance(std::chrono::nanoseconds by);

  static inline penstock::detail::nanoseconds_point time = 3'600'000'000'000;
};

class frozen_timers final : public penstock::detail::basic_timer_queue<frozen_sync> {
 public:
  [[nodiscard]] penstock::detail::nanoseconds_point now() const noexcept override { return frozen_sync::now(); }
  void add(entry& e, penstock::detail::nanoseconds_point when) override {
    insert(e, when);
    fire();
  }
  void fire() noexcept {
    while (fire_next(now())) {
    }
  }
};

inline frozen_timers the_frozen_timers;
inline penstock::detail::basic_timer_queue<frozen_sync>& frozen_sync::steady_timers() { return the_frozen_timers; }
inline void frozen_sync::advance(std::chrono::nanoseconds by) {
  time += by.count();
  the_frozen_timers.fire();
}

/// An asynchronous wait on an owner over frozen_sync: the waiting core's own, with a flag in place of a coroutine.
template <class Owner, class Node>
class frozen_wait : public penstock::detail::completion_wait<Owner, Node> {
 public:
  using base = penstock::detail::completion_wait<Owner, Node>;
  using base::base;

  /// Begins; goes on in `where` when it is completed.
  void begin(step_executor& where, std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max(),
             std::stop_token stop = {}) {
    ended_ = this->start(stop, penstock::detail::basic_deadline<frozen_sync>::after(timeout), where.get_scheduler(),
                         [](base& self) noexcept { static_cast<frozen_wait&>(self).ended_ = true; });
  }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  /// After the end.
  penstock::detail::outcome result() noexcept {
    this->finish();
    return this->how;
  }

 private:
  bool ended_ = false;
};

/// Runs `rounds` rounds of one thread making a T and waiting, while another one signals: the waiter destroys the T as soon as its wait
/// returned, which only a sanitizer or the allocator sees if the signaller still touches it. Neither may throw.
template <class T, class Wait, class Signal>
void destroy_after_wait(int rounds, Wait wait, Signal signal) {
  std::atomic<T*> mailbox{nullptr};
  std::thread signaller{[&] {
    for (int i = 0; i < rounds; ++i) {
      T* target = nullptr;
      until([&] { return (target = mailbox.exchange(nullptr)) != nullptr; });
      signal(*target, i);
    }
  }};
  for (int i = 0; i < rounds; ++i) {
    auto object = std::make_unique<T>();
    mailbox = object.get();
    wait(*object);
  }
  signaller.join();
}

/// Counts its living objects.
struct counted {
  explicit counted(int& l) noexcept : living{&l} { ++*living; }
  counted(const counted& other) noexcept : living{other.living} { ++*living; }
  counted& operator=(const counted&) = delete;
  ~counted() { --*living; }
  int* living;
};

}  // namespace sync_testing
