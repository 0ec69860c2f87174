// penstock/pool/detail/thread_starter.hpp: starting one more thread of a pool, in the way in which a sleeping worker is woken.
//
// Who adds work may find that nobody sleeps and that there should be one more thread. It holds the queue's lock then, under which no thread is started:
// so it puts this node among those that it completes after unlocking, and completing it starts the thread.
//
// Ownership      said how at the beginning, by one thread. In one list at a time, for staff.hpp counts one arrival at a time; who has announced that
//                arrival, under the queue's lock, completes it.
#pragma once

#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class thread_starter : public wait_node<Sync> {
 public:
  using function = void (*)(void* context) noexcept;

  /// `start(start_context)` starts a thread; then `done(done_context)`, after which nothing is touched.
  void set(function start, void* start_context, function done, void* done_context) noexcept {
    start_ = start;
    start_context_ = start_context;
    done_ = done;
    done_context_ = done_context;
    this->complete = [](wait_node<Sync>& n) noexcept { static_cast<thread_starter&>(n).run(); };
  }
  [[nodiscard]] bool is_set() const noexcept { return start_ != nullptr; }

 private:
  void run() noexcept {
    start_(start_context_);
    done_(done_context_);
  }

  function start_ = nullptr;
  void* start_context_ = nullptr;
  function done_ = nullptr;
  void* done_context_ = nullptr;
};

}  // namespace penstock::inline v0_1::detail
