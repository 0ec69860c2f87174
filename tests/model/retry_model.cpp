// A retry budget's words, and a circuit breaker's states, as threads use them.
#include <chrono>
#include <optional>

#include "support/suite.hpp"

#include <penstock/job/detail/breaker_core.hpp>
#include <penstock/job/detail/budget_window.hpp>

namespace {

using model::model_sync;
using model::require;
using penstock::breaker_outcome;
using penstock::breaker_state;
using penstock::circuit_breaker_options;
using core = penstock::detail::basic_breaker_core<model_sync>;
using window = penstock::detail::budget_window<model_sync>;

template <class T>
using atomic = model_sync::atomic<T>;

template <class Derived, int Threads>
struct budget_suite : model::suite<Derived, Threads> {
  budget_suite(std::int64_t earned, std::int64_t reserve) : budget{earned, reserve} {}
  void withdraw(std::int32_t step) {
    if (budget.try_withdraw(step)) taken.fetch_add(1);
  }
  window budget;
  atomic<int> taken{0};
};

struct two_withdraw : budget_suite<two_withdraw, 2> {
  two_withdraw() : budget_suite{0, window::one} {}
  void thread(unsigned) { withdraw(3); }
  void after() { require(taken.load() == 1, "there was one"); }
};

struct deposits : budget_suite<deposits, 3> {
  deposits() : budget_suite{window::one, 0} {}
  void thread(unsigned index) {
    budget.deposit(3);
    if (index != 0) withdraw(3);
  }
  void after() { require(taken.load() + budget.available(3) == 3, "none was lost or made"); }
};

// Ten steps later: two come first to a word that holds something old.
struct new_step : budget_suite<new_step, 2> {
  new_step() : budget_suite{window::one, 0} {}
  void before() { budget.deposit(3); }
  void thread(unsigned) { budget.deposit(13); }
  void after() { require(budget.available(13) == 2, "what is old is gone, and only that"); }
};

// One earns in a step, and another one takes in the next.
struct next_step : budget_suite<next_step, 3> {
  next_step() : budget_suite{window::one, 0} {}
  void thread(unsigned index) {
    if (index == 0) {
      budget.deposit(3);
    } else {
      withdraw(4);
    }
  }
  void after() { require(taken.load() + budget.available(4) == 1, "none was lost or made"); }
};

circuit_breaker_options options(std::uint32_t minimum_calls, std::uint32_t trial_calls) {
  circuit_breaker_options o;
  o.minimum_calls = minimum_calls;
  o.window_calls = 4;
  o.open_for = penstock::backoff::fixed(std::chrono::nanoseconds{100});
  o.seed = 1;
  o.trial_calls = trial_calls;
  return o;
}

template <class Derived, int Threads>
struct breaker_suite : model::suite<Derived, Threads> {
  explicit breaker_suite(const circuit_breaker_options& o) : breaker{o} {}

  // As circuit_breaker does it.
  std::optional<std::uint64_t> enter(std::int64_t now) {
    auto passed = breaker.try_pass();
    core::change what;
    if (!passed) passed = breaker.enter(now, what);
    if (what) told.fetch_add(1);
    return passed;
  }
  void leave(std::uint64_t passed, breaker_outcome how, std::int64_t now) {
    core::change what;
    if (!breaker.leave(passed, how, false, core::unknown, what)) {
      require(breaker.leave(passed, how, false, now, what), "the time is known");
    }
    if (what) told.fetch_add(1);
  }
  void open(std::int64_t now) {
    leave(*enter(now), breaker_outcome::failure, now);
    require(breaker.state_now() == breaker_state::open, "open");
  }
  static bool on_trial(std::uint64_t passed) { return static_cast<breaker_state>(passed & 7) == breaker_state::half_open; }

  core breaker;
  atomic<int> told{0};
};

// One failure is not enough: whoever comes last opens it, and for its whole time.
struct two_fail : breaker_suite<two_fail, 2> {
  two_fail() : breaker_suite{options(2, 1)} {}
  void thread(unsigned) {
    if (const auto passed = enter(1)) leave(*passed, breaker_outcome::failure, 1);
  }
  void after() {
    const auto s = breaker.stats(1);
    require(s.failed == 2 && s.opened == 1 && s.state == breaker_state::open, "each counts once");
    require(breaker.next_pass(1) == 101, "open for its time");
    require(told.load() == 1, "told once");
  }
};

struct trial : breaker_suite<trial, 3> {
  atomic<int> on{0};
  trial() : breaker_suite{options(1, 1)} {}
  void before() { open(0); }
  void thread(unsigned index) {
    const auto passed = enter(100);
    if (!passed) return;
    if (on_trial(*passed)) require(on.fetch_add(1) == 0, "one on trial at a time");
    if (on_trial(*passed)) on.fetch_sub(1);  // before its place is free
    leave(*passed, index == 0 ? breaker_outcome::ignored : breaker_outcome::success, 100);
  }
  void after() {
    const auto s = breaker.stats(100);
    require(s.succeeded + s.ignored + s.refused == 3, "each counts once");
    require((s.state == breaker_state::closed) == (s.succeeded > 0), "a success closes it");
    require(static_cast<std::uint64_t>(told.load()) == (s.succeeded > 0 ? 3 : 2), "each change is told once");
  }
};

// A call that began before it opened fails when it is closed again.
struct late : breaker_suite<late, 2> {
  std::uint64_t passed = 0;
  late() : breaker_suite{options(1, 1)} {}
  void before() { passed = *enter(0); }
  void thread(unsigned index) {
    if (index == 0) {
      leave(passed, breaker_outcome::failure, 0);
    } else {
      core::change what;
      breaker.force(breaker_state::forced_open, what);
      breaker.force(breaker_state::closed, what);
    }
  }
  void after() {
    const auto s = breaker.stats(0);
    require(s.state == breaker_state::closed && s.calls == 0, "it decides nothing");
    require(s.failed == 1, "it counts");
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"retry", argc, argv};
  session.all<two_withdraw>("budget: two withdraw");
  session.random<deposits>("budget: deposits and withdrawals");
  session.all<new_step>("budget: a new step");
  session.random<next_step>("budget: earned in a step, taken in the next");
  session.all<two_fail>("breaker: two fail");
  session.random<trial>("breaker: one on trial");
  session.all<late>("breaker: a late outcome");
  return session.result();
}
