// penstock/batch/detail/flight.hpp: the load of one key, which all who ask for the key meanwhile share, and the lines and the table it lies in.
//
// States         queued → taken (by a batch) → done. A flight that is *listed* is found by its key; one that is not serves those who have it
//                already, and nobody else (its key was cleared meanwhile, or it is done and not remembered).
// Ownership      counted (future_state.hpp). The batcher has one share from the beginning, as long as the flight is listed, queued or taken; every
//                caller has one, and so does the work item while it is on its way to the executor.
// Fields         guarded by the batcher's lock, but for `key`, `hash` and `core`, which do not change, and the outcome, which belongs to the batch
//                that took the flight until it is published.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/sync/detail/future_state.hpp>

namespace penstock::inline v0_1::detail {

enum class flight_phase : std::uint8_t { queued, taken, done };
/// What its work item is on its way for.
enum class flight_item : std::uint8_t { none, line, nested };

/// The work item sends a runner to the executor; whose key it is does not matter then.
template <class Key, class Value, class Sync = std_sync>
class flight : public future_state<Value, Sync>, public work_item {
  template <class T>
  using var = typename Sync::template var<T>;

 public:
  using sync = Sync;

  template <class K>
  flight(K&& k, std::size_t h)
      : future_state<Value, Sync>{[](future_state<Value, Sync>& s) noexcept { delete static_cast<flight*>(&s); }},
        key(std::forward<K>(k)),
        hash{h} {}

  /// Lets those who wait see what came of it. They may run in here.
  void tell() noexcept {
    if (failure != nullptr) return this->set_exception(std::move(failure));
    if (failed) return this->set_error(failed);
    this->publish();
  }
  [[nodiscard]] bool has_value() const noexcept { return failure == nullptr && !failed; }

  const Key key;
  const std::size_t hash;
  var<void*> core{nullptr};    // null: done from the beginning
  std::error_code failed;      // an outcome: of a value that did not come
  std::exception_ptr failure;  // the same, until it is told
  flight* below = nullptr;     // in its bucket
  flight* before = nullptr;    // in its line
  flight* after = nullptr;     // likewise; or in its batch, or of what is to be dropped
  nanoseconds_point at = 0;    // queued: since when; remembered: until when
  std::size_t bytes = 0;
  var<std::uint32_t> limited{0};  // callers who may give up
  var<flight_phase> phase{flight_phase::queued};
  var<bool> held{false};  // somebody was given a future, which is not asked whether it still matters
  var<bool> listed{false};
  var<flight_item> posted{flight_item::none};
  var<const void*> origin{nullptr};  // from within which batch it was asked for; null: from none
  var<bool> cleared{false};          // while it was taken
  trace_context trace = {};          // of who asked first, if somebody traces
};

/// Shares that are to be dropped once the lock is free: what a user put there is destroyed then.
template <class Flight>
class flight_trash {
 public:
  flight_trash() = default;
  flight_trash(const flight_trash&) = delete;
  flight_trash& operator=(const flight_trash&) = delete;
  ~flight_trash() {
    while (Flight* const f = first_) {
      first_ = f->after;
      f->drop_owner();
    }
  }
  /// It is in no line.
  void add(Flight& f) noexcept {
    f.after = first_;
    first_ = &f;
  }

 private:
  Flight* first_ = nullptr;
};

/// By key: separate chaining through the flights themselves, so that nothing but the buckets is allocated: one for each key that was ever in it at a
/// time.
template <class Flight>
class flight_table {
 public:
  flight_table() : buckets_(64) {}

  template <class SameKey>
  [[nodiscard]] Flight* find(std::size_t hash, SameKey&& same) const {
    for (Flight* f = first(hash); f != nullptr; f = f->below) {
      if (f->hash == hash && same(f->key)) return f;
    }
    return nullptr;
  }
  /// What a search for the hash begins with.
  [[nodiscard]] Flight* const& first(std::size_t hash) const noexcept { return buckets_[spread(hash) & (buckets_.size() - 1)]; }
  void insert(Flight& f) noexcept {
    if (size_ >= buckets_.size()) grow();
    Flight*& first = bucket(f.hash);
    f.below = first;
    first = &f;
    f.listed = true;
    ++size_;
  }
  void erase(Flight& f) noexcept {
    Flight** link = &bucket(f.hash);
    while (*link != &f) link = &(*link)->below;
    *link = f.below;
    f.listed = false;
    --size_;
  }
  /// `f` may erase the one that it is called with, and no other.
  template <class F>
  void for_each(F&& f) {
    for (Flight* first : buckets_) {
      while (first != nullptr) f(*std::exchange(first, first->below));
    }
  }

 private:
  // The buckets are a power of two, and std::hash of a number is that number: so spread it.
  [[nodiscard]] static std::size_t spread(std::size_t hash) noexcept {
    return static_cast<std::size_t>((static_cast<std::uint64_t>(hash) * 0x9E37'79B9'7F4A'7C15u) >> 20);
  }
  Flight*& bucket(std::size_t hash) noexcept { return buckets_[spread(hash) & (buckets_.size() - 1)]; }

  void grow() noexcept {
    std::vector<Flight*> old;
    try {
      old.resize(buckets_.size() * 2);
    } catch (...) {
      return;  // longer chains will do
    }
    old.swap(buckets_);
    for (Flight* first : old) {
      while (first != nullptr) {
        Flight* const f = std::exchange(first, first->below);
        Flight*& now = bucket(f->hash);
        f->below = now;
        now = f;
      }
    }
  }

  std::vector<Flight*> buckets_;
  std::size_t size_ = 0;
};

}  // namespace penstock::inline v0_1::detail
