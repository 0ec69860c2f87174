// penstock/rate/detail/limiter_wait.hpp: a wait for one's turn in a limiter, and then in each one that it is chained to.
//
// A chain is waited for link by link: what a link gave is kept while one stands in line at the next, and undone if the wait ends there without success.
// Each link is a wait of its own (core/detail/wait_operation.hpp), and lies in the same place as the one before it: a chain allocates nothing either.
#pragma once

#include <limits>
#include <optional>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/result.hpp>
#include <penstock/rate/detail/limiter_core.hpp>
#include <penstock/sync/permit.hpp>

namespace penstock::inline v0_1::detail {

/// `since` is when the job had its turn in the first link; it had the others later. If they go by different clocks, that tells nothing of them.
template <class Core>
void limiter_undo(Core& first, const Core* end, const job_options& job, nanoseconds_point since) noexcept {
  if (end == &first) return;
  for (const Core* at = &first; at != end; at = at->next) {
    if (&at->timers() != &first.timers()) since = std::numeric_limits<nanoseconds_point>::min();
  }
  Core::change_chain(first, end,
                     [&job, since](typename Core::state& s, nanoseconds_point now) { s.undo(job.weight, since, now); });
}

/// Throws what arming a timer throws; then nothing was taken.
template <class Core>
outcome limiter_wait_blocking(Core& first, const typename Core::sync::stop_token& stop,
                              const basic_deadline<typename Core::sync>& limit, const job_options& job) {
  nanoseconds_point since = 0;
  for (Core* at = &first; at != nullptr; at = at->next) {
    outcome how = outcome::cancelled;
    try {
      blocking_wait<Core, typename Core::request> wait{*at, job};
      how = wait.run_without_polling(stop, limit);
      if (at == &first) since = wait.started_at;
    } catch (...) {
      limiter_undo<Core>(first, at, job, since);
      throw;
    }
    if (how != outcome::granted) {
      limiter_undo<Core>(first, at, job, since);
      return how;
    }
  }
  return outcome::granted;
}

/// What the awaiter of a coroutine is made of (`awaiting`, in async_wait.hpp).
template <class Sync>
class limiter_wait {
 public:
  using resume_function = void (*)(limiter_wait&) noexcept;

  using core_type = basic_limiter_core<Sync>;

  limiter_wait(core_type& first, job_options job) noexcept : first_{first}, job_{job} {}

  bool start(const std::stop_token& stop, const deadline& limit, any_scheduler where, resume_function resume) {
    stop_ = stop;
    limit_ = limit;
    where_ = where;
    resume_ = resume;
    return go_on(&first_);
  }
  void resume_on(any_scheduler where, resume_function resume) noexcept {
    resume_ = resume;
    link_->resume_on(where, [](link_wait& self) noexcept {
      limiter_wait& whole = static_cast<link&>(self).whole;
      whole.resume_(whole);
    });
  }

 protected:
  [[nodiscard]] outcome how() const noexcept { return link_->how; }
  [[nodiscard]] const job_options& job() const noexcept { return job_; }

 private:
  using link_wait = completion_wait<core_type, typename core_type::request>;
  struct link : link_wait {
    link(core_type& at, const job_options& j, limiter_wait& w) : link_wait{at, j}, core{at}, whole{w} {}
    core_type& core;
    limiter_wait& whole;
  };

  // True: it is over. False: *this may be gone.
  bool go_on(core_type* at) {
    for (; at != nullptr; at = at->next) {
      link_.emplace(*at, job_, *this);
      try {
        if (!link_->start(stop_, limit_, where_, link_over)) return false;
      } catch (...) {
        limiter_undo<core_type>(first_, at, job_, since_);
        throw;
      }
      if (!passed()) return true;
    }
    return true;
  }
  // A link is decided. False: it was the last one, in vain.
  bool passed() noexcept {
    link_->finish();
    if (&link_->core == &first_) since_ = link_->started_at;
    if (link_->how == outcome::granted) return true;
    limiter_undo<core_type>(first_, &link_->core, job_, since_);
    return false;
  }
  static void link_over(link_wait& decided) noexcept {
    limiter_wait& self = static_cast<link&>(decided).whole;
    // A timer of a later link does not throw: one was armed for an earlier one, or else this runs in a forked child.
    if (self.passed() && !self.go_on(static_cast<link&>(decided).core.next)) return;
    self.resume_(self);
  }

  core_type& first_;
  const job_options job_;
  std::stop_token stop_;
  deadline limit_;
  any_scheduler where_;
  resume_function resume_ = nullptr;
  nanoseconds_point since_ = 0;  // of the turn in the first link
  std::optional<link> link_;     // the one that is waited for, or that ended it
};

template <class Value, class Sync>
class limiter_awaiter : public awaiting<limiter_wait<Sync>> {
 public:
  limiter_awaiter(const wait_options& options, basic_limiter<Sync>& l, limiter_core<Sync>& first, const job_options& job)
      : awaiting<limiter_wait<Sync>>{options, first, job}, limiter_{l} {}

  result<Value> await_resume() {
    const result<void> ended = to_result(this->how());
    if constexpr (std::is_void_v<Value>) {
      return ended;
    } else {
      if (!ended) return ended.error();
      return Value{limiter_, this->job().weight};
    }
  }

 private:
  basic_limiter<Sync>& limiter_;
};

/// What async_acquire() returns: a wait that has not begun (`async_operation`, in async_wait.hpp).
template <class Value, class Sync>
class [[nodiscard]] limiter_operation : public sending<limiter_operation<Value, Sync>> {
 public:
  limiter_operation(basic_limiter<Sync>& l, limiter_core<Sync>& first, const job_options& job) noexcept
      : limiter_{&l}, first_{&first}, job_{job} {}

  limiter_awaiter<Value, Sync> operator co_await() && { return limiter_awaiter<Value, Sync>{options_, *limiter_, *first_, job_}; }
  [[nodiscard]] wait_options& options() noexcept { return options_; }

 private:
  basic_limiter<Sync>* limiter_;
  limiter_core<Sync>* first_;
  job_options job_;
  wait_options options_;
};

}  // namespace penstock::inline v0_1::detail
