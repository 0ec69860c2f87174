// penstock/batch/detail/batcher_core.hpp: what is behind a batcher: the loads under way, the line in which keys gather, and the batches.
//
// A *flight* (flight.hpp) is the load of one key. It gathers in `queue_`; departure.hpp says when a *runner* is sent to the executor: that is the
// work item of some flight, so sending allocates nothing and cannot fail. Where it arrives it takes what is there, and calls the batch function
// (batch_run.hpp), whose answers land() here.
//
// Lock           lock_ guards it all. Keys are compared under it, nothing else of a user is called or destroyed there: what a change asks for is noted
//                in `consequences` and in the trash, and done after unlocking.
// Ownership      counted: the batcher is an owner, so is each runner from when it is sent, and each batch, until its callers have been told. So what
//                is not ready is behind a core that lives.
// Blocking       a thread that waits for a flight first does what the flight may need that very thread for (assist): it runs what waits behind its
//                own work, and on a thread of the executor the batch itself.
// Recursion      a load from within the batch function (on its thread, or by a coroutine with its stop token) must not wait for that batch to end:
//                it is pressed, which is to say that it leaves without regard to max_in_flight_batches.
// Ending         closed, nothing in line, and every batch home: then ended_ is set, once.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <system_error>
#include <utility>

#include <penstock/batch/batcher_options.hpp>
#include <penstock/batch/detail/departure.hpp>
#include <penstock/batch/detail/flight_store.hpp>
#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1::detail {

/// Says, while it lives, that this thread works on a batch of a batcher.
class inside_batch {
 public:
  explicit inside_batch(const void* of) noexcept : of_{of}, outer_{current_} { current_ = this; }
  inside_batch(const inside_batch&) = delete;
  inside_batch& operator=(const inside_batch&) = delete;
  ~inside_batch() { current_ = outer_; }
  [[nodiscard]] static bool of(const void* core) noexcept {
    const inside_batch* i = current_;
    while (i != nullptr && i->of_ != core) i = i->outer_;
    return i != nullptr;
  }

 private:
  static inline thread_local const inside_batch* current_ = nullptr;
  const void* of_;
  const inside_batch* outer_;
};

/// One owner of a core.
template <class Core>
class core_share {
 public:
  explicit core_share(Core& c) noexcept : core_{&c} { core_->add_owner(); }
  core_share(const core_share& other) noexcept : core_share{*other.core_} {}
  core_share& operator=(const core_share&) = delete;
  ~core_share() { core_->drop_owner(); }
  Core* operator->() const noexcept { return core_; }

 private:
  Core* core_;
};

template <class Key, class Value, class Hash, class Equal>
class batcher_core {
 public:
  using flight_type = flight<Key, Value>;
  using options_type = batcher_options<Key, Value>;
  using share = core_share<batcher_core>;
  /// Gets the flights, linked by `later`, and owns a batch until it calls land(…, last).
  using run_function = move_only_function<void(batcher_core&, flight_type* first, std::size_t count) noexcept>;

  /// Born with one owner.
  batcher_core(any_scheduler where, run_function run, options_type&& o)
      : options_{std::move(o)}, where_{where}, run_{std::move(run)}, store_{options_.cache}, line_{to_rules(options_)} {
    timed_ = store_.timed() || line_.timed() || options_.metrics;
    if (options_.metrics) times_ = std::make_unique<time_metrics>();
    if (!line_.timed()) return;
    timer_queue* const own = options_.clock.after(std::chrono::nanoseconds{0}).queue();
    timers_ = own != nullptr ? own : &std_sync::steady_timers();
    window_.core = this;
    window_.fire = [](timer_entry<std_sync>& e) noexcept { static_cast<window_timer&>(e).core->window_over(); };
    timers_->add(window_, never - 1);  // a thread that cannot be started is told of here
    timers_->remove(window_);
  }
  batcher_core(const batcher_core&) = delete;
  batcher_core& operator=(const batcher_core&) = delete;

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // --- loads

  /// How a load is asked for.
  struct request {
    bool held = true;     // a future; otherwise the caller may abandon() it
    bool within = false;  // from within the batch function
    bool many = false;    // others follow: depart() comes last
  };

  /// The flight for a key, with a share for the caller; null: refused, and `why` says so. Throws what hashing, comparing and copying the key throw,
  /// what the user's cache throws, and std::bad_alloc.
  template <class K>
  flight_type* join(const K& key, request how, std::error_code& why) {
    const std::size_t hash = hash_(key);
    const auto same = [&](const Key& known) { return equal_(known, key); };
    const nanoseconds_point now = time();
    how.within = how.within || inside_batch::of(this);
    if (flight_type* const known = join_known(hash, same, how, now, why); known != nullptr || why) return known;

    std::unique_ptr<flight_type, drop> fresh{new flight_type(key, hash)};
    if (options_.own_cache) {
      if (std::optional<Value> found = options_.own_cache.get(fresh->key)) return hit(std::move(fresh), *std::move(found));
    }
    if (options_.key_bytes) fresh->bytes = options_.key_bytes(fresh->key);
    fresh->set_task(task_functions);

    flight_trash<flight_type> gone;
    consequences after;
    flight_type* joined = nullptr;
    {
      std::scoped_lock guard{lock_};
      joined = store_.find(hash, same, now, gone);
      if (closed_ || (joined == nullptr && line_.size() >= options_.max_waiting_keys)) {
        ++counts_.refused;
        why = closed_ ? errc::closed : errc::full;
        return nullptr;
      }
      if (joined == nullptr) {
        joined = fresh.release();
        joined->core = this;
        joined->at = now;
        queue_.push_back(*joined);
        store_.add(*joined);
        line_.join(joined->bytes, now);
        ++joined_;
        if (options_.on_first_key && !scheduled_) after.schedule = scheduled_ = true;
      }
      admit(*joined, how);
      if (!how.many) plan(now, after);
    }
    settle(after);
    return joined;
  }

  /// After loads that were `many`.
  void depart() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      plan(time(), after);
    }
    settle(after);
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
        queue_.remove(f);
        line_.leave(f.bytes, oldest());
        f.phase = flight_phase::done;
        ++counts_.abandoned;
      }
    }
    if (dropped) f.drop_owner();
    f.drop_owner();
  }

  /// What is remembered of a key, with a share; null: nothing.
  template <class K>
  flight_type* look(const K& key) {
    const std::size_t hash = hash_(key);
    flight_trash<flight_type> gone;
    const nanoseconds_point now = time();
    std::scoped_lock guard{lock_};
    flight_type* const f = store_.find(hash, [&](const Key& known) { return equal_(known, key); }, now, gone);
    if (f == nullptr || f->phase != flight_phase::done) return nullptr;
    ++counts_.loads;
    ++counts_.hits;
    f->add_owner();
    return f;
  }

  // --- what is remembered

  /// For prime(): a flight that belongs to no batch.
  template <class K>
  [[nodiscard]] flight_type* make(const K& key) const {
    return new flight_type(key, hash_(key));
  }
  /// Takes one whose outcome was written, but not told. False: something is known of the key, or nothing is remembered.
  bool prime(flight_type* made) {
    std::unique_ptr<flight_type, drop> fresh{made};
    if (options_.own_cache) {
      if (!fresh->has_value() || options_.own_cache.get(fresh->key)) return false;
      options_.own_cache.set(fresh->key, fresh->peek());
      return true;
    }
    if (!store_.remembers()) return false;
    fresh->phase = flight_phase::done;
    const bool has_value = fresh->has_value();
    if (!has_value && options_.cache.negative_ttl.count() <= 0) return false;
    flight_trash<flight_type> gone;
    const nanoseconds_point now = time();
    const auto same = [&](const Key& known) { return equal_(known, fresh->key); };
    std::scoped_lock guard{lock_};
    if (closed_ || store_.find(fresh->hash, same, now, gone) != nullptr) return false;
    flight_type& f = *fresh.release();
    store_.add(f);
    store_.land(f, now, true, gone);
    f.tell();  // nobody waits
    return true;
  }

  template <class K>
  void clear(const K& key) {
    const std::size_t hash = hash_(key);
    flight_trash<flight_type> gone;
    {
      const nanoseconds_point now = time();
      std::scoped_lock guard{lock_};
      if (flight_type* const f = store_.find(hash, [&](const Key& known) { return equal_(known, key); }, now, gone)) {
        store_.clear(*f, gone);
      }
    }
    if (options_.own_cache) options_.own_cache.erase(Key(key));
  }
  void clear_all() {
    flight_trash<flight_type> gone;
    {
      std::scoped_lock guard{lock_};
      store_.clear_all(gone);
    }
    if (options_.own_cache) options_.own_cache.clear();
  }

  // --- batches

  void flush() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      line_.tell();
      scheduled_ = false;
      plan(time(), after);
    }
    settle(after);
  }

  void close() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      line_.tell();
      plan(time(), after);
      after.over = is_over();
    }
    settle(after);
  }

  /// After close(): until every batch is over and its callers have been told. Not within a batch, which would wait for itself.
  void wait() noexcept {
    if (!inside_batch::of(this)) {
      while (!ended_.is_set() && trampoline::run_one()) {
      }
      blocking_help::wait(ended_);
    }
    if (timers_ != nullptr) timers_->remove(window_);
  }

  /// Outcomes have been written to these flights, which a batch took. `last`: it has no others. Takes the shares of the batch.
  void land(std::span<flight_type* const> flights, bool batch_failed, bool last) noexcept {
    flight_trash<flight_type> gone;
    consequences after;
    std::uint64_t failed = 0;
    for (flight_type* const f : flights) failed += f->has_value() ? 0u : 1u;
    if (options_.own_cache) fill_own_cache(flights);
    const nanoseconds_point now = time();
    {
      std::scoped_lock guard{lock_};
      counts_.failed += failed;
      for (flight_type* const f : flights) {
        f->phase = flight_phase::done;
        if (f->listed) store_.land(*f, now, !batch_failed, gone);
        if (f->listed) f->add_owner();  // it may be forgotten before it is told
      }
      if (last) {
        line_.end();
        plan(now, after);
      }
    }
    if (options_.own_cache) correct_own_cache(flights);
    std::optional<trampoline> here;  // who goes on here does so when the next batch has left
    if (trampoline::innermost() == nullptr) here.emplace();
    for (flight_type* const f : flights) {
      f->tell();
      f->drop_owner();
    }
    settle(after);
  }

  /// A batch, or a runner that found nothing to do, is over. Takes a share of the core.
  void gone() noexcept {
    consequences after;
    {
      std::scoped_lock guard{lock_};
      --alive_;
      after.over = is_over();
    }
    settle(after);
    drop_owner();
  }

  // For the batch function.
  [[nodiscard]] const options_type& options() const noexcept { return options_; }
  [[nodiscard]] any_scheduler where() const noexcept { return where_; }
  [[nodiscard]] const std::stop_token& token() const noexcept { return token_; }
  [[nodiscard]] nanoseconds_point time() const noexcept { return timed_ ? options_.clock.now() : 0; }

  void called(std::span<flight_type* const> flights, nanoseconds_point now) noexcept {
    sizes_.record(flights.size());
    calls_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic, as are the next ones
    if (times_ == nullptr) return;
    for (flight_type* const f : flights) times_->queue.record(std::chrono::nanoseconds{saturating_difference(now, f->at)});
  }
  void returned(nanoseconds_point began) noexcept {
    if (times_ != nullptr) times_->function.record(std::chrono::nanoseconds{saturating_difference(time(), began)});
  }
  void was_split() noexcept { splits_.fetch_add(1, std::memory_order_relaxed); }

  [[nodiscard]] batcher_stats stats() const {
    batcher_stats s;
    {
      std::scoped_lock guard{lock_};
      s = counts_;
      s.waiting = line_.size();
      s.in_flight = line_.running();
      s.cached = store_.remembered();
    }
    s.batches = calls_.load(std::memory_order_relaxed);
    s.split = splits_.load(std::memory_order_relaxed);
    s.batch_size = sizes_.snapshot();
    if (times_ != nullptr) {
      s.queue_time = times_->queue.snapshot();
      s.function_time = times_->function.snapshot();
    }
    return s;
  }

 private:
  struct drop {
    void operator()(flight_type* f) const noexcept { f->drop_owner(); }
  };
  struct window_timer : timer_entry<std_sync> {
    batcher_core* core = nullptr;
  };
  struct time_metrics {
    histogram queue;
    histogram function;
  };
  /// What a change asks for, once the lock is free again.
  struct consequences {
    work_list to_send;
    nanoseconds_point window = never;  // the timer is to be set
    bool schedule = false;             // the user's schedule is to be told
    bool over = false;
  };

  static departure_rules to_rules(const options_type& o) noexcept {
    const nanoseconds_point window = o.max_delay.count();
    return {.max_size = o.max_batch_size,
            .max_bytes = o.max_batch_bytes,
            .delay = o.schedule == batch_schedule::flush_only   ? never
                     : o.schedule == batch_schedule::ready_work ? 0
                                                                : window,
            .max_running = o.max_in_flight_batches};
  }

  template <class SameKey>
  flight_type* join_known(std::size_t hash, SameKey& same, request how, nanoseconds_point now, std::error_code& why) {
    flight_trash<flight_type> gone;
    consequences after;
    flight_type* known = nullptr;
    {
      std::scoped_lock guard{lock_};
      if (closed_) {
        ++counts_.refused;
        why = errc::closed;
        return nullptr;
      }
      known = store_.find(hash, same, now, gone);
      if (known == nullptr) return nullptr;
      ++(known->phase == flight_phase::done ? counts_.hits : counts_.shared);
      admit(*known, how);
      if (!how.within) return known;
      plan(now, after);
    }
    settle(after);
    return known;
  }

  // --- under the lock

  void admit(flight_type& f, request how) noexcept {
    ++counts_.loads;
    f.add_owner();
    if (how.held) {
      f.held = true;
    } else {
      ++f.limited;
    }
    if (how.within && f.phase == flight_phase::queued) line_.press();
  }

  [[nodiscard]] nanoseconds_point oldest() const noexcept { return queue_.empty() ? 0 : queue_.front()->at; }
  [[nodiscard]] bool is_over() noexcept {
    if (!closed_ || alive_ != 0 || over_) return false;
    assert(queue_.empty());
    return over_ = true;
  }

  // After each change: runners for what is due, and the timer for what will be.
  void plan(nanoseconds_point now, consequences& after) noexcept {
    if (closed_) line_.tell();
    while (line_.may_send(now)) {
      flight_type* f = queue_.back();  // mostly the one that has just come, whose item cannot be on its way
      if (f->posted) {
        f = queue_.front();
        while (f->posted) f = f->later;  // there is one: no more items are on their way than there are batches in line
      }
      f->posted = true;
      f->add_owner();
      f->run = [](work_item& item) noexcept { arrive(static_cast<flight_type&>(item)); };
      line_.send();
      ++alive_;
      add_owner();
      seen_ = joined_;
      rounds_ = 0;
      after.to_send.push_back(*f);
    }
    if (!line_.timed() || armed_ || closed_) return;
    after.window = line_.look(now);
    armed_ = after.window != never;
  }

  // The flights of the next batch, out of the line.
  std::size_t take(flight_type*& first) noexcept {
    const flight_type* next = queue_.front();
    const std::size_t n = line_.batch_size([&](std::size_t) { return std::exchange(next, next->later)->bytes; });
    first = nullptr;
    flight_type** link = &first;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < n; ++i) {
      flight_type* const f = queue_.front();
      queue_.remove(*f);
      f->phase = flight_phase::taken;
      bytes += f->bytes;
      *link = f;
      link = &f->later;
    }
    if (n != 0) line_.took(n, bytes, oldest());
    counts_.keys += n;
    return n;
  }

  // Whether a runner goes to the back of the executor's line once more: something came since it was there last, or not often enough nothing.
  [[nodiscard]] bool goes_round() noexcept {
    if (options_.schedule != batch_schedule::ready_work || line_.hurried()) return false;
    if (seen_ != joined_) {
      seen_ = joined_;
      rounds_ = 0;
      return true;
    }
    return ++rounds_ < options_.quiet_rounds;
  }

  // --- without the lock

  /// Touches nothing of *this after what is sent last, which may be the end of it all.
  void settle(consequences& after) noexcept {
    if (after.window != never) arm(after.window);
    if (after.schedule) call_schedule();
    if (after.over) ended_.set();
    if (after.to_send.empty()) return;
    const any_scheduler where = where_;
    while (work_item* const item = after.to_send.pop_front()) where.execute(*item);
  }

  void arm(nanoseconds_point at) noexcept {
    try {
      timers_->add(window_, at);
    } catch (...) {
      flush();  // no timer (in a child of fork()): rather at once than never
    }
  }
  void window_over() noexcept {
    const share alive{*this};  // whoever is told below may destroy the batcher
    consequences after;
    {
      std::scoped_lock guard{lock_};
      armed_ = false;
      plan(time(), after);
    }
    settle(after);
  }
  void call_schedule() noexcept {
    std::function<void()> dispatch;
    try {
      dispatch = [self = share{*this}] { self->flush(); };
    } catch (...) {
      return flush();
    }
    options_.on_first_key(std::move(dispatch));
  }

  // A runner is where batches are processed.
  static void arrive(flight_type& item) noexcept {
    auto& self = *static_cast<batcher_core*>(item.core);
    consequences after;
    flight_type* first = nullptr;
    std::size_t n = 0;
    bool round = false;
    {
      std::scoped_lock guard{self.lock_};
      if (self.overtaken_ != 0) {
        --self.overtaken_;
        item.posted = false;
      } else if (self.goes_round()) {
        round = true;
      } else {
        item.posted = false;
        self.line_.arrive();
        n = self.take(first);
        if (n == 0) self.line_.end();
        self.plan(self.time(), after);
      }
    }
    if (round) {
      const any_scheduler where = self.where_;
      return where.execute(item);
    }
    item.drop_owner();
    self.settle(after);
    if (n == 0) return self.gone();
    self.run_(self, first, n);
  }

  // --- a thread that is about to block

  static void assist(future_state<Value>& state, waiter_kind who) noexcept {
    if (who != waiter_kind::thread) return;
    while (!state.ready().is_set() && trampoline::run_one()) {
    }
    auto& f = static_cast<flight_type&>(state);
    while (batcher_core* const core = alive_core(f)) {
      const bool ran = core->run_here(f);
      core->drop_owner();
      if (!ran) return;
    }
  }
  // Who publishes an outcome owns the core, and is not through while we hold this lock and find nothing there.
  static batcher_core* alive_core(flight_type& f) noexcept {
    std::scoped_lock guard{f.ready().wait_lock()};
    if (f.ready().is_set()) return nullptr;
    auto* const core = static_cast<batcher_core*>(f.core);
    core->add_owner();
    return core;
  }
  /// On a thread of the executor: a batch, in place of a runner that may need this very thread. False: there is no need, or no place.
  bool run_here(flight_type& f) noexcept {
    if (!where_.running_here()) return false;
    consequences after;
    flight_type* first = nullptr;
    std::size_t n = 0;
    {
      std::scoped_lock guard{lock_};
      if (f.phase != flight_phase::queued) return false;
      // Inline, every thread is one of the executor's; what is due was run by whoever made it due, or will be by whoever keeps it waiting.
      const bool needed = inside_batch::of(this) || (!where_.is_inline() && line_.running() < options_.max_in_flight_batches);
      if (!needed) return false;
      if (line_.sent() != 0) {
        ++overtaken_;
        line_.arrive();
      } else {
        line_.begin_here();
      }
      ++alive_;
      add_owner();
      n = take(first);
      plan(time(), after);
    }
    const trampoline here;
    settle(after);
    run_(*this, first, n);
    return true;
  }
  static void no_stop(future_state<Value>&) noexcept {}
  static constexpr typename future_state<Value>::task_functions task_functions{&assist, &no_stop};

  // --- the user's own cache

  flight_type* hit(std::unique_ptr<flight_type, drop> fresh, Value&& value) {
    fresh->emplace(std::move(value));
    fresh->phase = flight_phase::done;
    fresh->tell();
    std::scoped_lock guard{lock_};
    ++counts_.loads;
    ++counts_.hits;
    ++fresh->limited;
    return fresh.release();
  }
  // Before others can find out that the keys are not being loaded any more. A cache that throws does without.
  void fill_own_cache(std::span<flight_type* const> flights) noexcept {
    for (flight_type* const f : flights) {
      try {
        if (f->has_value()) options_.own_cache.set(f->key, f->peek());
      } catch (...) {
      }
    }
  }
  // What was cleared while it was being loaded must not be there.
  void correct_own_cache(std::span<flight_type* const> flights) noexcept {
    for (flight_type* const f : flights) {
      try {
        if (f->cleared) options_.own_cache.erase(f->key);
      } catch (...) {
      }
    }
  }

  options_type options_;
  [[no_unique_address]] const Hash hash_{};
  [[no_unique_address]] const Equal equal_{};
  const any_scheduler where_;
  run_function run_;
  bool timed_ = false;
  timer_queue* timers_ = nullptr;
  std::atomic<std::uint32_t> owners_{1};
  basic_one_shot<> ended_;
  // Never asked to stop: by it a load within the batch function is told from others, if that is a coroutine.
  const std::stop_source stop_;
  const std::stop_token token_ = stop_.get_token();
  std::unique_ptr<time_metrics> times_;
  detail::batch_sizes sizes_;
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::uint64_t> splits_{0};
  window_timer window_;

  mutable polled_mutex<> lock_;  // guards all that follows
  flight_store<flight_type> store_;
  flight_line<flight_type> queue_;
  departure line_;             // counts what is in queue_
  batcher_stats counts_;       // only the numbers that are counted under the lock
  std::size_t alive_ = 0;      // runners and batches that are not home
  std::size_t overtaken_ = 0;  // runners on their way whose place a thread of run_here() took
  std::uint64_t joined_ = 0;   // keys that ever came
  std::uint64_t seen_ = 0;     // of those, when a runner looked last
  std::size_t rounds_ = 0;     // in a row without a new key
  bool armed_ = false;         // the window's timer is set, or is about to be
  bool scheduled_ = false;     // the user's schedule was told
  bool closed_ = false;
  bool over_ = false;
};

}  // namespace penstock::inline v0_1::detail
