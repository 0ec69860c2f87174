// penstock/core/detail/polling.hpp: how long a thread looks before it sleeps.
//
// Sleeping and being woken costs about 50 µs, what is awaited often comes within one. So a waiter polls a short counted while: twenty
// bare looks, then looks after 1, 2 and 4 pauses, then looks after each of twenty yields. The yields are what keeps more threads than
// processors from collapsing: a poller gives way to the thread that it waits for. On a single processor there are the yields only.
//
// How long       About 10 to 30 µs on a machine with a processor to spare. Where others want the processor a yield lends it to them for a
//                time slice, milliseconds that no count of rounds would bound: the first yield that takes longer than 50 µs is the last,
//                and one whose slice may outlast the deadline of the wait is not begun.
//
//                Who polls again and again, as an idle worker does, remembers a slow yield for half a second. In that time pauses take the place of
//                yields, about 12 µs of them where there are several processors: work that came meanwhile would wait for the slice to end.
//
//   for (polling<Sync> poll; poll.again();) if (ready()) return;
#pragma once

#include <limits>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// A poller's memory of slow yields, from one polling to the next.
struct yield_memory {
  nanoseconds_point dear_until = std::numeric_limits<nanoseconds_point>::min();
};

template <class Sync = std_sync>
class polling {
 public:
  polling() noexcept = default;
  /// For a wait that ends at `end` on the steady clock.
  explicit polling(nanoseconds_point end) noexcept : deadline_{end} {}
  explicit polling(yield_memory& memory) noexcept : memory_{&memory} {}

  /// Whether again() would yield next, or be false: for who has something better to do then.
  [[nodiscard]] bool yields_next() const noexcept { return round_ >= first_yield || (round_ == 0 && !Sync::parallel()); }

  /// Waits a little and tells to look again; false once it is time to sleep.
  bool again() noexcept {
    if (round_ == 0 && !Sync::parallel()) round_ = first_yield;
    const int round = round_++;
    if (round < first_pause) return true;
    if (round < first_yield) {
      for (int i = 1 << (round - first_pause); i > 0; --i) Sync::pause();
      return true;
    }
    return round < last && yield(round == first_yield);
  }

 private:
  bool yield(bool first) noexcept {
    if (paused_instead_ || (first && memory_ != nullptr && Sync::now() < memory_->dear_until)) return pause_instead();
    const nanoseconds_point before = first ? Sync::now() : now_;
    if (before >= deadline_ || deadline_ - before < slice) {
      round_ = last;
      return false;
    }
    Sync::yield();
    now_ = Sync::now();
    if (now_ - before > slow) {
      round_ = last;  // what it waited for may have come meanwhile: one more look, then sleep
      if (memory_ != nullptr) memory_->dear_until = now_ + remembered;
    }
    return true;
  }

  bool pause_instead() noexcept {
    paused_instead_ = true;
    if (!Sync::parallel()) {
      round_ = last;
      return false;
    }
    for (int i = 0; i < 16; ++i) Sync::pause();
    return true;
  }

  static constexpr int first_pause = 20;
  static constexpr int first_yield = first_pause + 3;
  static constexpr int last = first_yield + 20;
  static constexpr nanoseconds_point slow = 50'000;      // sleeping and being woken costs as much
  static constexpr nanoseconds_point slice = 4'000'000;  // what a yield may take where one other thread wants the processor
  static constexpr nanoseconds_point remembered = 500'000'000;
  yield_memory* memory_ = nullptr;
  bool paused_instead_ = false;
  int round_ = 0;
  nanoseconds_point deadline_ = never;
  nanoseconds_point now_ = 0;  // when the last yield ended
};

}  // namespace penstock::inline v0_1::detail
