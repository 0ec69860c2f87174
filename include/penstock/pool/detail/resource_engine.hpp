// penstock/pool/detail/resource_engine.hpp: what makes, checks and destroys the resources of a pool, and how callers wait for them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <source_location>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/observe/detail/event_timing.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/pool/detail/resource_core.hpp>
#include <penstock/pool/detail/resource_functions.hpp>
#include <penstock/pool/detail/resource_terms.hpp>
#include <penstock/pool/resource_lease.hpp>
#include <penstock/pool/resource_pool_options.hpp>
#include <penstock/pool/resource_pool_stats.hpp>

namespace penstock::inline v0_1::detail {

template <class T>
struct engine_slot : resource_slot<std_sync> {
  T& value() noexcept { return *std::launder(reinterpret_cast<T*>(place)); }
  nanoseconds_point held_since = untimed;  // of who has the lease
  alignas(T) std::byte place[sizeof(T)];
};

template <class T>
class resource_engine final : public resource_core<std_sync> {
 public:
  using core = resource_core<std_sync>;
  using request = core::request;
  using lease = resource_lease<T>;
  using slot_of_t = engine_slot<T>;

  resource_engine(resource_factory<T> factory, resource_pool_options<T>&& o)
      : core{terms_of(o, !o.executor.is_inline() || factory.is_coroutine()), timers_by(o.clock),
             o.seed != 0 ? o.seed : reinterpret_cast<std::uintptr_t>(this) ^ static_cast<std::uint64_t>(o.clock.now())},
        clock_{o.clock},
        acquire_timeout_{o.acquire_timeout},
        connect_timeout_{o.connect_timeout},
        has_executor_{!o.executor.is_inline()},
        factory_{std::move(factory)},
        check_{std::move(o.validate)},
        on_leak_{std::move(o.on_leak)},
        operations_{o.executor} {
    if (o.metrics) meters_ = std::make_unique<meters>(o.time_every);
    detail::timer_entry<std_sync> probe;  // if there can be no thread for the timers, that is told here
    timers_by(clock_).add(probe, never);
    timers_by(clock_).remove(probe);
    this->begin();
  }
  ~resource_engine() {
    close();
    while (this->live().running() != 0 && trampoline::run_one()) {
    }
    blocking_wait<basic_join<>, plain_node<std_sync>>{this->live()}.run();
    this->stop_timer();
  }

  void close() noexcept {
    core::close();
    operations_.request_stop();
  }

  result<lease> acquire(const std::stop_token& stop, const deadline& limit, const std::source_location& where) {
    if (!stop.stop_requested()) [[likely]] {
      if (auto* const s = this->take_from_lane()) [[likely]]
        return lease_of(s);
    }
    return acquire_slowly(stop, limit, where);
  }
  result<lease> try_acquire(const std::source_location& where) {
    request look{borrower_at(where), false};
    if (!this->try_pass(look)) return errc::empty;
    return taken(look, look.how, 0);
  }
  void take_back(slot_of_t& s, bool broken) noexcept {
    if (meters_ != nullptr) [[unlikely]]
      record_hold(s);  // afterwards the pool may be gone
    if (broken || !this->rest_on_lane(s)) [[unlikely]]
      take_back_slowly(s, broken);
  }

  [[nodiscard]] deadline default_limit() const noexcept {
    return acquire_timeout_.count() != 0 ? clock_.after(acquire_timeout_) : deadline{};
  }
  [[nodiscard]] nanoseconds_point begin_measuring() const noexcept { return meters_ != nullptr ? time() : 0; }
  /// What an acquire that is over gives.
  result<lease> taken(request& r, outcome how, nanoseconds_point since) noexcept {
    if (how != outcome::granted) return failed(how == outcome::rejected ? r.refusal : code_of(how));
    if (r.has_waited) {
      this->count_waited();
      if (meters_ != nullptr) meters_->waits.record(std::chrono::nanoseconds{time() - since});
    }
    return lease_of(r.got);
  }
  [[nodiscard]] const any_clock& clock() const noexcept { return clock_; }
  [[nodiscard]] resource_pool_stats stats_without_times() const noexcept { return core::stats(); }
  [[nodiscard]] resource_pool_stats stats() const {
    resource_pool_stats s = core::stats();
    if (meters_ != nullptr) {
      s.wait_time = meters_->waits.snapshot();
      s.hold_time = meters_->holds.snapshot();
      s.lifetime = meters_->lifetimes.snapshot();
    }
    return s;
  }
  [[nodiscard]] nanoseconds_point time() const noexcept override { return clock_.now(); }

 private:
  struct meters {
    explicit meters(std::uint32_t time_every) noexcept : lent{time_every} {}
    const event_timing lent;
    histogram waits;
    histogram holds;
    histogram lifetimes;
  };

  static timer_queue& timers_by(const any_clock& c) {
    timer_queue* const own = c.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }
  static errc code_of(outcome how) noexcept {
    return how == outcome::closed ? errc::closed : how == outcome::timeout ? errc::timeout : errc::cancelled;
  }
  borrower borrower_at(const std::source_location& where) const noexcept {
    return {where, this->terms().refuse_nested ? std_sync::this_thread() : std_sync::thread_id{}};
  }
  [[gnu::noinline]] result<lease> acquire_slowly(const std::stop_token& stop, const deadline& limit,
                                                 const std::source_location& where) {
    const borrower who = borrower_at(where);
    if (stop.stop_requested()) return failed(errc::cancelled);
    if (this->terms().leak_threshold == 0) {
      if (auto* const s = this->try_take(who, this->terms().timed_borrow() ? time() : 0)) return lease_of(s);
    }
    blocking_wait<core, request> wait{*this, who};
    wait.until = limit.is_never() ? default_limit() : limit;
    const nanoseconds_point since = begin_measuring();
    const outcome how = wait.run(stop, wait.until);
    return taken(wait, how, since);
  }
  [[gnu::noinline]] void record_hold(const slot_of_t& s) noexcept {
    if (s.held_since == untimed) return;
    const nanoseconds_point held = std::max<nanoseconds_point>(time() - s.held_since, 0);
    meters_->holds.record_n(static_cast<std::uint64_t>(held), meters_->lent.weight(s.held_since));
  }
  [[gnu::noinline]] void take_back_slowly(slot_of_t& s, bool broken) noexcept {
    this->release(s, this->terms().timed_return() ? time() : 0, broken);
  }
  lease lease_of(core::slot* s) noexcept {
    auto& lent = *static_cast<slot_of_t*>(s);
    if (meters_ != nullptr) [[unlikely]]
      lent.held_since = meters_->lent.stamp(clock_);
    return lease{*this, lent};
  }
  errc failed(errc why) noexcept {
    this->count_failure(why);
    return why;
  }

  slot_of_t* make(std::exception_ptr& why) noexcept {
    try {
      auto* const s = new slot_of_t;
      this->enlist(*s);
      return s;
    } catch (...) {
      why = std::current_exception();
      return nullptr;
    }
  }
  void destroy(core::slot& s) noexcept override {
    auto* const gone = static_cast<slot_of_t*>(&s);
    if (gone->built) {
      if (meters_ != nullptr) meters_->lifetimes.record(std::chrono::nanoseconds{time() - gone->born_at});
      std::destroy_at(&gone->value());
    }
    delete gone;
  }

  bool destroy_elsewhere(core::slot& s) noexcept override {
    if (!has_executor_) return false;
    try {
      operations_.spawn(destroy_there(s));
      return true;
    } catch (...) {
      return false;  // no memory for it
    }
  }
  task<> destroy_there(core::slot& s) {
    destroy(s);
    this->destroyed_elsewhere();
    co_return;
  }

  // On the thread of who acquires.
  void run_here(request& r) noexcept override {
    auto* s = static_cast<slot_of_t*>(static_cast<core::slot*>(r.job));
    r.job = nullptr;
    std::exception_ptr why;
    bool ok = false;
    if (s == nullptr) {
      if (r.until.passed()) {
        r.how = outcome::timeout;
        return this->give_back_right(r);
      }
      r.reserved = false;
      s = make(why);
    }
    try {
      if (s == nullptr) {
      } else if (s->checking) {
        ok = check_here(*s, r.until);
      } else {
        const connect_request c{operations_.get_stop_token(), limit_here(r.until)};
        factory_.call(s->place, c);
        s->built = ok = true;
      }
    } catch (...) {
      why = std::current_exception();
    }
    this->finished(s, ok, std::move(why), &r, time());
  }

  bool check_here(slot_of_t& s, const deadline& until) {
    if (!check_.is_coroutine()) return check_.call(s.value());
    const result<bool> good = sync_wait(check_.begin(s.value()) | with_deadline(limit_here(until)), operations_.get_stop_token());
    return good.has_value() && *good;
  }
  // connect_timeout, or the deadline of who acquires, if that comes first by their clocks.
  deadline limit_here(const deadline& until) const noexcept {
    const auto left = [](const deadline& d) {
      return d.is_never() ? never : saturating_difference(d.when(), d.queue() != nullptr ? d.queue()->now() : std_sync::now());
    };
    const deadline own = connect_limit();
    return left(until) < left(own) ? until : own;
  }

  // In the background.
  void begin_connect() noexcept override {
    std::exception_ptr why;
    if (auto* const s = make(why)) {
      begin_operation(*s);
    } else {
      this->finished(nullptr, false, std::move(why), nullptr, time());
    }
  }
  void begin_check(core::slot& s) noexcept override { begin_operation(static_cast<slot_of_t&>(s)); }
  void begin_operation(slot_of_t& s) noexcept {
    std::exception_ptr why;
    try {
      return operations_.spawn(operate(s));
    } catch (...) {
      why = std::current_exception();
    }
    this->finished(&s, false, std::move(why), nullptr, time());
  }
  task<> operate(slot_of_t& s) {
    std::exception_ptr why;
    bool ok = false;
    try {
      const deadline limit = connect_limit();
      if (!s.checking) {
        const connect_request c{operations_.get_stop_token(), limit};
        if (factory_.is_coroutine()) {
          result<void> made = co_await (factory_.begin(s.place, c) | with_deadline(limit));
          made.value();
        } else {
          factory_.call(s.place, c);
        }
        s.built = ok = true;
      } else if (check_.is_coroutine()) {
        result<bool> good = co_await (check_.begin(s.value()) | with_deadline(limit));
        ok = good.has_value() && *good;
      } else {
        ok = check_.call(s.value());
      }
    } catch (...) {
      why = std::current_exception();
    }
    this->finished(&s, ok, std::move(why), nullptr, time());
  }
  deadline connect_limit() const noexcept { return connect_timeout_.count() != 0 ? clock_.after(connect_timeout_) : deadline{}; }

  void report_leak(const std::source_location& where, std::int64_t age) noexcept override {
    if (on_leak_) on_leak_({where, std::chrono::nanoseconds{age}});
  }

  const any_clock clock_;
  const std::chrono::nanoseconds acquire_timeout_;
  const std::chrono::nanoseconds connect_timeout_;
  const bool has_executor_;
  resource_factory<T> factory_;
  resource_check<T> check_;
  move_only_function<void(const resource_leak&) const> on_leak_;
  std::unique_ptr<meters> meters_;
  basic_task_group<dependent<std_sync, T>> operations_;  // goes first: it waits for what still runs
};

}  // namespace penstock::inline v0_1::detail
