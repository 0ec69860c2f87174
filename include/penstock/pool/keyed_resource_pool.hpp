// penstock/pool/keyed_resource_pool.hpp: a resource pool for each key: connections per host, as an HTTP agent keeps them.
//
//   penstock::keyed_resource_pool<std::string, connection> hosts{[](const std::string& host) { return connect_to(host); },
//                                                                {.max_keys = 100, .each = {.max_size = 6, .idle_timeout = 5s}}};
//   if (auto c = hosts.acquire("example.org")) (*c)->get("/");
//
// What it does   Each key has a pool of its own, with limits, line, backoff and all (resource_pool.hpp), made when the key is first met. A key beyond
//                max_keys takes the place of the one that was met longest ago among those that nobody uses (no lease, nobody in line, no connect),
//                whose idle resources go; if there is none, it gets errc::full. So inventing keys costs others at the most their idle resources.
//                There is no limit over all keys but max_keys * (max_size + max_overflow).
// Thread safety  every member may be called concurrently. Hashing and comparing keys happens under a lock, and must not throw or use the pools; copying
//                keys, making and destroying resources does not. Two first calls for one key may make two pools, one of which goes at once.
// Cancellation, destruction, exceptions   as resource_pool. Besides, a call for a new key may throw std::bad_alloc, and what copying it throws.
// Cost           a call: resource_pool's and two more short locks. One of max_keys keys, each used, is replaced in a look at all of them; so is stats(),
//                for which calls wait meanwhile.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <penstock/core/task.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/pool/resource_pool.hpp>

namespace penstock::inline v0_1 {

template <class T>
struct keyed_resource_pool_options {
  std::size_t max_keys = 1024;         ///< at least 1
  resource_pool_options<T> each = {};  ///< of the pool of each key; validate and on_leak are shared by all
};

template <class Key, class T, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class keyed_resource_pool {
 public:
  using lease = resource_lease<T>;
  using options = keyed_resource_pool_options<T>;

  /// `factory(key)` or `factory(key, const connect_request&)`: otherwise as that of a resource_pool.
  /// Throws std::invalid_argument if the options make no sense.
  template <class Factory>
    requires(std::invocable<Factory&, const Key&> || std::invocable<Factory&, const Key&, const connect_request&>)
  explicit keyed_resource_pool(Factory factory, options o = {})
      : max_keys_{o.max_keys},
        each_{std::move(o.each)},
        check_{std::make_shared<detail::resource_check<T>>(std::move(each_.validate))},
        on_leak_{std::make_shared<leak_function>(std::move(each_.on_leak))},
        factory_of_{[f = std::make_shared<Factory>(std::move(factory))](const Key& key) {
          return detail::resource_factory<T>{[f, key](const connect_request& r) { return make(*f, key, r); }};
        }} {
    if (max_keys_ == 0) throw std::invalid_argument{"penstock::keyed_resource_pool: max_keys is 0"};
    // What they need depends on the factory.
    const bool background = !each_.executor.is_inline() || detail::without_task<made_by<Factory>>::is_coroutine;
    static_cast<void>(detail::terms_of(options_of_a_pool(), background));
  }
  keyed_resource_pool(const keyed_resource_pool&) = delete;
  keyed_resource_pool& operator=(const keyed_resource_pool&) = delete;

  /// As resource_pool::acquire(), of the key's resources. errc::full also if there is no room for a new key.
  result<lease> acquire(const Key& key, std::source_location where = std::source_location::current()) {
    return acquire(key, wait_limits{}, where);
  }
  result<lease> acquire(const Key& key, const std::stop_token& stop,
                        std::source_location where = std::source_location::current()) {
    return acquire(key, wait_limits{.stop = stop}, where);
  }
  result<lease> acquire(const Key& key, const wait_limits& limits, std::source_location where = std::source_location::current()) {
    const auto found = find(key);
    return found ? (*found)->pool.acquire(limits, where) : found.error();
  }
  result<lease> try_acquire(const Key& key, std::source_location where = std::source_location::current()) {
    const auto found = find(key);
    return found ? (*found)->pool.try_acquire(where) : found.error();
  }
  template <class Rep, class Period>
  result<lease> try_acquire_for(const Key& key, std::chrono::duration<Rep, Period> timeout,
                                std::source_location where = std::source_location::current()) {
    const auto found = find(key);
    return found ? (*found)->pool.try_acquire_for(timeout, where) : found.error();
  }
  /// A task<result<lease>>; takes with_timeout, with_stop and via as every task. The key is copied.
  task<result<lease>> async_acquire(Key key, std::source_location where = std::source_location::current()) {
    const auto found = find(key);
    if (!found) co_return found.error();
    co_return co_await (*found)->pool.async_acquire(where);
  }

  /// Every pool is closed, and no key is met any more.
  void close() {
    for (const shared& e : everything(true)) e->pool.close();
  }
  /// As resource_pool::evict_all(), for one key or for all.
  void evict(const Key& key) {
    if (const shared e = present(key)) e->pool.evict_all();
  }
  void evict_all() {
    for (const shared& e : everything(false)) e->pool.evict_all();
  }

  /// How many keys have a pool now.
  [[nodiscard]] std::size_t keys() const {
    std::scoped_lock guard{lock_};
    return entries_.size();
  }
  /// Of one key; all 0 if it has no pool (any more).
  [[nodiscard]] resource_pool_stats stats(const Key& key) const {
    const shared e = present(key);
    return e != nullptr ? e->pool.stats() : resource_pool_stats{};
  }
  /// Of all keys together, each pool at a moment of its own, and without times. What is counted includes the keys that have lost their pools since, and
  /// calls that found no room for their key, or all closed.
  [[nodiscard]] resource_pool_stats stats() const {
    std::scoped_lock guard{lock_};
    resource_pool_stats sum = without_pool_;
    for (const shared& e : entries_) detail::add_numbers(sum, e->pool.engine_.stats_without_times());
    return sum;
  }

 private:
  using leak_function = move_only_function<void(const resource_leak&) const>;
  struct entry {
    entry(const Key& k, detail::resource_factory<T> factory, resource_pool_options<T> o)
        : key{k}, pool{std::move(factory), std::move(o)} {}
    const Key key;
    std::uint64_t met = 0;  // guarded by lock_
    resource_pool<T> pool;
  };
  using shared = std::shared_ptr<entry>;
  template <class Factory>
  static auto make(Factory& f, const Key& key, [[maybe_unused]] const connect_request& r) {
    if constexpr (std::invocable<Factory&, const Key&, const connect_request&>) {
      return f(key, r);
    } else {
      return f(key);
    }
  }
  template <class Factory>
  using made_by = decltype(make(std::declval<Factory&>(), std::declval<const Key&>(), std::declval<const connect_request&>()));
  struct hash_of_entry {
    using is_transparent = void;
    std::size_t operator()(const shared& e) const { return Hash{}(e->key); }
    std::size_t operator()(const Key& k) const { return Hash{}(k); }
  };
  struct equal_entries {
    using is_transparent = void;
    bool operator()(const shared& a, const shared& b) const { return Equal{}(a->key, b->key); }
    bool operator()(const Key& a, const shared& b) const { return Equal{}(a, b->key); }
    bool operator()(const shared& a, const Key& b) const { return Equal{}(a->key, b); }
  };

  // While a shared pointer to it is held, a pool stays.
  result<shared> find(const Key& key) {
    {
      std::scoped_lock guard{lock_};
      if (closed_) return refused(errc::closed);
      if (const auto at = entries_.find(key); at != entries_.end()) {
        (*at)->met = ++meetings_;
        return *at;
      }
    }
    // It connects for min_idle once it is to stay: one that goes at once has nothing to wait for.
    resource_pool_options<T> o = options_of_a_pool();
    o.min_idle = 0;
    const shared fresh = std::make_shared<entry>(key, factory_of_(key), std::move(o));
    const result<shared> kept = keep(fresh);
    if (kept && *kept == fresh && each_.min_idle != 0) fresh->pool.resize(each_.min_idle, each_.max_size, each_.max_overflow);
    return kept;
  }
  // Who is to be asked for the key of `fresh`: that one, or another one that came before it.
  result<shared> keep(const shared& fresh) {
    shared gone;  // declared before the guard: the pool of another key is destroyed without the lock
    std::scoped_lock guard{lock_};
    if (closed_) return refused(errc::closed);
    if (const auto at = entries_.find(fresh); at != entries_.end()) {
      (*at)->met = ++meetings_;
      return *at;
    }
    if (entries_.size() >= max_keys_) {
      gone = take_out_unused();
      if (gone == nullptr) return refused(errc::full);
    }
    fresh->met = ++meetings_;
    entries_.insert(fresh);
    return fresh;
  }
  shared present(const Key& key) const {
    std::scoped_lock guard{lock_};
    const auto at = entries_.find(key);
    return at != entries_.end() ? *at : nullptr;
  }
  std::vector<shared> everything(bool closing) {
    std::scoped_lock guard{lock_};
    std::vector<shared> all{entries_.begin(), entries_.end()};
    closed_ |= closing;
    return all;
  }
  // With lock_ held.
  errc refused(errc why) noexcept {
    ++(why == errc::full ? without_pool_.refused.full : without_pool_.refused.closed);
    return why;
  }
  void keep_counts_of(const entry& e) noexcept {
    resource_pool_stats s = e.pool.engine_.stats_without_times();
    s.discarded.closed += std::exchange(s.idle, 0);  // as they are about to be
    s.limit = 0;
    detail::add_numbers(without_pool_, s);
  }
  // With lock_ held: nobody can come to use what only this set refers to. Its end has nothing to wait for.
  shared take_out_unused() {
    for (;;) {
      auto oldest = entries_.end();
      for (auto at = entries_.begin(); at != entries_.end(); ++at) {
        if (at->use_count() == 1 && (oldest == entries_.end() || (*at)->met < (*oldest)->met) && !(*at)->pool.is_used())
          oldest = at;
      }
      if (oldest == entries_.end()) return nullptr;
      if (!(*oldest)->pool.engine_.close_if_unused()) continue;  // a connect or a check has begun meanwhile
      shared gone = *oldest;
      entries_.erase(oldest);
      keep_counts_of(*gone);
      return gone;
    }
  }

  resource_pool_options<T> options_of_a_pool() const {
    resource_pool_options<T> o{.min_idle = each_.min_idle,
                               .max_size = each_.max_size,
                               .max_overflow = each_.max_overflow,
                               .max_waiters = each_.max_waiters,
                               .acquire_timeout = each_.acquire_timeout,
                               .connect_timeout = each_.connect_timeout,
                               .idle_timeout = each_.idle_timeout,
                               .max_lifetime = each_.max_lifetime,
                               .lifetime_jitter = each_.lifetime_jitter,
                               .max_uses = each_.max_uses,
                               .order = each_.order,
                               .validate_after = each_.validate_after,
                               .keep_alive = each_.keep_alive,
                               .max_connecting = each_.max_connecting,
                               .connect_backoff = each_.connect_backoff,
                               .fail_fast = each_.fail_fast,
                               .executor = each_.executor,
                               .leak_threshold = each_.leak_threshold,
                               .nested = each_.nested,
                               .metrics = each_.metrics,
                               .time_every = each_.time_every,
                               .clock = each_.clock,
                               .seed = each_.seed};
    if (check_->is_coroutine()) {
      o.validate = [check = check_](T& resource) { return check->begin(resource); };
    } else if (*check_) {
      o.validate = [check = check_](T& resource) { return check->call(resource); };
    }
    if (*on_leak_) o.on_leak = [told = on_leak_](const resource_leak& leak) { (*told)(leak); };
    return o;
  }
  const std::size_t max_keys_;
  resource_pool_options<T> each_;
  std::shared_ptr<detail::resource_check<T>> check_;
  std::shared_ptr<leak_function> on_leak_;
  move_only_function<detail::resource_factory<T>(const Key&) const> factory_of_;
  mutable std::mutex lock_;
  bool closed_ = false;  // guarded by lock_, as all that follows
  std::uint64_t meetings_ = 0;
  resource_pool_stats without_pool_;  // what stats() tells of, and the pools of now do not
  std::unordered_set<shared, hash_of_entry, equal_entries> entries_;
};

template <class Key, class T, class Hash, class Equal>
void describe(const keyed_resource_pool<Key, T, Hash, Equal>& pool, metric_sink& to) {
  to.kind("keyed_resource_pool");
  to.gauge({"keys", "Keys that have a pool."}, pool.keys());
  describe(pool.stats(), to);  // of which the kind is the first one that is said
}

}  // namespace penstock::inline v0_1
