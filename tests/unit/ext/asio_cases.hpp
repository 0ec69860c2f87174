// The cases of asio_test.cpp and boost_asio_test.cpp, which say which Asio `asio` is, and whether it has cancellation slots.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/ext/execution.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"
#include "../../support/until.hpp"

namespace asio_cases {

using namespace std::chrono_literals;
using penstock::as_asio;
using penstock::asio_scheduler;
using penstock::errc;
using penstock::result;
using penstock::task;
using penstock::use_task;
using error_code = penstock::detail::asio_error_code;
using system_error = penstock::detail::asio_system_error;
using test_support::until;
// Few types of functions: what Asio makes of each is much to compile.
using function = std::function<void()>;
using callback = std::function<void(error_code)>;

struct no_default {
  explicit no_default(int i) : value{i} {}
  int value;
};

namespace {

task<int> twice(penstock::channel<int>& c) {
  auto first = co_await c.async_pop();
  if (!first) throw std::runtime_error{"closed"};
  co_return 2 * *first;
}
task<result<int>> first_of(penstock::channel<int>& c) {
  auto first = co_await c.async_pop();
  co_return first;
}

/// What a coroutine of Asio's saw: values, and the errors that were thrown at it.
struct seen {
  std::vector<int> values;
  std::vector<error_code> errors;
  std::string text;
};

// One await for each way to end.
asio::awaitable<void> user(penstock::semaphore& s, penstock::channel<int>& c, penstock::manual_clock& clock, seen& all) {
  co_await as_asio(s.async_acquire(), asio::use_awaitable);  // at once
  all.values.push_back(co_await as_asio(c.async_pop(), asio::use_awaitable));
  try {
    co_await as_asio(s.async_acquire() | penstock::with_timeout(10ms, clock), asio::use_awaitable);
  } catch (const system_error& e) {
    all.errors.push_back(e.code());
  }
  all.values.push_back(co_await as_asio(twice(c), asio::use_awaitable));
  all.values.push_back(co_await as_asio(first_of(c), asio::use_awaitable));
  try {
    co_await as_asio(first_of(c), asio::use_awaitable);  // closed by now
  } catch (const system_error& e) {
    all.errors.push_back(e.code());
  }
  try {
    co_await as_asio(twice(c), asio::use_awaitable);
  } catch (const std::runtime_error& e) {
    all.text = e.what();
  }
}

TEST_CASE("as_asio: a coroutine of Asio's gets values, and errors as exceptions", "[asio]") {
  asio::io_context io;
  penstock::semaphore s{1};
  penstock::channel<int> c{4};
  penstock::manual_clock clock;
  seen all;
  asio::co_spawn(asio::any_io_executor{io.get_executor()}, user(s, c, clock, all), asio::detached);
  io.poll();
  CHECK_FALSE(io.stopped());  // it waits for an item, which is work of io
  CHECK(s.available() == 0);
  REQUIRE(c.try_push(1));
  CHECK(all.values.empty());  // not inside try_push()
  io.poll();
  CHECK(all.values == std::vector{1});
  clock.advance(10ms);
  io.poll();
  REQUIRE(all.errors.size() == 1);
  CHECK(all.errors[0] == errc::timeout);
  CHECK(all.errors[0] == std::errc::timed_out);
  CHECK(std::string{std::error_code{all.errors[0]}.category().name()} == "penstock");
  CHECK(all.errors[0].message() == "timed out");
  REQUIRE(c.try_push(2));
  io.poll();
  REQUIRE(c.try_push(3));
  io.poll();
  CHECK(all.values == std::vector{1, 4, 3});
  c.close();
  io.run();  // returns: there is no work left
  REQUIRE(all.errors.size() == 2);
  CHECK(all.errors[1] == errc::closed);
  CHECK(all.text == "closed");
}

TEST_CASE("as_asio: a wait that throws gives its handler a code", "[asio]") {
  asio::io_context io;
  std::vector<error_code> told;
  const auto pop = [&](std::exception_ptr why) {
    penstock::channel<int> c{1};
    c.close(std::move(why));
    as_asio(io, c.async_pop(), [&](error_code e, int) { told.push_back(e); });
    io.restart();
    io.run();
  };
  pop(std::make_exception_ptr(std::runtime_error{"the producer failed"}));
  pop(std::make_exception_ptr(4));
  pop(std::make_exception_ptr(std::system_error{errc::busy}));
  pop(std::make_exception_ptr(std::bad_alloc{}));
  REQUIRE(told.size() == 4);
  CHECK(told[0] == errc::exception);
  CHECK(told[1] == errc::exception);
  CHECK(told[2] == errc::busy);
  CHECK(told[3] == std::errc::not_enough_memory);
}

TEST_CASE("as_asio: a callback runs on its executor, once, behind the call that completes it; futures take what comes",
          "[asio]") {
  asio::io_context io;
  penstock::semaphore s{1, {.fairness = penstock::fairness::fifo}};
  std::vector<std::string> log;
  std::optional<penstock::semaphore::permit> held;
  as_asio(io, s.async_acquire_permit(), [&](error_code e, penstock::semaphore::permit p) {
    log.push_back(e ? "error" : "first");
    held = std::move(p);
  });
  CHECK(log.empty());  // although it was free
  as_asio(io.get_executor(), s.async_acquire(), callback{[&](error_code e) { log.push_back(e ? "error" : "second"); }});
  io.poll();
  CHECK(log == std::vector<std::string>{"first"});
  CHECK_FALSE(io.stopped());
  CHECK(s.waiters() == 1);
  {
    std::jthread other{[&] { held.reset(); }};
  }
  CHECK(log.size() == 1);
  io.run();
  CHECK(log == std::vector<std::string>{"first", "second"});
  io.restart();
  as_asio(io, s.async_acquire(), callback{[&](error_code) { log.push_back("third"); }});
  asio::post(io, function{[&] {
               s.release();
               log.push_back("released");
             }});
  io.run();
  CHECK(log.back() == "third");

  penstock::channel<no_default> c{1};
  REQUIRE(c.try_push(no_default{5}));
  std::future<std::optional<no_default>> value = as_asio(c.async_pop(), asio::use_future);  // on the system executor
  CHECK(value.get()->value == 5);
  c.close();
  CHECK_THROWS_AS(as_asio(c.async_pop(), asio::use_future).get(), system_error);
  penstock::promise<void> p;
  std::future<void> done = as_asio(p.get_future(), asio::use_future);
  p.set_exception(std::make_exception_ptr(std::runtime_error{"no luck"}));
  CHECK_THROWS_AS(done.get(), std::runtime_error);
}

/// Counts what is allocated with it.
template <class T>
struct counting {
  using value_type = T;
  explicit counting(std::ptrdiff_t& n) noexcept : now{&n} {}
  template <class U>
  counting(const counting<U>& other) noexcept : now{other.now} {}
  T* allocate(std::size_t n) {
    *now += static_cast<std::ptrdiff_t>(n * sizeof(T));
    return std::allocator<T>{}.allocate(n);
  }
  void deallocate(T* p, std::size_t n) noexcept {
    *now -= static_cast<std::ptrdiff_t>(n * sizeof(T));
    std::allocator<T>{}.deallocate(p, n);
  }
  template <class U>
  bool operator==(const counting<U>& other) const noexcept {
    return now == other.now;
  }
  std::ptrdiff_t* now;
};

struct handler {
  using allocator_type = counting<void>;
  using executor_type = asio::io_context::executor_type;
  allocator_type get_allocator() const noexcept { return memory; }
  executor_type get_executor() const noexcept { return executor; }
  void operator()(error_code e) const {
    *how = e;
    *in_use = *memory.now;
  }
  counting<void> memory;
  executor_type executor;
  std::optional<error_code>* how;
  std::ptrdiff_t* in_use;
};

TEST_CASE("as_asio: the handler's executor and allocator are used, and the memory is free again when the handler runs",
          "[asio]") {
  asio::io_context io;
  asio::io_context unused;
  penstock::semaphore s{0};
  std::ptrdiff_t now = 0;
  std::ptrdiff_t inside = -1;
  std::optional<error_code> how;
  as_asio(unused, s.async_acquire(), handler{counting<void>{now}, io.get_executor(), &how, &inside});
  const std::ptrdiff_t while_waiting = now;
  CHECK(while_waiting > 0);
  s.release();
  CHECK(now > 0);  // on its way
  CHECK(unused.poll() == 0);
  CHECK(io.run() == 1);
  CHECK(how == error_code{});
  CHECK(inside == 0);
  CHECK(now == 0);
}

#if PENSTOCK_TEST_ASIO_SLOTS
TEST_CASE("as_asio: a cancellation signal ends the wait, which has then taken nothing; later it means nothing", "[asio]") {
  asio::io_context io;
  penstock::semaphore s{0};
  asio::cancellation_signal signal;
  std::vector<error_code> ends;
  const callback record = [&](error_code e) { ends.push_back(e); };
  as_asio(io, s.async_acquire(), asio::bind_cancellation_slot(signal.slot(), record));
  CHECK(s.waiters() == 1);
  signal.emit(asio::cancellation_type::none);
  CHECK(s.waiters() == 1);
  signal.emit(asio::cancellation_type::total);
  CHECK(s.waiters() == 0);
  CHECK(ends.empty());
  s.release();
  io.run();
  REQUIRE(ends.size() == 1);
  CHECK(ends[0] == asio::error::operation_aborted);
  CHECK(s.available() == 1);

  io.restart();
  as_asio(io, s.async_acquire(), asio::bind_cancellation_slot(signal.slot(), record));
  signal.emit(asio::cancellation_type::terminal);  // it has its permit already
  io.run();
  signal.emit(asio::cancellation_type::terminal);
  REQUIRE(ends.size() == 2);
  CHECK_FALSE(ends[1]);
  CHECK(s.available() == 0);
}

TEST_CASE("as_asio: a signal and a release at the same time lose no permit", "[asio]") {
  asio::io_context io;
  penstock::semaphore s{0};
  asio::cancellation_signal signal;
  std::atomic<int> round{0};
  int granted = 0;
  int cancelled = 0;
  const callback record = [&](error_code e) { ++(e ? cancelled : granted); };
  {
    std::jthread releaser{[&](const std::stop_token& stop) {
      for (int seen_round = 0; !stop.stop_requested();) {
        if (round.load() == seen_round) {
          std::this_thread::yield();
        } else {
          ++seen_round;
          s.release();
        }
      }
    }};
    for (int i = 0; i < 300; ++i) {
      as_asio(io, s.async_acquire(), asio::bind_cancellation_slot(signal.slot(), record));
      ++round;
      if (i % 3 != 0) std::this_thread::yield();
      signal.emit(asio::cancellation_type::all);
      io.run();
      io.restart();
    }
    until([&] { return s.available() + granted == 300; });
  }
  CHECK(granted + cancelled == 300);
}
#endif

asio::awaitable<void> waits_in_its_own(penstock::semaphore*& where, std::shared_ptr<int>) {
  penstock::semaphore mine{0};
  where = &mine;
  co_await as_asio(mine.async_acquire(), asio::use_awaitable);
  where = nullptr;
}
task<> holds(penstock::event& e, std::shared_ptr<int>, result<void>& ended) {
  auto r = co_await e.async_wait();
  ended = r;
}

TEST_CASE("as_asio: a context that is destroyed ends what is pending for it, and destroys the handlers uncalled", "[asio]") {
  penstock::semaphore s{0};
  penstock::event e;
  penstock::semaphore* local = nullptr;
  const auto token = std::make_shared<int>(0);
  result<void> ended;
  bool called = false;
  {
    std::optional<asio::io_context> io{std::in_place};
    as_asio(*io, s.async_acquire(), callback{[&, token](error_code) { called = true; }});
    as_asio(*io, holds(e, token, ended) | penstock::via(asio_scheduler{*io}), [&, token](std::exception_ptr) { called = true; });
    asio::co_spawn(asio::any_io_executor{io->get_executor()}, waits_in_its_own(local, token), asio::detached);
    io->poll();
    as_asio(*io, s.async_acquire(), callback{[&, token](error_code) { called = true; }});
    CHECK(s.waiters() == 2);
    CHECK(token.use_count() == 6);
    s.release();  // one of them is on its way to its handler
    io.reset();
    CHECK(token.use_count() == 1);
  }
  CHECK(s.waiters() == 0);
  CHECK_FALSE(called);
  CHECK(local != nullptr);  // it was destroyed where it waited
  CHECK(ended == errc::cancelled);
}

task<> waits_for_a_timer(asio::io_context& io, std::error_code& end) {
  asio::steady_timer never{io, asio::steady_timer::time_point::max()};
  auto r = co_await never.async_wait(use_task);
  end = r.error();
}

TEST_CASE("use_task: a context that is destroyed lets tasks go on that wait for it, also inside as_asio()", "[asio]") {
  std::error_code ends[3];
  std::optional<asio::io_context> io{std::in_place};
  auto spawned = penstock::spawn(waits_for_a_timer(*io, ends[0]));
  as_asio(*io, waits_for_a_timer(*io, ends[1]), [](std::exception_ptr) {});
  as_asio(*io, waits_for_a_timer(*io, ends[2]) | penstock::via(asio_scheduler{*io}), [](std::exception_ptr) {});
  io->poll();
  io.reset();
  spawned.wait();
  CHECK(ends[0] == errc::broken_promise);
  CHECK(ends[1] == errc::broken_promise);
  CHECK(ends[2] == errc::broken_promise);
}

TEST_CASE("as_asio: a context may be destroyed while other threads complete what is pending for it", "[asio]") {
  for (int i = 0; i < 50; ++i) {
    penstock::semaphore s{0};
    std::atomic<int> destroyed{0};
    std::optional<asio::io_context> io{std::in_place};
    for (int n = 0; n < 4; ++n) {
      const std::shared_ptr<std::atomic<int>> last{&destroyed, [](std::atomic<int>* d) { ++*d; }};
      as_asio(*io, s.async_acquire(), callback{[last](error_code) {}});
    }
    std::jthread releaser{[&] {
      for (int n = 0; n < 4; ++n) s.release();
    }};
    if (i % 2 != 0) std::this_thread::yield();
    io.reset();
    CHECK(destroyed == 4);
  }
}

/// An operation that ends as a test wants: what it was begun with is kept here.
struct operations {
  template <class Token>
  auto async_two(Token&& token) {
    return asio::async_initiate<Token, void(error_code, int, std::string)>(
        [this](auto h, std::unique_ptr<int> argument) {
          value = *argument;
          if (throws) throw std::runtime_error{"cannot begin"};
          if (inside) {
            h(error_code{}, 7, "seven");
          } else {
            kept.emplace(std::move(h));
          }
        },
        token, std::make_unique<int>(8));
  }
  using resume = penstock::detail::asio_resume<void(error_code, int, std::string), asio::system_executor>;
  std::optional<resume> kept;
  int value = 0;
  bool throws = false;
  bool inside = false;
};

task<int> two(operations& o) {
  auto r = co_await o.async_two(use_task);
  static_assert(std::same_as<decltype(r), result<std::tuple<int, std::string>>>);
  if (!r) throw std::system_error{r.error()};
  co_return std::get<0>(*r) + static_cast<int>(std::get<1>(*r).size());
}

TEST_CASE("use_task: an operation of Asio's gives a result, in whatever order it begins, ends or fails", "[asio]") {
  operations o;
  {
    auto t = penstock::spawn(two(o));
    CHECK_FALSE(t.done());
    CHECK(o.value == 8);
    (*o.kept)(error_code{}, 2, "four");
    CHECK(t.result() == 6);
  }
  {
    auto t = penstock::spawn(two(o));
    (*o.kept)(error_code{asio::error::operation_aborted}, 0, "");
    CHECK_THROWS_MATCHES(t.result(), std::system_error,
                         Catch::Predicate<std::system_error>([](const auto& e) { return e.code() == errc::cancelled; }));
  }
  {
    auto t = penstock::spawn(two(o));
    o.kept.reset();  // destroyed uncalled
    CHECK_THROWS_MATCHES(t.result(), std::system_error,
                         Catch::Predicate<std::system_error>([](const auto& e) { return e.code() == errc::broken_promise; }));
  }
  o.inside = true;
  CHECK(penstock::spawn(two(o)).result() == 12);
  o.throws = true;
  CHECK_THROWS_AS(penstock::spawn(two(o)).result(), std::runtime_error);
}

task<bool> hop(penstock::worker_pool& pool, asio_scheduler<asio::io_context> here, asio::steady_timer& t) {
  bool right = here.running_here();
  co_await pool.schedule();
  right = right && pool.running_here() && !here.running_here();
  co_await here.schedule();
  right = right && here.running_here();
  auto waited = co_await t.async_wait(use_task);
  co_return right&& waited&& here.running_here();
}

TEST_CASE("asio_scheduler: coroutines move between an io_context and a pool, and live on either", "[asio]") {
  asio::io_context io;
  penstock::worker_pool pool{{.threads = 1}};
  const asio_scheduler here{io};
  static_assert(penstock::scheduler<asio_scheduler<asio::io_context>>);
  asio::steady_timer timer{io, std::chrono::steady_clock::now()};
  std::optional<bool> right;
  as_asio(io, hop(pool, here, timer) | penstock::via(here), [&](std::exception_ptr e, bool r) { right = r && !e; });
  CHECK(here == asio_scheduler{io});
  CHECK_FALSE(here.running_here());
  io.run();
  CHECK(right == true);

  penstock::event go;
  std::vector<int> order;
  const auto note = [](penstock::event& e, std::vector<int>& into, int n) -> task<> {
    auto passed = co_await e.async_wait();
    if (passed) into.push_back(n);
  };
  io.restart();
  auto first = penstock::spawn(here, note(go, order, 1));
  auto second = penstock::spawn(here, note(go, order, 2));
  io.poll();
  go.set();
  CHECK(order.empty());
  io.restart();
  io.run();
  CHECK(order == std::vector{1, 2});
}

// Counts, and tells how many there have been when others looked.
struct counted {
  std::atomic<int> went_on{0};
  task<> wait(penstock::event& e) {
    auto passed = co_await e.async_wait();
    if (passed) ++went_on;
  }
};

TEST_CASE("asio_scheduler: what is due at the same time goes on in a few handlers, and others have their turn", "[asio]") {
  asio::io_context io;
  penstock::event go;
  counted all;
  penstock::task_group group{asio_scheduler{io}};
  for (int i = 0; i < 100; ++i) group.spawn(all.wait(go));
  io.poll();
  go.set();
  int when_it_came = 0;
  asio::post(io, [&] { when_it_came = all.went_on; });
  io.restart();
  io.run();
  CHECK(when_it_came == 32);
  CHECK(all.went_on == 100);
}

TEST_CASE("asio_scheduler: to go on there allocates nothing, from outside of it either", "[asio]") {
  asio::io_context io;
  penstock::semaphore turns{0};
  const auto count = [](penstock::semaphore& s, int& n) -> task<> {
    while (n < 100) {
      auto turn = co_await s.async_acquire();
      if (turn) ++n;
    }
  };
  int n = 0;
  auto counts = penstock::spawn(asio_scheduler{io}, count(turns, n));
  io.poll();
  const long before = counting_new::made;
  for (int i = 0; i < 100; ++i) {
    turns.release();
    io.restart();
    io.poll();
  }
  CHECK(counting_new::made == before);
  CHECK(n == 100);
  counts.result();
}

TEST_CASE("asio_scheduler: who blocks keeps no other thread from what is due behind it", "[asio]") {
  asio::io_context io;
  penstock::event go, others_went_on;
  counted all;
  penstock::task_group group{asio_scheduler{io}};
  const auto block = [](penstock::event& e, penstock::event& until_this) -> task<> {
    auto passed = co_await e.async_wait();
    if (passed) until_this.wait();
  };
  const auto tell = [](counted& c, penstock::event& e, penstock::event& told) -> task<> {
    co_await c.wait(e);
    told.set();
  };
  group.spawn(block(go, others_went_on));
  for (int i = 0; i < 10; ++i) group.spawn(all.wait(go));
  group.spawn(tell(all, go, others_went_on));
  io.poll();
  go.set();
  io.restart();
  {
    std::jthread another{[&] { io.run(); }};
    io.run();
  }
  CHECK(all.went_on == 11);
}

TEST_CASE("asio_scheduler: what is due when its context is destroyed still goes on", "[asio]") {
  std::optional<asio::io_context> io{std::in_place};
  penstock::event go;
  const auto wait = [](penstock::event& e) -> task<bool> {
    auto passed = co_await e.async_wait();
    co_return passed.has_value();
  };
  auto waiting = penstock::spawn(asio_scheduler{*io}, wait(go));
  io->poll();
  go.set();
  CHECK_FALSE(waiting.done());
  io.reset();
  CHECK(waiting.result());
}

/// A receiver that keeps how it was told, and whether on the context.
struct scheduled {
  using receiver_concept = penstock::execution::receiver_tag;
  void set_value() noexcept { *told = here.running_here() ? "there" : "elsewhere"; }
  void set_stopped() noexcept { *told = "stopped"; }
  asio_scheduler<asio::io_context> here;
  std::string* told;
};

TEST_CASE("asio_scheduler: is a scheduler of std::execution, whose senders complete on the context, or are stopped with it",
          "[asio][execution]") {
  namespace execution = penstock::execution;
  static_assert(execution::scheduler<asio_scheduler<asio::io_context>>);
  static_assert(execution::sender_to<decltype(std::declval<asio_scheduler<asio::io_context>&>().schedule()), scheduled>);
  std::optional<asio::io_context> io{std::in_place};
  const asio_scheduler here{*io};
  auto sender = here.schedule();
  CHECK(sender.get_env().query(execution::get_completion_scheduler<execution::set_value_t>) == here);
  CHECK(here.query(execution::get_forward_progress_guarantee) == execution::forward_progress_guarantee::parallel);
  std::string first;
  std::string second;
  auto a = std::move(sender).connect(scheduled{here, &first});
  auto b = here.schedule().connect(scheduled{here, &second});
  a.start();
  CHECK(first.empty());
  io->run();
  CHECK(first == "there");
  b.start();
  io.reset();  // before its turn
  CHECK(second == "stopped");
}

#if PENSTOCK_TEST_ASIO_SLOTS
task<std::array<std::error_code, 3>> stopped_waits(asio::io_context& io, penstock::manual_clock& clock) {
  asio::steady_timer never{io, asio::steady_timer::time_point::max()};
  std::array<std::error_code, 3> ends;
  auto late = co_await (never.async_wait(use_task) | penstock::with_timeout(10ms, clock));
  ends[0] = late.error();
  auto stopped = co_await never.async_wait(use_task);
  ends[1] = stopped.error();
  auto again = co_await never.async_wait(use_task);
  ends[2] = again.error();
  co_return ends;
}

TEST_CASE("use_task: stop requests and deadlines cancel the operation, on its executor", "[asio]") {
  asio::io_context io;
  penstock::manual_clock clock;
  auto waits = penstock::spawn(stopped_waits(io, clock));
  io.poll();
  clock.advance(10ms);
  CHECK_FALSE(waits.done());
  io.restart();
  io.poll();
  CHECK_FALSE(waits.done());  // in the second wait
  {
    std::jthread other{[&] { waits.request_stop(); }};
  }
  CHECK_FALSE(waits.done());
  io.restart();
  io.run();
  REQUIRE(waits.done());
  const auto ends = waits.result();
  CHECK(ends[0] == errc::timeout);
  CHECK(ends[1] == errc::cancelled);
  CHECK(ends[2] == errc::cancelled);  // it did not begin
}
#endif

asio::awaitable<void> piece_after(penstock::semaphore& s, const function& piece) {
  co_await as_asio(s.async_acquire(), asio::use_awaitable);
  piece();
}

TEST_CASE("pool_context: Asio's functions run on the pool's workers, whatever brings them", "[asio]") {
  penstock::worker_pool pool{{.threads = 2, .queue_capacity = 1}};
  penstock::pool_context context{pool};
  using executor = penstock::pool_context::executor_type;
  static_assert(asio::execution::is_executor<executor>::value);
  std::atomic<int> outside{0};
  std::atomic<int> runs{0};
  const function piece = [&] {
    if (!pool.running_here()) ++outside;
    ++runs;
  };
  pool.pause();  // which completions do not heed, nor the capacity
  for (int i = 0; i < 20; ++i) asio::post(context, piece);
  CHECK(context.join());
  CHECK(runs == 20);
  pool.resume();

  asio::strand<executor> strand{context.get_executor()};
  int unguarded = 0;
  for (int i = 0; i < 200; ++i) asio::post(strand, function{[&] { ++unguarded; }});
  const asio::any_io_executor any{context.get_executor()};
  asio::defer(any, piece);
  asio::dispatch(any, piece);
  asio::post(asio::bind_executor(context.get_executor(), piece));
  asio::post(context, function{[&] {
               bool at_once = false;
               asio::dispatch(context, function{[&] { at_once = true; }});
               if (!at_once) ++outside;
             }});
  penstock::semaphore go{0};
  asio::co_spawn(any, piece_after(go, piece), asio::detached);
  asio::steady_timer timer{context, std::chrono::steady_clock::now()};
  timer.async_wait(callback{[&](error_code) { piece(); }});
  CHECK(context.join({.deadline = penstock::deadline::after(0s)}) == errc::timeout);  // the coroutine is work
  go.release();
  CHECK(context.join());
  CHECK(unguarded == 200);
  CHECK(runs == 25);
  CHECK(outside == 0);
}

TEST_CASE("pool_context: exceptions go to the pool, a work guard holds up join(), and memory is that of the allocator",
          "[asio]") {
  penstock::worker_pool pool{{.threads = 1}};
  std::ptrdiff_t now = 0;
  std::ptrdiff_t inside = -1;
  {
    penstock::pool_context context{pool};
    const function fails = [] { throw std::runtime_error{"no luck"}; };
    asio::post(context, fails);
    asio::post(context, function{[&] { asio::dispatch(context, fails); }});
    CHECK(context.join());
    CHECK(pool.drain());
    CHECK(pool.failed() == 2);
    std::optional guard{asio::make_work_guard(context)};
    CHECK(context.join({.deadline = penstock::deadline::after(0s)}) == errc::timeout);
    guard.reset();
    CHECK(context.join());
    asio::post(context, function{[&] {
                 if (context.join() != errc::deadlock) inside = -2;
               }});
    const auto with_memory =
        asio::require(context.get_executor(), asio::execution::blocking.never, asio::execution::allocator(counting<void>{now}));
    with_memory.execute([&] { inside = inside == -2 ? inside : now; });
    CHECK(context.join());
    const auto alive = std::make_shared<int>(0);
    asio::steady_timer never{context, asio::steady_timer::time_point::max()};
    never.async_wait(callback{[alive](error_code) {}});
    asio::post(context, function{[&] { ++*alive; }});
  }  // waits for what was posted
  CHECK(inside == 0);
  CHECK(now == 0);
}

}  // namespace

}  // namespace asio_cases
