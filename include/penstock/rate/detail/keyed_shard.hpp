// penstock/rate/detail/keyed_shard.hpp: a part of a keyed_limiter: its keys, and the line of those who wait for tokens of one of them.
//
// Line        one for all keys of the shard. It is walked from the front: the first who waits for a key gets its tokens as soon as there are enough, and
//             who comes behind it for the same key waits for it, newcomers included; who waits for other keys does not.
// Timer       one, which is armed for the earliest time at which anybody in line could get what it asks for if it were the first of its key,
//             or earlier. Who comes sees to that before it is linked; whoever leaves only makes it later, and serves who stood behind it at once.
//             So nothing has to be armed under the lock, or after a node was linked (race 4).
// Moving it   is one thread's at a time (moving_): the others, a timer that fires meanwhile included, leave word (wanted_, fired_), and that
//             thread looks again. It never waits for a timer that goes off, which may resume somebody's coroutine first: due() is on its way then, and
//             sees to what is wanted. It completes whom it served last of all: they may destroy the limiter.
// Destruction waits for the timer's function until it touches the shard no more (on_timer_), not for what it makes go on.
// No place    all keys without one are told, and take from, what shared_ says, and a key that gets a place begins with what shared_ has: so nobody
//             has two buckets one after the other.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/timer_service.hpp>
#include <penstock/rate/detail/key_table.hpp>
#include <penstock/rate/keyed_limiter_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Key, class Equal>
class alignas(cache_line) keyed_shard {
 public:
  using sync = std_sync;
  using list = wait_list<std_sync>;
  using place = key_place<Key>;

  struct request;
  struct owning_request;

  struct attempt {
    outcome how = outcome::pending;  // granted, rejected or closed; pending: not now
    std::int64_t look_at = never;    // if pending: when to look again; never: when those who stand before it have left
    bool overflowed = false;         // the key has no place
    bool too_many = false;           // rejected, for it is more than the key's burst
  };

  keyed_shard(std::size_t places, const keyed_limiter_options& options, const bucket_terms& terms, const Equal& equal)
      : table_{places},
        equal_{equal},
        terms_{terms},
        clock_{options.clock},
        refuses_{options.overflow == keyed_overflow::refuse} {
    timer_.fire = [](timer_entry<std_sync>& self) noexcept { static_cast<line_timer&>(self).owner.due(); };
  }
  ~keyed_shard() {
    assert(line_.empty() && "a keyed_limiter was destroyed while somebody waits for it");
    {
      std::unique_lock guard{lock_};
      gone_ = true;
      if (!moving_ && armed_for_ != never) {  // else due() moves it, and takes it out
        guard.unlock();
        if (timers().try_remove(timer_)) on_timer_.end_one();
      }
    }
    blocking_wait<basic_join<>, plain_node<std_sync>>{on_timer_}.run();
  }

  void prefetch(std::uint64_t hash) const noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(table_.home_of(hash), 1);
#endif
  }

  /// What comes first of all: with the time that was read before the lock was taken.
  template <class K>
  attempt take(const K& key, std::uint64_t hash, std::int64_t n, bool counts_refusal) {
    const std::int64_t read = now();
    {
      std::scoped_lock guard{lock_};
      if (place* const p = table_.find(key, hash, equal_)) return take_from(*p, read, n, counts_refusal);
      if constexpr (std::is_trivially_copyable_v<Key>) {
        Key fresh = static_cast<Key>(key);
        return take_as_new(fresh, hash, read, n, counts_refusal);
      }
    }
    if constexpr (!std::is_trivially_copyable_v<Key>) {
      Key fresh = static_cast<Key>(key);  // made, and what it takes the place of destroyed, without the lock
      std::scoped_lock guard{lock_};
      if (place* const p = table_.find(key, hash, equal_)) return take_from(*p, read, n, counts_refusal);
      return take_as_new(fresh, hash, read, n, counts_refusal);
    }
  }

  /// Of a key as it is, or as it would be if it came now: `look(account, terms, now, place_at)`. `place_at` is later than `now` if it is refused until
  /// then for want of a place.
  template <class K, class F>
  auto look_at(const K& key, std::uint64_t hash, F look) {
    const std::int64_t read = now();
    std::scoped_lock guard{lock_};
    const std::int64_t at = tell(read);
    if (place* const p = table_.find(key, hash, equal_)) return look(*p, terms_of(*p), at, at);
    return look(shared_, terms_, at, refuses_ ? table_.room_at(hash, at) : at);
  }

  /// Holds the key's place for ever, with terms of its own; null: for as long as it has used something up, with everybody's. False: it has no
  /// place, and there is none to be had.
  bool set_terms(Key& key, std::uint64_t hash, const bucket_terms* own) {
    const std::int64_t read = now();
    {
      std::scoped_lock guard{lock_};
      const std::int64_t at = tell(read);
      place* p = table_.find(key, hash, equal_);
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
    }
    refresh();
    return true;
  }

  /// For all keys without terms of their own.
  void set_terms(const bucket_terms& terms) {
    {
      std::scoped_lock guard{lock_};
      const std::int64_t at = tell(now());
      table_.for_each([&](place& p) {
        if (!p.is(key_account::overridden)) p.change(terms_, terms, at);
      });
      shared_.change(terms_, terms, at);
      terms_ = terms;
    }
    refresh();
  }

  /// Serves who can be served now, and arms the timer. Throws what starting the timer thread throws.
  void refresh() {
    {
      std::scoped_lock guard{lock_};
      fired_ = true;
      if (moving_) return;
      moving_ = true;
    }
    list won;
    move_timer(won);
    won.complete_all();
  }

  /// Sees to it that the line is looked at by then. Throws what starting the timer thread throws.
  void look_by(std::int64_t when) {
    {
      std::scoped_lock guard{lock_};
      wanted_ = std::min(wanted_, when);
      if (moving_ || wanted_ >= armed_for_) return;
      moving_ = true;
    }
    list won;
    move_timer(won);
    won.complete_all();
  }

  void close() noexcept {
    list won;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      end_all(outcome::closed, won);
    }
    won.complete_all();
  }

  /// `f(place, terms, now)` for every key, under the lock.
  template <class F>
  void for_each(F f) {
    const std::int64_t read = now();
    std::scoped_lock guard{lock_};
    const std::int64_t at = tell(read);
    table_.for_each([&](place& p) { f(p, terms_of(p), at); });
  }
  [[nodiscard]] std::int64_t burst_of(const Key& key, std::uint64_t hash) noexcept {
    std::scoped_lock guard{lock_};
    const place* const p = table_.find(key, hash, equal_);
    return p != nullptr ? terms_of(*p).burst : terms_.burst;
  }
  /// Appends the `n` keys, or as many as there are, that asked for most.
  void add_heaviest(std::size_t n, std::vector<key_usage<Key>>& all) {
    n = std::min(n, table_.places());
    std::vector<const place*> best;
    best.reserve(n + 1);
    all.reserve(all.size() + n);  // so that no key is moved or destroyed under the lock
    const auto lighter = [](const place* a, const place* b) {
      return std::uint64_t{a->granted} + a->refused > std::uint64_t{b->granted} + b->refused;  // the lightest on top of the heap
    };
    const std::int64_t read = now();
    std::scoped_lock guard{lock_};
    const std::int64_t at = tell(read);
    table_.for_each([&](const place& p) {
      if (p.granted == 0 && p.refused == 0) return;
      best.push_back(&p);
      std::ranges::push_heap(best, lighter);
      if (best.size() <= n) return;
      std::ranges::pop_heap(best, lighter);
      best.pop_back();
    });
    for (const place* p : best) all.push_back({p->key, p->granted, p->refused, p->available(terms_of(*p), at)});
  }
  void add_to(keyed_limiter_stats& s) const noexcept {
    std::scoped_lock guard{lock_};
    s.keys += table_.size();
    s.waiters += line_.size();
    s.replaced += table_.replaced();
    s.overflowed += overflowed_;
  }

  // The hooks of wait_operation.
  polled_mutex<std_sync>& wait_lock() noexcept { return lock_; }
  bool try_pass(request& r);
  step try_or_link(request& r, link_at where, list&) noexcept;
  void unlinked(request& r, list& won) noexcept {
    r.account->mark &= ~key_account::awaited;
    serve(won);
  }

 private:
  [[nodiscard]] std::int64_t now() const noexcept { return clock_.now(); }
  [[nodiscard]] timer_queue& timers() const noexcept {
    timer_queue* const own = clock_.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }

  // With lock_ held, all down to serve().

  // The time does not step back: what was full stays so.
  std::int64_t tell(std::int64_t read) noexcept { return latest_ = std::max(latest_, read); }
  [[nodiscard]] const bucket_terms& terms_of(const key_account& a) const noexcept {
    return a.is(key_account::overridden) ? overrides_.find(&a)->second : terms_;
  }

  attempt take_from(key_account& a, std::int64_t read, std::int64_t n, bool counts_refusal) noexcept {
    if (closed_) return {.how = outcome::closed};
    const std::int64_t at = tell(read);
    const bucket_terms& terms = terms_of(a);
    if (!a.is(key_account::awaited) && a.try_take(terms, at, n)) {
      count(a.granted, n);
      return {.how = outcome::granted};
    }
    if (n > terms.burst) return {.how = outcome::rejected, .too_many = true};
    if (counts_refusal) {
      count(a.refused, n);
      return {};
    }
    const std::int64_t ready_at = a.ready_at(terms, at, n);
    return {.look_at = ready_at > at ? ready_at : never, .overflowed = &a == &shared_};
  }
  place* insert(Key& key, std::uint64_t hash, std::int64_t at) noexcept {
    place* const p = table_.insert(key, hash, at);
    // What it may have taken from the shared bucket stays taken.
    if (p != nullptr) static_cast<bucket_account&>(*p) = shared_;
    return p;
  }
  attempt take_as_new(Key& key, std::uint64_t hash, std::int64_t read, std::int64_t n, bool counts_refusal) noexcept {
    if (place* const p = insert(key, hash, tell(read))) return take_from(*p, read, n, counts_refusal);
    ++overflowed_;
    if (refuses_) return {.how = outcome::rejected, .too_many = n > terms_.burst};
    return take_from(shared_, read, n, counts_refusal);
  }
  static void count(std::uint32_t& counter, std::int64_t n) noexcept {
    const std::int64_t sum = std::int64_t{counter} + n;
    counter = static_cast<std::uint32_t>(std::min<std::int64_t>(sum, std::numeric_limits<std::uint32_t>::max()));
  }

  // Wins all who can get what they ask for, and wants the timer for the earliest of the others.
  void serve(list& won) noexcept {
    if (line_.empty()) return;
    const std::int64_t at = tell(now());
    for (auto* n = line_.front(); n != nullptr; n = n->next) static_cast<request*>(n)->account->mark &= ~key_account::awaited;
    for (auto* n = line_.front(); n != nullptr;) {
      auto& r = static_cast<request&>(*n);
      n = n->next;  // read first: winning it moves it to another list
      key_account& a = *r.account;
      const bucket_terms& terms = terms_of(a);
      if (r.wanted > terms.burst) {
        line_.win(r, outcome::rejected, won);  // the limit was lowered
      } else if (!a.is(key_account::awaited) && a.try_take(terms, at, r.wanted)) {
        count(a.granted, r.wanted);
        line_.win(r, outcome::granted, won);
      } else {
        a.mark |= key_account::awaited;
        const std::int64_t ready_at = a.ready_at(terms, at, r.wanted);
        if (ready_at > at) wanted_ = std::min(wanted_, ready_at);
      }
    }
  }

  void end_all(outcome how, list& won) noexcept {
    for (auto* n = line_.front(); n != nullptr; n = n->next) static_cast<request*>(n)->account->mark &= ~key_account::awaited;
    line_.win_all(how, won);
  }

  // The timer's function.
  void due() noexcept {
    const trampoline later;  // what goes on inline, and may destroy the limiter, does so behind the last touch
    list won;
    bool mine = false;
    {
      std::scoped_lock guard{lock_};
      armed_for_ = never;
      fired_ = true;
      mine = !moving_;
      moving_ = true;
    }
    if (mine) move_timer(won);  // throws nothing: the timer thread runs
    on_timer_.end_one();        // the last touch
    won.complete_all();
  }

  // Without the lock, by the one who set moving_. Completing those it won is the last touch, and the caller's part.
  void move_timer(list& won) {
    for (;;) {
      std::int64_t when = never;
      {
        std::unique_lock guard{lock_};
        if (fired_) {
          fired_ = false;
          wanted_ = never;
          serve(won);
        }
        if (armed_for_ != never && (gone_ || wanted_ < armed_for_)) {
          guard.unlock();
          const bool taken_out = timers().try_remove(timer_);
          if (taken_out) on_timer_.end_one();
          guard.lock();
          if (taken_out) armed_for_ = never;
          if (fired_) continue;
        }
        // Armed early enough; or it could not be taken out: then due() is on its way.
        if (armed_for_ != never || wanted_ == never || gone_) {
          moving_ = false;
          return;
        }
        armed_for_ = when = wanted_;
        on_timer_.begin_one();
      }
      try {
        timers().add(timer_, when);  // may go off here
      } catch (...) {
        {
          std::scoped_lock guard{lock_};
          moving_ = fired_ = false;
          armed_for_ = wanted_ = never;
          end_all(outcome::rejected, won);  // nobody would wake them
        }
        on_timer_.end_one();
        won.complete_all();
        throw;
      }
    }
  }

  struct line_timer : timer_entry<std_sync> {
    explicit line_timer(keyed_shard& shard) noexcept : owner{shard} {}
    keyed_shard& owner;
  };

  mutable polled_mutex<std_sync> lock_;  // guards all that follows
  std::int64_t latest_ = std::numeric_limits<std::int64_t>::min();
  key_table<Key, Equal> table_;
  [[no_unique_address]] Equal equal_;
  bucket_terms terms_;
  const any_clock clock_;
  const bool refuses_;
  bool closed_ = false;
  bool moving_ = false;
  bool fired_ = false;
  bool gone_ = false;
  std::int64_t armed_for_ = never;
  std::int64_t wanted_ = never;
  wait_queue<std_sync> line_;
  key_account shared_;  // of keys without a place
  std::unordered_map<const key_account*, bucket_terms> overrides_;
  std::uint64_t overflowed_ = 0;
  line_timer timer_{*this};  // guarded by moving_
  basic_join<> on_timer_;    // the timer while it is armed, and each due() until it touches nothing any more
};

template <class Key, class Equal>
struct keyed_shard<Key, Equal>::request : wait_node<std_sync> {
  request(const Key* k, std::uint64_t h, std::int64_t n) noexcept : key{k}, hash{h}, wanted{n} {}
  static result<void> take_result(outcome decided) noexcept { return to_result(decided); }

  const Key* key;
  const std::uint64_t hash;
  const std::int64_t wanted;
  key_account* account = nullptr;  // while it is linked: held by the flag `awaited`, so it does not change hands
  bool overflowed = false;
  bool may_throw = false;  // try_pass(), when it looks for the first time and nothing has begun
};

/// For a coroutine, whose caller's key may be gone when it is resumed.
template <class Key, class Equal>
struct keyed_shard<Key, Equal>::owning_request : request {
  owning_request(Key k, std::uint64_t h, std::int64_t n) : request{nullptr, h, n}, own(std::move(k)) {
    this->key = &own;
    this->may_throw = true;
  }

  Key own;
};

template <class Key, class Equal>
bool keyed_shard<Key, Equal>::try_pass(request& r) {
  const bool may_throw = std::exchange(r.may_throw, false);
  try {
    const attempt a = take(*r.key, r.hash, r.wanted, false);
    if (a.how != outcome::pending) {
      r.how = a.how;
      return true;
    }
    r.overflowed = a.overflowed;
    look_by(a.look_at);
    return false;
  } catch (...) {  // no memory for another copy of the key
    if (may_throw) throw;
    r.how = outcome::rejected;
    return true;
  }
}

template <class Key, class Equal>
step keyed_shard<Key, Equal>::try_or_link(request& r, link_at where, list&) noexcept {
  const std::int64_t at = tell(now());
  key_account* account = table_.find(*r.key, r.hash, equal_);
  if (account == nullptr && r.overflowed) account = &shared_;
  if (account == nullptr) return step::look_again;  // full again, and replaced: try_pass() finds it a place, and what it wants
  const attempt a = take_from(*account, at, r.wanted, false);
  if (a.how != outcome::pending) {
    r.how = a.how;
    return step::passed;
  }
  if (where == link_at::nowhere) return step::refused;
  if (a.look_at < std::min(armed_for_, wanted_)) return step::look_again;  // the timer went off meanwhile
  account->mark |= key_account::awaited;
  r.account = account;
  line_.push_back(r);
  return step::linked;
}

}  // namespace penstock::inline v0_1::detail
