#include <penstock/rate/adaptive_limit.hpp>

#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "service_simulation.hpp"

namespace {

using namespace service_simulation;
using test_support::until;

// Ten servers of 50 ms each: 200 calls a second, and 300 come.
constexpr int too_many = 300;

template <class Algorithm>
struct slow_service : simulation<Algorithm> {
  explicit slow_service(adaptive_limit_options options = {}, Algorithm algorithm = {})
      : simulation<Algorithm>{options, algorithm} {
    this->service_time = 50ms;
  }
};

// The limit settles between what the service does at a time and `factor` of that and `extra`, when the load exceeds it, and when the service then
// does less, and more.
template <class Algorithm>
void follows_steps(double factor, double extra, bool random, Algorithm algorithm = {}) {
  slow_service<Algorithm> s{{}, algorithm};
  s.random_service_time = random;
  CHECK(s.run(20s, 60).refused == 0);
  CHECK(s.limit.limit() == 20);  // it was not even half used

  const double noise = random ? 0.5 : 0;  // of the measurement: exponentially distributed times are the hardest
  for (const int servers : {10, 4, 20}) {
    CAPTURE(servers, random);
    s.servers = servers;
    s.run(60s, 30 * servers);
    const observation o = s.run(80s, 30 * servers);
    CHECK(static_cast<double>(o.lowest_limit) >=
          std::floor(servers * (0.9 - noise / 2) / 2));  // in a probe it is half of what it was
    CHECK(static_cast<double>(o.highest_limit) <= factor * servers * (1 + noise) + extra);
    CHECK(o.served > 80 * 20 * servers * 93 / 100);  // little is lost by that
    CHECK(o.mean_queue_wait() <= s.service_time * (factor - 1 + extra / servers + noise));
  }
}

TEST_CASE(
    "adaptive_limit: under a step of load the limit settles near what the service does at a time, and the queue stays short",
    "[adaptive_limit][simulation]") {
  const bool random = GENERATE(false, true);
  follows_steps<vegas_limit>(1, 9, random);  // a queue of 3 to 6 log10(limit)
  follows_steps<gradient2_limit>(1.8, 2, random);
  follows_steps<aimd_limit>(2, 2, random, aimd_options{.latency_at_most = 100ms});
}

// What the references do (from their descriptions), to see that the simulation would show it.
struct gradient2_as_published {
  static constexpr bool needs_baseline = false;
  double long_run = 0;
  int windows = 0;
  double update(const latency_window& w, double limit) noexcept {
    const auto latency = static_cast<double>(w.latency);
    long_run += (latency - long_run) * (++windows <= 10 ? 1.0 / windows : 2.0 / 601);
    const double gradient = std::clamp(1.5 * long_run / latency, 0.5, 1.0);
    return 0.8 * limit + 0.2 * (limit * gradient + 4);
  }
};
struct vegas_as_published {
  static constexpr bool needs_baseline = false;
  double unloaded = 0;
  int windows = 0;
  double update(const latency_window& w, double limit) noexcept {
    const auto latency = static_cast<double>(w.latency);
    if (unloaded == 0 || latency < unloaded || ++windows % 60 == 0) unloaded = latency;
    const double queue = limit * (1 - unloaded / latency);
    const double unit = std::max(1.0, std::log10(limit));
    return queue <= unit ? limit + 6 * unit : queue < 3 * unit ? limit + unit : queue > 6 * unit ? limit - unit : limit;
  }
};

template <class Algorithm>
std::ptrdiff_t limit_after_long_overload() {
  slow_service<Algorithm> s;
  s.run(20s, 60);
  s.run(280s, too_many);
  return s.run(40s, too_many).highest_limit;
}

TEST_CASE(
    "adaptive_limit: a long overload does not inflate what is taken for the unloaded latency, nor the limit with it "
    "(concurrency-limits 134, 165)",
    "[adaptive_limit][simulation]") {
  CHECK(limit_after_long_overload<gradient2_as_published>() > 60);
  CHECK(limit_after_long_overload<vegas_as_published>() > 60);
  CHECK(limit_after_long_overload<gradient2_limit>() <= 20);
  CHECK(limit_after_long_overload<vegas_limit>() <= 20);

  // Also if there never was a time without overload.
  slow_service<vegas_limit> s{{.initial = 80}};
  s.run(60s, too_many);
  CHECK(s.run(40s, too_many).highest_limit <= 20);
  CHECK(s.limit.baseline() < 60ms);
}

TEST_CASE("adaptive_limit: a high limit is found within ten windows, and not overshot by more than half (concurrency-limits 35)",
          "[adaptive_limit]") {
  slow_service<vegas_limit> vegas;
  slow_service<gradient2_limit> gradient2;
  vegas.servers = gradient2.servers = 150;
  CHECK(vegas.run(5s, 4000).highest_limit >= 150);
  CHECK(vegas.run(10s, 4000).highest_limit <= 150 * 3 / 2);
  CHECK(gradient2.run(5s, 4000).highest_limit >= 150);
  CHECK(gradient2.run(10s, 4000).highest_limit <= 150 * 9 / 5 + 4);
}

TEST_CASE("adaptive_limit: a service that has become slower for good is measured anew", "[adaptive_limit]") {
  slow_service<vegas_limit> s;
  s.run(20s, 60);
  s.service_time = 150ms;
  s.run(60s, too_many);
  const observation o = s.run(60s, too_many);
  CHECK(s.limit.baseline() >= 140ms);
  CHECK(s.limit.baseline() <= 160ms);
  CHECK(o.highest_limit <= 20);
  CHECK(o.served > 60 * 66 * 93 / 100);
}

// Hands in what a service with room for `room` calls does that is used to the limit all the time.
template <class Algorithm>
void full_load(adaptive_limit<Algorithm>& limit, manual_clock& clock, double room, nanoseconds latency, nanoseconds length) {
  for (nanoseconds t{0}; t < length;) {
    const auto n = static_cast<double>(limit.limit());
    const double takes = static_cast<double>(latency.count()) * std::max(1.0, n / room);
    const nanoseconds step{static_cast<std::int64_t>(takes / n)};
    clock.advance(step);
    t += step;
    limit.sample(nanoseconds{static_cast<std::int64_t>(takes)}, limit.limit());
  }
}

TEST_CASE("adaptive_limit: goes on adapting where calls are slow, or were slow once; an idle window is thrown away",
          "[adaptive_limit]") {
  const auto limit_on = [](manual_clock& clock) {
    adaptive_limit_options o;
    o.clock = clock;
    return o;
  };
  {  // 2,000 times slower, from one call to the next: a window does not fill in eight of the old lengths
    manual_clock clock;
    adaptive_limit<vegas_limit> limit{limit_on(clock)};
    full_load(limit, clock, 10, 10ms, 60s);
    full_load(limit, clock, 10, 20s, 12h);
    CHECK(limit.baseline() >= 19s);
    CHECK(limit.baseline() <= 25s);
    CHECK(limit.limit() <= 20);
  }
  {  // by nature, and there is room for more
    manual_clock clock;
    adaptive_limit<vegas_limit> limit{limit_on(clock)};
    full_load(limit, clock, 500, 10s, 2h);
    CHECK(limit.limit() >= 400);
    CHECK(limit.limit() <= 750);
  }
  {  // one call of a day among quick ones
    manual_clock clock;
    adaptive_limit<> limit{limit_on(clock)};
    full_load(limit, clock, 20, 10ms, 10s);
    limit.sample(24h, limit.limit());
    full_load(limit, clock, 20, 10ms, 5s);
    const auto before = limit.limit();
    full_load(limit, clock, 20, 500ms, 10s);
    CHECK(limit.limit() < before);
  }
  {  // idle: the five of an hour ago are not mixed with those of today
    manual_clock clock;
    adaptive_limit<> limit{limit_on(clock)};
    for (int i = 0; i < 14; ++i) {
      limit.sample(1ms, 1);
      if (i == 4) clock.advance(1h);
    }
    CHECK(limit.baseline() == 0ns);
  }
  {  // as far apart as a clock's points can be
    manual_clock clock;
    clock.set(manual_clock::time_point{nanoseconds::min() + 1ns});
    adaptive_limit_options o = limit_on(clock);
    o.min_samples = 1;
    o.window = nanoseconds::max();
    adaptive_limit<> limit{o};
    limit.sample(1ms, 1);
    clock.set(manual_clock::time_point{nanoseconds::max()});
    limit.sample(1ms, 1);
    CHECK(limit.baseline() == 1ms);
  }
}

TEST_CASE(
    "adaptive_limit: a probe tries half of what is in flight, is not put off by a baseline that rises, and ends with a drop",
    "[adaptive_limit]") {
  manual_clock clock;
  adaptive_limit_options options{.initial = 1000, .min_samples = 2, .probe_every = 20};
  options.clock = clock;
  adaptive_limit<vegas_limit> limit{options};
  const auto window = [&](nanoseconds latency, std::ptrdiff_t in_flight, call_outcome how = call_outcome::success) {
    limit.sample(latency, in_flight, how);
    clock.advance(1s);
    limit.sample(latency, in_flight, how);
  };
  for (int i = 0; i < 60; ++i) window(50ms + i * 1ms, 10 + i);  // a queue grows, below half of the limit
  const auto before = limit.limit();
  CHECK(before > 120);
  CHECK_FALSE(limit.probing());
  const auto in_flight = before * 3 / 4;
  window(109ms, in_flight);
  REQUIRE(limit.probing());
  CHECK(limit.limit() == in_flight / 2);
  const auto baseline = limit.baseline();
  window(30ms, in_flight / 2, call_outcome::dropped);  // while it drains
  CHECK_FALSE(limit.probing());
  CHECK(limit.limit() < before);
  CHECK(limit.limit() > before * 8 / 10);
  CHECK(limit.baseline() == baseline);

  for (int i = 0; i < 50 && !limit.probing(); ++i) window(109ms, limit.limit());
  const auto again = limit.limit();
  window(109ms, again);
  REQUIRE(limit.probing());
  window(60ms, again);
  CHECK_FALSE(limit.probing());
  CHECK(limit.limit() > again);
  CHECK(limit.baseline() == 60ms);
}

TEST_CASE("adaptive_limit: what times out counts as dropped, also where nothing else comes back (concurrency-limits 137)",
          "[adaptive_limit]") {
  slow_service<gradient2_limit> s{{.initial = 200}};
  s.times_out_after = 100ms;
  s.run(30s, too_many);
  CHECK(s.run(30s, too_many).highest_limit <= 22);
  s.service_time = 200ms;  // every call is dropped
  s.run(30s, too_many);
  CHECK(s.limit.limit() == 1);
}

// An algorithm that says what it is told to.
struct told {
  static constexpr bool needs_baseline = false;
  double* next;
  double update(const latency_window&, double) const noexcept { return *next; }
};

struct moved {
  manual_clock clock;
  double next = 2;
  adaptive_limit<told> limit;

  explicit moved(std::ptrdiff_t initial, adaptive_limit_options o = {})
      : next{static_cast<double>(initial)}, limit{with(initial, o, clock), told{&next}} {}
  static adaptive_limit_options with(std::ptrdiff_t initial, adaptive_limit_options o, manual_clock& c) {
    o.initial = initial;
    o.clock = c;
    o.window = 1ms;
    o.min_samples = 1;
    return o;
  }
  // Two samples make a window.
  void move_to(double n) {
    next = n;
    limit.sample(1ms, 1000);
    clock.advance(1s);
    limit.sample(1ms, 1000);
  }
};

TEST_CASE("adaptive_limit: who waits passes in order when places come free or the limit grows; a lower limit takes nothing away",
          "[adaptive_limit]") {
  moved m{2};
  std::vector<adaptive_permit> held;
  for (int i = 0; i < 2; ++i) held.push_back(*m.limit.try_acquire());
  CHECK(m.limit.try_acquire() == errc::full);

  std::string order;
  std::vector<adaptive_permit> passed;
  auto wait = [&](char name) -> task<void> {
    auto permit = co_await m.limit.async_acquire();
    if (!permit) co_return;
    order += name;
    passed.push_back(std::move(*permit));
  };
  std::vector<spawned<void>> waiting;
  for (const char c : {'a', 'b', 'c', 'd'}) waiting.push_back(spawn(wait(c)));
  CHECK(m.limit.waiters() == 4);
  held.pop_back();
  CHECK(order == "a");
  m.move_to(4);
  CHECK(order == "abc");
  CHECK(m.limit.in_flight() == 4);
  m.move_to(2);
  CHECK(m.limit.limit() == 2);
  held.clear();
  passed.pop_back();
  CHECK(m.limit.in_flight() == 2);
  CHECK(order == "abc");  // 4 were too many
  passed.pop_back();
  CHECK(order == "abcd");
  const adaptive_limit_stats s = m.limit.stats();
  CHECK(s.limit == 2);
  CHECK(s.in_flight == 2);
  CHECK(s.waiting == 0);
  CHECK(s.accepted == 6);
  CHECK(s.refused.full == 1);
  CHECK(s.refused.total() == 1);
  CHECK(s.baseline == m.limit.baseline());
  passed.clear();
  CHECK(m.limit.in_flight() == 0);
}

TEST_CASE("adaptive_limit: a wait ends at its deadline, when stopped and when closed, and takes nothing then",
          "[adaptive_limit][hazard-01][hazard-04]") {
  moved m{1};
  auto held = m.limit.acquire();
  REQUIRE(held);
  auto timed = spawn(m.limit.async_acquire() | with_timeout(10ms, m.clock));
  std::stop_source stop;
  auto stopped = spawn(m.limit.async_acquire() | with_stop(stop.get_token()));
  auto last = spawn(m.limit.async_acquire());
  m.clock.advance(10ms);
  CHECK(timed.result().error() == errc::timeout);
  stop.request_stop();
  CHECK(stopped.result().error() == errc::cancelled);
  CHECK(m.limit.acquire(stop.get_token()).error() == errc::cancelled);
  CHECK(m.limit.try_acquire_for(0ns).error() == errc::timeout);
  std::optional<result<adaptive_permit>> hour;
  std::thread patient{[&] { hour = m.limit.try_acquire_for(1h); }};
  until([&] { return m.limit.waiters() == 2; });
  m.clock.advance(1h);  // of the limit's clock
  if (m.limit.waiters() != 1) m.limit.close();
  patient.join();
  CHECK(hour->error() == errc::timeout);
  held->ignored();
  CHECK(m.limit.in_flight() == 1);  // handed to the last one

  result<adaptive_permit> got = last.result();
  std::optional<result<adaptive_permit>> blocked;
  std::thread thread{[&] { blocked = m.limit.acquire(); }};
  until([&] { return m.limit.waiters() == 1; });
  m.limit.close();
  thread.join();
  CHECK(blocked->error() == errc::closed);
  CHECK(m.limit.try_acquire().error() == errc::closed);
  got->success();
  CHECK(m.limit.in_flight() == 0);

  const adaptive_limit_stats s = m.limit.stats();
  CHECK(s.accepted == 2);
  CHECK(s.refused.timeout == 3);
  CHECK(s.refused.cancelled == 2);
  CHECK(s.refused.closed == 2);
  CHECK(s.refused.total() == 7);
}

TEST_CASE("adaptive_limit: a partition has its share whatever the others hold, and borrows what is free", "[adaptive_limit]") {
  moved m{10, {.partitions = {{"live", 70}, {"batch", 20}}}};
  const partition_id live = m.limit.partition("live");
  const partition_id batch = m.limit.partition("batch");
  CHECK(m.limit.guaranteed(live) == 7);
  CHECK(m.limit.guaranteed(batch) == 2);

  std::vector<adaptive_permit> lent;
  for (int i = 0; i < 10; ++i) lent.push_back(*m.limit.try_acquire(batch));  // all of it
  CHECK(m.limit.try_acquire(batch) == errc::full);
  CHECK(m.limit.try_acquire() == errc::full);  // no partition: only borrows
  std::vector<adaptive_permit> own;
  for (int i = 0; i < 7; ++i) own.push_back(*m.limit.try_acquire(live));
  CHECK(m.limit.try_acquire(live) == errc::full);
  CHECK(m.limit.in_flight() == 17);  // by what it owns

  // The one that borrowed waits until the limit has room, however early it came; the other one only for its own.
  auto borrowing = spawn(m.limit.async_acquire(batch));
  auto owning = spawn(m.limit.async_acquire(live));
  lent.pop_back();
  CHECK_FALSE(owning.done());
  own.pop_back();
  CHECK(owning.done());
  CHECK_FALSE(borrowing.done());
  while (lent.size() > 3) lent.pop_back();
  CHECK_FALSE(borrowing.done());  // 7 + 3
  lent.pop_back();
  CHECK(borrowing.done());
  CHECK(m.limit.in_flight(batch) == 3);

  m.move_to(20);
  CHECK(m.limit.guaranteed(live) == 14);
  m.move_to(1);
  CHECK(m.limit.guaranteed(live) == 1);
  CHECK(m.limit.guaranteed(batch) == 1);
}

TEST_CASE("adaptive_limit: a permit says what became of its call; a scope that an exception leaves says nothing",
          "[adaptive_limit]") {
  manual_clock clock;
  adaptive_limit_options options{.initial = 100, .window = 10ms, .min_samples = 4};
  options.clock = clock;
  adaptive_limit<vegas_limit> limit{options};
  const auto call = [&](nanoseconds takes, auto end) {
    auto permit = limit.try_acquire();
    clock.advance(takes);
    end(*permit);
  };
  const auto window_of = [&](nanoseconds takes, auto end) {
    for (int i = 0; i < 5; ++i) call(takes, end);
  };
  window_of(10ms, [](adaptive_permit&) {});
  CHECK(limit.baseline() == 10ms);
  const auto throws = [](adaptive_permit& p) {
    const adaptive_permit mine{std::move(p)};
    throw std::runtime_error{"failed"};
  };
  for (int i = 0; i < 50; ++i) CHECK_THROWS(call(1ms, throws));
  for (int i = 0; i < 50; ++i) call(1ms, [](adaptive_permit& p) { p.ignored(); });
  CHECK(limit.baseline() == 10ms);
  CHECK(limit.limit() == 100);
  window_of(10ms, [](adaptive_permit& p) { p.dropped(); });
  CHECK(limit.limit() == 90);
  CHECK(limit.baseline() == 10ms);

  // The clock is set back during a call: nobody knows what it took.
  for (int i = 0; i < 50; ++i) {
    auto permit = limit.try_acquire();
    clock.set(clock.now() - 1s);
    permit->success();
    clock.advance(1s);
    limit.sample(-1ms, 1);
  }
  CHECK(limit.baseline() == 10ms);
  CHECK(limit.in_flight() == 0);
}

TEST_CASE("adaptive_limit: whatever the algorithm says, the limit stays within its bounds, and grows only if it is used",
          "[adaptive_limit]") {
  moved m{4, {.lowest = 2, .highest = 50}};
  m.move_to(std::numeric_limits<double>::infinity());
  CHECK(m.limit.limit() == 50);
  m.move_to(std::numeric_limits<double>::quiet_NaN());
  CHECK(m.limit.limit() == 50);
  m.move_to(-1e300);
  CHECK(m.limit.limit() == 2);

  moved idle{10};
  idle.next = 20;
  for (int i = 0; i < 4; ++i) {
    idle.limit.sample(1ms, 4);
    idle.clock.advance(1s);
  }
  CHECK(idle.limit.limit() == 10);
  idle.clock.set(idle.clock.now() - 1h);  // a clock that steps back
  idle.limit.sample(1ms, 5);
  idle.clock.advance(1s);
  idle.limit.sample(1ms, 5);
  CHECK(idle.limit.limit() == 20);
}

struct unwilling {
  void set_limit(std::ptrdiff_t n) {
    if (n == 5) throw std::runtime_error{"no"};
    limit = n;
  }
  std::ptrdiff_t limit = 0;
};

struct watching_target {
  void set_limit(std::ptrdiff_t) {
    if (watched != nullptr) in_flight = watched->in_flight();
  }
  adaptive_limit<told>* watched = nullptr;
  std::ptrdiff_t in_flight = -1;
};

TEST_CASE("adaptive_limit: drives what has a limit of its own, such as a semaphore", "[adaptive_limit]") {
  semaphore connections{100};
  moved m{8, {.target = connections}};
  CHECK(connections.limit() == 8);
  CHECK(connections.acquire(8));
  m.move_to(3);
  CHECK(connections.limit() == 3);
  CHECK(connections.available() == -5);
  m.move_to(9);
  CHECK(connections.available() == 1);
  connections.release(8);

  worker_pool pool{{.threads = 2, .max_threads = 4}};
  moved p{3, {.target = pool}};
  CHECK(pool.threads() == 3);
  p.move_to(100);
  CHECK(pool.threads() == 4);  // as near as it can
  p.move_to(1);
  CHECK(pool.threads() == 1);
  REQUIRE(pool.shutdown());
  p.move_to(3);
  CHECK(p.limit.target_failures() == 0);

  unwilling target;
  moved u{4, {.target = target}};
  u.move_to(5);
  CHECK(u.limit.target_failures() == 1);
  CHECK(target.limit == 4);
  u.move_to(6);
  CHECK(target.limit == 6);

  // Who sees that nothing is in flight may destroy the limit: by then it has told its target.
  watching_target watching;
  moved w{4, {.target = watching}};
  watching.watched = &w.limit;
  w.limit.sample(1ms, 1000);
  w.clock.advance(1s);
  w.next = 5;
  w.limit.try_acquire()->dropped();
  CHECK(w.limit.limit() == 5);
  CHECK(watching.in_flight == 1);
  CHECK(w.limit.in_flight() == 0);
}

TEST_CASE("adaptive_limit: options that make no sense are refused", "[adaptive_limit]") {
  using limit = adaptive_limit<>;
  CHECK_THROWS_AS(limit{{.lowest = 0}}, std::invalid_argument);
  CHECK_THROWS_AS((limit{{.initial = 5, .lowest = 6}}), std::invalid_argument);
  CHECK_THROWS_AS((limit{{.initial = 5, .highest = 4}}), std::invalid_argument);
  CHECK_THROWS_AS(limit{{.window = 0ms}}, std::invalid_argument);
  CHECK_THROWS_AS(limit{{.min_samples = 0}}, std::invalid_argument);
  CHECK_THROWS_AS((limit{{.partitions = {{"a", 60}, {"b", 41}}}}), std::invalid_argument);
  CHECK_THROWS_AS((limit{{.partitions = {{"a", 0}}}}), std::invalid_argument);
  CHECK_THROWS_AS((limit{{.partitions = {{"a", 5}, {"a", 5}}}}), std::invalid_argument);
  CHECK_THROWS_AS((limit{{}, gradient2_options{.tolerance = 0.5}}), std::invalid_argument);
  CHECK_THROWS_AS((vegas_limit{{.queue_low = 4, .queue_high = 3}}), std::invalid_argument);
  CHECK_THROWS_AS((aimd_limit{{.backoff = 1}}), std::invalid_argument);
  limit l;
  CHECK_THROWS_AS(l.partition("none"), std::invalid_argument);
  CHECK_THROWS_AS(l.try_acquire(partition_id{1}), std::invalid_argument);
}

}  // namespace
