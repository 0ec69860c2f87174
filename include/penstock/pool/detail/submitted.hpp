// penstock/pool/detail/submitted.hpp: tasks with a future: the second part of worker_pool.hpp, which includes it.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/detail/expiry.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

// A submitted task and its future's state, in one allocation. The queue holds one share of it, the future another. Whoever claims it first
// runs it or decides that it will not run: a worker, a worker that waits for it, the queue when it drops it, who asks it to stop.
template <class Sync>
template <class F, class R>
class basic_worker_pool<Sync>::submitted : public detail::future_state<R> {
 public:
  using state = detail::future_state<R>;

  template <class G>
  submitted(basic_worker_pool& pool, G&& f, std::unique_ptr<detail::expiry<Sync>> when, detail::nanoseconds_point since)
      : state{[](state& s) noexcept { delete static_cast<submitted*>(&s); }},
        pool_{pool},
        f_{std::forward<G>(f)},
        expiry_{std::move(when)},
        since_{since} {
    static constexpr typename state::task_functions functions{
        [](state& s, detail::waiter_kind who) noexcept { static_cast<submitted&>(s).assist(who); },
        [](state& s) noexcept { static_cast<submitted&>(s).stop(); },
    };
    this->set_task(functions);
  }

  /// It is submitted now, and somebody traces.
  [[gnu::cold]] void trace() { span_ = std::make_unique<span>(traced::task, &pool_); }

  /// By who waits for it.
  void run_inside(runner& here) noexcept {
    if (!claim(progress::begun)) return;
    const detail::nanoseconds_point began = pool_.time_if(since_);
    run_claimed();
    const detail::fate how = here.take_fate();
    pool_.measure_inside(here, how, since_, began);
    here.record != nullptr ? here.record->count(how) : pool_.outside_.count_shared(how);
  }
  // What lies in the queue.
  class entry {
   public:
    explicit entry(detail::state_ref<submitted> task) noexcept : task_{std::move(task)} {}
    entry(entry&&) noexcept = default;
    entry& operator=(entry&&) = delete;
    ~entry() {
      if (!task_) return;
      detail::drop_scope* const scope = detail::drop_scope::innermost();
      if (task_->claim(progress::dropped)) {
        task_->give_up(scope != nullptr ? scope->why() : errc::cancelled);
      } else if (scope != nullptr) {
        task_->was_dropped() ? scope->note_stopped() : scope->note_begun();
      }
    }
    void operator()() noexcept {
      const detail::state_ref<submitted> task = std::move(task_);  // what has been called is not dropped
      if (task->claim(progress::begun)) return task->run_claimed();
      task->pool_.runner_here()->fate = task->was_dropped() ? detail::fate::cancelled : detail::fate::begun_before;
    }

   private:
    detail::state_ref<submitted> task_;
  };

 private:
  enum class progress : std::uint8_t { waits, begun, dropped };
  static constexpr bool takes_token = !std::invocable<F&>;
  struct no_source {};

  // relaxed, both: decides between claimants; the callable came to each of them through the queue's lock, or with the future
  bool claim(progress as) noexcept {
    progress before = progress::waits;
    return progress_.compare_exchange_strong(before, as, std::memory_order_relaxed);
  }
  [[nodiscard]] bool was_dropped() const noexcept { return progress_.load(std::memory_order_relaxed) == progress::dropped; }

  void assist(detail::waiter_kind who) noexcept {
    if (origin_.forked()) {
      if (claim(progress::dropped)) release();
      return this->set_error(forked_error().error());  // whoever claimed it is in the parent
    }
    // A call like any other: nothing else runs here in between. A coroutine leaves it to the next free worker, unless this one is not to
    // become free before the coroutine ends: because it helps, or is about to block and nobody can run in its stead.
    runner* const here = pool_.runner_here();
    if (here == nullptr) return;
    const auto nobody_else = [this] { return detail::blocking_help::is_about_to_block() && !pool_.queue_.may_replace(); };
    if (who == detail::waiter_kind::thread || helping_ > 0 || nobody_else()) run_inside(*here);
  }
  // The pool may be gone by now, if the task is not in it any more; so the one who finds its empty place counts it.
  void stop() noexcept {
    if (claim(progress::dropped)) return give_up(errc::cancelled);
    if constexpr (takes_token) detail::request_stop(stop_);
  }
  R call(F& f) {
    if constexpr (takes_token) {
      const std::stop_callback of_pool{pool_.stop_.get_token(), [this]() noexcept { detail::request_stop(stop_); }};
      return f(stop_.get_token());
    } else {
      return f();
    }
  }
  void run_claimed() noexcept {
    if (expiry_ != nullptr && expiry_->missed()) {
      f_.reset();
      pool_.expire(*expiry_);
      give_up(errc::timeout);
      pool_.runner_here()->fate = detail::fate::expired;
      return;
    }
    const bool returned = this->set_from([this]() -> R {
      F f{std::move(*f_)};  // what it holds is released before the future is ready
      release();
      if (span_ != nullptr) [[unlikely]]
        return detail::run_traced(std::move(span_), [&]() -> R { return call(f); });
      return call(f);
    });
    if (!returned) pool_.runner_here()->fate = detail::fate::failed;
  }
  void release() noexcept {
    f_.reset();
    expiry_.reset();
  }
  void give_up(std::error_code why) noexcept {
    release();
    span_.reset();
    this->set_error(why);
  }

  using span = detail::dependent<detail::open_span, F>;

  basic_worker_pool& pool_;
  const detail::process_origin origin_ = pool_.origin_;  // a copy: the future may outlive the pool
  std::optional<F> f_;
  std::unique_ptr<detail::expiry<Sync>> expiry_;  // null: there is none
  std::unique_ptr<span> span_;                    // null: nobody traces
  const detail::nanoseconds_point since_;         // when it was submitted, or untimed
  std::atomic<progress> progress_{progress::waits};
  [[no_unique_address]] std::conditional_t<takes_token, std::stop_source, no_source> stop_;  // the task's own
};

template <class Sync>
template <class F>
  requires detail::submittable<std::decay_t<F>>
auto basic_worker_pool<Sync>::submit(F&& f, const wait_limits& limits) {
  return submit(std::forward<F>(f), nullptr, usual_admission(limits));
}
template <class Sync>
template <class F>
  requires detail::submittable<std::decay_t<F>>
auto basic_worker_pool<Sync>::submit(F&& f, submit_options options) {
  const admission how = admission_of(options);
  return submit(std::forward<F>(f), detail::expiry<Sync>::of(options, clock_), how);
}

template <class Sync>
template <class F>
auto basic_worker_pool<Sync>::submit(F&& f, std::unique_ptr<detail::expiry<Sync>> when, const admission& how) {
  using function = std::decay_t<F>;
  using value = typename decltype([] {
    if constexpr (std::invocable<function&>) {
      return std::type_identity<std::invoke_result_t<function&>>{};
    } else {
      return std::type_identity<std::invoke_result_t<function&, std::stop_token>>{};
    }
  }())::type;
  using work_type = submitted<function, value>;

  detail::state_ref<work_type> state{new work_type{*this, callable(std::forward<F>(f)), std::move(when), how.label.since}};
  if (detail::observers::trace()) [[unlikely]]
    state->trace();
  state->add_owner();
  future<value> result{detail::state_ref<detail::future_state<value>>{state.operator->()}};
  task work{typename work_type::entry{state.share()}};
  if (const auto put_in = put(work, how); !put_in) {
    const detail::drop_scope why{put_in.error()};
    static_cast<void>(task{std::move(work)});
  }
  return result;
}

}  // namespace penstock::inline v0_1
