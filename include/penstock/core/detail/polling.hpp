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
//                Who would bring that work may wait for this very processor, and then pauses only hold it up: twice in vain in a row, and the next
//                polling does without, then the next 3, 7, … up to 63, until pausing has found something again.
//
//   for (polling<Sync> poll; poll.again();) if (ready()) return;
#pragma once

#include <limits>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// A poller's memory of slow yields, from one polling to the next.
struct yield_memory {
  nanoseconds_point dear_until = std::numeric_limits<nanoseconds_point>::min();
  int vain = 0;            // pausings in a row that found nothing
  int without_pauses = 0;  // so many pollings to come
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
    if (round == last && paused_instead_) remember_in_vain();
    return round < last && yield(round == first_yield);
  }

 private:
  bool yield(bool first) noexcept {
    if (first && memory_ != nullptr && Sync::now() < memory_->dear_until && !may_pause()) {
      round_ = last;
      return false;
    }
    if (paused_instead_) {
      for (int i = 0; i < 16; ++i) Sync::pause();
      return true;
    }
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

  bool may_pause() noexcept {
    if (!Sync::parallel()) return false;
    if (memory_->without_pauses > 0) {
      --memory_->without_pauses;
      return false;
    }
    vain_before_ = std::exchange(memory_->vain, 0);
    return paused_instead_ = true;
  }
  void remember_in_vain() noexcept {
    memory_->vain = vain_before_ < most_vain ? vain_before_ + 1 : most_vain;
    memory_->without_pauses = (1 << (memory_->vain - 1)) - 1;
  }

  static constexpr int first_pause = 20;
  static constexpr int first_yield = first_pause + 3;
  static constexpr int last = first_yield + 20;
  static constexpr nanoseconds_point slow = 50'000;      // sleeping and being woken costs as much
  static constexpr nanoseconds_point slice = 4'000'000;  // what a yield may take where one other thread wants the processor
  static constexpr nanoseconds_point remembered = 500'000'000;
  static constexpr int most_vain = 7;
  yield_memory* memory_ = nullptr;
  bool paused_instead_ = false;
  int vain_before_ = 0;  // the memory's, when the pauses began
  int round_ = 0;
  nanoseconds_point deadline_ = never;
  nanoseconds_point now_ = 0;  // when the last yield ended
};

}  // namespace penstock::inline v0_1::detail
