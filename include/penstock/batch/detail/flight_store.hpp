// penstock/batch/detail/flight_store.hpp: which keys are known: those that are being loaded, and of those that were, the ones that are remembered.
//
// Invariants     a flight is listed in the table, and if it is done it lies in the line of the remembered too, the one that was asked for last at
//                its end. There are at most max_entries of those.
// Thread safety  none: guarded by the batcher's lock. Keys are compared under it; what is let go of goes to the trash, which is emptied without it.
// Expiry         is seen when somebody asks for the key. Until then what has expired stays where it is, within max_entries.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <penstock/batch/batch_cache.hpp>
#include <penstock/batch/detail/flight.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/node_list.hpp>

namespace penstock::inline v0_1::detail {

template <class Flight>
class flight_store {
 public:
  using trash = flight_trash<Flight>;

  explicit flight_store(const batch_cache_options& o)
      : max_{o.max_entries}, ttl_{o.ttl.count()}, negative_ttl_{o.negative_ttl.count()} {}

  flight_store(const flight_store&) = delete;
  flight_store& operator=(const flight_store&) = delete;
  /// Nothing is under way any more: what is left is remembered. In the order in which it came, which is kinder to the cache than the table's.
  ~flight_store() {
    for (Flight* f = remembered_.front(); f != nullptr;) {
      Flight* const next = f->after;
      f->drop_owner();
      f = next;
    }
  }

  /// Whether one with this outcome would be.
  [[nodiscard]] bool remembers(const Flight& f) const noexcept { return max_ != 0 && length_of(f) > 0; }
  /// Whether the time matters.
  [[nodiscard]] static bool timed(const batch_cache_options& o) noexcept {
    return o.max_entries != 0 && (finite(o.ttl.count()) || finite(o.negative_ttl.count()));
  }
  [[nodiscard]] std::size_t remembered() const noexcept { return remembered_.size(); }

  /// The flight that serves the key now; null: none.
  template <class SameKey>
  [[nodiscard]] Flight* find(std::size_t hash, SameKey&& same, nanoseconds_point now, trash& gone) {
    Flight* const f = table_.find(hash, same);
    if (f == nullptr || f->phase != flight_phase::done) return f;
    if (now >= f->at) return forget(*f, gone), nullptr;
    if (f != remembered_.back()) {
      remembered_.remove(*f);
      remembered_.push_back(*f);
    }
    return f;
  }

  /// Asks for the memory that find() will read, in these steps; whoever looks for many keys takes each step for all of them, so that what is not in the
  /// processor's caches comes for all at the same time.
  enum class fetch : std::uint8_t { bucket, flight, neighbours };
  void ask_for(fetch what, std::size_t hash) const noexcept {
#if defined(__GNUC__)
    Flight* const& first = table_.first(hash);
    if (what == fetch::bucket) return __builtin_prefetch(&first);
    if (first == nullptr) return;
    if (what == fetch::flight) {
      __builtin_prefetch(first, 1);  // its owners
      __builtin_prefetch(&first->hash);
      __builtin_prefetch(&first->phase);
    } else if (first->phase == flight_phase::done) {
      if (first->before != nullptr) __builtin_prefetch(&first->before->after, 1);
      if (first->after != nullptr) __builtin_prefetch(&first->after->before, 1);
    }
#endif
  }

  /// A new one, queued.
  void add(Flight& f) noexcept { table_.insert(f); }
  /// A listed one that is not done.
  void remove(Flight& f) noexcept { table_.erase(f); }

  /// A listed one is done: it is remembered, or not listed any more. That of a key that was never queued has to be add()ed first.
  void land(Flight& f, nanoseconds_point now, bool may_be_remembered, trash& gone) noexcept {
    if (!may_be_remembered || !remembers(f)) return table_.erase(f);
    const nanoseconds_point length = length_of(f);
    f.at = length == never ? never : saturating_add(now, length);
    remembered_.push_back(f);
    if (remembered_.size() > max_) forget(*remembered_.front(), gone);
  }

  /// What is done, or was taken before this, serves nobody any more who asks from now on. What is still queued will be loaded later than now, and so
  /// it stays. The batcher's share in one that is done goes to the trash.
  void clear(Flight& f, trash& gone) noexcept {
    if (f.phase == flight_phase::done) {
      forget(f, gone);
    } else if (f.phase == flight_phase::taken) {
      table_.erase(f);
      f.cleared = true;
      ++cleared_;
    }
  }
  /// Of those that were taken then: how many may not have reached a user's cache yet, and left it.
  [[nodiscard]] std::size_t cleared() const noexcept { return cleared_; }
  void cleared_one_is_gone() noexcept { --cleared_; }
  void clear_all(trash& gone) noexcept {
    table_.for_each([&](Flight& f) { clear(f, gone); });
  }

 private:
  [[nodiscard]] nanoseconds_point length_of(const Flight& f) const noexcept { return f.has_value() ? ttl_ : negative_ttl_; }
  [[nodiscard]] static bool finite(nanoseconds_point length) noexcept { return length > 0 && length != never; }

  void forget(Flight& f, trash& gone) noexcept {
    remembered_.remove(f);
    table_.erase(f);
    gone.add(f);
  }

  flight_table<Flight> table_;
  node_list<Flight> remembered_;
  const std::size_t max_;
  const nanoseconds_point ttl_;
  const nanoseconds_point negative_ttl_;
  std::size_t cleared_ = 0;
};

}  // namespace penstock::inline v0_1::detail
