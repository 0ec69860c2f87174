// penstock/rate/detail/key_accounts.hpp: what the keys of a shard have left, and the terms to which they are held; guarded by the shard's lock.
//
// Time        does not step back: what was full stays so.
// No place    all keys without one are told, and take from, what shared_ says, and a key that gets a place begins with what shared_ has: so nobody
//             has two buckets one after the other.
// Layout      what a check touches comes first: it changes the first line, and reads the terms beside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/rate/detail/key_table.hpp>
#include <penstock/rate/keyed_limiter_options.hpp>

namespace penstock::inline v0_1::detail {

/// What came of asking for tokens without waiting.
struct key_attempt {
  outcome how = outcome::pending;  // granted, rejected or closed; pending: not now
  bool overflowed = false;         // the key has no place
  bool too_many = false;           // rejected, for it is more than the key's burst
  std::int64_t look_at = never;    // if pending: when to look again; never: when those who stand before it have left
};

template <class Key, class Equal>
class key_accounts {
 public:
  using place = key_place<Key>;

  key_accounts(key_memory<Key>& memory, std::size_t index, const bucket_terms& terms, keyed_overflow overflow, const Equal& equal)
      : table_{memory, index}, terms_{terms}, refuses_{overflow == keyed_overflow::refuse}, equal_{equal} {}

  /// The latest time that anybody was told.
  std::int64_t tell(std::int64_t read) noexcept { return latest_ = std::max(latest_, read); }

  template <class K>
  [[nodiscard]] place* find(const K& key, std::uint64_t hash) noexcept {
    return table_.find(key, hash, equal_);
  }
  key_account& shared() noexcept { return shared_; }
  [[nodiscard]] const bucket_terms& terms() const noexcept { return terms_; }
  [[nodiscard]] const bucket_terms& terms_of(const key_account& a) const noexcept {
    return a.is(key_account::overridden) ? overrides_.find(&a)->second : terms_;
  }

  key_attempt take_from(key_account& a, std::int64_t read, std::int64_t n, bool counts_refusal) noexcept {
    const std::int64_t at = tell(read);
    const bucket_terms& terms = terms_of(a);
    if (!a.is(key_account::awaited) && take(a, terms, at, n)) return {.how = outcome::granted};
    if (n > terms.burst) return {.how = outcome::rejected, .too_many = true};
    if (counts_refusal) {
      count(a.refused, n);
      ++refusals_.empty;
      return {};
    }
    const std::int64_t ready_at = a.ready_at(terms, at, n);
    return {.overflowed = &a == &shared_, .look_at = ready_at > at ? ready_at : never};
  }
  /// For a key that is not there; moves it to its place, and the one that had that to `key`.
  key_attempt take_as_new(Key& key, std::uint64_t hash, std::int64_t read, std::int64_t n, bool counts_refusal) noexcept {
    if (place* const p = insert(key, hash, tell(read))) return take_from(*p, read, n, counts_refusal);
    ++overflowed_;
    if (!refuses_) return take_from(shared_, read, n, counts_refusal);
    if (n > terms_.burst) return {.how = outcome::rejected, .too_many = true};
    ++refusals_.rejected;
    return {.how = outcome::rejected};
  }
  /// For who waits for this account, and is the first.
  bool take(key_account& a, const bucket_terms& terms, std::int64_t at, std::int64_t n) noexcept {
    if (!a.try_take(terms, at, n)) return false;
    ++accepted_;
    count(a.granted, n);
    return true;
  }

  /// Of a key as it is, or as it would be if it came now: see keyed_shard::look_at().
  template <class K, class F>
  auto look_at(const K& key, std::uint64_t hash, std::int64_t read, F& look) {
    const std::int64_t at = tell(read);
    if (place* const p = find(key, hash)) return look(*p, terms_of(*p), at, at);
    return look(shared_, terms_, at, refuses_ ? table_.room_at(hash, at) : at);
  }

  /// See keyed_shard::set_terms().
  bool set_terms(Key& key, std::uint64_t hash, const bucket_terms* own, std::int64_t read) {
    const std::int64_t at = tell(read);
    place* p = find(key, hash);
    if (p == nullptr) {
      if (own == nullptr) return true;
      p = insert(key, hash, at);
      if (p == nullptr) return false;
    }
    const bucket_terms before = terms_of(*p);
    if (own != nullptr) {
      overrides_.insert_or_assign(p, *own);
      p->mark |= key_account::overridden;
    } else {
      overrides_.erase(p);
      p->mark &= ~key_account::overridden;
    }
    p->change(before, terms_of(*p), at);
    return true;
  }
  void set_terms(const bucket_terms& terms, std::int64_t read) noexcept {
    const std::int64_t at = tell(read);
    table_.for_each([&](place& p) {
      if (!p.is(key_account::overridden)) p.change(terms_, terms, at);
    });
    shared_.change(terms_, terms, at);
    terms_ = terms;
  }

  template <class F>
  void for_each(F f) {
    table_.for_each(f);
  }
  /// The `n` places that were asked for most, or as many as there are; `best` has room for one more.
  void find_heaviest(std::size_t n, std::vector<const place*>& best) noexcept {
    const auto lighter = [](const place* a, const place* b) {
      return std::uint64_t{a->granted} + a->refused > std::uint64_t{b->granted} + b->refused;  // the lightest on top of the heap
    };
    table_.for_each([&](const place& p) {
      if (p.granted == 0 && p.refused == 0) return;
      best.push_back(&p);
      std::ranges::push_heap(best, lighter);
      if (best.size() <= n) return;
      std::ranges::pop_heap(best, lighter);
      best.pop_back();
    });
  }
  [[nodiscard]] std::size_t places() const noexcept { return table_.places(); }
  /// Of calls; here those are counted that got nothing when they looked, but for misuse: the shard counts the others.
  keyed_limiter_refusals& refusals() noexcept { return refusals_; }
  void add_to(keyed_limiter_stats& s) const noexcept {
    s.keys += table_.size();
    s.replaced += table_.replaced();
    s.overflowed += overflowed_;
    s.accepted += accepted_;
    s.refused.empty += refusals_.empty;
    s.refused.rejected += refusals_.rejected;
    s.refused.timeout += refusals_.timeout;
    s.refused.cancelled += refusals_.cancelled;
    s.refused.closed += refusals_.closed;
  }

 private:
  place* insert(Key& key, std::uint64_t hash, std::int64_t at) noexcept {
    place* const p = table_.insert(key, hash, at);
    // What it may have taken from the shared bucket stays taken.
    if (p != nullptr) static_cast<bucket_account&>(*p) = shared_;
    return p;
  }
  static void count(std::uint32_t& counter, std::int64_t n) noexcept {
    const std::int64_t sum = std::int64_t{counter} + n;
    counter = static_cast<std::uint32_t>(std::min<std::int64_t>(sum, std::numeric_limits<std::uint32_t>::max()));
  }

  std::int64_t latest_ = std::numeric_limits<std::int64_t>::min();
  std::uint64_t accepted_ = 0;
  key_table<Key, Equal> table_;
  bucket_terms terms_;
  const bool refuses_;
  [[no_unique_address]] Equal equal_;
  key_account shared_;  // of keys without a place
  std::unordered_map<const dependent<key_account, Key>*, bucket_terms> overrides_;
  std::uint64_t overflowed_ = 0;
  keyed_limiter_refusals refusals_;
};

}  // namespace penstock::inline v0_1::detail
