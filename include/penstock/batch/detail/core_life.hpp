// penstock/batch/detail/core_life.hpp: who owns what is behind a batcher, and whether all its batches are home.
//
// One word counts both, for each batch is an owner, from when it or its runner is sent until its callers have been told: so a batch costs two
// read-modify-writes here and not four. Who comes home when it was closed looks further whether that was the end: it stays an owner meanwhile.
#pragma once

#include <atomic>
#include <cstdint>

namespace penstock::inline v0_1::detail {

template <class Sync>
class core_life {
 public:
  /// Born with one owner. The caller of each of these is one.
  core_life() noexcept : word_{1} {}

  void add_owner() noexcept { word_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  /// True: it was the last one, who destroys.
  [[nodiscard]] bool drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    return (word_.fetch_sub(1, std::memory_order_acq_rel) & owners) == 1;
  }

  /// A batch, or a runner, is away from now on, and an owner. With the lock held.
  void go() noexcept {
    word_.fetch_add(away_one + 1, std::memory_order_relaxed);
  }  // relaxed: who closes comes after us, through the lock

  enum class homecoming : std::uint8_t { owner, last_owner, closed };
  /// It is home. last_owner: and destroys. closed: it is still an owner, and calls all_home() and drop_owner().
  [[nodiscard]] homecoming come_home() noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);  // relaxed: the exchange looks
    while ((seen & closed) == 0) {
      // acq_rel: as drop_owner(), and pairs with close(). relaxed, on failure: looks again
      if (word_.compare_exchange_weak(seen, seen - away_one - 1, std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return (seen & owners) == 1 ? homecoming::last_owner : homecoming::owner;
      }
    }
    // acq_rel: what the batches did comes before what all_home() allows
    word_.fetch_sub(away_one, std::memory_order_acq_rel);
    return homecoming::closed;
  }

  /// Who comes home before this is seen by all_home(), who comes later sees it. Idempotent.
  void close() noexcept { word_.fetch_or(closed, std::memory_order_acq_rel); }  // acq_rel: pairs with come_home()
  [[nodiscard]] bool all_home() const noexcept {
    return (word_.load(std::memory_order_acquire) & away) == 0;  // acquire: pairs with the release in come_home()
  }

 private:
  static constexpr std::uint64_t owners = 0xFFFF'FFFF;
  static constexpr std::uint64_t away_one = owners + 1;
  static constexpr std::uint64_t closed = std::uint64_t{1} << 63U;
  static constexpr std::uint64_t away = ~owners & ~closed;

  typename Sync::template atomic<std::uint64_t> word_;
};

/// One owner of a core.
template <class Core>
class core_share {
 public:
  explicit core_share(Core& c) noexcept : core_{&c} { core_->add_owner(); }
  core_share(const core_share& other) noexcept : core_share{*other.core_} {}
  core_share& operator=(const core_share&) = delete;
  ~core_share() { core_->drop_owner(); }
  Core* operator->() const noexcept { return core_; }

 private:
  Core* core_;
};

}  // namespace penstock::inline v0_1::detail
