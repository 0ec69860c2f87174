// penstock/rate/detail/keyed_shard.hpp: a part of a keyed_limiter: its keys, and the line of those who wait for tokens of one of them.
//
// Line        one for all keys of the shard. It is walked from the front: the first who waits for a key gets its tokens as soon as there are enough, and
//             who comes behind it for the same key waits for it, newcomers included; who waits for other keys does not.
// Timer       one (line_alarm.hpp), armed for the earliest time at which anybody in line could get what it asks for if it were the first of its key.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/result.hpp>
#include <penstock/rate/detail/any_clock_handle.hpp>
#include <penstock/rate/detail/key_accounts.hpp>
#include <penstock/rate/detail/line_alarm.hpp>
#include <penstock/rate/keyed_limiter_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Key, class Equal, class Clock = any_clock_handle, class Sync = std_sync>
class alignas(cache_line) keyed_shard {
 public:
  using sync = Sync;
  static constexpr const char* known_as = "keyed_limiter";
  using list = wait_list<Sync>;
  using place = key_place<Key>;
  using attempt = key_attempt;

  struct request;
  struct owning_request;

  /// The `index`th of the tables of `memory`, which outlives it.
  keyed_shard(key_memory<Key>& memory, std::size_t index, Clock clock, keyed_overflow overflow, const bucket_terms& terms,
              const Equal& equal)
      : clock_{clock}, accounts_{memory, index, terms, overflow, equal} {}
  ~keyed_shard() { assert(line_.empty() && "a keyed_limiter was destroyed while somebody waits for it"); }

  /// What comes first of all: with the time that was read before the lock was taken.
  template <class K>
  attempt take(const K& key, std::uint64_t hash, std::int64_t n, bool counts_refusal) {
    const std::int64_t read = clock_.now();
    {
      std::scoped_lock guard{lock_};
      if (closed_) return refuse_closed();
      if (place* const p = accounts_.find(key, hash)) return accounts_.take_from(*p, read, n, counts_refusal);
      if constexpr (std::is_trivially_copyable_v<Key>) {
        Key fresh = static_cast<Key>(key);
        return accounts_.take_as_new(fresh, hash, read, n, counts_refusal);
      }
    }
    if constexpr (!std::is_trivially_copyable_v<Key>) {
      Key fresh = static_cast<Key>(key);  // made, and what it takes the place of destroyed, without the lock
      std::scoped_lock guard{lock_};
      if (closed_) return refuse_closed();
      if (place* const p = accounts_.find(key, hash)) return accounts_.take_from(*p, read, n, counts_refusal);
      return accounts_.take_as_new(fresh, hash, read, n, counts_refusal);
    }
  }

  /// Of a key as it is, or as it would be if it came now: `look(account, terms, now, place_at)`. `place_at` is later than `now` if it is refused until
  /// then for want of a place.
  template <class K, class F>
  auto look_at(const K& key, std::uint64_t hash, F look) {
    const std::int64_t read = clock_.now();
    std::scoped_lock guard{lock_};
    return accounts_.look_at(key, hash, read, look);
  }

  /// Holds the key's place for ever, with terms of its own; null: for as long as it has used something up, with everybody's. False: it has no
  /// place, and there is none to be had.
  bool set_terms(Key& key, std::uint64_t hash, const bucket_terms* own) {
    const std::int64_t read = clock_.now();
    {
      std::scoped_lock guard{lock_};
      if (!accounts_.set_terms(key, hash, own, read)) return false;
    }
    refresh();
    return true;
  }

  /// For all keys without terms of their own.
  void set_terms(const bucket_terms& terms) {
    const std::int64_t read = clock_.now();
    {
      std::scoped_lock guard{lock_};
      accounts_.set_terms(terms, read);
    }
    refresh();
  }

  /// Serves who can be served now, and arms the timer. Throws what starting the timer thread throws.
  void refresh() { alarm_.look_now(); }
  /// Sees to it that the line is looked at by then. Throws what starting the timer thread throws.
  void look_by(std::int64_t when) { alarm_.look_by(when); }

  /// Counts a wait that ended in vain where nobody held the lock.
  void count_refusal(outcome why) noexcept {
    std::scoped_lock guard{lock_};
    keyed_limiter_refusals& all = accounts_.refusals();
    ++(why == outcome::timeout ? all.timeout : why == outcome::cancelled ? all.cancelled : all.rejected);
  }
  /// What became of a wait. The others were counted where they were decided.
  result<void> ended(outcome how) noexcept {
    if (how == outcome::timeout || how == outcome::cancelled) count_refusal(how);
    return to_result(how);
  }

  void close() noexcept {
    list won;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      accounts_.refusals().closed += line_.size();
      end_all(outcome::closed, won);
    }
    won.complete_all();
  }

  /// `f(place)` for every key, under the lock.
  template <class F>
  void for_each(F f) {
    std::scoped_lock guard{lock_};
    accounts_.for_each(f);
  }
  [[nodiscard]] std::int64_t burst_of(const Key& key, std::uint64_t hash) noexcept {
    std::scoped_lock guard{lock_};
    const place* const p = accounts_.find(key, hash);
    return (p != nullptr ? accounts_.terms_of(*p) : accounts_.terms()).burst;
  }
  /// Appends the `n` keys, or as many as there are, that asked for most.
  void add_heaviest(std::size_t n, std::vector<key_usage<Key>>& all) {
    n = std::min(n, accounts_.places());
    std::vector<const place*> best;
    best.reserve(n + 1);
    all.reserve(all.size() + n);  // so that no key is moved or destroyed under the lock
    const std::int64_t read = clock_.now();
    std::scoped_lock guard{lock_};
    const std::int64_t at = accounts_.tell(read);
    accounts_.find_heaviest(n, best);
    for (const place* p : best) all.push_back({p->key, p->granted, p->refused, p->available(accounts_.terms_of(*p), at)});
  }
  void add_to(keyed_limiter_stats& s) const noexcept {
    std::scoped_lock guard{lock_};
    accounts_.add_to(s);
    s.waiters += line_.size();
  }

  // The hooks of wait_operation.
  polled_mutex<Sync>& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r);
  step try_or_link(request& r, link_at where, list&) noexcept;
  void unlinked(request& r, list& won) noexcept {
    r.account->mark &= ~key_account::awaited;
    serve(won);
  }

 private:
  friend line_alarm<keyed_shard, Clock, Sync>;

  // With lock_ held, all of them.

  attempt refuse_closed() noexcept {
    ++accounts_.refusals().closed;
    return {.how = outcome::closed};
  }

  // Wins all who can get what they ask for, and wants the timer for the earliest of the others.
  void serve(list& won) noexcept {
    if (line_.empty()) return;
    const std::int64_t at = accounts_.tell(clock_.now());
    unmark_awaited();
    for (wait_node<Sync>* n = line_.front(); n != nullptr;) {
      auto& r = static_cast<request&>(*n);
      n = n->next;  // read first: winning it moves it to another list
      key_account& a = *r.account;
      const bucket_terms& terms = accounts_.terms_of(a);
      if (r.wanted > terms.burst) {
        ++accounts_.refusals().rejected;
        line_.win(r, outcome::rejected, won);  // the limit was lowered
      } else if (!a.is(key_account::awaited) && accounts_.take(a, terms, at, r.wanted)) {
        line_.win(r, outcome::granted, won);
      } else {
        a.mark |= key_account::awaited;
        const std::int64_t ready_at = a.ready_at(terms, at, r.wanted);
        if (ready_at > at) alarm_.want(ready_at);
      }
    }
  }

  void end_all(outcome how, list& won) noexcept {
    unmark_awaited();
    line_.win_all(how, won);
  }
  void unmark_awaited() noexcept {
    for (wait_node<Sync>* n = line_.front(); n != nullptr; n = n->next) {
      static_cast<request*>(n)->account->mark &= ~key_account::awaited;
    }
  }

  mutable polled_mutex<Sync> lock_;  // guards all that follows
  typename Sync::template var<bool> closed_{false};
  [[no_unique_address]] const Clock clock_;
  key_accounts<Key, Equal> accounts_;
  wait_queue<Sync> line_;
  line_alarm<keyed_shard, Clock, Sync> alarm_{*this, clock_};
};

template <class Key, class Equal, class Clock, class Sync>
struct keyed_shard<Key, Equal, Clock, Sync>::request : wait_node<Sync> {
  request(const Key* k, std::uint64_t h, std::int64_t n) noexcept : key{k}, hash{h}, wanted{n} {}

  const Key* key;
  const std::uint64_t hash;
  const std::int64_t wanted;
  key_account* account = nullptr;  // while it is linked: held by the flag `awaited`, so it does not change hands
  bool overflowed = false;
  bool may_throw = false;  // try_pass(), when it looks for the first time and nothing has begun
};

/// For a coroutine, whose caller's key may be gone when it is resumed.
template <class Key, class Equal, class Clock, class Sync>
struct keyed_shard<Key, Equal, Clock, Sync>::owning_request : request {
  owning_request(keyed_shard* s, Key k, std::uint64_t h, std::int64_t n) : request{nullptr, h, n}, from{s}, own(std::move(k)) {
    this->key = &own;
    this->may_throw = true;
  }
  result<void> take_result(outcome decided) const noexcept { return from->ended(decided); }

  keyed_shard* from;
  Key own;
};

template <class Key, class Equal, class Clock, class Sync>
bool keyed_shard<Key, Equal, Clock, Sync>::try_pass(request& r) {
  const bool may_throw = std::exchange(r.may_throw, false);
  try {
    const attempt a = take(*r.key, r.hash, r.wanted, false);
    if (a.how != outcome::pending) {
      if (a.too_many) count_refusal(a.how);  // the limit was lowered
      r.how = a.how;
      return true;
    }
    r.overflowed = a.overflowed;
    look_by(a.look_at);
    return false;
  } catch (...) {  // no memory for another copy of the key
    if (may_throw) throw;
    count_refusal(outcome::rejected);
    r.how = outcome::rejected;
    return true;
  }
}

template <class Key, class Equal, class Clock, class Sync>
step keyed_shard<Key, Equal, Clock, Sync>::try_or_link(request& r, link_at where, list&) noexcept {
  if (closed_) {
    r.how = refuse_closed().how;
    return step::passed;
  }
  key_account* account = accounts_.find(*r.key, r.hash);
  if (account == nullptr && r.overflowed) account = &accounts_.shared();
  if (account == nullptr) return step::look_again;  // full again, and replaced: try_pass() finds it a place, and what it wants
  const attempt a = accounts_.take_from(*account, clock_.now(), r.wanted, false);
  if (a.how != outcome::pending) {
    if (a.too_many) ++accounts_.refusals().rejected;
    r.how = a.how;
    return step::passed;
  }
  if (where == link_at::nowhere) return step::refused;
  if (!alarm_.looks_by(a.look_at)) return step::look_again;  // the timer went off meanwhile
  account->mark |= key_account::awaited;
  r.account = account;
  line_.push_back(r);
  return step::linked;
}

}  // namespace penstock::inline v0_1::detail
