// Waits, tasks and schedulers as senders, with receivers that are written out here: nothing of std::execution is needed. At the end they are joined with an
// implementation of it that is but its demands.
#include <penstock/ext/execution.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/channel/select.hpp>
#include <penstock/channel/watch.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/measured.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/mutex.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/sync/shared_future.hpp>
#include <penstock/sync/shared_mutex.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"
#include "../../support/until.hpp"

namespace execution_cases {
namespace {

using namespace std::chrono_literals;
namespace execution = penstock::execution;
using penstock::errc;
using penstock::result;
using penstock::task;
using test_support::until;

/// A stop token of another make: what a std::stop_token does, under the names that std::execution has for it.
struct other_token {
  std::stop_token of;
  [[nodiscard]] bool stop_requested() const noexcept { return of.stop_requested(); }
  [[nodiscard]] bool stop_possible() const noexcept { return of.stop_possible(); }
  template <class F>
  struct callback_type {
    callback_type(const other_token& t, F f) : callback{t.of, std::move(f)} {}
    std::stop_callback<F> callback;
  };
};

struct never_token {
  static constexpr bool stop_requested() noexcept { return false; }
  static constexpr bool stop_possible() noexcept { return false; }
};

template <class Token>
struct environment {
  [[nodiscard]] Token query(const execution::get_stop_token_t&) const noexcept { return token; }
  Token token;
};

/// What a receiver was told.
template <class Value>
struct told {
  std::optional<Value> value;
  std::exception_ptr error;
  std::atomic<int> stopped{0};
  std::atomic<int> times{0};
  std::thread::id where;
  bool destroys_the_operation = false;
  std::optional<std::stop_source> requests_stop;  // in the completion
};
template <>
struct told<void> : told<std::monostate> {};

template <class Value, class Token>
struct receiver {
  using receiver_concept = execution::receiver_tag;
  told<Value>* to;
  Token token;

  template <class... V>
  void set_value(V&&... v) && noexcept {
    told<Value>& t = arrive();
    if constexpr (sizeof...(V) == 0) {
      t.value.emplace();
    } else {
      t.value.emplace(std::forward<V>(v)...);
    }
    ++t.times;
  }
  void set_error(std::exception_ptr e) && noexcept {
    told<Value>& t = arrive();
    t.error = std::move(e);
    ++t.times;
  }
  void set_stopped() && noexcept {
    told<Value>& t = arrive();
    ++t.stopped;
    ++t.times;
  }
  [[nodiscard]] environment<Token> get_env() const noexcept { return {token}; }

 private:
  told<Value>& arrive() const noexcept {
    to->where = std::this_thread::get_id();
    return *to;
  }
};

/// One without an environment.
struct plain_receiver {
  using receiver_concept = execution::receiver_tag;
  int* told;
  void set_value(auto&&...) noexcept { *told = 1; }
  void set_error(const std::exception_ptr&) noexcept { *told = 2; }
  void set_stopped() noexcept { *told = 3; }
};

template <class Sender>
using value_of =
    std::conditional_t<std::is_void_v<penstock::detail::await_result<Sender>>, void, penstock::detail::await_result<Sender>>;

template <class Sender, class Token>
auto connect(Sender s, told<value_of<Sender>>& t, Token token) {
  using to = receiver<value_of<Sender>, Token>;
  static_assert(execution::sender_to<Sender, to>);
  return std::move(s).connect(to{&t, std::move(token)});
}
template <class Sender>
auto connect(Sender s, told<value_of<Sender>>& t) {
  return connect(std::move(s), t, never_token{});
}

task<int> twice(penstock::channel<int>& c) {
  auto first = co_await c.async_pop();
  if (!first) throw std::runtime_error{"closed"};
  co_return 2 * *first;
}
task<> until_set(penstock::event& e, bool& cancelled) {
  const result<void> r = co_await e.async_wait();
  cancelled = !r && r.error() == errc::cancelled;
}

// --- which types are senders ---------------------------------------------------------------------------------------------------------------------------------

template <class S>
inline constexpr bool is_sender = execution::sender<S> && execution::sender_to<S, receiver<value_of<S>, std::stop_token>>;

using penstock::channel;
static_assert(is_sender<decltype(std::declval<penstock::semaphore&>().async_acquire())>);
static_assert(is_sender<decltype(std::declval<penstock::semaphore&>().async_acquire_permit())>);
static_assert(is_sender<decltype(std::declval<penstock::measured<penstock::semaphore>&>().async_acquire_permit())>);
static_assert(is_sender<decltype(std::declval<penstock::mutex&>().async_lock())>);
static_assert(is_sender<decltype(std::declval<penstock::shared_mutex&>().async_lock_shared())>);
static_assert(is_sender<decltype(std::declval<penstock::event&>().async_wait())>);
static_assert(is_sender<decltype(std::declval<channel<int>&>().async_pop())>);
static_assert(is_sender<decltype(std::declval<channel<int>&>().async_push(1))>);
static_assert(is_sender<decltype(std::declval<channel<int>&>().async_reserve())>);
static_assert(is_sender<decltype(std::declval<penstock::broadcast<int>&>().async_publish(std::declval<int>()))>);
static_assert(is_sender<decltype(penstock::async_select(penstock::pop_case(std::declval<channel<int>&>())))>);
static_assert(is_sender<decltype(std::declval<penstock::limiter&>().async_acquire())>);
static_assert(is_sender<decltype(std::declval<penstock::limiter&>().async_acquire_permit())>);
static_assert(is_sender<decltype(std::declval<penstock::token_bucket<>&>().async_acquire())>);
static_assert(is_sender<decltype(std::declval<penstock::resource_pool<int>&>().async_acquire())>);
static_assert(is_sender<decltype(std::declval<penstock::resource_pool<int>&>().async_drain())>);
static_assert(is_sender<decltype(std::declval<penstock::batcher<int, int>&>().async_load(1))>);
static_assert(is_sender<decltype(std::declval<penstock::accumulator<int>&>().async_drain())>);
static_assert(is_sender<task<int>>);
static_assert(is_sender<penstock::future<int>>);
static_assert(is_sender<penstock::shared_future<int>>);
static_assert(is_sender<penstock::spawned<void>>);
static_assert(is_sender<decltype(std::declval<penstock::event&>().async_wait() | penstock::with_timeout(1s))>);
static_assert(!execution::sender<int>);
static_assert(!execution::sender_to<task<int>, int>);

static_assert(
    std::same_as<execution::completion_signatures_of_t<decltype(std::declval<channel<int>&>().async_pop())>,
                 execution::completion_signatures<execution::set_value_t(result<int>), execution::set_error_t(std::exception_ptr),
                                                  execution::set_stopped_t()>>);
static_assert(std::same_as<execution::completion_signatures_of_t<task<>>,
                           execution::completion_signatures<execution::set_value_t(), execution::set_error_t(std::exception_ptr),
                                                            execution::set_stopped_t()>>);
static_assert(std::same_as<execution::completion_signatures_of_t<decltype(penstock::any_scheduler{}.schedule())>,
                           execution::completion_signatures<execution::set_value_t(), execution::set_stopped_t()>>);
static_assert(execution::scheduler<penstock::any_scheduler>);

using operation = decltype(connect(std::declval<penstock::semaphore&>().async_acquire(), std::declval<told<result<void>>&>()));
static_assert(execution::operation_state<operation>);
struct without_tags {
  void start() noexcept;
  [[nodiscard]] auto schedule() const noexcept { return penstock::any_scheduler{}.schedule(); }
  bool operator==(const without_tags&) const = default;
};
static_assert(!execution::operation_state<without_tags>);
static_assert(!execution::scheduler<without_tags>);
static_assert(!std::move_constructible<operation>);

// --- completions ---------------------------------------------------------------------------------------------------------------------------------------------

TEST_CASE("execution: what can be had at once is told inside start(), what cannot when it comes", "[execution]") {
  penstock::semaphore s{1};
  told<result<void>> first;
  told<result<void>> second;
  auto a = connect(s.async_acquire(), first);
  auto b = connect(s.async_acquire(), second);
  CHECK(s.available() == 1);  // connecting takes nothing
  a.start();
  CHECK(first.value == result<void>{});
  b.start();
  CHECK(second.times == 0);
  s.release();
  CHECK(second.value == result<void>{});
  CHECK(second.where == std::this_thread::get_id());
  CHECK(first.times == 1);
  CHECK(second.times == 1);
}

TEST_CASE("execution: an operation that is never started does nothing", "[execution]") {
  channel<int> c{1};
  told<result<int>> t;
  told<int> u;
  {
    auto a = connect(c.async_pop(), t);
    auto b = connect(twice(c), u);
  }
  CHECK(c.try_push(1).has_value());
  CHECK(c.size() == 1);
  CHECK(t.times + u.times == 0);
}

TEST_CASE("execution: closed and timeout are values, as in a coroutine", "[execution]") {
  channel<int> c{1};
  told<result<int>> t;
  auto pop = connect(c.async_pop(), t);
  pop.start();
  c.close();
  REQUIRE(t.value);
  CHECK(t.value->error() == errc::closed);

  penstock::manual_clock clock;
  penstock::event e;
  told<result<void>> u;
  auto wait = connect(e.async_wait() | penstock::with_timeout(10ms, clock), u);
  wait.start();
  clock.advance(9ms);
  CHECK(u.times == 0);
  clock.advance(1ms);
  REQUIRE(u.value);
  CHECK(u.value->error() == errc::timeout);
}

TEST_CASE("execution: a value that can only be moved arrives", "[execution]") {
  channel<std::unique_ptr<int>> c{1};
  told<result<std::unique_ptr<int>>> t;
  auto pop = connect(c.async_pop(), t);
  pop.start();
  REQUIRE(c.try_push(std::make_unique<int>(4)));
  REQUIRE(t.value);
  CHECK(***t.value == 4);
}

TEST_CASE("execution: via() says where it goes on, also if it is over at once", "[execution]") {
  penstock::manual_executor loop;
  penstock::semaphore s{1};
  told<result<void>> first;
  told<result<void>> second;
  auto a = connect(s.async_acquire() | penstock::via(loop), first);
  auto b = connect(s.async_acquire() | penstock::via(loop), second);
  a.start();
  b.start();
  CHECK(first.times == 0);
  loop.run_all();
  CHECK(first.times == 1);
  s.release();
  CHECK(second.times == 0);
  loop.run_all();
  CHECK(second.times == 1);
}

TEST_CASE("execution: a receiver without an environment waits, and nobody stops it", "[execution]") {
  penstock::event e;
  int what = 0;
  auto o = e.async_wait().connect(plain_receiver{&what});
  o.start();
  CHECK(what == 0);
  e.set();
  CHECK(what == 1);
}

/// Its operation is gone when it has been told.
struct suicidal {
  using receiver_concept = execution::receiver_tag;
  std::function<void()>* end;
  void set_value(const result<void>&) noexcept { (*end)(); }
  void set_error(const std::exception_ptr&) noexcept { std::abort(); }
  void set_stopped() noexcept { (*end)(); }
  [[nodiscard]] environment<other_token> get_env() const noexcept { return {{stop.get_token()}}; }
  std::stop_source stop;
};

TEST_CASE("execution: the receiver may destroy the operation when it is told", "[execution]") {
  using operation_type = decltype(std::declval<penstock::semaphore&>().async_acquire().connect(std::declval<suicidal>()));
  penstock::semaphore s{1};
  std::stop_source stop;
  for (const int how : {0, 1, 2}) {  // inside start(), release() and request_stop()
    operation_type* o = nullptr;
    int ends = 0;
    std::function<void()> end{[&] {
      ++ends;
      delete o;
    }};
    o = new operation_type{s.async_acquire(), suicidal{&end, stop}};
    o->start();
    if (how == 1) s.release();
    if (how == 2) stop.request_stop();
    CHECK(ends == 1);
  }
}

// --- stop ----------------------------------------------------------------------------------------------------------------------------------------------------

template <class Token>
void stops(Token (*make)(std::stop_token)) {
  channel<int> c{1};
  {  // before the start: nothing is taken
    std::stop_source stop;
    stop.request_stop();
    REQUIRE(c.try_push(1));
    told<result<int>> t;
    auto o = connect(c.async_pop(), t, make(stop.get_token()));
    o.start();
    CHECK(t.stopped == 1);
    CHECK(t.times == 1);
    CHECK(c.try_pop() == 1);
  }
  {  // while it waits: inside the request
    std::stop_source stop;
    told<result<int>> t;
    auto o = connect(c.async_pop(), t, make(stop.get_token()));
    o.start();
    CHECK(t.times == 0);
    stop.request_stop();
    CHECK(t.stopped == 1);
    CHECK(t.times == 1);
    REQUIRE(c.try_push(2));  // nobody is in line any more
    CHECK(c.try_pop() == 2);
  }
  {  // when it is over: without effect
    std::stop_source stop;
    told<result<int>> t;
    auto o = connect(c.async_pop(), t, make(stop.get_token()));
    o.start();
    REQUIRE(c.try_push(3));
    stop.request_stop();
    CHECK(t.value == result<int>{3});
    CHECK(t.times == 1);
  }
  {  // and it goes on where it is told to
    penstock::manual_executor loop;
    std::stop_source stop;
    told<result<int>> t;
    auto o = connect(c.async_pop() | penstock::via(loop), t, make(stop.get_token()));
    o.start();
    stop.request_stop();
    CHECK(t.times == 0);
    loop.run_all();
    CHECK(t.stopped == 1);
  }
  {  // with_stop() comes in place of the receiver's token
    std::stop_source receivers;
    std::stop_source own;
    receivers.request_stop();
    told<result<int>> t;
    auto o = connect(c.async_pop() | penstock::with_stop(own.get_token()), t, make(receivers.get_token()));
    o.start();
    CHECK(t.times == 0);
    own.request_stop();
    CHECK(t.stopped == 1);
  }
}

TEST_CASE("execution: a stop request of the receiver's ends a wait", "[execution]") {
  SECTION("a std::stop_token") {
    stops<std::stop_token>([](std::stop_token t) { return t; });
  }
  SECTION("another kind of token") {
    stops<other_token>([](std::stop_token t) { return other_token{std::move(t)}; });
  }
}

template <class Sender>
void stops_in_line(Sender s, const char* what) {
  INFO(what);
  std::stop_source stop;
  told<value_of<Sender>> t;
  auto o = connect(std::move(s), t, other_token{stop.get_token()});
  o.start();
  CHECK(t.times == 0);
  stop.request_stop();
  CHECK(t.stopped == 1);
  CHECK(t.times == 1);
}

TEST_CASE("execution: every kind of wait is stopped by any kind of token", "[execution]") {
  penstock::manual_executor loop;
  penstock::semaphore s{0};
  penstock::mutex m;
  m.lock();
  channel<int> c{1};
  penstock::limiter l{penstock::limiter_options{.max_concurrent = 1}};
  REQUIRE(l.try_acquire());
  penstock::limiter chained{penstock::limiter_options{}, penstock::limiter_setup{.chain = &l}};
  penstock::resource_pool<int> connections{[] { return 1; }, {.max_size = 1, .max_overflow = 0}};
  auto leased = connections.acquire();
  REQUIRE(leased);
  penstock::batcher<int, int> b{loop, [](std::span<const int> keys) { return std::vector<int>(keys.begin(), keys.end()); }};
  penstock::watch<int> w{1};
  auto seen = w.subscribe();
  stops_in_line(s.async_acquire(), "semaphore");
  penstock::measured<penstock::semaphore> counted{0};
  stops_in_line(counted.async_acquire(), "measured semaphore");
  CHECK(counted.stats().refused.cancelled == 1);
  stops_in_line(m.async_lock(), "mutex");
  stops_in_line(c.async_pop(), "channel");
  stops_in_line(penstock::async_select(penstock::pop_case(c)), "select");
  stops_in_line(l.async_acquire(), "limiter");
  stops_in_line(chained.async_acquire_permit(), "chained limiters");
  stops_in_line(connections.async_acquire(), "resource_pool");
  stops_in_line(b.async_load(1), "batcher");
  stops_in_line(seen.async_wait_changed(), "watch");
  penstock::promise<int> p;
  stops_in_line(p.get_future(), "future");
  m.unlock();
  l.release();
  loop.run_all();
}

// --- tasks ---------------------------------------------------------------------------------------------------------------------------------------------------

TEST_CASE("execution: a task tells its value, its exception, or that it was stopped", "[execution]") {
  channel<int> c{1};
  told<int> value;
  auto a = connect(twice(c), value);
  a.start();
  CHECK(value.times == 0);
  REQUIRE(c.try_push(2));
  CHECK(value.value == 4);

  penstock::event e;
  bool cancelled = false;
  told<void> ended;
  std::stop_source stop;
  auto b = connect(until_set(e, cancelled), ended, other_token{stop.get_token()});
  b.start();
  stop.request_stop();
  CHECK(cancelled);
  CHECK(ended.value);  // it was told to stop, and ended as it saw fit
  CHECK(ended.times == 1);

  c.close();
  told<int> error;
  auto d = connect(twice(c), error);
  d.start();
  REQUIRE(error.error);
  CHECK_THROWS_AS(std::rethrow_exception(error.error), std::runtime_error);

  told<result<int>> timed_out;
  penstock::manual_clock clock;
  channel<int> empty{1};
  auto f = connect(twice(empty) | penstock::with_timeout(5ms, clock), timed_out);
  f.start();
  clock.advance(5ms);
  CHECK(timed_out.error);  // twice() throws when its wait is cancelled

  told<result<int>> stopped;
  const auto pop = [](channel<int>& from) -> task<result<int>> { co_return co_await from.async_pop(); };
  std::stop_source another;
  auto g = connect(pop(empty), stopped, another.get_token());
  g.start();
  another.request_stop();
  CHECK(stopped.stopped == 1);
}

TEST_CASE("execution: a task that is not to begin does not", "[execution]") {
  bool ran = false;
  const auto run = [](bool& r) -> task<> {
    r = true;
    co_return;
  };
  std::stop_source stop;
  stop.request_stop();
  told<void> t;
  auto o = connect(run(ran), t, stop.get_token());
  o.start();
  CHECK(t.stopped == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("execution: futures tell values, errors, and a wait that was stopped", "[execution]") {
  penstock::promise<int> first;
  penstock::promise<int> second;
  told<int> t;
  told<int> u;
  auto a = connect(first.get_future(), t);
  auto b = connect(second.get_future(), u);
  a.start();
  b.start();
  first.set_value(3);
  CHECK(t.value == 3);
  second.set_exception(std::make_exception_ptr(std::runtime_error{"no"}));
  CHECK(u.error);

  penstock::promise<int> common;
  const penstock::shared_future<int> shared = common.get_future();
  told<int> one;
  told<int> another;
  auto e = connect(shared, one);
  auto f = connect(shared, another);
  e.start();
  f.start();
  common.set_value(5);
  CHECK(one.value == 5);
  CHECK(another.value == 5);

  std::stop_source stop;
  penstock::promise<int> third;
  told<int> v;
  auto d = connect(third.get_future(), v, stop.get_token());
  d.start();
  stop.request_stop();
  CHECK(v.stopped == 1);
}

TEST_CASE("execution: what was spawned is asked to stop, and joined", "[execution]") {
  penstock::manual_executor loop;
  penstock::event e;
  bool cancelled = false;
  auto running = penstock::spawn(loop, until_set(e, cancelled));
  loop.run_all();
  std::stop_source stop;
  told<void> t;
  auto o = connect(std::move(running), t, other_token{stop.get_token()});
  o.start();
  stop.request_stop();
  CHECK(t.times == 0);  // it goes on on the loop
  loop.run_all();
  CHECK(cancelled);
  CHECK(t.value);
  CHECK(t.times == 1);
}

// --- schedulers ----------------------------------------------------------------------------------------------------------------------------------------------

TEST_CASE("execution: schedule() completes on a worker, and the sender says so", "[execution]") {
  penstock::worker_pool pool{{.threads = 1}};
  const penstock::any_scheduler s = pool.get_scheduler();
  auto sender = s.schedule();
  CHECK(sender.get_env().query(execution::get_completion_scheduler<execution::set_value_t>) == s);
  CHECK(s.query(execution::get_forward_progress_guarantee) == execution::forward_progress_guarantee::parallel);
  CHECK(penstock::any_scheduler{}.query(execution::get_forward_progress_guarantee) ==
        execution::forward_progress_guarantee::weakly_parallel);
  CHECK(s == pool.get_scheduler());
  penstock::worker_pool another{{.threads = 1}};
  CHECK_FALSE(s == another.get_scheduler());

  told<void> t;
  auto o = connect(std::move(sender), t);
  o.start();
  until([&] { return t.times == 1; });
  CHECK(t.value);
  CHECK(t.where != std::this_thread::get_id());
}

TEST_CASE("execution: on a pool without threads schedule() is stopped, not lost", "[execution]") {
  penstock::worker_pool pool{{.threads = 1}};
  const penstock::any_scheduler s = pool.get_scheduler();
  REQUIRE(pool.shutdown());
  told<void> t;
  auto o = connect(s.schedule(), t);
  o.start();
  CHECK(t.stopped == 1);
  CHECK(t.times == 1);
  CHECK(t.where == std::this_thread::get_id());
}

/// A scheduler of one's own that does not know its threads.
struct ignorant {
  void execute(penstock::work_item& item) const noexcept { loop->execute(item); }
  bool operator==(const ignorant&) const = default;
  penstock::manual_executor* loop;
};

TEST_CASE("execution: schedule() of other schedulers", "[execution]") {
  penstock::manual_executor loop;
  told<void> inline_;
  auto a = connect(penstock::any_scheduler{}.schedule(), inline_);
  a.start();
  CHECK(inline_.value);

  told<void> own;
  auto b = connect(penstock::any_scheduler{ignorant{&loop}}.schedule(), own);
  b.start();
  CHECK(own.times == 0);
  loop.run_all();
  CHECK(own.value);

  penstock::strand one_by_one{loop};
  told<void> t;
  auto c = connect(one_by_one.schedule(), t);
  c.start();
  CHECK(t.times == 0);
  loop.run_all();
  CHECK(t.value);
}

TEST_CASE("execution: stop before schedule() completes", "[execution]") {
  penstock::manual_executor loop;
  std::stop_source stop;
  told<void> before;
  told<void> meanwhile;
  auto a = connect(loop.get_scheduler().schedule(), meanwhile, stop.get_token());
  a.start();
  stop.request_stop();
  auto b = connect(loop.get_scheduler().schedule(), before, stop.get_token());
  b.start();
  CHECK(before.stopped == 1);
  CHECK(loop.size() == 1);
  loop.run_all();
  CHECK(meanwhile.stopped == 1);
  CHECK(meanwhile.times == 1);
}

// --- memory --------------------------------------------------------------------------------------------------------------------------------------------------

TEST_CASE("execution: a wait allocates nothing, but a stop state where it needs one of its own", "[execution]") {
  penstock::semaphore s{0};
  penstock::limiter l{penstock::limiter_options{.max_concurrent = 1}};
  REQUIRE(l.try_acquire());
  std::stop_source stop;
  told<result<void>> t[5];
  long before = counting_new::made;
  {
    auto a = connect(s.async_acquire(), t[0]);
    auto b = connect(s.async_acquire(), t[1], stop.get_token());
    auto c = connect(s.async_acquire(), t[2], other_token{stop.get_token()});
    auto d = connect(l.async_acquire(), t[3], stop.get_token());
    a.start();
    b.start();
    c.start();
    d.start();
    s.release(3);
    l.release();
  }
  const long none = counting_new::made - before;
  before = counting_new::made;
  auto e = connect(l.async_acquire(), t[4], other_token{stop.get_token()});
  e.start();
  const long one = counting_new::made - before;
  l.release();
  for (const auto& each : t) CHECK(each.value == result<void>{});
  CHECK(none == 0);
  CHECK(one == (counting_new::counts ? 1 : 0));
}

TEST_CASE("execution: without memory start() tells an error, and connect() throws", "[execution]") {
  if (!counting_new::counts) return;
  penstock::limiter l{penstock::limiter_options{.max_concurrent = 1}};
  std::stop_source stop;
  told<result<void>> t;
  auto o = connect(l.async_acquire(), t, other_token{stop.get_token()});
  counting_new::until_failure = 1;
  o.start();
  counting_new::until_failure = 0;
  REQUIRE(t.error);
  CHECK(t.times == 1);
  CHECK_THROWS_AS(std::rethrow_exception(t.error), std::bad_alloc);
  CHECK(l.try_acquire());  // it took nothing

  channel<int> c{1};
  told<int> u;
  task<int> begun_by_nobody = twice(c);
  bool thrown = false;
  counting_new::until_failure = 1;
  try {
    auto p = connect(std::move(begun_by_nobody), u);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  counting_new::until_failure = 0;
  CHECK(thrown);
  CHECK(u.times == 0);
}

// --- races ---------------------------------------------------------------------------------------------------------------------------------------------------

template <class Token>
void race(Token (*make)(std::stop_token)) {
  channel<int> c{1};
  int given = 0;
  int taken = 0;
  int stopped = 0;
  for (int i = 0; i < 300; ++i) {
    std::stop_source stop;
    told<result<int>> t;
    auto o = connect(c.async_pop(), t, make(stop.get_token()));
    std::atomic<int> ready{0};
    const auto together = [&] {
      ++ready;
      while (ready < 3) std::this_thread::yield();
    };
    std::jthread stopper{[&] {
      together();
      stop.request_stop();
    }};
    std::jthread giver{[&] {
      together();
      if (c.try_push(1)) ++given;
    }};
    together();
    o.start();
    stopper.join();
    giver.join();
    CHECK(t.times == 1);
    if (t.stopped != 0) ++stopped;
    if (t.value) ++taken;
    while (c.try_pop()) --given;
  }
  CHECK(given == taken);
  CHECK(stopped + taken == 300);
}

TEST_CASE("execution: a stop request races with start() and with what is waited for", "[execution]") {
  SECTION("a std::stop_token") {
    race<std::stop_token>([](std::stop_token t) { return t; });
  }
  SECTION("another kind of token") {
    race<other_token>([](std::stop_token t) { return other_token{std::move(t)}; });
  }
}

}  // namespace
}  // namespace execution_cases

// --- joined with an implementation ---------------------------------------------------------------------------------------------------------------------------

/// What C++26 asks of types ([exec.opstate], [exec.sched]), with tags and questions of its own.
namespace execution_cases::another {

struct operation_state_tag {};
struct scheduler_tag {};
struct set_value_t {};
struct set_stopped_t {};
template <class... Signatures>
struct completion_signatures {};
template <class Completion>
struct get_completion_scheduler_t {};

template <class O>
concept operation_state =
    std::derived_from<typename O::operation_state_concept, operation_state_tag> && std::is_object_v<O> && requires(O& o) {
      { o.start() } noexcept -> std::same_as<void>;
    };

template <class S>
using completion_scheduler =
    std::remove_cvref_t<decltype(std::declval<S>().schedule().get_env().query(get_completion_scheduler_t<set_value_t>{}))>;
template <class S>
concept scheduler = std::derived_from<typename S::scheduler_concept, scheduler_tag> && std::copyable<S> &&
                    std::equality_comparable<S> && std::same_as<completion_scheduler<S>, S>;

}  // namespace execution_cases::another

// In the way of ext/detail/execution_library.hpp.
namespace penstock {
struct execution::operation_state_tag : execution_cases::another::operation_state_tag {};
struct execution::scheduler_tag : execution_cases::another::scheduler_tag {};
template <class Scheduler>
struct detail::stated_completions<detail::schedule_awaiter<Scheduler>> {
  using type = execution_cases::another::completion_signatures<execution_cases::another::set_value_t(),
                                                               execution_cases::another::set_stopped_t()>;
};
template <class Scheduler>
struct detail::query_answer<detail::scheduled_attributes<Scheduler>,
                            execution_cases::another::get_completion_scheduler_t<execution_cases::another::set_value_t>> {
  static const Scheduler& of(const detail::scheduled_attributes<Scheduler>& a) noexcept { return a.to; }
};
}  // namespace penstock

namespace execution_cases {
namespace {

template <class Sender>
inline constexpr bool connects =
    another::operation_state<decltype(std::declval<Sender>().connect(std::declval<receiver<value_of<Sender>, never_token>>()))>;

static_assert(connects<decltype(std::declval<penstock::semaphore&>().async_acquire())>);  // a wait
static_assert(connects<task<int>>);                                                       // a coroutine
static_assert(connects<decltype(std::declval<penstock::event&>().async_wait() | penstock::with_timeout(1s))>);
static_assert(connects<decltype(penstock::any_scheduler{}.schedule())>);

static_assert(another::scheduler<penstock::any_scheduler>);
using scheduled = decltype(penstock::any_scheduler{}.schedule());
static_assert(std::same_as<decltype(scheduled::get_completion_signatures<scheduled>()),
                           another::completion_signatures<another::set_value_t(), another::set_stopped_t()>>);
static_assert(std::same_as<decltype(scheduled::get_completion_signatures<const scheduled&, int>()),
                           another::completion_signatures<another::set_value_t(), another::set_stopped_t()>>);

}  // namespace
}  // namespace execution_cases
