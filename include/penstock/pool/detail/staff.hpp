// penstock/pool/detail/staff.hpp: how many threads a pool has, and how many of them should be awake.
//
// A thread of a pool *arrives* (it is being started, and may fail to), *works* (it runs pieces, searches or sleeps in the line of idle workers), and
// *leaves* (it runs what is to be run at a thread's end). As many as `target` may be awake at a time, plus one for each that blocks inside
// worker_pool::blocking(). Who comes back from there is one too many: the next that is through with its piece goes to sleep, and is there for the
// next time. So the number of threads that are kept grows to what blocking sections needed at most, and resize() sets it back.
//
// Invariants     working + arriving + leaving <= most: each has a place of its own, with a slot. One of those that work always stays, until the end.
// Thread safety  passive: guarded by the queue's lock.
#pragma once

#include <algorithm>
#include <cstddef>

namespace penstock::inline v0_1::detail {

class staff {
 public:
  /// `working` threads are there; idle ones may leave down to `least`; there are places for `most`. `processors`: how many can run at a time.
  staff(std::size_t working, std::size_t least, std::size_t most, std::size_t processors) noexcept
      : target_{working}, least_{least}, most_{most}, processors_{processors}, working_{working} {}

  [[nodiscard]] std::size_t target() const noexcept { return target_; }
  [[nodiscard]] std::size_t working() const noexcept { return working_; }
  /// With those that are being started.
  [[nodiscard]] std::size_t size() const noexcept { return working_ + arriving_; }
  [[nodiscard]] std::size_t places() const noexcept { return most_; }
  /// How many should be awake, if there is work.
  [[nodiscard]] std::size_t wanted() const noexcept { return std::min(target_ + blocked_, most_); }

  /// For one more.
  [[nodiscard]] bool has_place() const noexcept { return size() + leaving_ < most_; }

  // Each with the number of those that sleep.
  [[nodiscard]] bool may_wake(std::size_t idle) const noexcept { return working_ - idle < wanted(); }
  /// Whether who is woken has a processor of its own, and who submits one, as far as this pool goes.
  [[nodiscard]] bool has_processor(std::size_t idle) const noexcept { return working_ - idle + 1 < processors_; }
  /// Whether a thread is to be started when there is work. One at a time: it calls the next one when it is there.
  [[nodiscard]] bool may_start(std::size_t idle) const noexcept {
    return idle == 0 && arriving_ == 0 && may_wake(idle) && working_ != 0 && has_place();
  }
  /// Whether somebody who is awake has to lie down, or to leave.
  [[nodiscard]] bool has_surplus(std::size_t idle) const noexcept { return working_ - idle > wanted() || has_too_many(); }
  /// Whether somebody has to leave.
  [[nodiscard]] bool has_too_many() const noexcept { return working_ > std::min(target_ + most_blocked_, most_); }
  /// Whether one that has slept for long may leave.
  [[nodiscard]] bool may_leave() const noexcept { return working_ > std::min(target_, least_); }

  /// Whether resize() has to start one (more).
  [[nodiscard]] bool is_short() const noexcept { return size() < wanted() && has_place(); }
  void resize(std::size_t target) noexcept {
    target_ = target;
    most_blocked_ = blocked_;
    ++resizes_;
  }
  /// How often that was.
  [[nodiscard]] std::size_t resizes() const noexcept { return resizes_; }

  void begin_arrival() noexcept { ++arriving_; }
  void arrive() noexcept {
    --arriving_;
    ++working_;
  }
  void fail_to_arrive() noexcept { --arriving_; }
  void leave(std::size_t n = 1) noexcept {
    working_ -= n;
    leaving_ += n;
  }
  void be_gone() noexcept { --leaving_; }
  void block() noexcept { most_blocked_ = std::max(most_blocked_, ++blocked_); }
  void unblock() noexcept { --blocked_; }

 private:
  std::size_t target_;
  const std::size_t least_;
  const std::size_t most_;
  const std::size_t processors_;
  std::size_t working_;
  std::size_t arriving_ = 0;
  std::size_t leaving_ = 0;
  std::size_t blocked_ = 0;
  std::size_t most_blocked_ = 0;  // since the last resize()
  std::size_t resizes_ = 0;
};

}  // namespace penstock::inline v0_1::detail
