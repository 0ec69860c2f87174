// penstock/batch/detail/batcher_memory.hpp: what a batcher remembers, itself or in its user's cache: a part of batcher_core.hpp, which includes it.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/detail/batcher_core.hpp>

namespace penstock::inline v0_1::detail {

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
template <class K>
inline auto batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::look(const K& key) -> flight_type* {
  const std::size_t hash = hash_(key);
  flight_trash<flight_type> gone;
  const nanoseconds_point now = this->time();
  std::scoped_lock guard{lock_};
  flight_type* const f = store_.find(hash, [&](const Key& known) { return equal_(known, key); }, now, gone);
  if (f == nullptr || f->phase != flight_phase::done) return nullptr;
  ++counts_.loads;
  ++counts_.hits;
  f->add_owner();
  return f;
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
template <class Keys>
inline auto batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::look_many(const Keys& keys) {
  using fetch = typename flight_store<flight_type>::fetch;
  using reference = std::ranges::range_reference_t<const Keys>;
  constexpr bool stays = std::is_lvalue_reference_v<reference>;  // a forward range's elements do not lie in its iterators
  using held = std::conditional_t<stays, std::add_pointer_t<reference>, std::ranges::range_value_t<const Keys>>;
  const auto key_of = [](const held& h) -> const auto& {
    if constexpr (stays) {
      return *h;
    } else {
      return h;
    }
  };
  std::vector<looked_up<held>> all;
  if constexpr (std::ranges::sized_range<const Keys>) all.reserve(static_cast<std::size_t>(std::ranges::size(keys)));
  for (auto&& key : keys) {
    if constexpr (stays) {
      all.push_back({.key = std::addressof(key), .hash = hash_(std::as_const(key))});
    } else {
      all.push_back({.key = static_cast<decltype(key)>(key)});
      all.back().hash = hash_(std::as_const(all.back().key));
    }
  }
  flight_trash<flight_type> gone;
  const nanoseconds_point now = this->time();
  std::scoped_lock guard{lock_};
  for (const fetch what : {fetch::bucket, fetch::flight, fetch::neighbours}) {
    for (const auto& one : all) store_.ask_for(what, one.hash);
  }
  for (auto& one : all) {
    const auto same = [&](const Key& known) { return equal_(known, key_of(one.key)); };
    if (flight_type* const f = store_.find(one.hash, same, now, gone); f != nullptr && f->phase == flight_phase::done) {
      ++counts_.loads;
      ++counts_.hits;
      f->add_owner();
      one.found = state_ref<flight_type>{f};
    }
  }
  return all;
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline bool batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::prime(flight_type* made) {
  std::unique_ptr<flight_type, drop> fresh{made};
  if (options_.own_cache) {
    if (!fresh->has_value() || is_loading_or_closed(*fresh) || options_.own_cache.get(fresh->key)) return false;
    options_.own_cache.set(fresh->key, fresh->peek());
    return true;
  }
  if (!store_.remembers(*fresh)) return false;
  fresh->phase = flight_phase::done;
  flight_trash<flight_type> gone;
  const nanoseconds_point now = this->time();
  const auto same = [&](const Key& known) { return equal_(known, fresh->key); };
  std::scoped_lock guard{lock_};
  if (closed_ || store_.find(fresh->hash, same, now, gone) != nullptr) return false;
  flight_type& f = *fresh.release();
  store_.add(f);
  store_.land(f, now, true, gone);
  f.tell();  // nobody waits
  return true;
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
template <class K>
inline void batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::clear(const K& key) {
  const std::size_t hash = hash_(key);
  flight_trash<flight_type> gone;
  {
    const nanoseconds_point now = this->time();
    std::scoped_lock guard{lock_};
    if (flight_type* const f = store_.find(hash, [&](const Key& known) { return equal_(known, key); }, now, gone)) {
      store_.clear(*f, gone);
    }
  }
  if (options_.own_cache) options_.own_cache.erase(Key(key));
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline void batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::clear_all() {
  flight_trash<flight_type> gone;
  {
    std::scoped_lock guard{lock_};
    store_.clear_all(gone);
  }
  if (options_.own_cache) options_.own_cache.clear();
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline bool batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::is_loading_or_closed(const flight_type& f) {
  flight_trash<flight_type> gone;
  std::scoped_lock guard{lock_};
  return closed_ || store_.find(f.hash, [&](const Key& known) { return equal_(known, f.key); }, 0, gone) != nullptr;
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline auto batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::hit(std::unique_ptr<flight_type, drop> fresh, Value&& value)
    -> flight_type* {
  fresh->emplace(std::move(value));
  fresh->phase = flight_phase::done;
  fresh->tell();
  std::scoped_lock guard{lock_};
  ++counts_.loads;
  ++counts_.hits;
  ++fresh->limited;
  return fresh.release();
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline void batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::fill_own_cache(
    std::span<flight_type* const> flights) noexcept {
  for (flight_type* const f : flights) {
    try {
      if (f->has_value()) options_.own_cache.set(f->key, f->peek());
    } catch (...) {
    }
  }
}

template <class Key, class Value, class Hash, class Equal, class Sync, class Scheduler>
inline void batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>::correct_own_cache(
    std::span<flight_type* const> flights) noexcept {
  for (flight_type* const f : flights) {
    if (!f->cleared) continue;
    try {
      options_.own_cache.erase(f->key);
    } catch (...) {
    }
    std::scoped_lock guard{lock_};
    store_.cleared_one_is_gone();
  }
}

}  // namespace penstock::inline v0_1::detail
