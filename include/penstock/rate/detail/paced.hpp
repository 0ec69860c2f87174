// penstock/rate/detail/paced.hpp: one paced function: the members that debounced and throttled have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/paced_function.hpp>
#include <penstock/sync/shared_future.hpp>

namespace penstock::inline v0_1::detail {

struct no_garbage {};

template <class R, class... A>
class single_core final : public paced_function<single_core<R, A...>, no_garbage, R, A...> {
 public:
  using base = paced_function<single_core, no_garbage, R, A...>;
  using cell = typename base::cell;

  single_core(any_scheduler where, move_only_function<R(A...)> f, paced_settings&& s)
      : base{where, std::move(s)}, f_{std::move(f)} {
    this->adopt(cell_);
  }
  ~single_core() { this->clear(cell_); }

  R invoke(cell&, A&&... arguments) { return f_(static_cast<A&&>(arguments)...); }
  void retire(cell&, no_garbage&) noexcept {}
  void release() noexcept {
    f_ = nullptr;
    this->release_all();
  }
  template <class F>
  void for_each_cell(F&& f) noexcept {
    f(cell_);
  }
  cell& only() noexcept { return cell_; }

 private:
  move_only_function<R(A...)> f_;
  cell cell_;
};

template <class Signature>
class paced;

template <class R, class... A>
class paced<R(A...)> {
  using core = single_core<R, A...>;

 public:
  /// What a caller gets.
  using value_type = typename run_value<R>::type;

  paced(const paced&) = delete;
  paced& operator=(const paced&) = delete;
  ~paced() { core_->destroy(); }

  /// Calls, and does not look at the outcome: an exception goes to on_error, unless another caller of the run looks. Never waits.
  /// Throws std::bad_alloc, what copying the arguments throws, and std::system_error in a forked child.
  void operator()(A... arguments) { static_cast<void>(call(false, std::forward<A>(arguments)...)); }

  /// Calls. All the callers of one run get what it gave, or its exception; errc::cancelled if it was cancelled. Waits, and throws, as above.
  [[nodiscard]] shared_future<value_type> submit(A... arguments) {
    return shared_future<value_type>{call(true, std::forward<A>(arguments)...)};
  }

  /// Nothing of what was called so far begins any more: those callers get errc::cancelled. What runs goes on. Idempotent.
  void cancel() noexcept {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    {
      std::scoped_lock guard{core_->wait_lock()};
      core_->cancel(core_->only(), after);
      core_->plan(core_->only(), now, after);
    }
    core_->settle(after);
  }

  /// What waits is due now; it begins as soon as there is a place. The outcome that the calls so far lead to, or the last one that they led to;
  /// not valid() if there was none lately. Does not count as looking: on_error gets what nobody else asked for, though this has it as well.
  shared_future<value_type> flush() noexcept {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    state_ref<future_state<value_type>> outcome;
    {
      std::scoped_lock guard{core_->wait_lock()};
      core_->flush(core_->only(), now, after);
      outcome = core_->outcome_of(core_->only());
    }
    core_->settle(after);
    return shared_future<value_type>{std::move(outcome)};
  }

  /// flush(), and waits until all runs are over that were asked for until now: what was called before is then taken account of. errc::timeout
  /// or errc::cancelled if the wait ends before; what was begun goes on. What a run threw goes to those who called submit(), or to on_error; not
  /// to who drains. It blocks, so not on a thread that the run needs: not inside the function, and not in a task of its context if all the
  /// threads of that may do the same (a pool of one, a strand, a loop): such a wait does not end. Throws as shared_future::wait().
  result<void> drain(const wait_limits& limits = {}) {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    std::uint64_t newest = 0;
    {
      std::scoped_lock guard{core_->wait_lock()};
      core_->flush(core_->only(), now, after);
      newest = core_->newest();
    }
    core_->settle(after);
    return core_->drain(newest, nullptr, limits);
  }

  /// Whether there are calls whose run has not begun.
  [[nodiscard]] bool pending() const noexcept {
    std::scoped_lock guard{core_->wait_lock()};
    return core_->only().waiting != nullptr || core_->only().sent != nullptr;
  }
  /// How many runs there are just now.
  [[nodiscard]] std::size_t running() const noexcept { return core_->running(); }
  /// Runs that threw, and calls of on_error that did.
  [[nodiscard]] std::size_t failed() const noexcept { return core_->failed(); }

 protected:
  paced(any_scheduler where, const char* who, move_only_function<R(A...)> f, paced_settings&& s)
      : core_{(check_settings(who, f != nullptr, s), new core{where, std::move(f), std::move(s)})} {}

 private:
  template <class... B>
  state_ref<future_state<value_type>> call(bool wants, B&&... arguments) {
    std::error_code refused;
    core& c = *core_;
    return c.call(wants, refused, [&c](std::error_code&) noexcept { return &c.only(); }, static_cast<B&&>(arguments)...);
  }

  core* const core_;
};

template <class Signature>
void describe(const paced<Signature>& p, metric_sink& to) {
  to.kind("paced");
  to.gauge(metrics::depth, p.pending());
  to.gauge(metrics::in_flight, p.running());
  to.counter(metrics::failed, p.failed());
}

}  // namespace penstock::inline v0_1::detail
