// penstock/rate/detail/key_table.hpp: keys with their accounts in a fixed number of places, guarded by somebody else's lock.
//
// A key lies in one of the some 64 places from its *home* on, the cache line that its hash names. Places are never empty again once they have been
// used. A new key takes
//   1. a place that never was used, if there is one within a few steps, else
//   2. the nearest place whose key is full again and not held: a bucket that is full is what an unknown key gets, so nobody can tell that
//      its key has gone (and all of them are equally full, so the nearest serves best), else
//   3. any place that never was used, else none.
// So a key that has used something up never loses its account, whoever comes, and each place grants what one bucket grants, whosever it is.
//
// Far         the first place of a home keeps how many lines away a key of that home has ever been put: nobody looks farther. It never
//             becomes less, as what else lies there cannot be told from its place; so keys that had to go far cost those who come later nothing
//             but what looking through the whole reach costs.
// Cost        a lookup, whether it finds or not: a line, or two, while half of the places hold keys that are not full. A new key looks at eight places more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/detail/bucket_account.hpp>
#include <penstock/rate/detail/huge_page_allocator.hpp>

namespace penstock::inline v0_1::detail {

struct key_account : bucket_account {
  static constexpr std::uint32_t used = 1;        // somebody has, or had, this place
  static constexpr std::uint32_t overridden = 2;  // it has terms of its own
  static constexpr std::uint32_t awaited = 4;     // somebody waits for its tokens: newcomers do not overtake
  static constexpr int far_shift = 3;             // how far keys of this home lie, not of this key
  static constexpr std::uint32_t far = 63U << far_shift;
  static constexpr int tag_shift = 9;

  [[nodiscard]] bool is(std::uint32_t flag) const noexcept { return (mark & flag) != 0; }

  std::uint32_t mark = 0;  // flags, `far`, and a part of the key's hash
  std::uint32_t granted = 0;
  std::uint32_t refused = 0;
};

/// With a key of eight bytes, two of them share a cache line.
template <class Key>
struct alignas(32) key_place : key_account {
  static constexpr std::size_t in_line = sizeof(Key) <= 8 && alignof(Key) <= 8 ? cache_line / 32 : 1;

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

/// Several tables of the same size in one piece of memory, so that all of it may lie in huge pages.
template <class Key>
class key_memory {
 public:
  using place = key_place<Key>;
  static constexpr std::size_t in_line = place::in_line;
  static constexpr std::size_t longest_reach = 64;

  key_memory(std::size_t tables, std::size_t places)
      : places_{places},
        reach_{std::min(places, longest_reach + places % in_line)},
        lines_{(places - reach_) / in_line + 1},
        stride_{(places + in_line - 1) / in_line * in_line},
        memory_(tables * stride_) {}

  [[nodiscard]] place* table(std::size_t index) noexcept { return memory_.data() + index * stride_; }
  [[nodiscard]] std::size_t places() const noexcept { return places_; }
  [[nodiscard]] std::size_t reach() const noexcept { return reach_; }
  /// Homes of a table.
  [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }

  /// The home of this hash in a table: to be fetched into the cache before the lock is taken, and without a look at anything that changes.
  void prefetch(std::size_t index, std::uint64_t hash) const noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(memory_.data() + index * stride_ + home(hash, lines_), 1);
#endif
  }
  [[nodiscard]] static std::size_t home(std::uint64_t hash, std::uint64_t lines) noexcept {
    return static_cast<std::size_t>(((hash & 0xffff'ffff) * lines) >> 32) * in_line;
  }

 private:
  std::size_t places_;
  std::size_t reach_;
  std::uint64_t lines_;
  std::size_t stride_;  // whole lines
  std::vector<place, huge_page_allocator<place>> memory_;
};

template <class Key, class Equal>
class key_table {
 public:
  using place = key_place<Key>;
  static constexpr std::ptrdiff_t near = 8;

  key_table(key_memory<Key>& memory, std::size_t index) noexcept
      : places_{memory.table(index)}, lines_{memory.lines()}, reach_{memory.reach()}, count_{memory.places()} {}

  [[nodiscard]] std::size_t size() const noexcept { return keys_; }
  [[nodiscard]] std::uint64_t replaced() const noexcept { return replaced_; }
  [[nodiscard]] std::size_t places() const noexcept { return count_; }

  template <class K>
  [[nodiscard]] place* find(const K& key, std::uint64_t hash, const Equal& equal) noexcept {
    constexpr std::uint32_t compared = ~(key_account::overridden | key_account::awaited | key_account::far);
    const std::uint32_t mark = mark_of(hash);
    place* p = home(hash);
    place* const end = p + (far_of(*p) + 1) * place::in_line;
    do {
      if (((p->mark ^ mark) & compared) == 0 && equal(p->key, key)) return p;
    } while (++p != end);
    return nullptr;
  }

  /// For a key that is not there: moves `key` to a place, and the one that had it to `key`. Null: there is none, and the key is as it was.
  [[nodiscard]] place* insert(Key& key, std::uint64_t hash, std::int64_t now) noexcept {
    place* const first = home(hash);
    place* const end = first + reach_;
    place* full = nullptr;
    place* p = first;
    for (; p != end && p->mark != 0 && (full == nullptr || p - first < near); ++p) {
      if (full == nullptr && !p->is(key_account::overridden | key_account::awaited) && p->is_full(now)) full = p;
    }
    if (p != end && p->mark == 0 && (full == nullptr || p - first < near)) {
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
    p->mark = mark_of(hash) | (p->mark & key_account::far);
    p->granted = p->refused = 0;
    const std::size_t distance = static_cast<std::size_t>(p - first) / place::in_line;
    if (distance > far_of(*first)) {
      first->mark = (first->mark & ~key_account::far) | (static_cast<std::uint32_t>(distance) << key_account::far_shift);
    }
    return p;
  }

  /// When a key that is not there could have a place, if nobody takes anything: `now` if it can, `never` if all are held for good.
  [[nodiscard]] std::int64_t room_at(std::uint64_t hash, std::int64_t now) const noexcept {
    std::int64_t earliest = never;
    const place* p = home(hash);
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
    for (place* p = places_; p != places_ + count_; ++p) {
      if (p->is(key_account::used)) f(*p);
    }
  }

 private:
  // The highest bits of a hash are the same for all keys of a table, the lower half names the home.
  static std::uint32_t mark_of(std::uint64_t hash) noexcept {
    return (static_cast<std::uint32_t>(hash >> 32) << key_account::tag_shift) | key_account::used;
  }
  static std::size_t far_of(const key_account& first) noexcept {
    return (first.mark & key_account::far) >> key_account::far_shift;
  }
  [[nodiscard]] place* home(std::uint64_t hash) const noexcept { return places_ + key_memory<Key>::home(hash, lines_); }

  place* const places_;
  const std::uint64_t lines_;
  const std::size_t reach_;
  const std::size_t count_;
  std::size_t keys_ = 0;
  std::uint64_t replaced_ = 0;
};

}  // namespace penstock::inline v0_1::detail
