#include <penstock/job/retry.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <penstock/batch/accumulator_options.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/job/retry_budget.hpp>
#include <penstock/route/balancer.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

using namespace std::chrono_literals;
using penstock::async_retry;
using penstock::attempt_failure;
using penstock::backoff;
using penstock::errc;
using penstock::event;
using penstock::manual_clock;
using penstock::result;
using penstock::retry;
using penstock::retry_budget;
using penstock::retry_end;
using penstock::retry_options;
using penstock::retry_policy;
using penstock::retry_report;
using penstock::spawn;
using penstock::task;
using std::chrono::nanoseconds;

namespace {

const std::error_code refused = std::make_error_code(std::errc::connection_refused);
constexpr auto no_timer = manual_clock::time_point::max();

// Fails as often as it is told to, in one of two ways, then gives the number of its run. As a function and as a coroutine.
struct flaky {
  int failures;
  bool throws = false;
  int runs = 0;
  result<int> operator()() {
    if (++runs > failures) return runs;
    if (throws) throw std::runtime_error{"run " + std::to_string(runs)};
    return refused;
  }
  task<result<int>> begin() { co_return (*this)(); }
};

// What each retry was told to wait for.
struct pauses {
  std::vector<nanoseconds> delays;
  auto hook() {
    return [this](const attempt_failure& f, nanoseconds d) {
      CHECK(f.attempt == delays.size() + 1);
      delays.push_back(d);
    };
  }
};

// std::expected, which C++20 does not have yet: by its shape.
template <class E>
struct expecting {
  using value_type = int;
  using error_type = E;
  struct unexpected_type {
    E error;
  };
  int value_ = 0;
  std::optional<E> error_ = {};
  expecting(int v) : value_{v} {}
  explicit expecting(unexpected_type e) : error_{e.error} {}
  bool has_value() const { return !error_; }
  const E& error() const { return *error_; }
};

}  // namespace

TEST_CASE("retry: calls until it succeeds, with the backoff's delays between, whether it blocks or is awaited", "[retry]") {
  manual_clock clock;
  const retry_policy policy{.attempts = 5, .backoff = backoff::exponential(10ms, 1s)};
  retry_report report;
  pauses told;
  flaky work{3, true};
  auto begin = [&] { return work.begin(); };
  auto running = spawn(retry(begin, policy, {.on_retry = told.hook(), .report = &report, .clock = clock}));
  CHECK(work.runs == 1);
  clock.advance(10ms - 1ns);
  CHECK(work.runs == 1);
  clock.advance(1ns);
  CHECK(work.runs == 2);
  CHECK(report.attempts == 2);
  clock.advance(20ms);
  clock.advance(40ms);
  REQUIRE(running.done());
  CHECK(running.result() == 4);
  CHECK(told.delays == std::vector<nanoseconds>{10ms, 20ms, 40ms});
  CHECK(report.attempts == 4);
  CHECK(report.end == retry_end::success);
  CHECK(report.paused == 70ms);
  CHECK(clock.next_timer() == no_timer);

  flaky slow{3};
  pauses blocked;
  result<int> given = errc::empty;
  {
    std::jthread waiting{[&] { given = retry(slow, policy, {.on_retry = blocked.hook(), .clock = clock}); }};
    for (const auto pause : {10ms, 20ms, 40ms}) {
      test_support::until([&] { return clock.next_timer() != no_timer; });
      CHECK(clock.next_timer() == clock.now() + pause);
      clock.advance(pause);
    }
  }
  CHECK(given == 4);
  CHECK(blocked.delays == told.delays);
}

TEST_CASE("retry: ends with the last failure as it was, and the report says why and after how many attempts", "[retry]") {
  retry_report report;
  flaky broken{1000};
  const retry_policy at_once{.attempts = 4, .backoff = {}};
  CHECK(retry(broken, at_once, {.report = &report}) == refused);
  CHECK(broken.runs == 4);
  CHECK(report.attempts == 4);
  CHECK(report.end == retry_end::exhausted);

  flaky throwing{1000, true};
  CHECK_THROWS_WITH(retry(throwing, at_once, {.report = &report}), "run 4");

  // Not worth another attempt: by default what was cancelled.
  auto gave_up = [] { return result<void>{errc::cancelled}; };
  CHECK(retry(gave_up, at_once, {.report = &report}) == errc::cancelled);
  CHECK(report.attempts == 1);
  CHECK(report.end == retry_end::not_retried);
  flaky picky{1000};
  CHECK(retry(picky, {.attempts = 9, .backoff = {}, .retry_if = [](const attempt_failure& f) { return f.attempt < 3; }},
              {.report = &report}) == refused);
  CHECK(picky.runs == 3);
  CHECK(report.end == retry_end::not_retried);

  // What gives a std::expected fails with that.
  int runs = 0;
  auto expects = [&]() -> expecting<std::error_code> {
    if (++runs == 3) return 3;
    return expecting<std::error_code>{{errc::timeout}};
  };
  CHECK(retry(expects, at_once).value_ == 3);
  CHECK(retry(expects, {.attempts = 1}, {.report = &report}).error() == errc::timeout);
  CHECK(report.end == retry_end::exhausted);
  std::stop_source stopped;
  stopped.request_stop();
  CHECK(retry(expects, at_once, {.limits = {.stop = stopped.get_token()}}).error() == errc::cancelled);
  auto tells_little = [&]() -> task<expecting<char>> {
    ++runs;
    co_return expecting<char>{expecting<char>::unexpected_type{'x'}};
  };
  runs = 0;
  CHECK(spawn(retry(tells_little, at_once)).result().error() == 'x');
  CHECK(runs == 4);

  // A function that gives plain values, as many attempts as it takes.
  int left = 100;
  auto plain = [&] {
    if (--left > 0) throw std::system_error{errc::timeout};
  };
  retry(plain, {.attempts = retry_policy::unlimited, .backoff = {}}, {.report = &report});
  CHECK(report.attempts == 100);

  // What a function of the policy or the hook throws takes the failure's place; the report counts the attempt, and tells of no success.
  const auto count_and_fail = [&]() -> result<int> {
    CHECK(report.attempts == 1);  // the one that runs
    return refused;
  };
  report = {};
  const auto no_hook = [](const attempt_failure&, nanoseconds) { throw std::runtime_error{"on_retry"}; };
  CHECK_THROWS_WITH(retry(count_and_fail, at_once, {.on_retry = no_hook, .report = &report}), "on_retry");
  CHECK(report.attempts == 1);
  CHECK(report.end == retry_end::not_retried);
  const retry_policy undecided{.backoff = {},
                               .retry_if = [](const attempt_failure&) -> bool { throw std::runtime_error{"retry_if"}; }};
  auto running = spawn(async_retry(count_and_fail, undecided, {.report = &report}));
  CHECK_THROWS_WITH(running.result(), "retry_if");
  CHECK(report.end == retry_end::not_retried);
}

TEST_CASE("retry: a stop request ends the pause, reaches the attempt, and lets none begin", "[retry]") {
  manual_clock clock;
  retry_report report;
  std::stop_source stop;
  flaky broken{1000};
  auto begin = [&] { return broken.begin(); };
  auto running = spawn(
      retry(begin, {.backoff = backoff::fixed(1s)}, {.limits = {.stop = stop.get_token()}, .report = &report, .clock = clock}));
  CHECK(broken.runs == 1);
  stop.request_stop();
  REQUIRE(running.done());
  CHECK(running.result() == errc::cancelled);
  CHECK(report.end == retry_end::cancelled);
  CHECK(clock.next_timer() == no_timer);
  CHECK(retry(broken, {}, {.limits = {.stop = stop.get_token()}, .clock = clock}) == errc::cancelled);
  auto nothing = [&] { ++broken.runs; };
  CHECK_THROWS_AS(retry(nothing, {}, {.limits = {.stop = stop.get_token()}}), std::system_error);
  CHECK(broken.runs == 1);

  // What the attempt ends with then is the end, whatever it is.
  event never;
  auto patient = [&]() -> task<int> {
    static_cast<void>(co_await never.async_wait());
    throw std::runtime_error{"told to stop"};
  };
  auto waiting = spawn(async_retry(patient, {.attempts = 9, .backoff = {}}, {.report = &report}));
  waiting.request_stop();
  CHECK_THROWS_WITH(waiting.result(), "told to stop");
  CHECK(report.end == retry_end::cancelled);
  CHECK(report.attempts == 1);

  // A function that takes a stop token sees the request, whether its attempt has a deadline or not; and it beats the whole's.
  std::stop_source asked;
  auto asks = [&](const std::stop_token& token) -> result<int> {
    CHECK_FALSE(token.stop_requested());
    asked.request_stop();
    return token.stop_requested() ? refused : result<int>{1};
  };
  for (const auto timeout : {0s, 1s}) {
    asked = {};
    CHECK(
        retry(asks, {}, {.limits = {.stop = asked.get_token()}, .attempt_timeout = timeout, .report = &report, .clock = clock}) ==
        refused);
    CHECK(report.end == retry_end::cancelled);
    CHECK(report.attempts == 1);
  }
  asked = {};
  const auto stops_late = [&](const attempt_failure&, nanoseconds) {
    clock.advance(1s);
    asked.request_stop();
  };
  CHECK(
      retry(broken, {.backoff = {}},
            {.limits = {.stop = asked.get_token()}, .timeout = 1s, .on_retry = stops_late, .report = &report, .clock = clock}) ==
      errc::cancelled);
  CHECK(report.end == retry_end::cancelled);
  CHECK(broken.runs == 2);

  // A blocking one sleeps on a clock that nobody moves.
  std::stop_source other;
  result<int> given = 0;
  {
    std::jthread sleeping{
        [&] { given = retry(broken, {.backoff = backoff::fixed(1s)}, {.limits = {.stop = other.get_token()}, .clock = clock}); }};
    test_support::until([&] { return clock.next_timer() != no_timer; });
    other.request_stop();
  }
  CHECK(given == errc::cancelled);
}

TEST_CASE("retry: the whole has one deadline, which attempts do not renew, and each attempt its own", "[retry][hazard-05]") {
  manual_clock clock;
  retry_report report;
  event never;
  std::vector<manual_clock::time_point> begun;
  auto hangs = [&]() -> task<result<void>> {
    begun.push_back(clock.now());
    co_return co_await never.async_wait();
  };
  const auto start = clock.now();
  auto running = spawn(retry(hangs, {.attempts = 9, .backoff = backoff::fixed(50ms)},
                             {.timeout = 380ms, .attempt_timeout = 100ms, .report = &report, .clock = clock}));
  clock.advance(380ms);
  REQUIRE(running.done());
  CHECK(running.result() == errc::timeout);
  // The third is cut short at 380 ms, and no pause is begun that would end later.
  CHECK(begun == std::vector{start, start + 150ms, start + 300ms});
  CHECK(report.end == retry_end::out_of_time);
  CHECK(report.attempts == 3);

  // The deadline of limits, and a pause that would end after it: over at once, with the failure.
  flaky broken{1000};
  const auto now = clock.now();
  CHECK(retry(broken, {.backoff = backoff::fixed(50ms)},
              {.limits = {.deadline = {now + 50ms, clock}}, .report = &report, .clock = clock}) == refused);
  CHECK(broken.runs == 1);
  CHECK(report.end == retry_end::out_of_time);
  CHECK(clock.now() == now);
  CHECK(retry(broken, {.backoff = backoff::fixed(50ms)},  // the earlier one counts
              {.limits = {.deadline = {now + 1h, clock}}, .timeout = 50ms, .report = &report, .clock = clock}) == refused);
  broken.runs = 1;

  // Where on_retry takes its time, the pause ends with the whole, and what would begin after that does not.
  const auto slow_hook = [&](const attempt_failure&, nanoseconds) { clock.advance(30ms); };
  CHECK(retry(broken, {.backoff = {}}, {.timeout = 30ms, .on_retry = slow_hook, .report = &report, .clock = clock}) == refused);
  CHECK(broken.runs == 2);
  CHECK(report.end == retry_end::out_of_time);
  auto begin = [&] { return broken.begin(); };
  auto cut = spawn(retry(begin, {.backoff = backoff::fixed(50ms)},
                         {.timeout = 70ms, .on_retry = slow_hook, .report = &report, .clock = clock}));
  clock.advance(40ms - 1ns);
  CHECK_FALSE(cut.done());
  clock.advance(1ns);
  REQUIRE(cut.done());
  CHECK(cut.result() == refused);
  CHECK(broken.runs == 3);
  CHECK(report.end == retry_end::out_of_time);

  // A function that takes a stop token is told of its time; it moves the clock itself.
  int calls = 0;
  auto takes_long = [&](const std::stop_token& stop) -> result<int> {
    clock.advance(100ms);
    CHECK(stop.stop_requested());
    ++calls;
    if (calls == 1) return std::make_error_code(std::errc::operation_canceled);  // as other libraries have it
    if (calls == 2) return errc::not_found;
    return 7;  // what it delivers all the same counts
  };
  std::vector<std::error_code> failures;
  auto note = [&](const attempt_failure& f, nanoseconds) { failures.push_back(f.code()); };
  CHECK(retry(takes_long, {.backoff = {}}, {.attempt_timeout = 100ms, .on_retry = note, .clock = clock}) == 7);
  CHECK(failures == std::vector<std::error_code>{errc::timeout, errc::not_found});
  calls = 0;
  CHECK(spawn(async_retry(takes_long, {.backoff = {}}, {.attempt_timeout = 100ms, .clock = clock})).result() == 7);
  auto complies = [&]() -> task<int> {
    if (++calls == 5) co_return calls;
    static_cast<void>(co_await never.async_wait());
    throw std::system_error{std::make_error_code(std::errc::operation_canceled)};
  };
  auto again = spawn(async_retry(complies, {.backoff = {}}, {.attempt_timeout = 100ms, .on_retry = note, .clock = clock}));
  clock.advance(100ms);
  REQUIRE(again.done());
  CHECK(again.result() == 5);
  CHECK(failures.back() == errc::timeout);
  auto late = [](const std::stop_token& stop) { return stop.stop_requested(); };
  CHECK(retry(late, {}, {.timeout = 0s, .clock = clock}));
}

TEST_CASE("retry: delays follow the server's hint, or a function of one's own, and are the same for the same seed", "[retry]") {
  manual_clock clock;
  const auto delays_of = [&](const retry_policy& p) {
    pauses told;
    flaky broken{1000};
    auto begin = [&] { return broken.begin(); };
    auto running = spawn(async_retry(begin, p, {.on_retry = told.hook(), .clock = clock}));
    clock.advance(1h);
    CHECK(running.done());
    return told.delays;
  };
  using delays = std::vector<nanoseconds>;
  const auto hint = [](const attempt_failure& f) -> std::optional<nanoseconds> {
    if (f.attempt == 2) return 7s;
    return std::nullopt;
  };
  CHECK(delays_of({.attempts = 4, .backoff = backoff::fixed(1s), .retry_after = hint}) == delays{1s, 7s, 1s});
  CHECK(delays_of({.attempts = 4, .backoff = backoff::fixed(9s), .retry_after = hint}) == delays{9s, 9s, 9s});
  CHECK(delays_of({.attempts = 4, .delay = [](const attempt_failure& f) { return (2 - static_cast<int>(f.attempt)) * 1s; }}) ==
        delays{1s, 0s, 0s});
  CHECK(delays_of({.attempts = 4, .delay = [](const attempt_failure&) { return nanoseconds::max(); }}).empty());

  const auto jittered = [](penstock::jitter j, std::uint64_t seed) {
    return retry_policy{.attempts = 20, .backoff = backoff::exponential(1ms, 1s).with_jitter(j), .seed = seed};
  };
  const delays decorrelated = delays_of(jittered(penstock::jitter::decorrelated, 5));
  penstock::backoff_delays expected{backoff::exponential(1ms, 1s).with_jitter(penstock::jitter::decorrelated), 5};
  for (const nanoseconds d : decorrelated) CHECK(d == expected.next());
  CHECK(delays_of(jittered(penstock::jitter::full, 5)) == delays_of(jittered(penstock::jitter::full, 5)));
  CHECK(delays_of(jittered(penstock::jitter::full, 0)) != delays_of(jittered(penstock::jitter::full, 0)));
}

TEST_CASE("retry_policy: is the retry hook of other parts, too", "[retry]") {
  manual_clock clock;
  retry_budget budget{{.ratio = 0, .min_per_second = 0.1, .clock = clock}};
  const retry_policy policy{.attempts = 3, .backoff = backoff::linear(1s, 10s), .budget = budget};
  const penstock::write_retry hook = policy;
  CHECK(hook(penstock::write_failure{.error = errc::timeout, .attempt = 1}) == nanoseconds{1s});
  CHECK_FALSE(hook(penstock::write_failure{.error = errc::timeout, .attempt = 2}));  // the budget was for one
  clock.advance(10s);
  CHECK_FALSE(hook(penstock::write_failure{.error = errc::timeout, .attempt = 3}));
  CHECK_FALSE(hook(penstock::write_failure{.error = errc::cancelled, .attempt = 2}));
  CHECK(hook(penstock::write_failure{.error = errc::timeout, .attempt = 2}) == nanoseconds{2s});

  // Drawn from the seed and the number; what decorrelated jitter goes by is the growth. A first failure is a request of the budget's.
  const retry_policy drawn{
      .attempts = 9, .backoff = backoff::exponential(1s, 1h).with_jitter(penstock::jitter::decorrelated), .seed = 7};
  for (const unsigned n : {1U, 2U, 5U}) {
    penstock::splitmix64 random{7 + n};
    CHECK(drawn(attempt_failure{.error = refused, .attempt = n}) ==
          drawn.backoff.next_delay(n, random, n > 1 ? drawn.backoff.growth_at(n - 1) : nanoseconds{}));
  }
  retry_budget by_requests{{.ratio = 1, .min_per_second = 0, .clock = clock}};
  const retry_policy earns{.backoff = {}, .budget = by_requests};
  CHECK(earns(attempt_failure{.error = refused, .attempt = 1}) == nanoseconds{0});
  CHECK_FALSE(earns(attempt_failure{.error = refused, .attempt = 2}));

  // The budget is asked last: neither for a pause that would never end (a circuit breaker that is forced open), nor for a function that throws.
  clock.advance(20s);
  retry_policy odd = policy;
  odd.retry_after = [](const attempt_failure& f) -> std::optional<nanoseconds> {
    if (f.code() == errc::timeout) throw std::runtime_error{"retry_after"};
    return nanoseconds::max();
  };
  CHECK_FALSE(odd(attempt_failure{.error = refused, .attempt = 2}));
  CHECK_THROWS_WITH(odd(attempt_failure{.error = errc::timeout, .attempt = 2}), "retry_after");
  CHECK(budget.available() == 1);
}

TEST_CASE("retry_budget: allows its share of the window's requests and the reserve, and no more", "[retry]") {
  manual_clock clock;
  retry_budget budget{{.ratio = 0.1, .min_per_second = 0.2, .window = 10s, .clock = clock}};
  const auto withdraw_all = [&] {
    int n = 0;
    while (budget.try_withdraw()) ++n;
    return n;
  };
  CHECK(budget.available() == 2);
  CHECK(withdraw_all() == 2);
  for (int i = 0; i < 59; ++i) budget.deposit();
  CHECK(withdraw_all() == 5);  // 5.9
  budget.deposit();
  CHECK(withdraw_all() == 1);
  // What was earned and what was taken leave the window together.
  clock.advance(9s);
  CHECK(withdraw_all() == 0);
  clock.advance(1s);
  CHECK(budget.available() == 2);
  for (int i = 0; i < 100; ++i) budget.deposit();
  clock.advance(5s);
  CHECK(withdraw_all() == 12);
  clock.advance(5s);  // the requests are too old, the retries are not
  CHECK(budget.available() == 0);
  CHECK(withdraw_all() == 0);
  for (int i = 0; i < 99; ++i) budget.deposit();
  CHECK(withdraw_all() == 0);
  budget.deposit();
  budget.deposit();
  CHECK(withdraw_all() == 0);
  for (int i = 0; i < 10; ++i) budget.deposit();
  CHECK(withdraw_all() == 1);
  clock.advance(-3s);  // a clock that steps back gives nothing
  CHECK(withdraw_all() == 0);
  clock.advance(1h);
  CHECK(withdraw_all() == 2);
  // Whatever the clock says when it begins: more steps than 31 bits hold.
  manual_clock late{manual_clock::time_point{72h}};
  retry_budget short_one{{.ratio = 1, .min_per_second = 0, .window = 1ms, .clock = late}};
  for (int i = 0; i < 5; ++i) short_one.deposit();
  CHECK(short_one.available() == 5);
  late.advance(1ms);
  CHECK(short_one.available() == 0);
  retry_budget generous{{.ratio = 1000, .min_per_second = 0, .clock = late}};  // a step counts two million
  for (int i = 0; i < 3000; ++i) generous.deposit();
  CHECK(generous.available() == 2'147'483);
  CHECK_THROWS_AS(retry_budget({.ratio = -1}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget({.min_per_second = 1e7}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget({.window = 0s}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget({.window = 2h}), std::invalid_argument);
}

TEST_CASE("retry: asks the budget before each further attempt, and tells it of every request", "[retry]") {
  manual_clock clock;
  retry_budget budget{{.ratio = 0.5, .min_per_second = 0, .clock = clock}};
  const retry_policy policy{.attempts = 10, .backoff = {}, .budget = budget};
  retry_report report;
  flaky well{0};
  for (int i = 0; i < 3; ++i) CHECK(retry(well, policy).has_value());
  std::stop_source stopped;  // no attempt begins: that was no request
  stopped.request_stop();
  for (int i = 0; i < 9; ++i) CHECK(retry(well, policy, {.limits = {.stop = stopped.get_token()}}) == errc::cancelled);
  flaky broken{1000};
  CHECK_FALSE(retry(broken, policy, {.report = &report}));
  CHECK(broken.runs == 3);  // four requests have earned two retries
  CHECK(report.end == retry_end::no_budget);

  // The same for a balancer's further endpoints.
  penstock::balancer<int> servers{{.budget = budget}};
  for (int i = 0; i < 4; ++i) REQUIRE(servers.insert(i));
  const auto tries = [&] {
    auto attempts = servers.attempts(4);
    while (auto lease = attempts.next()) lease.failure();
    return attempts.made();
  };
  CHECK(tries() == 1);  // it has earned half a retry
  CHECK(tries() == 2);
}
