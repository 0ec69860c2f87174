// penstock/batch/detail/departure.hpp: when what has gathered leaves as a batch, and how many batches are under way.
//
// Items join a line. A batch is *due* when there are enough of them (in number or bytes), when the oldest has waited long enough or nobody has
// joined for long enough, or when the owner was told to flush. It leaves once there is a place: a *runner* is sent to where batches are processed,
// and takes what is there when it arrives, not what was there when it was sent: what gathers on its way travels with it.
//
//   the owner, with its lock held                    without the lock
//   join(), tell(), leave(), end()    then:          while (may_send(now)) { send(); … }  →  each runner goes to the scheduler
//   the runner arrives: arrive(), then took(what it takes), or end() if there is nothing; end() when its batch is over
//
// Invariants     sent + running <= max_running. A batch that is due is sent, or someone who ends will look again: lose no end().
// Thread safety  none: all of it is guarded by its owner's lock. It calls nobody and allocates nothing.
// A clock that steps back: nothing has waited for less than no time.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <limits>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

struct departure_rules {
  std::size_t max_size = std::numeric_limits<std::size_t>::max();   ///< items of a batch; at least 1
  std::size_t max_bytes = std::numeric_limits<std::size_t>::max();  ///< a batch is due when it has so many
  nanoseconds_point delay =
      0;  ///< how long the oldest waits for others. 0: it leaves as soon as there is a place. never: until told, or full
  nanoseconds_point quiet = never;  ///< due when nobody has joined for so long
  std::size_t max_running = 1;      ///< batches under way at a time; at least 1
};

class departure {
 public:
  explicit departure(const departure_rules& rules) noexcept : rules_{rules} {
    assert(rules.max_size > 0 && rules.max_running > 0);
  }

  // --- the line

  void join(std::size_t bytes, nanoseconds_point now) noexcept {
    if (count_ == 0) since_ = now;
    latest_ = now;
    ++count_;
    bytes_ += bytes;
  }
  /// One that had joined goes without a batch. `oldest`: when the oldest of those that are left had joined.
  void leave(std::size_t bytes, nanoseconds_point oldest) noexcept {
    assert(count_ > 0 && bytes <= bytes_);
    --count_;
    bytes_ -= bytes;
    // Whether it was one of these is not known: rather flush one too many than one too few.
    told_ = std::min(told_, count_);
    since_ = oldest;
  }
  /// What is here now is due.
  void tell() noexcept { told_ = count_; }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// Whether one of so many bytes may join: what is here can be counted then.
  [[nodiscard]] bool has_room_for(std::size_t bytes) const noexcept {
    return bytes <= std::numeric_limits<std::size_t>::max() - bytes_;
  }
  /// Whether what is here is not to wait for more.
  [[nodiscard]] bool hurried() const noexcept { return told_ != 0 || count_ >= rules_.max_size || bytes_ >= rules_.max_bytes; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// With a clock that nobody needs to ask, time may always be given as 0.
  [[nodiscard]] bool timed() const noexcept { return (rules_.delay != 0 && rules_.delay != never) || rules_.quiet != never; }

  /// When to ask may_send() again, if nothing else happens until then; never: no need.
  [[nodiscard]] nanoseconds_point look(nanoseconds_point now) const noexcept {
    if (count_ == 0 || due(now) != 0) return never;  // what is due waits for a place, not for a time
    const nanoseconds_point old = rules_.delay == never ? never : saturating_add(since_, rules_.delay);
    const nanoseconds_point quiet = rules_.quiet == never ? never : saturating_add(latest_, rules_.quiet);
    return std::min(old, quiet);
  }

  // --- batches

  [[nodiscard]] bool may_send(nanoseconds_point now) const noexcept {
    if (count_ == 0 || sent_ >= due(now)) return false;
    return sent_ + running_ < rules_.max_running;
  }
  void send() noexcept { ++sent_; }
  /// One that was sent is not to come.
  void recall() noexcept {
    assert(sent_ > 0);
    --sent_;
  }
  /// A runner is there. It took() something next, or end()s.
  void arrive() noexcept {
    assert(sent_ > 0);
    --sent_;
    ++running_;
  }
  /// The same for one that nobody sent: somebody who needs a batch and stands where batches are processed.
  void begin_here() noexcept { ++running_; }

  /// Items of the front, and their bytes. `oldest` as of leave().
  void took(std::size_t items, std::size_t bytes, nanoseconds_point oldest) noexcept {
    assert(items <= count_ && bytes <= bytes_);
    count_ -= items;
    bytes_ -= bytes;
    told_ -= std::min(told_, items);
    since_ = oldest;
  }
  /// How many items of the front make the next batch; `bytes_of(i)` is the size of the i-th. At least one, however heavy, if there is any.
  template <class BytesOf>
  [[nodiscard]] std::size_t batch_size(BytesOf&& bytes_of) const noexcept {
    std::size_t n = std::min(count_, rules_.max_size);
    if (bytes_ <= rules_.max_bytes) return n;
    std::size_t left = rules_.max_bytes;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t next = bytes_of(i);
      if (next > left) return i == 0 ? 1 : i;
      left -= next;
    }
    return n;
  }

  void end() noexcept {
    assert(running_ > 0);
    --running_;
  }
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  /// Runners on their way.
  [[nodiscard]] std::size_t sent() const noexcept { return sent_; }

 private:
  // How many batches of what is here may leave.
  [[nodiscard]] std::size_t due(nanoseconds_point now) const noexcept {
    // A division costs as much as all the rest, and mostly one batch is more than enough.
    const auto whole = [this](std::size_t items) {
      if (items <= rules_.max_size) return items != 0 ? std::size_t{1} : std::size_t{0};
      return items / rules_.max_size + (items % rules_.max_size != 0 ? 1 : 0);
    };
    const bool old = rules_.delay != never && saturating_difference(now, since_) >= rules_.delay;
    const bool quiet = rules_.quiet != never && saturating_difference(now, latest_) >= rules_.quiet;
    if (rules_.delay == 0 || old || quiet) return whole(count_);
    const std::size_t full = count_ < rules_.max_size ? 0 : count_ / rules_.max_size;
    return std::max({full, bytes_ >= rules_.max_bytes ? std::size_t{1} : std::size_t{0}, whole(told_)});
  }

  const departure_rules rules_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  std::size_t told_ = 0;  // of the front: due whatever the rules say
  nanoseconds_point since_ = 0;
  nanoseconds_point latest_ = 0;
  std::size_t sent_ = 0;
  std::size_t running_ = 0;
};

}  // namespace penstock::inline v0_1::detail
