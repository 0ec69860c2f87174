// penstock/batch/batcher.hpp: one query for all who ask at the same time: DataLoader for threads and coroutines.
//
//   penstock::batcher<user_id, user> users{pool, [&](std::span<const user_id> ids) { return db.users(ids); }};   // one query
//
//   user one = users.load(7).get();                    // a thread
//   auto other = co_await users.async_load(8);         // a coroutine: a result<user>
//   auto all = users.load_many(post_authors);          // shared futures, in order
//
// The idea       load() does not call the function, it joins a line. A batch leaves at once when none is under way, so that an idle batcher adds no
//                delay; while one is, keys gather, so that the busier the source of the data is, the larger its batches are (*natural* batching: no
//                timer, no window). Other schedules: batch_schedule. All who ask for the same key meanwhile share one load.
// Batch function takes std::span<const Key>, of different keys, and gives the values in the same order, as std::vector<Value> or
//                std::vector<result<Value>>; or a map from keys to values (or results), where a missing key is errc::not_found; or a task of one of
//                these. It runs on the executor, which is given first: a worker_pool, a strand, any scheduler. With `any_scheduler{}` it runs on
//                the thread whose load makes it due, within load(), and that thread also runs those that become due meanwhile: simple and fast for
//                few threads; two loads in a row of one thread are two batches there, load_many() is one.
// Failures       a function that throws, or gives the wrong number of answers (wrong_batch_size): every caller of that batch gets the exception,
//                and none of its keys is remembered; or the halves are tried again (split_failed_batches). An answer that is an error is its key's.
//                Callers of a batch share its exception object; what shared_future.hpp says of sanitizers holds for them all.
// Values         are held once, and shared by all who asked: load() is a shared_future, whose get() on an lvalue refers to the value, and copies it
//                on an rvalue; co_await copies. Where copying is dear, let Value be std::shared_ptr<const T>.
// Cache          none by default, but for keys under way; options.cache (a bounded LRU with lifetimes), or one of your own.
// Recursion      a batch function may load from its own batcher and from others, and wait: what is loaded within a batch leaves in one of its own,
//                and waits for no place. It is found out by the thread, or by the stop token of the coroutine: a coroutine that loads with a stop
//                token or timeout of its own (also: as a child of when_all() or a task_group; not: by async_load_many()), or a ring of several
//                batchers whose functions are coroutines, needs max_in_flight_batches greater than the depth. Load what is a level below: a
//                key of the batch that waits for it would never come.
// Blocking       a thread of the executor that waits for a key runs the batch itself if nobody has begun it, so a pool of one does not hang.
// Thread safety  every member may be called concurrently, also by the batch function; but for construction and destruction. The function is called
//                by one thread at a time, unless max_in_flight_batches > 1, or it loads from its own batcher, or blocks on a thread of a pool that
//                meanwhile does other work, which loads from this one.
// Locks          keys are hashed without a lock and compared under it; nothing else of yours runs or is destroyed under one.
// Cancellation   async_load() observes the coroutine's stop token and takes with_timeout, with_deadline, with_stop and via; load(key, limits) is
//                that for threads. Who gives up lets go of the key: if nobody else wants it and it has not left, it is not loaded. Dropping the
//                future of load(key) detaches: the key is loaded.
// Destruction    closes, lets what is in line leave, and waits until every batch is over and its callers have been told. Not on a thread that these
//                need (a manual_executor's: run_all() before; a worker of the executor's pool helps itself), nor in a coroutine of the batch
//                function. Within the batch function, on its thread, it does not wait: the function lives on until the last batch is over. Whoever
//                is in async_load() or load(key, limits) must have gone on before.
// Fork           in a child the batches that were under way are not; do not use it there.
// Memory         for each key under way or remembered about 230 bytes, Key and Value; and 8 bytes a bucket, as many as there ever were keys at a
//                time. Waiting allocates nothing.
// Cost           a load: one allocation and one or two locks, and its part of a batch; of a key that is known: one lock. See docs/batcher.md for
//                figures.
// Source         Facebook's DataLoader, whose documented behaviours have a test here (tests/unit/batch/dataloader_parity_test.cpp); what differs:
//                docs/batcher.md.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <ranges>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/batcher_options.hpp>
#include <penstock/batch/detail/batch_run.hpp>
#include <penstock/batch/detail/batcher_core.hpp>
#include <penstock/batch/detail/load_wait.hpp>
#include <penstock/batch/wrong_batch_size.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/shared_future.hpp>

namespace penstock::inline v0_1 {

/// Key: can be copied. Value: can be moved; copied for what copies it. Hash and Equal: default constructible; if both have is_transparent, whatever
/// they take and Key can be built from is a key, and is made a Key only if it is not known. cache_key: keys that are compared by a part of them.
template <class Key, class Value, class Hash = std::hash<Key>, class Equal = std::equal_to<>>
class batcher {
  using core_type = detail::batcher_core<Key, Value, Hash, Equal>;
  using flight_type = typename core_type::flight_type;
  static constexpr bool transparent = requires {
    typename Hash::is_transparent;
    typename Equal::is_transparent;
  };
  template <class K>
  static constexpr bool looked_up_as_is = std::same_as<K, Key> || transparent;

 public:
  using key_type = Key;
  using mapped_type = Value;
  using options_type = batcher_options<Key, Value>;
  using future_type = shared_future<Value>;

  /// `f` as above. Throws std::invalid_argument if an option is out of its range, or max_batch_bytes lacks key_bytes; what starting a timer
  /// thread throws if there is a max_delay.
  template <class Context, class F>
    requires std::invocable<F&, std::span<const Key>>
  batcher(Context&& executor, F f, options_type options = {})
      : core_{make(via(executor).to, std::move(f), checked(std::move(options)))} {}
  batcher(const batcher&) = delete;
  batcher& operator=(const batcher&) = delete;
  ~batcher() {
    core_->close();
    core_->wait();
    core_->drop_owner();
  }

  // --- loading

  /// What the batch function gives for the key, or what is remembered: a future that others share. errc::closed after close(), errc::full if
  /// max_waiting_keys wait, or so many bytes that they cannot be counted. Throws what copying, hashing and comparing keys throw, and std::bad_alloc.
  template <class K = Key>
  [[nodiscard]] future_type load(const K& key) {
    return to_future(key, {});
  }

  /// Blocks for the value: a copy. errc::cancelled, errc::timeout: gave up, and the key with it; at once if stop was requested before. Otherwise the
  /// error of the key, or as of load(); throws the exception if the batch failed with one. With the inline executor, or on a worker of
  /// the executor's pool, this thread may run the batch, and then ends with it, even after the deadline.
  template <class K = Key>
  result<Value> load(const K& key, const std::stop_token& stop) {
    return detail::load_until<Value>(*core_, lookup(key), stop, {});
  }
  template <class K = Key>
  result<Value> load(const K& key, const wait_limits& limits) {
    return detail::load_until<Value>(*core_, lookup(key), limits.stop, limits.deadline);
  }
  template <class K = Key, class Rep, class Period>
  result<Value> try_load_for(const K& key, std::chrono::duration<Rep, Period> timeout) {
    return load(key, wait_limits{.deadline = deadline::after(timeout)});
  }
  template <class K = Key>
  result<Value> try_load_until(const K& key, deadline until) {
    return load(key, wait_limits{.deadline = until});
  }
  /// A copy of what is remembered (options.cache); errc::empty: nothing is, and nothing is loaded. Throws the exception that was primed.
  template <class K = Key>
  result<Value> try_load(const K& key) {
    return remembered(detail::state_ref<flight_type>{core_->look(lookup(key))});
  }
  /// try_load() of each key of a range of Key (or what is looked up like one), in order, under one lock and with one look at the clock: of many keys that are remembered a
  /// fraction of what they cost one by one. The range is walked once, under no lock. Throws if try_load() of any of them does.
  template <class Keys>
    requires std::ranges::forward_range<const Keys> && looked_up_as_is<std::ranges::range_value_t<const Keys>>
  [[nodiscard]] std::vector<result<Value>> try_load_many(const Keys& keys) {
    const auto known = core_->look_many(keys);
    std::vector<result<Value>> all;
    all.reserve(known.size());
    for (const auto& one : known) all.push_back(remembered(one.found));
    return all;
  }
  [[nodiscard]] std::vector<result<Value>> try_load_many(std::initializer_list<Key> keys) {
    return try_load_many(std::span<const Key>{keys.begin(), keys.size()});
  }

  /// `co_await users.async_load(key)` is a result<Value>, as of load(key, limits), without blocking. Lazy: the key joins the line when it is awaited.
  template <class K = Key>
  [[nodiscard]] auto async_load(K key) {
    static_assert(looked_up_as_is<K> || std::convertible_to<K, Key>);
    if constexpr (looked_up_as_is<K>) {
      return detail::load_operation<core_type, K, Value>{*core_, std::move(key)};
    } else {
      return detail::load_operation<core_type, Key, Value>{*core_, static_cast<Key>(std::move(key))};
    }
  }

  /// load() of each key of a range, together: they join the line before a batch leaves. A failure is in the future of its key.
  template <std::ranges::input_range Keys>
  [[nodiscard]] std::vector<future_type> load_many(Keys&& keys) {
    std::vector<future_type> all;
    if constexpr (std::ranges::sized_range<Keys>) all.reserve(static_cast<std::size_t>(std::ranges::size(keys)));
    load_all(keys, nullptr, all);
    return all;
  }
  [[nodiscard]] std::vector<future_type> load_many(std::initializer_list<Key> keys) {
    return load_many(std::span<const Key>{keys.begin(), keys.size()});
  }
  /// The same, lazy, and all are ready: get() of each does not block. Throws std::system_error of errc::cancelled if stop is requested of the
  /// coroutine; the keys are loaded nevertheless.
  [[nodiscard]] task<std::vector<future_type>> async_load_many(std::vector<Key> keys) {
    std::vector<future_type> all;
    all.reserve(keys.size());
    const std::stop_token stop = co_await this_task::get_stop_token();
    load_all(keys, stop == core_->token() ? &core_->token() : nullptr, all);
    for (future_type& f : all) {
      const result<void> ended = co_await f.async_wait();
      if (!ended) throw std::system_error{ended.error(), "penstock::batcher"};
    }
    co_return all;
  }

  // --- what is remembered; these do nothing but for that

  /// Remembers a value, an error or an exception of a key as if it had been loaded. False: something is remembered or being loaded (clear() it
  /// before), or such is not remembered. Throws as load().
  bool prime(const Key& key, Value value) {
    flight_type* const made = core_->make(key);
    try {
      made->emplace(std::move(value));
    } catch (...) {
      made->drop_owner();
      throw;
    }
    return core_->prime(made);
  }
  bool prime(const Key& key, std::error_code error) {
    flight_type* const made = core_->make(key);
    made->failed = error;
    return core_->prime(made);
  }
  bool prime(const Key& key, std::exception_ptr error) {
    flight_type* const made = core_->make(key);
    made->failure = std::move(error);
    return core_->prime(made);
  }

  /// Whoever asks for the key from now on gets what is loaded from now on. Those who have asked already are not concerned.
  template <class K = Key>
  batcher& clear(const K& key) {
    core_->clear(lookup(key));
    return *this;
  }
  batcher& clear_all() {
    core_->clear_all();
    return *this;
  }

  // --- batches

  /// What is in line leaves as soon as there is a place, whatever the schedule says. Does not wait.
  void flush() noexcept { core_->flush(); }
  /// The same, and what is loaded from now on is refused with errc::closed; but what batches that are under way load themselves is not. Idempotent.
  void close() noexcept { core_->close(); }

  /// Throws std::bad_alloc.
  [[nodiscard]] batcher_stats stats() const { return core_->stats(); }

  /// For names (observe/named_place.hpp).
  friend std::pair<const void*, std::size_t> inner_place(const batcher& b) noexcept { return {b.core_, sizeof(core_type)}; }

 private:
  struct departing {
    core_type& core;
    const void* const within;
    departing(core_type& c, const void* w) noexcept : core{c}, within{w} {}
    departing(const departing&) = delete;
    departing& operator=(const departing&) = delete;
    ~departing() { core.depart(within); }
  };
  template <class Keys>
  void load_all(Keys& keys, const void* within, std::vector<future_type>& all) {
    const departing others{*core_, within};
    for (auto&& key : keys) all.push_back(to_future(key, {.within = within, .many = true}));
  }

  template <class K>
  static decltype(auto) lookup(const K& key) {
    if constexpr (looked_up_as_is<K>) {
      return (key);
    } else {
      return static_cast<Key>(key);
    }
  }

  static result<Value> remembered(const detail::state_ref<flight_type>& known) {
    if (!known) return errc::empty;
    if (!known->ready().is_set()) return errc::empty;
    if (known->failed) return known->failed;
    return known->peek();
  }

  template <class K>
  future_type to_future(const K& key, typename core_type::request how) {
    std::error_code refused;
    flight_type* const f = core_->join(lookup(key), how, refused);
    if (f != nullptr) return future_type{detail::state_ref<detail::future_state<Value>>{f}};
    auto none = detail::make_future_state<Value>();
    none->set_error(refused);
    return future_type{std::move(none)};
  }

  template <class F>
  static core_type* make(any_scheduler where, F&& f, options_type&& o) {
    timer_queue* const timers = o.clock.after(std::chrono::nanoseconds{0}).queue();
    auto run = [f = std::move(f)](core_type& core, flight_type* first, std::size_t count) mutable noexcept {
      detail::run_batch<Key>(core, f, first, count);
    };
    return new core_type{where, std::move(run), std::move(o), timers};
  }

  static options_type checked(options_type o) {
    const auto need = [](bool right, const char* what) {
      if (!right) throw std::invalid_argument{std::string{"penstock::batcher: "} + what};
    };
    need(o.max_batch_size != 0, "max_batch_size is 0");
    need(o.max_batch_bytes != 0, "max_batch_bytes is 0");
    need(o.max_batch_bytes == std::numeric_limits<std::size_t>::max() || static_cast<bool>(o.key_bytes),
         "max_batch_bytes needs key_bytes");
    need(o.max_in_flight_batches != 0, "max_in_flight_batches is 0");
    need(o.max_waiting_keys != 0, "max_waiting_keys is 0");
    need(o.quiet_rounds != 0, "quiet_rounds is 0");
    need(o.max_delay.count() >= 0, "max_delay is negative");
    need(o.cache.ttl.count() >= 0, "cache.ttl is negative");
    need(o.cache.negative_ttl.count() >= 0, "cache.negative_ttl is negative");
    if (o.own_cache) o.cache.max_entries = 0;
    return o;
  }

  core_type* core_;
};

}  // namespace penstock::inline v0_1
