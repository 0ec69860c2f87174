// penstock/batch/detail/batcher_core.hpp: what is behind a batcher: the loads under way, what is remembered, and what becomes of the answers.
//
// A *flight* (flight.hpp) is the load of one key, which all who ask for the key share. It is found in the store (flight_store.hpp) and gathers in the
// line (batch_line.hpp), from where a batch takes it to the batch function (batch_run.hpp), whose answers land() here.
//
// Lock           that of the line guards it all. Keys are compared under it, nothing else of a user is called or destroyed there: what is let go of
//                goes to the trash, which is emptied after unlocking.
// The parts      batcher_memory.hpp: what is remembered, here or in the user's own cache · here: loads, and what becomes of them
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include <penstock/batch/batcher_options.hpp>
#include <penstock/batch/detail/batch_dispatch.hpp>
#include <penstock/batch/detail/batch_metrics.hpp>
#include <penstock/batch/detail/flight.hpp>
#include <penstock/batch/detail/flight_store.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1::detail {

template <class Key, class Value, class Hash, class Equal, class Sync = std_sync, class Scheduler = any_scheduler>
class batcher_core
    : public batch_dispatch<batcher_core<Key, Value, Hash, Equal, Sync, Scheduler>, flight<Key, Value, Sync>, Sync, Scheduler> {
  using base = batch_dispatch<batcher_core, flight<Key, Value, Sync>, Sync, Scheduler>;
  friend base;
  using base::closed_;
  using base::lock_;
  using typename base::consequences;

 public:
  using flight_type = flight<Key, Value, Sync>;
  using options_type = batcher_options<Key, Value>;
  /// Gets the flights, linked by `after`, and owns a batch until it calls land(…, last).
  using run_function = move_only_function<void(batcher_core&, flight_type* first, std::size_t count) noexcept>;

  /// Born with one owner. `timers`: of options.clock; null: the steady clock's.
  batcher_core(Scheduler where, run_function run, options_type&& o, basic_timer_queue<Sync>* timers)
      : base{where, to_rules(o, timers)},
        options_{std::move(o)},
        run_{std::move(run)},
        metrics_{options_.metrics},
        store_{options_.cache} {}

  // --- loads

  /// How a load is asked for. Two words, which travel in registers.
  struct request {
    const void* within = nullptr;  // from within the batch function
    bool held = true;              // a future; otherwise the caller may abandon() it
    bool many = false;             // others follow: depart(within) comes last
  };

  /// The flight for a key, with a share for the caller; null: refused, and `why` says so. Throws what hashing, comparing and copying the key throw,
  /// what the user's cache throws, and std::bad_alloc.
  template <class K>
  flight_type* join(const K& key, request how, std::error_code& why) {
    const std::size_t hash = hash_(key);
    const auto same = [&](const Key& known) { return equal_(known, key); };
    const nanoseconds_point now = this->time();
    if (how.within == nullptr) how.within = inside_batch::of(this->identity());
    // The flight is made without the lock. Where most keys are new it is made first, and the lock taken once.
    bool may_ask_own_cache = false;
    if (!expects_new()) {
      if (flight_type* const known = join_known(hash, same, how, now, why, may_ask_own_cache); known != nullptr || why)
        return known;
    }

    std::unique_ptr<flight_type, drop> fresh{new flight_type(key, hash)};
    if (may_ask_own_cache) {
      if (std::optional<Value> found = options_.own_cache.get(fresh->key)) return hit(std::move(fresh), *std::move(found));
    }
    // More than a batch holds is as much as a batch holds: it travels alone.
    if (options_.key_bytes) fresh->bytes = std::min(options_.key_bytes(fresh->key), options_.max_batch_bytes);
    fresh->set_task(base::task_functions);
    if (observers::trace()) [[unlikely]]
      fresh->trace = open_span{traced::batch, this}.travel();

    flight_trash<flight_type> gone;
    consequences after = this->change();
    flight_type* joined = nullptr;
    {
      std::scoped_lock guard{lock_};
      const bool refuses = is_closed_for(how);
      joined = store_.find(hash, same, now, gone);
      if (refuses || (joined == nullptr && !has_room_for(*fresh))) {
        ++(refuses ? counts_.closed : counts_.refused);
        why = refuses ? errc::closed : errc::full;
        return nullptr;
      }
      if (joined == nullptr) {
        fresh->add_first_owner();  // the caller
        const unsigned before =
            new_in_a_row_.load(std::memory_order_relaxed);  // relaxed, all of these: a hint, written under the lock
        if (before < many_new) new_in_a_row_.store(before + 1, std::memory_order_relaxed);
        joined = fresh.release();
        store_.add(*joined);
        if (how.within == nullptr) this->enter_line(*joined, now, after);
      } else {
        joined->add_owner();
        ++(joined->phase == flight_phase::done ? counts_.hits : counts_.shared);
        new_in_a_row_.store(0, std::memory_order_relaxed);  // relaxed: as above
      }
      admit(*joined, how, now, after);
      if (!how.many) this->plan(now, after);
    }
    this->settle(after);
    return joined;
  }

  /// A caller who may gives up: the key is dropped if nobody else wants it and it has not left. Takes the share.
  void abandon(flight_type& f) noexcept {
    bool dropped = false;
    {
      std::scoped_lock guard{lock_};
      --f.limited;
      if (f.limited == 0 && !f.held && f.phase == flight_phase::queued) {
        dropped = true;
        if (f.listed) store_.remove(f);
        this->leave_line(f);
        f.phase = flight_phase::done;
        ++counts_.abandoned;
      }
    }
    if (dropped) f.drop_owner();
    f.drop_owner();
  }

  /// What is remembered of a key, with a share; null: nothing.
  template <class K>
  flight_type* look(const K& key);

  template <class Held>
  struct looked_up {
    Held key;
    std::size_t hash = 0;
    state_ref<flight_type> found{};  ///< with a share; null: nothing is remembered
  };
  /// look() for each key of a range, under one lock. The range is walked once and without it, for it may run what its user wrote (a transform_view).
  template <class Keys>
  [[nodiscard]] auto look_many(const Keys& keys);

  // --- what is remembered

  /// For prime(): a flight that belongs to no batch.
  template <class K>
  [[nodiscard]] flight_type* make(const K& key) const {
    return new flight_type(key, hash_(key));
  }
  /// Takes one whose outcome was written, but not told. False: something is known of the key, or nothing is remembered.
  bool prime(flight_type* made);

  template <class K>
  void clear(const K& key);
  void clear_all();

  // --- batches

  /// Outcomes have been written to these flights, which a batch took. `last`: it has no others. Takes the shares of the batch.
  void land(std::span<flight_type* const> flights, bool batch_failed, bool last) noexcept {
    flight_trash<flight_type> gone;
    consequences after;  // the next batch is a runner's, however long there is a next one: the stack of this one ends first
    std::uint64_t failed = 0;
    for (flight_type* const f : flights) failed += f->has_value() ? 0u : 1u;
    if (options_.own_cache) fill_own_cache(flights);
    const nanoseconds_point now = this->time();
    {
      std::scoped_lock guard{lock_};
      counts_.failed += failed;
      for (flight_type* const f : flights) {
        f->phase = flight_phase::done;
        if (f->listed) store_.land(*f, now, !batch_failed, gone);
        if (f->listed) f->add_owner();  // it may be forgotten before it is told
      }
      if (last) {
        this->end_of_batch(*flights.front());
        this->plan(now, after);
      }
    }
    if (options_.own_cache) correct_own_cache(flights);
    for (flight_type* const f : flights) {
      f->tell();
      f->drop_owner();
    }
    this->settle(after);
  }

  // For the batch function.
  [[nodiscard]] const options_type& options() const noexcept { return options_; }
  void called(std::span<flight_type* const> flights, nanoseconds_point now) noexcept { metrics_.called(flights, now); }
  void returned(nanoseconds_point began) noexcept {
    if (metrics_.has_times()) metrics_.returned(began, this->time());
  }
  void was_split() noexcept { metrics_.was_split(); }

  [[nodiscard]] batcher_stats stats() const {
    batcher_stats s;
    {
      std::scoped_lock guard{lock_};
      s = counts_;
      s.keys = this->left_;
      s.waiting = this->waiting();
      s.in_flight = this->running();
      s.limit = this->most_running();
      s.cached = store_.remembered();
    }
    metrics_.tell(s);
    return s;
  }

 private:
  struct drop {
    void operator()(flight_type* f) const noexcept { f->drop_owner(); }
  };
  static dispatch_rules<Sync> to_rules(options_type& o, basic_timer_queue<Sync>* timers) noexcept {
    const nanoseconds_point window = o.max_delay.count();
    const bool tick = o.schedule == batch_schedule::ready_work;
    return {.line = {.max_size = o.max_batch_size,
                     .max_bytes = o.max_batch_bytes,
                     .delay = o.schedule == batch_schedule::flush_only ? never : (tick ? 0 : window),
                     .max_running = o.max_in_flight_batches},
            .quiet_rounds = tick ? o.quiet_rounds : 0,
            .timers = timers,
            .timed = flight_store<flight_type>::timed(o.cache) || o.metrics,
            .on_first_key = std::move(o.on_first_key)};
  }

  static constexpr unsigned many_new = 8;
  [[nodiscard]] bool expects_new() const noexcept {
    // relaxed: a hint
    return new_in_a_row_.load(std::memory_order_relaxed) == many_new && !options_.own_cache && !options_.key_bytes;
  }

  template <class SameKey>
  flight_type* join_known(std::size_t hash, SameKey& same, request how, nanoseconds_point now, std::error_code& why,
                          bool& may_ask_own_cache) {
    flight_trash<flight_type> gone;
    consequences after;
    flight_type* known = nullptr;
    {
      std::scoped_lock guard{lock_};
      if (is_closed_for(how)) {
        ++counts_.closed;
        why = errc::closed;
        return nullptr;
      }
      known = store_.find(hash, same, now, gone);
      if (known == nullptr) {
        // What was cleared while it was being loaded may be there for a moment.
        may_ask_own_cache = options_.own_cache && store_.cleared() == 0;
        return nullptr;
      }
      ++(known->phase == flight_phase::done ? counts_.hits : counts_.shared);
      new_in_a_row_.store(0, std::memory_order_relaxed);  // relaxed: a hint
      known->add_owner();
      admit(*known, how, now, after);
      if (how.within == nullptr) return known;
      if (!how.many) this->plan(now, after);
    }
    this->settle(after);
    return known;
  }

  /// What is taken out of the line.
  void process(flight_type* first, std::size_t count) noexcept { run_(*this, first, count); }

  // --- under the lock

  // What a batch that is under way asks for belongs to it, so that it may end as it would have.
  [[nodiscard]] bool is_closed_for(request how) const noexcept { return closed_ && (how.within == nullptr || this->ended()); }
  [[nodiscard]] bool has_room_for(const flight_type& f) const noexcept {
    return this->waiting() < options_.max_waiting_keys && base::has_room_for(f.bytes);
  }

  void admit(flight_type& f, request how, nanoseconds_point now, consequences& after) noexcept {
    ++counts_.loads;
    if (how.held) {
      f.held = true;
    } else {
      ++f.limited;
    }
    const bool waits = f.phase == flight_phase::queued && f.origin == nullptr;
    if (how.within == nullptr || !waits) return;
    this->enter_nested(f, now, how.within);
    if (!how.many) this->send_nested(how.within, after);
  }

  // --- the user's own cache

  [[nodiscard]] bool is_loading_or_closed(const flight_type& f);
  flight_type* hit(std::unique_ptr<flight_type, drop> fresh, Value&& value);
  // Before others can find out that the keys are not being loaded any more. A cache that throws does without.
  void fill_own_cache(std::span<flight_type* const> flights) noexcept;
  // What was cleared while it was being loaded must not be there.
  void correct_own_cache(std::span<flight_type* const> flights) noexcept;

  options_type options_;
  [[no_unique_address]] const Hash hash_{};
  [[no_unique_address]] const Equal equal_{};
  run_function run_;
  batch_metrics<flight_type> metrics_;
  flight_store<flight_type> store_;  // guarded by lock_, as is what follows
  typename Sync::template atomic<unsigned> new_in_a_row_{0};
  batcher_stats counts_;  // only the numbers that are counted here
};

}  // namespace penstock::inline v0_1::detail

#include <penstock/batch/detail/batcher_memory.hpp>
