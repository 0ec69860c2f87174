// penstock/route/detail/versions.hpp: a value that is replaced while others read it: readers never wait, and nothing is freed under them.
//
// The idea       one word holds the address of the current version and how often it has been taken since it became current. To take it is one
//                fetch_add on the word, which gives the address and counts the use in one step: there is no moment between reading an address
//                and protecting it, hence no retry (hazard pointers), no fence on each read and no registration of threads (epochs, RCU). A
//                use that ends is counted in the version itself. Who replaces a version adds the first count to the second; when the sum is
//                zero, nobody uses it and nobody can take it any more.
// What is dead   is put on a list and freed by the next change (or with the whole): a reader whose use was the last one frees nothing.
// Invariants     users = `held` - ended uses while current, taken - ended uses afterwards; so it is zero exactly once. The count in the word
//                stays below 2^16: whoever finds it at FoldAt or more moves that many over to the version.
// Thread safety  every member may be called concurrently, but for the destructor. Readers are wait-free (two read-modify-writes for a use),
//                writers lock-free.
// Algorithm      split (differential) reference counts: R. Treiber's counted pointers as in A. Williams, C++ Concurrency in Action, 7.2.4,
//                and Folly's AtomicSharedPtr, which fold in the same way.
#pragma once

#include <cstdint>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync, std::uint64_t FoldAt = std::uint64_t{1} << 15>
class versions {
  static constexpr unsigned count_bits = 16;  // user addresses have at most 48 bits on the platforms of today
  static constexpr std::uint64_t count_mask = (std::uint64_t{1} << count_bits) - 1;
  static constexpr std::int64_t held = std::int64_t{1} << 40;

 public:
  class version {
   public:
    template <class... Args>
    explicit version(Args&&... args) : value{std::forward<Args>(args)...} {}
    T value;

   private:
    friend versions;
    typename Sync::template atomic<std::int64_t> users_{held};
    typename Sync::template var<version*> next_{nullptr};  // in the list of the dead
  };

  /// Makes `first` current; it is freed with the rest.
  explicit versions(version* first) noexcept : current_{word_of(first)} {}
  versions(const versions&) = delete;
  versions& operator=(const versions&) = delete;
  /// No version is in use.
  ~versions() {
    free_dead();
    delete address(current_.load(std::memory_order_relaxed));  // relaxed: nobody else is left
  }

  /// The current version, in use until end().
  [[nodiscard]] version* take() noexcept {
    // acquire: pairs with the release in replace(), which published what the version holds
    const std::uint64_t before = current_.fetch_add(1, std::memory_order_acquire);
    version* const taken = address(before);
    if ((before & count_mask) + 1 >= FoldAt) [[unlikely]]
      fold(taken);
    return taken;
  }

  void end(version* used) noexcept {
    // release: what was read of it comes before its end; acquire: and the end comes after what all others read
    if (used->users_.fetch_sub(1, std::memory_order_acq_rel) == 1) bury(used);
  }

  /// Whether this version, which is in use, is current.
  [[nodiscard]] bool is_current(const version* used) const noexcept {
    // relaxed: what it holds was acquired when it was taken, and its address cannot come again while it is in use
    return address(current_.load(std::memory_order_relaxed)) == used;
  }

  /// Makes `fresh` current, which belongs to the versions from then on, if `used`, which the caller uses and goes on to, still is.
  [[nodiscard]] bool replace(version* used, version* fresh) noexcept {
    std::uint64_t seen = current_.load(std::memory_order_relaxed);  // relaxed: only compared
    do {
      if (address(seen) != used) return false;
      // release: pairs with the acquire in take(); relaxed on failure: only compared
    } while (!current_.compare_exchange_weak(seen, word_of(fresh), std::memory_order_release, std::memory_order_relaxed));
    // relaxed: the caller's own use keeps it alive; the caller's end() orders everything
    used->users_.fetch_add(static_cast<std::int64_t>(seen & count_mask) - held, std::memory_order_relaxed);
    return true;
  }

  /// Frees what nobody uses any more. Destructors of the user's values run here.
  void free_dead() noexcept {
    version* dead = dead_.exchange(nullptr, std::memory_order_acquire);  // acquire: pairs with the release in bury()
    while (dead != nullptr) delete std::exchange(dead, static_cast<version*>(dead->next_));
  }

 private:
  static std::uint64_t word_of(version* v) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(v)) << count_bits;
  }
  static version* address(std::uint64_t word) noexcept {
    return reinterpret_cast<version*>(static_cast<std::uintptr_t>(word >> count_bits));
  }

  // Moves counts from the word to the version, which the caller uses: first in there, then out here, so that it is never too small.
  [[gnu::noinline]] void fold(version* used) noexcept {
    constexpr auto moved = static_cast<std::int64_t>(FoldAt);
    used->users_.fetch_add(moved, std::memory_order_relaxed);  // relaxed: the caller's own use keeps it alive
    std::uint64_t seen = current_.load(std::memory_order_relaxed);
    while (address(seen) == used && (seen & count_mask) >= FoldAt) {
      // relaxed, both: a number moves; take() reads this write as one of the release sequence that replace() began
      if (current_.compare_exchange_weak(seen, seen - FoldAt, std::memory_order_relaxed, std::memory_order_relaxed)) return;
    }
    used->users_.fetch_sub(moved, std::memory_order_relaxed);  // another one did, or it was replaced with the whole count
  }

  void bury(version* dead) noexcept {
    version* first = dead_.load(std::memory_order_relaxed);  // relaxed: only stored again
    do {
      dead->next_ = first;
      // release: pairs with the acquire in free_dead(); relaxed on failure: only stored again
    } while (!dead_.compare_exchange_weak(first, dead, std::memory_order_release, std::memory_order_relaxed));
  }

  alignas(cache_line) typename Sync::template atomic<std::uint64_t> current_;
  alignas(cache_line) typename Sync::template atomic<version*> dead_{nullptr};
};

}  // namespace penstock::inline v0_1::detail
