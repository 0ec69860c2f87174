// penstock/batch/batch_cache.hpp: what a batcher remembers, and how keys are told apart.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>

namespace penstock::inline v0_1 {

/// What is remembered of keys that were loaded. A key that is being loaded is shared whatever is said here.
struct batch_cache_options {
  /// Keys that are remembered; the one that was not asked for the longest goes first. 0: none, which is the default, for a batcher that lives
  /// as long as the service would answer with what was true when it started. The maximum: all, as DataLoader does.
  std::size_t max_entries = 0;
  /// How long a value is remembered; the maximum: until it is cleared, or has to go for another. Less costs a look at the clock for each load.
  std::chrono::nanoseconds ttl = std::chrono::nanoseconds::max();
  /// The same for a key that was answered with an error (not found, say). 0: errors are not remembered. The maximum: as values, which is what
  /// DataLoader does. The failure of a whole batch is never remembered.
  std::chrono::nanoseconds negative_ttl = std::chrono::nanoseconds::zero();
};

/// A cache of one's own: what is found there is not loaded, and what was loaded is put there. It is used by several threads at a time, and under no
/// lock. Errors are not put there.
template <class C, class Key, class Value>
concept batch_cache = requires(C& c, const Key& key, const Value& value) {
  { c.get(key) } -> std::convertible_to<std::optional<Value>>;
  c.set(key, value);
  c.erase(key);
  c.clear();
};

/// Refers to one, which must outlive the batcher and its batches.
template <class Key, class Value>
class any_batch_cache {
 public:
  /// None.
  any_batch_cache() noexcept = default;
  template <class C>
    requires(!std::same_as<C, any_batch_cache> && batch_cache<C, Key, Value>)
  any_batch_cache(C& cache) noexcept : cache_{&cache}, functions_{&of<C>} {}

  [[nodiscard]] explicit operator bool() const noexcept { return cache_ != nullptr; }
  [[nodiscard]] std::optional<Value> get(const Key& key) const { return functions_->get(cache_, key); }
  void set(const Key& key, const Value& value) const { functions_->set(cache_, key, value); }
  void erase(const Key& key) const { functions_->erase(cache_, key); }
  void clear() const { functions_->clear(cache_); }

 private:
  struct functions {
    std::optional<Value> (*get)(void*, const Key&);
    void (*set)(void*, const Key&, const Value&);
    void (*erase)(void*, const Key&);
    void (*clear)(void*);
  };
  template <class C>
  static constexpr functions of{
      [](void* c, const Key& key) -> std::optional<Value> { return static_cast<C*>(c)->get(key); },
      [](void* c, const Key& key, const Value& value) { static_cast<C*>(c)->set(key, value); },
      [](void* c, const Key& key) { static_cast<C*>(c)->erase(key); },
      [](void* c) { static_cast<C*>(c)->clear(); },
  };

  void* cache_ = nullptr;
  const functions* functions_ = nullptr;
};

/// A key is what a function of it says: Hash and Equal of a batcher whose keys differ only in what does not matter.
///
///   penstock::batcher<request, user, penstock::cache_key<id_of>, penstock::cache_key<id_of>>
template <class Projection>
struct cache_key {
  [[no_unique_address]] Projection project = {};
  template <class Key>
  std::size_t operator()(const Key& key) const {
    return std::hash<std::decay_t<std::invoke_result_t<const Projection&, const Key&>>>{}(project(key));
  }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return project(a) == project(b);
  }
};

}  // namespace penstock::inline v0_1
