// tests/model/support/model_sync.hpp: what detail::std_sync is for programs, for the model checker.
//
// The cores are templates over a traits parameter; instantiated with model_sync, every access to what threads share is an event that relacy
// orders in all the ways that the C++ memory model allows. Beyond what relacy looks for itself (data races, uninitialised reads, deadlocks,
// leaks) this is watched:
//
//   lifetime   The construction and the destruction of each object count as writes and each use as a read. So touching what is gone fails, and
//              so does destroying what another thread used without an order between the two, even if it came first in this execution.
//   orders     A compare-exchange may be stronger on failure than on success (relacy's own may not).
//   futex      It orders nothing. Waking uses the address as a number. A sleeper may wake for no reason, a few times in an execution.
//   time       Stands still but for what a test says: a sleeper whose deadline passes takes the time with it; `ticks` lets it jump at any look.
//
// Not watched: plain fields that are no var<> (relacy does not see them).
#pragma once

#include "relacy.hpp"

#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/sync.hpp>

namespace model {

using penstock::detail::nanoseconds_point;
using penstock::detail::never;

struct model_sync;

/// The platform of the execution that is explored now. Begins anew with each execution.
struct world {
  struct sleeper {
    const void* address;
    rl::thread_id_t thread;
  };

  nanoseconds_point time = 0;
  nanoseconds_point tick = 0;  // if not zero, each look at the clock may find it later by this much
  int polls = 0;               // how often a waiter looks before it sleeps
  unsigned processors = 1;     // how many the program believes that there are
  int spurious_wakes = 0;      // how often a sleeper may still wake for no reason
  penstock::detail::basic_timer_queue<model_sync>* steady_timers = nullptr;
  sleeper sleepers[8] = {};  // no container: what it allocates would outlive the execution
  int asleep = 0;

  void forget(int index) {
    for (--asleep; index < asleep; ++index) sleepers[index] = sleepers[index + 1];
  }
};

inline world the_world;

using place = std::source_location;

inline rl::debug_info info(const place& where) {
  const char* const slash = std::strrchr(where.file_name(), '/');
  return {"", slash != nullptr ? slash + 1 : where.file_name(), where.line()};
}

inline constexpr rl::memory_order order(std::memory_order o) {
  switch (o) {
    case std::memory_order_relaxed:
      return rl::mo_relaxed;
    case std::memory_order_consume:
      return rl::mo_consume;
    case std::memory_order_acquire:
      return rl::mo_acquire;
    case std::memory_order_release:
      return rl::mo_release;
    case std::memory_order_acq_rel:
      return rl::mo_acq_rel;
    default:
      return rl::mo_seq_cst;
  }
}

/// Fails the execution unless `ok`.
inline void require(bool ok, const char* what, const place& where = place::current()) {
  if (!ok) rl::ctx().fail_test(what, rl::test_result_user_assert_failed, info(where));
}

/// relacy prints values, so what it stores is a number or a pointer.
template <class T>
struct stored {
  using type = T;
};
template <class T>
  requires std::is_enum_v<T>
struct stored<T> {
  using type = int;
};
template <class T>
using stored_t = typename stored<T>::type;

/// Watches that an object is used while it lives: between its construction and its destruction, and in an order with both.
class lifetime {
 public:
  lifetime() : accesses_{rl::ctx().var_ctor()} { accesses_->init(*rl::ctx().threadx_); }
  lifetime(const lifetime&) = delete;
  lifetime& operator=(const lifetime&) = delete;
  ~lifetime() {
    write(place::current());
    rl::ctx().var_dtor(accesses_);
    const_cast<volatile unsigned&>(state_) = gone;  // volatile: the compiler takes it for a dead store otherwise
  }

  void use(const place& where) const {
    check(where);
    if (!accesses_->load(*rl::ctx().threadx_))
      rl::ctx().fail_test("use races with construction", rl::test_result_data_race, info(where));
  }
  void write(const place& where) {
    check(where);
    if (!accesses_->store(*rl::ctx().threadx_))
      rl::ctx().fail_test("destruction races with use", rl::test_result_data_race, info(where));
  }
  void check(const place& where) const {
    if (const_cast<const volatile unsigned&>(state_) != alive) {
      rl::ctx().fail_test("used after its destruction", rl::test_result_access_to_freed_memory, info(where));
    }
  }

 private:
  static constexpr unsigned alive = 0x600DF00D;
  static constexpr unsigned gone = 0xDEADBEEF;

  unsigned state_ = alive;
  rl::var_data* accesses_;
};

/// One step of a thread: others may run before it, none during it.
class step {
 public:
  step(const lifetime& object, const place& where) {
    rl::ctx().sched();
    object.use(where);
    rl::ctx().disable_preemption();
  }
  explicit step() { rl::ctx().disable_preemption(); }
  step(const step&) = delete;
  step& operator=(const step&) = delete;
  ~step() { rl::ctx().enable_preemption(); }
};

template <class T>
class atomic {
 public:
  using value_type = T;

  atomic() = default;
  atomic(T value) noexcept { set_up(value); }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order o = std::memory_order_seq_cst, place where = place::current()) const noexcept {
    step one{life_, where};
    return static_cast<T>(value_.load(order(o), info(where)));
  }
  void store(T v, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    value_.store(static_cast<stored_t<T>>(v), order(o), info(where));
  }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return static_cast<T>(value_.exchange(static_cast<stored_t<T>>(v), order(o), info(where)));
  }
  template <class D>
  T fetch_add(D d, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return value_.fetch_add(d, order(o), info(where));
  }
  template <class D>
  T fetch_sub(D d, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return value_.fetch_sub(d, order(o), info(where));
  }
  T fetch_and(T v, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return value_.fetch_and(v, order(o), info(where));
  }
  T fetch_or(T v, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return value_.fetch_or(v, order(o), info(where));
  }
  T fetch_xor(T v, std::memory_order o = std::memory_order_seq_cst, place where = place::current()) noexcept {
    step one{life_, where};
    return value_.fetch_xor(v, order(o), info(where));
  }

  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             place where = place::current()) noexcept {
    return compare_exchange<true>(expected, desired, success, failure, where);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               place where = place::current()) noexcept {
    return compare_exchange<false>(expected, desired, success, failure, where);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order o = std::memory_order_seq_cst,
                             place where = place::current()) noexcept {
    return compare_exchange<true>(expected, desired, o, when_failed(o), where);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order o = std::memory_order_seq_cst,
                               place where = place::current()) noexcept {
    return compare_exchange<false>(expected, desired, o, when_failed(o), where);
  }

  operator T() const noexcept { return load(); }
  T operator=(T v) noexcept {
    store(v);
    return v;
  }
  T operator++() noexcept { return fetch_add(1) + 1; }
  T operator--() noexcept { return fetch_sub(1) - 1; }
  T operator++(int) noexcept { return fetch_add(1); }
  T operator--(int) noexcept { return fetch_sub(1); }

  /// The latest value, as the kernel sees it; so later loads of this thread see no older one. Not a step of its own.
  T latest(place where) const noexcept {
    life_.use(where);
    step one;
    auto seen = static_cast<stored_t<T>>(value_.debug_value() + 1);  // an exchange that fails reads the latest value
    value_.compare_exchange_strong(seen, seen, rl::mo_relaxed, info(where), rl::mo_relaxed, info(where));
    return static_cast<T>(seen);
  }

 private:
  void set_up(T value) noexcept {
    step one;  // nobody else knows the object
    value_.store(static_cast<stored_t<T>>(value), rl::mo_relaxed, {"initialisation", "", 0});
  }

  static constexpr std::memory_order when_failed(std::memory_order o) noexcept {
    if (o == std::memory_order_acq_rel) return std::memory_order_acquire;
    return o == std::memory_order_release ? std::memory_order_relaxed : o;
  }

  template <bool Weak>
  bool compare_exchange(T& expected, T desired, std::memory_order success, std::memory_order failure,
                        const place& where) noexcept {
    step one{life_, where};
    auto seen = static_cast<stored_t<T>>(expected);
    const auto wanted = static_cast<stored_t<T>>(desired);
    const rl::debug_info at = info(where);
    const bool exchanged = Weak ? value_.compare_exchange_weak(seen, wanted, order(success), at, rl::mo_relaxed, at)
                                : value_.compare_exchange_strong(seen, wanted, order(success), at, rl::mo_relaxed, at);
    // The failed exchange saw the latest value, relaxed. Nothing comes between: this load sees the same one, in the order that was asked for.
    if (!exchanged) {
      if (failure != std::memory_order_relaxed) seen = value_.load(order(failure), at);
      expected = static_cast<T>(seen);
    }
    return exchanged;
  }

  lifetime life_;
  mutable rl::atomic<stored_t<T>> value_;
};

/// Plain data: an access that races with another one fails.
template <class T>
class var {
 public:
  var() = default;
  explicit var(T value) : value_{static_cast<stored_t<T>>(value)} {}
  var(const var&) = delete;
  ~var() {
    life_.check(place::current());
    value_({"destruction", "", 0}).store(stored_t<T>{});  // it may not race with anybody's access either
  }

  operator T() const { return load(); }
  T operator->() const { return load(); }
  T operator=(T value) {
    store(value);
    return value;
  }
  T operator=(const var& other) { return *this = other.load(); }
  T operator++() { return *this = static_cast<T>(load() + 1); }
  T operator--() { return *this = static_cast<T>(load() - 1); }
  T operator+=(T d) { return *this = static_cast<T>(load() + d); }
  T operator-=(T d) { return *this = static_cast<T>(load() - d); }

 private:
  T load() const {
    life_.check(place::current());
    return static_cast<T>(value_({"plain data", "", 0}).load());
  }
  void store(T value) {
    life_.check(place::current());
    value_({"plain data", "", 0}).store(static_cast<stored_t<T>>(value));
  }

  lifetime life_;
  rl::var<stored_t<T>> value_;
};

/// Memory that a core hands over without a var: each access counts as a write.
class access_check {
 public:
  void write(place where = place::current()) noexcept { mark_(info(where)).store(0); }

 private:
  rl::var<int> mark_{0};
};

class mutex {
 public:
  mutex() = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  void lock(place where = place::current()) {
    life_.use(where);
    impl_.lock(info(where));
    life_.use(where);  // it may have gone while this thread waited
  }
  bool try_lock(place where = place::current()) {
    life_.use(where);
    return impl_.try_lock(info(where));
  }
  /// Of polled_mutex, which this one stands for in some models: whoever looks takes it for a moment.
  bool is_free(place where = place::current()) {
    if (!try_lock(where)) return false;
    unlock(where);
    return true;
  }
  void unlock(place where = place::current()) {
    life_.use(where);
    impl_.unlock(info(where));
  }

 private:
  lifetime life_;
  rl::mutex impl_;
};

class stop_state;

/// One registered callback; the list and the flags are guarded by the state's lock.
struct stop_callback_base {
  stop_callback_base(stop_state* state, void (*call)(stop_callback_base&)) : state{state}, call{call} {}

  stop_state* state;
  void (*call)(stop_callback_base&);
  var<stop_callback_base*> next{nullptr};
  var<bool> linked{false};
  var<bool> awaited{false};  // its destructor waits on another thread
  bool* gone = nullptr;      // told to the thread that runs it
  atomic<std::uint32_t> finished{0};
};

/// std's stop state: callbacks run outside the lock, on the requesting thread or in their own constructor.
class stop_state {
 public:
  bool stop_requested() const { return requested_.load(std::memory_order_acquire); }
  bool request_stop();
  /// False: stop was requested before, and the caller runs the callback itself.
  bool enter(stop_callback_base& c);
  void leave(stop_callback_base& c);

 private:
  mutex lock_;
  atomic<bool> requested_{false};
  var<stop_callback_base*> first_{nullptr};
  var<stop_callback_base*> running_{nullptr};
  var<int> runner_{-1};
};

/// The stop state is the test's own and outlives its tokens, as std's shared ownership does.
class stop_token {
 public:
  stop_token() = default;
  explicit stop_token(stop_state& state) : state_{&state} {}
  bool stop_requested() const { return state_ != nullptr && state_->stop_requested(); }
  bool stop_possible() const { return state_ != nullptr; }

 private:
  template <class F>
  friend class stop_callback;
  stop_state* state_ = nullptr;
};

template <class F>
class stop_callback : stop_callback_base {
 public:
  template <class C>
  stop_callback(const stop_token& token, C&& f)
      : stop_callback_base{token.state_, [](stop_callback_base& c) { static_cast<stop_callback&>(c).f_(); }},
        f_{std::forward<C>(f)} {
    if (state != nullptr && !state->enter(*this)) f_();
  }
  stop_callback(const stop_callback&) = delete;
  stop_callback& operator=(const stop_callback&) = delete;
  ~stop_callback() {
    if (state != nullptr) state->leave(*this);
  }

 private:
  F f_;
};

/// The traits.
struct model_sync {
  template <class T>
  using atomic = model::atomic<T>;
  template <class T>
  using var = model::var<T>;
  using access_check = model::access_check;
  using mutex = model::mutex;
  using stop_token = model::stop_token;
  template <class F>
  using stop_callback = model::stop_callback<F>;

  static void futex_wait(atomic<std::uint32_t>& word, std::uint32_t expected, nanoseconds_point deadline,
                         place where = place::current()) {
    rl::context& c = rl::ctx();
    c.sched();
    if (word.latest(where) != expected || the_world.time >= deadline)
      return;  // compared and asleep in one step, as in the kernel
    the_world.sleepers[the_world.asleep++] = {&word, c.current_thread()};
    const bool may_wake = c.is_random_sched() && the_world.spurious_wakes > 0;
    const rl::unpark_reason why = c.park_current_thread(deadline != never, may_wake, false, info(where));
    if (why == rl::unpark_reason_normal) return;
    for (int i = 0; i < the_world.asleep; ++i) {
      if (the_world.sleepers[i].thread == c.current_thread()) the_world.forget(i);
    }
    if (why == rl::unpark_reason_timeout) {
      the_world.time = std::max(the_world.time, deadline);
    } else {
      --the_world.spurious_wakes;
    }
  }

  static void futex_wake(const void* address, place where = place::current()) {
    rl::context& c = rl::ctx();
    c.sched();
    for (int i = 0; i < the_world.asleep; ++i) {
      if (the_world.sleepers[i].address != address) continue;
      const rl::thread_id_t thread = the_world.sleepers[i].thread;
      the_world.forget(i);
      c.unpark_thread(thread, false, info(where));
      return;
    }
  }

  static void pause() { rl::yield(1, {"pause", "", 0}); }
  static void yield() { rl::yield(1, {"yield", "", 0}); }
  static unsigned processors() { return the_world.processors; }
  static bool parallel() { return processors() > 1; }

  static nanoseconds_point now() {
    if (the_world.tick != 0 && rl::rand(4) == 0) the_world.time += the_world.tick;
    return the_world.time;
  }

  static penstock::detail::basic_timer_queue<model_sync>& steady_timers() { return *the_world.steady_timers; }

  using thread_id = int;
  static thread_id this_thread() { return rl::ctx().current_thread() + 1; }
};

inline bool stop_state::request_stop() {
  {
    std::scoped_lock guard{lock_};
    if (requested_.load(std::memory_order_relaxed)) return false;
    requested_.store(true, std::memory_order_release);
    runner_ = model_sync::this_thread();
  }
  for (;;) {
    bool gone = false;
    stop_callback_base* c = nullptr;
    {
      std::scoped_lock guard{lock_};
      c = first_;
      if (c == nullptr) return true;
      first_ = c->next;
      c->linked = false;
      c->gone = &gone;
      running_ = c;
    }
    c->call(*c);
    if (gone) continue;
    bool awaited = false;
    {
      std::scoped_lock guard{lock_};
      running_ = nullptr;
      awaited = c->awaited;
    }
    if (awaited) {
      atomic<std::uint32_t>* const word = &c->finished;
      word->store(1, std::memory_order_release);  // the last touch
      model_sync::futex_wake(word);
    }
  }
}

inline bool stop_state::enter(stop_callback_base& c) {
  std::scoped_lock guard{lock_};
  if (requested_.load(std::memory_order_relaxed)) return false;
  c.next = first_;
  c.linked = true;
  first_ = &c;
  return true;
}

inline void stop_state::leave(stop_callback_base& c) {
  {
    std::scoped_lock guard{lock_};
    if (c.linked) {
      if (first_ == &c) {
        first_ = c.next;
      } else {
        stop_callback_base* before = first_;
        while (before->next != &c) before = before->next;
        before->next = c.next;
      }
      return;
    }
    if (running_ != &c) return;
    if (runner_ == model_sync::this_thread()) {
      *c.gone = true;
      running_ = nullptr;
      return;
    }
    c.awaited = true;
  }
  while (c.finished.load(std::memory_order_acquire) == 0) model_sync::futex_wait(c.finished, 0, never);
}

}  // namespace model

namespace penstock::inline v0_1::detail {

/// Forty looks before sleeping would multiply the executions and show nothing new.
template <>
class polling<model::model_sync> {
 public:
  polling() noexcept = default;
  explicit polling(nanoseconds_point) noexcept {}
  explicit polling(yield_memory&) noexcept {}
  bool yields_next() const noexcept { return round_ >= model::the_world.polls; }
  bool again() noexcept { return round_++ < model::the_world.polls; }

 private:
  int round_ = 0;
};

}  // namespace penstock::inline v0_1::detail
