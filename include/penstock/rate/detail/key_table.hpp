// penstock/rate/detail/key_table.hpp: keys with their accounts in a fixed number of places, guarded by somebody else's lock.
//
// A key lies in one of the `reach` places from its home on, which its hash names. Places are never empty again once they have been used, so a key is
// looked for until a place that never was used. A new key takes
//   1. a place that never was used, if there is one within a few steps, else
//   2. the nearest place whose key is full again and not held: a bucket that is full is what an unknown key gets, so nobody can tell that
//      its key has gone (and all of them are equally full, so the nearest serves best), else
//   3. any place that never was used, else none.
// So a key that has used something up never loses its account, whoever comes, and each place grants what one bucket grants, whosever it is.
//
// Cost        a lookup that finds: a place or two while half of the places hold keys that are not full. One that does not: `reach` places at the most.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <penstock/rate/detail/bucket_account.hpp>

namespace penstock::inline v0_1::detail {

struct key_account : bucket_account {
  static constexpr std::uint32_t used = 1;        // somebody has, or had, this place
  static constexpr std::uint32_t overridden = 2;  // it has terms of its own
  static constexpr std::uint32_t awaited = 4;     // somebody waits for its tokens: newcomers do not overtake
  static constexpr std::uint32_t flags = 7;

  [[nodiscard]] bool is(std::uint32_t flag) const noexcept { return (mark & flag) != 0; }

  std::uint32_t mark = 0;  // flags, and the upper half of the key's hash
  std::uint32_t granted = 0;
  std::uint32_t refused = 0;
};

/// With a key of eight bytes, two of them share a cache line.
template <class Key>
struct alignas(32) key_place : key_account {
  key_place() noexcept {}
  key_place(const key_place&) = delete;
  key_place& operator=(const key_place&) = delete;
  ~key_place() {
    if (is(used)) key.~Key();
  }

  union {
    Key key;
  };
};

template <class Key, class Equal>
class key_table {
 public:
  using place = key_place<Key>;
  static constexpr std::size_t longest_reach = 64;
  static constexpr std::size_t near = 8;

  explicit key_table(std::size_t places) : places_(places), reach_{std::min(places, longest_reach)} {}

  [[nodiscard]] std::size_t size() const noexcept { return keys_; }
  [[nodiscard]] std::uint64_t replaced() const noexcept { return replaced_; }
  [[nodiscard]] std::size_t places() const noexcept { return places_.size(); }

  /// The first place where a key of this hash may lie: worth fetching into the cache before the lock is taken.
  [[nodiscard]] const void* home_of(std::uint64_t hash) const noexcept { return &places_[home(hash)]; }

  template <class K>
  [[nodiscard]] place* find(const K& key, std::uint64_t hash, const Equal& equal) noexcept {
    const std::uint32_t mark = mark_of(hash);
    place* p = &places_[home(hash)];
    for (place* const end = p + reach_; p != end; ++p) {
      if (((p->mark ^ mark) & ~(key_account::overridden | key_account::awaited)) == 0 && equal(p->key, key)) return p;
      if (p->mark == 0) return nullptr;
    }
    return nullptr;
  }

  /// For a key that is not there: moves `key` to a place, and the one that had it to `key`. Null: there is none, and the key is as it was.
  [[nodiscard]] place* insert(Key& key, std::uint64_t hash, std::int64_t now) noexcept {
    place* const first = &places_[home(hash)];
    place* const end = first + reach_;
    place* full = nullptr;
    place* p = first;
    for (; p != end && p->mark != 0; ++p) {
      if (full == nullptr && !p->is(key_account::overridden | key_account::awaited) && p->is_full(now)) full = p;
    }
    if (p != end && (full == nullptr || p - first < static_cast<std::ptrdiff_t>(near))) {
      ::new (static_cast<void*>(std::addressof(p->key))) Key(std::move(key));
      ++keys_;
    } else if (full != nullptr) {
      using std::swap;
      swap(full->key, key);
      p = full;
      ++replaced_;
    } else {
      return nullptr;
    }
    static_cast<bucket_account&>(*p) = {};
    p->mark = mark_of(hash);
    p->granted = p->refused = 0;
    return p;
  }

  /// When a key that is not there could have a place, if nobody takes anything: `now` if it can, `never` if all are held for good.
  [[nodiscard]] std::int64_t room_at(std::uint64_t hash, std::int64_t now) const noexcept {
    std::int64_t earliest = never;
    const place* p = &places_[home(hash)];
    for (const place* const end = p + reach_; p != end; ++p) {
      if (p->mark == 0) return now;
      if (p->is(key_account::overridden)) continue;
      const bool awaited = p->is(key_account::awaited);
      if (!awaited && p->is_full(now)) return now;
      const std::int64_t full_at = p->full_at + (p->part != 0 ? 1 : 0);
      earliest = std::min(earliest, awaited ? std::max(full_at, now + 1) : full_at);
    }
    return earliest;
  }

  template <class F>
  void for_each(F f) {
    for (place& p : places_) {
      if (p.is(key_account::used)) f(p);
    }
  }

 private:
  static std::uint32_t mark_of(std::uint64_t hash) noexcept {
    return (static_cast<std::uint32_t>(hash >> 32) & ~key_account::flags) | key_account::used;
  }
  [[nodiscard]] std::size_t home(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>(((hash & 0xffff'ffff) * (places_.size() - reach_ + 1)) >> 32);
  }

  std::vector<place> places_;
  std::size_t reach_;
  std::size_t keys_ = 0;
  std::uint64_t replaced_ = 0;
};

}  // namespace penstock::inline v0_1::detail
