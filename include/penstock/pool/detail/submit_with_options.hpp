// penstock/pool/detail/submit_with_options.hpp: what submit_options ask for: a part of worker_pool.hpp, which includes it.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/detail/expiry.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

// A posted task that may expire.
template <class Sync>
class basic_worker_pool<Sync>::expiring {
 public:
  expiring(basic_worker_pool& pool, std::unique_ptr<detail::expiry<Sync>> when, task&& work) noexcept
      : pool_{&pool}, expiry_{std::move(when)}, work_{std::move(work)} {}

  void operator()() {
    if (!expiry_->missed()) return work_();
    static_cast<void>(task{std::move(work_)});  // what it holds is released before anybody hears of it
    pool_->expire(*expiry_);
    pool_->runner_here()->fate = detail::fate::expired;
  }

 private:
  basic_worker_pool* pool_;
  std::unique_ptr<detail::expiry<Sync>> expiry_;
  task work_;
};

template <class Sync>
inline basic_worker_pool<Sync>::admission basic_worker_pool<Sync>::admission_of(const submit_options& options) const {
  const unsigned priority = options.priority.value_or(usual_priority_);
  if (priority >= priorities_) {
    throw std::invalid_argument{"penstock::worker_pool: priority " + std::to_string(priority) + " in a pool of " +
                                std::to_string(priorities_)};
  }
  return {.limits = options.limits, .overflow = options.overflow.value_or(overflow_), .label = {priority, stamp()}};
}

template <class Sync>
template <class F>
  requires std::constructible_from<move_only_function<void()>, F>
result<void> basic_worker_pool<Sync>::post(submit_options options, F&& f) {
  const admission how = admission_of(options);
  task work{callable(std::forward<F>(f))};
  trace(work);
  if (auto when = detail::expiry<Sync>::of(options, clock_)) work = expiring{*this, std::move(when), std::move(work)};
  return put(work, how);
}

// Its task did not begin in time. Who hears of it does so here and now.
template <class Sync>
inline void basic_worker_pool<Sync>::expire(detail::expiry<Sync>& missed) noexcept {
  expired_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
  try {
    missed.tell();
  } catch (...) {
    report(std::current_exception());
  }
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::put_over(task& work, const admission& how) noexcept {
  task dropped;
  const auto which = how.overflow == overflow::drop_oldest ? detail::displaced::oldest : detail::displaced::least_urgent;
  result<void> put_in = queue_.push_over(work, how.label, which, dropped);
  if (!dropped) return put_in ? put_in : refuse(put_in);
  {
    detail::drop_scope why{errc::rejected};
    static_cast<void>(task{std::move(dropped)});
    if (why.was_stopped()) {
      outside_.count_cancelled_shared();
    } else if (!why.was_begun()) {
      dropped_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    }
  }
  queue_.finish_here();  // nothing of *this is touched any more
  return put_in;
}

}  // namespace penstock::inline v0_1
