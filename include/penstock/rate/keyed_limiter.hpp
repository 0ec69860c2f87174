// penstock/rate/keyed_limiter.hpp: a token bucket for each user, address or tenant.
//
//   penstock::keyed_limiter<std::string> per_user{penstock::rate{10, 1s}, 20, {.max_keys = 100'000}};
//   if (!per_user.try_acquire(user)) return too_many_requests(per_user.retry_after(user));
//   per_user.set_limit("a-good-customer", penstock::rate{1000, 1s}, 2000);
//
// The rule       memory is taken once, for `max_keys` places. A key whose bucket is full is what a key that was never seen is, so its place may be taken by
//                another one and nobody can tell. A key that has used something up keeps its place until it is full again, whoever comes. So
//                whoever invents keys, ten millions of them, makes nothing grow and nobody's limit forgotten; and all keys together
//                never get more than `max_keys` buckets grant (and one for each shard): places * (burst + rate * t) in any time t.
//                A new key that finds no place, for all that it may have hold keys which have used something up, shares one bucket per shard with the others
//                like it, or is refused (keyed_overflow).
//                A key that gets a place later begins with what that bucket has left, so that it has not two buckets, one after the other. Only a
//                request that waits for the shared bucket already is served from it, even if its key has got a place meanwhile.
// Invariants     each key gets at the most burst + rate * t in any time t (but for such requests), and with steady demand that less one, within 2^-32 ns a token.
// Thread safety  every member may be called concurrently. Keys are spread over shards with a lock each, held for a few dozen ns; longer by set_limit()
//                for all, heaviest() and reset_counts(), which go through the places of one shard after another (some 0.1 ms each for 32,768).
// Fairness       who waits for a key is served in order of arrival, and newcomers do not overtake. Nobody waits for another key.
// Cancellation   a wait that is stopped or times out takes nothing, and those behind it are served if they can be.
// User's code    Hash runs under no lock; Equal, and moving or swapping keys, under a shard's: they must not throw nor come back here. Keys are copied without a lock, but by
//                heaviest(), and destroyed without one.
// Cost           a check: the clock, one hash, one uncontended lock, one or two cache lines; a key's first one some four more. Serving or leaving a line: a step for everybody who waits in
//                that shard. Memory: 24 bytes and the key for each place, in multiples of 32. Waiting allocates nothing.
// Lifetime       as a semaphore's: to be destroyed when no member runs, nobody waits and every operation that waited has resumed.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/rate/detail/keyed_shard.hpp>
#include <penstock/rate/key_hash.hpp>
#include <penstock/rate/keyed_limiter_options.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1 {

/// Members that take a `const K&` look it up as it is if Hash and Equal are transparent, and else make a Key of it.
template <class Key, class Hash = key_hash<Key>, class Equal = std::equal_to<>>
class keyed_limiter {
 public:
  using key_type = Key;
  using count = std::int64_t;

  /// For every key `limit` on the average, and `burst` at once. Throws std::invalid_argument unless 1 <= burst <= 2^45, 1 <= max_keys, shards is 0 or a
  /// power of two up to 4096, and a bucket fills within 146 years.
  keyed_limiter(const rate& limit, count burst, const keyed_limiter_options& options = {}, const Hash& hash = {},
                const Equal& equal = {})
      : hash_{hash},
        seed_{options.seed != 0 ? options.seed : random_seed()},
        clock_{options.clock},
        shift_{64 - std::countr_zero(shards_of(options))},
        places_{shards_of(options), (options.max_keys + shards_of(options) - 1) / shards_of(options)} {
    const detail::bucket_terms terms = detail::bucket_terms::make(limit, burst, name);
    const std::size_t shards = shards_of(options);
    shards_.reserve(shards);
    for (std::size_t i = 0; i < shards; ++i)
      shards_.push_back(std::make_unique<shard>(places_, i, detail::any_clock_handle{clock_}, options.overflow, terms, equal));
  }

  /// Takes `n` tokens of the key at once. Never waits: errc::empty if there are fewer, or somebody waits for this key; errc::rejected
  /// if there is no place for it (keyed_overflow::refuse). All of these members throw std::invalid_argument unless 1 <= n <= the key's burst, and
  /// what copying the key throws.
  template <class K = Key>
  result<void> try_acquire(const K& key, count n = 1) {
    return with(key, n, [&](shard& s, const auto& k, std::uint64_t hash) -> result<void> {
      const auto a = s.take(k, hash, n, true);
      if (a.too_many) refuse(n);
      if (a.how == outcome::pending) return errc::empty;
      return detail::to_result(a.how);
    });
  }
  /// Waits for `n` tokens of the key. errc::closed if the limiter is or gets closed; errc::rejected if there is no place for the key, its burst is made smaller
  /// than n meanwhile, or it has lost its place before the wait began and there is no memory to copy the key into another.
  template <class K = Key>
  result<void> acquire(const K& key, count n = 1) {
    return wait(key, n, [](auto& w) { return w.run_without_polling(); });
  }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without a token, if it was before the call.
  template <class K = Key>
  result<void> acquire(const K& key, const std::stop_token& stop, count n = 1) {
    if (stop.stop_requested()) return stopped();
    return wait(key, n, [&](auto& w) { return w.run_without_polling(stop, {}); });
  }
  /// Also ends at a deadline, with errc::timeout. What is there is taken even if the deadline has passed.
  template <class K = Key>
  result<void> acquire(const K& key, const wait_limits& limits, count n = 1) {
    if (limits.stop.stop_requested()) return stopped();
    return wait(key, n, [&](auto& w) { return w.run_without_polling(limits.stop, limits.deadline); });
  }
  /// `timeout` is on the limiter's clock.
  template <class K = Key, class Rep, class Period>
  result<void> try_acquire_for(const K& key, std::chrono::duration<Rep, Period> timeout, count n = 1) {
    return acquire(key, {.deadline = clock_.after(timeout)}, n);
  }
  template <class K = Key>
  result<void> try_acquire_until(const K& key, deadline until, count n = 1) {
    return acquire(key, {.deadline = until}, n);
  }
  /// `co_await limits.async_acquire(key)` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_acquire(Key key, count n = 1) {
    const std::uint64_t hash = hash_of(key);
    shard& s = shard_of(hash);
    if (n < 1 || (n > 1 && n > s.burst_of(key, hash))) refuse(n);
    return detail::async_operation<shard, typename shard::owning_request, shard*, Key, std::uint64_t, count>{
        s, &s, std::move(key), hash, n};
  }

  /// How long until `n` tokens of the key are there, if nobody takes any before; 0: they are. Of a key without a place: what the shared bucket says, or
  /// how long until it may have one (keyed_overflow::refuse); nanoseconds::max() if all that it may have are held by limits of their own.
  template <class K = Key>
  [[nodiscard]] std::chrono::nanoseconds retry_after(const K& key, count n = 1) {
    return with(key, n, [&](shard& s, const auto& k, std::uint64_t hash) {
      bool too_many = false;
      const std::int64_t left =
          s.look_at(k, hash, [&](const auto& account, const auto& terms, std::int64_t now, std::int64_t place_at) {
            too_many = n > terms.burst;
            if (too_many || place_at == detail::never) return detail::never;
            return std::max(account.ready_at(terms, now, n), place_at) - now;
          });
      if (too_many) refuse(n);
      return std::chrono::nanoseconds{left};
    });
  }
  /// Tokens that the key could take now; without a place, those of the shared bucket, or 0 (keyed_overflow::refuse).
  template <class K = Key>
  [[nodiscard]] count available(const K& key) {
    return with(key, 1, [&](shard& s, const auto& k, std::uint64_t hash) {
      return s.look_at(k, hash, [](const auto& account, const auto& terms, std::int64_t now, std::int64_t place_at) {
        return place_at > now ? 0 : account.available(terms, now);
      });
    });
  }
  /// Gives back what was taken and not needed; never more than makes the bucket full. A key without a place gives back to the shared bucket; what it took
  /// from that and gives back when it has a place of its own comes there.
  template <class K = Key>
  void refund(const K& key, count n = 1) {
    with(key, n, [&](shard& s, const auto& k, std::uint64_t hash) {
      s.look_at(k, hash,
                [n](auto& account, const auto& terms, std::int64_t now, std::int64_t) { account.give_back(terms, now, n); });
      s.refresh();
    });
  }

  /// A limit of its own for one key, from now on: it keeps its place for good, and what it has used stays used, but for what is more than the new burst.
  /// errc::full if there is no place for it. Throws as the constructor.
  result<void> set_limit(Key key, const rate& limit, count burst) {
    const detail::bucket_terms terms = detail::bucket_terms::make(limit, burst, name);
    const std::uint64_t hash = hash_of(key);
    if (!shard_of(hash).set_terms(key, hash, &terms)) return errc::full;
    return {};
  }
  /// The key is as all others again.
  void clear_limit(Key key) {
    const std::uint64_t hash = hash_of(key);
    shard_of(hash).set_terms(key, hash, nullptr);
  }
  /// For all keys without one of their own, in the same way. Throws as the constructor; then nothing has changed.
  void set_limit(const rate& limit, count burst) {
    const detail::bucket_terms terms = detail::bucket_terms::make(limit, burst, name);
    for (auto& s : shards_) s->set_terms(terms);
  }

  /// The `n` keys that asked for most, the heaviest first: what they were granted and refused, since they have their places or since reset_counts().
  [[nodiscard]] std::vector<key_usage<Key>> heaviest(std::size_t n) {
    std::vector<key_usage<Key>> all;
    for (auto& s : shards_) s->add_heaviest(n, all);
    std::ranges::sort(all, std::greater{}, [](const auto& u) { return std::uint64_t{u.granted} + u.refused; });
    if (all.size() > n) all.erase(all.begin() + static_cast<std::ptrdiff_t>(n), all.end());
    return all;
  }
  void reset_counts() {
    for (auto& s : shards_) s->for_each([](auto& place) { place.granted = place.refused = 0; });
  }
  [[nodiscard]] keyed_limiter_stats stats() const noexcept {
    keyed_limiter_stats sum;
    for (const auto& s : shards_) s->add_to(sum);
    return sum;
  }
  [[nodiscard]] std::size_t max_keys() const noexcept { return shards_.size() * places_.places(); }

  /// Every request fails with errc::closed, now and from now on. Idempotent.
  void close() noexcept {
    for (auto& s : shards_) s->close();
  }

 private:
  using shard = detail::keyed_shard<Key, Equal>;
  using outcome = detail::outcome;
  using request = typename shard::request;
  static constexpr const char* name = "keyed_limiter";

  [[noreturn]] static void refuse(count n) {
    throw std::invalid_argument{std::string{"penstock::keyed_limiter: n is "} + std::to_string(n)};
  }
  static std::uint64_t random_seed() {
    std::random_device bits;
    return (std::uint64_t{bits()} << 32) ^ bits();
  }
  static std::size_t shards_of(const keyed_limiter_options& options) {
    constexpr std::size_t most = 4096;
    constexpr std::size_t few_places = 256;
    if (options.max_keys < 1 || options.max_keys > std::size_t{1} << 40) {
      throw std::invalid_argument{"penstock::keyed_limiter: max_keys is " + std::to_string(options.max_keys)};
    }
    if (options.shards > most || (options.shards != 0 && !std::has_single_bit(options.shards))) {
      throw std::invalid_argument{"penstock::keyed_limiter: shards is " + std::to_string(options.shards)};
    }
    if (options.shards != 0) return options.shards;
    const std::size_t by_processors = std::bit_ceil(std::size_t{4} * detail::usable_processors());
    return std::min({by_processors, std::bit_floor(std::max<std::size_t>(1, options.max_keys / few_places)), most});
  }

  // What is looked up: the key as it came, or a Key made of it.
  static constexpr bool transparent = requires {
    typename Hash::is_transparent;
    typename Equal::is_transparent;
  };
  template <class K>
  static decltype(auto) as_lookup(const K& key) {
    if constexpr (transparent || std::same_as<K, Key>) {
      return (key);
    } else {
      return static_cast<Key>(key);
    }
  }

  template <class K>
  [[nodiscard]] std::uint64_t hash_of(const K& key) const {
    // std::hash of an integer is that integer. The finalizer of SplitMix64 (Steele, Lea, Flood 2014; Stafford's variant 13).
    std::uint64_t h = static_cast<std::uint64_t>(hash_(key)) + seed_;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9;
    h = (h ^ (h >> 27)) * 0x94d049bb133111eb;
    return h ^ (h >> 31);
  }
  [[nodiscard]] std::size_t index_of(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>((hash >> 1) >> (shift_ - 1));
  }
  [[nodiscard]] shard& shard_of(std::uint64_t hash) const noexcept { return *shards_[index_of(hash)]; }

  template <class K, class F>
  auto with(const K& key, count n, F f) {
    if (n < 1) refuse(n);
    const auto& looked_up = as_lookup(key);
    const std::uint64_t hash = hash_of(looked_up);
    const std::size_t index = index_of(hash);
    places_.prefetch(index, hash);
    return f(*shards_[index], looked_up, hash);
  }

  // Before the call: whatever the key, so any shard counts it.
  result<void> stopped() noexcept { return shards_.front()->ended(outcome::cancelled); }

  template <class K, class Run>
  result<void> wait(const K& key, count n, Run run) {
    return with(key, n, [&](shard& s, const auto& k, std::uint64_t hash) -> result<void> {
      const auto a = s.take(k, hash, n, false);
      if (a.too_many) refuse(n);
      if (a.how != outcome::pending) return detail::to_result(a.how);
      s.look_by(a.look_at);  // starts the timer thread, which may fail, before anything below that must not
      const auto wait_as = [&](const Key& own) {
        detail::blocking_wait<shard, request> w{s, &own, hash, n};
        return s.ended(run(w));
      };
      if constexpr (std::same_as<std::remove_cvref_t<decltype(k)>, Key>) {
        return wait_as(k);
      } else {
        return wait_as(static_cast<Key>(k));
      }
    });
  }

  [[no_unique_address]] Hash hash_;
  const std::uint64_t seed_;
  const any_clock clock_;
  const int shift_;  // a shard is named by the highest bits of a hash
  detail::key_memory<Key> places_;
  std::vector<std::unique_ptr<shard>> shards_;
};

}  // namespace penstock::inline v0_1
