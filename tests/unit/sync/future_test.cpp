#include <penstock/sync/future.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using sync_testing::counted;
using sync_testing::step_executor;
using sync_testing::until;

template <class F>
std::error_code error_of(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

// The exception is made and forgotten before it is given away, so it belongs to the future alone.
std::exception_ptr failure(const char* what) { return std::make_exception_ptr(std::runtime_error{what}); }

static_assert(!std::is_copy_constructible_v<future<int>> && std::is_nothrow_move_constructible_v<future<int>>);
static_assert(!std::is_copy_constructible_v<promise<int>> && std::is_nothrow_move_constructible_v<promise<int>>);

TEST_CASE("future: gives the value that was set, before or after it was asked for", "[future]") {
  promise<int> p;
  auto f = p.get_future();
  CHECK(f.valid());
  CHECK_FALSE(f.is_ready());
  CHECK(f.try_wait() == errc::empty);
  p.set_value(42);
  CHECK(f.is_ready());
  f.wait();
  CHECK(f.try_wait());
  CHECK(f.get() == 42);
  CHECK_FALSE(f.valid());

  promise<std::string> early;
  early.set_value("before");
  CHECK(early.get_future().get() == "before");

  promise<int> crossing;
  auto later = crossing.get_future();
  std::jthread giver{[&] { crossing.set_value(7); }};
  CHECK(later.get() == 7);
}

TEST_CASE("future: outlives its promise", "[future]") {
  std::optional<promise<int>> p{std::in_place};
  auto f = p->get_future();
  p->set_value(1);
  p.reset();
  CHECK(f.get() == 1);
}

TEST_CASE("future: carries values that can only be moved, references and nothing", "[future]") {
  promise<std::unique_ptr<int>> unique;
  unique.set_value(std::make_unique<int>(3));
  CHECK(*unique.get_future().get() == 3);

  int object = 5;
  promise<int&> reference;
  reference.set_value(object);
  CHECK(&reference.get_future().get() == &object);

  promise<void> nothing;
  auto f = nothing.get_future();
  CHECK_FALSE(f.is_ready());
  nothing.set_value();
  f.get();
  CHECK_FALSE(f.valid());
}

TEST_CASE("future: values that are errors or exceptions themselves are values", "[future]") {
  promise<std::error_code> code;
  code.set_value(make_error_code(errc::full));
  CHECK(code.get_future().get() == errc::full);
  promise<std::exception_ptr> pointer;
  pointer.set_value(failure("kept"));
  CHECK_THROWS_AS(std::rethrow_exception(pointer.get_future().get()), std::runtime_error);
}

TEST_CASE("future: throws the exception that was set", "[future]") {
  promise<int> p;
  auto f = p.get_future();
  p.set_exception(failure("no"));
  CHECK(f.is_ready());
  CHECK(f.try_wait());
  CHECK_THROWS_WITH(f.get(), "no");
  CHECK_FALSE(f.valid());
  promise<void> nothing;
  nothing.set_exception(failure("neither"));
  CHECK_THROWS_WITH(nothing.get_future().get(), "neither");
}

TEST_CASE("future: throws a system_error of the error code that was set", "[future]") {
  promise<int> p;
  p.set_error(errc::rejected);
  CHECK(error_of([&] { static_cast<void>(p.get_future().get()); }) == errc::rejected);
  promise<int&> reference;
  reference.set_error(std::make_error_code(std::errc::io_error));
  CHECK(error_of([&] { static_cast<void>(reference.get_future().get()); }) == std::errc::io_error);
}

TEST_CASE("future: a promise that goes away without a value is broken", "[future]") {
  std::optional<promise<int>> p{std::in_place};
  auto f = p->get_future();
  SECTION("destroyed") { p.reset(); }
  SECTION("assigned over") { *p = promise<int>{}; }
  SECTION("moved, then destroyed") {
    {
      promise<int> other{std::move(*p)};
      CHECK_FALSE(f.is_ready());
    }
    p.reset();
  }
  SECTION("while a coroutine waits") {
    auto waiting = spawn(std::move(f));
    p.reset();
    CHECK(error_of([&] { static_cast<void>(waiting.result()); }) == errc::broken_promise);
    f = make_ready_future(0);
    return;
  }
  REQUIRE(f.is_ready());
  CHECK(error_of([&] { static_cast<void>(f.get()); }) == errc::broken_promise);
}

TEST_CASE("future: a promise that was moved keeps what it has promised", "[future]") {
  promise<int> first;
  auto f = first.get_future();
  promise<int> second;
  second = std::move(first);
  second.set_value(9);
  CHECK(f.get() == 9);
}

TEST_CASE("future: a value whose making throws leaves the promise as it was", "[future]") {
  struct fussy {
    explicit fussy(int n) {
      if (n < 0) throw std::invalid_argument{"negative"};
    }
  };
  promise<fussy> p;
  auto f = p.get_future();
  CHECK_THROWS_AS(p.set_value(-1), std::invalid_argument);
  CHECK_FALSE(f.is_ready());
  SECTION("a value") {
    p.set_value(1);
    static_cast<void>(f.get());
  }
  SECTION("an exception") {
    p.set_exception(failure("given up"));
    CHECK_THROWS_WITH(f.get(), "given up");
  }
  CHECK_FALSE(f.valid());
}

TEST_CASE("future: every value is destroyed exactly once, got or not", "[future][hazard-30]") {
  int living = 0;
  SECTION("got") {
    promise<counted> p;
    auto f = p.get_future();
    p.set_value(living);
    {
      const counted c = f.get();
    }
  }
  SECTION("the future is dropped first") {
    promise<counted> p;
    {
      auto f = p.get_future();
    }
    p.set_value(living);
    CHECK(living == 1);
  }
  SECTION("the promise goes first") {
    auto f = [&] {
      promise<counted> p;
      p.set_value(living);
      return p.get_future();
    }();
    CHECK(living == 1);
  }
  SECTION("never asked for") {
    promise<counted> p;
    p.set_value(living);
  }
  SECTION("awaited by a coroutine that is stopped") {
    promise<counted> p;
    auto waiting = spawn(p.get_future());
    waiting.request_stop();
    CHECK(error_of([&] { static_cast<void>(waiting.result()); }) == errc::cancelled);
    p.set_value(living);
  }
  CHECK(living == 0);
}

TEST_CASE("future: a value may give another promise its value when it is destroyed", "[future][hazard-17]") {
  struct gives_when_destroyed {
    explicit gives_when_destroyed(promise<int>* p) noexcept : next{p} {}
    gives_when_destroyed(gives_when_destroyed&& other) noexcept : next{std::exchange(other.next, nullptr)} {}
    ~gives_when_destroyed() {
      if (next != nullptr) next->set_value(1);
    }
    promise<int>* next;
  };
  promise<int> last;
  auto f = last.get_future();
  {
    promise<gives_when_destroyed> p;
    p.set_value(&last);
  }
  CHECK(f.get() == 1);
}

TEST_CASE("future: a timed wait gives up at its deadline and not before, and one can wait again", "[future]") {
  manual_clock clock;
  promise<int> p;
  auto f = p.get_future();
  {
    auto waiting = spawn(f.async_wait() | with_timeout(10ms, clock));
    clock.advance(9ms);
    REQUIRE_FALSE(waiting.done());
    clock.advance(1ms);
    CHECK(waiting.result() == errc::timeout);
  }
  CHECK(f.try_wait_until({clock.now() - 1ms, clock}) == errc::timeout);
  CHECK(f.try_wait_for(0s) == errc::timeout);
  CHECK(f.try_wait_for(-1h) == errc::timeout);
  auto waiting = spawn(f.async_wait() | with_timeout(std::chrono::hours::max(), clock));
  clock.advance(24h * 365 * 100);
  REQUIRE_FALSE(waiting.done());
  p.set_value(3);
  CHECK(waiting.result());
  CHECK(f.try_wait_for(0s));
  CHECK(f.get() == 3);
}

TEST_CASE("future: a stopped wait loses nothing", "[future]") {
  promise<int> p;
  auto f = p.get_future();
  std::stop_source stop;
  SECTION("of a thread") {
    std::atomic<bool> waits{false};
    std::optional<result<void>> got;
    std::jthread thread{[&] {
      waits = true;
      got = f.wait({.stop = stop.get_token(), .deadline = deadline::after(std::chrono::hours::max())});
    }};
    until([&] { return waits.load(); });
    stop.request_stop();
    thread.join();
    CHECK(*got == errc::cancelled);
  }
  SECTION("of a coroutine") {
    auto waiting = spawn(f.async_wait() | with_stop(stop.get_token()));
    stop.request_stop();
    CHECK(waiting.result() == errc::cancelled);
  }
  CHECK(f.wait(stop.get_token()) == errc::cancelled);
  p.set_value(3);
  CHECK(f.wait(std::stop_token{}));
  CHECK(f.get() == 3);
}

TEST_CASE("future: the value beats a deadline that comes before the waiter goes on", "[future][hazard-04][race-09]") {
  manual_clock clock;
  step_executor executor;
  promise<int> p;
  auto f = p.get_future();
  auto waiting = spawn(f.async_wait() | with_timeout(10ms, clock) | via(executor));
  p.set_value(3);
  clock.advance(10ms);
  executor.run_all();
  CHECK(waiting.result());
  CHECK(f.get() == 3);
}

TEST_CASE("future: a coroutine awaits the value or the exception", "[future]") {
  struct coroutine {
    static task<int> doubled(future<int> f) {
      const int value = co_await std::move(f);
      co_return 2 * value;
    }
    static task<int> one_by_one(future<std::unique_ptr<int>> a, future<void> b, future<int&> c) {
      std::unique_ptr<int> first = co_await std::move(a);
      co_await std::move(b);
      int& third = co_await std::move(c);
      ++third;
      co_return *first + third;
    }
  };
  promise<int> p;
  auto waiting = spawn(coroutine::doubled(p.get_future()));
  REQUIRE_FALSE(waiting.done());
  p.set_value(21);
  REQUIRE(waiting.done());
  CHECK(waiting.result() == 42);

  promise<int> bad;
  auto failing = spawn(coroutine::doubled(bad.get_future()));
  bad.set_exception(failure("no"));
  CHECK_THROWS_WITH(failing.result(), "no");

  CHECK(sync_wait(coroutine::doubled(make_ready_future(4))) == 8);
  CHECK(sync_wait(make_ready_future(5)) == 5);

  promise<std::unique_ptr<int>> a;
  promise<void> b;
  promise<int&> c;
  int object = 10;
  auto all = spawn(coroutine::one_by_one(a.get_future(), b.get_future(), c.get_future()));
  c.set_value(object);
  a.set_value(std::make_unique<int>(1));
  b.set_value();
  CHECK(all.result() == 12);
  CHECK(object == 11);
}

TEST_CASE("future: a coroutine goes on in its own context", "[future]") {
  step_executor executor;
  promise<int> p;
  auto waiting = spawn(executor, p.get_future());
  executor.run_all();
  p.set_value(1);
  CHECK_FALSE(waiting.done());
  executor.run_all();
  REQUIRE(waiting.done());
  CHECK(waiting.result() == 1);
}

TEST_CASE("future: is ready from the beginning if made so", "[future]") {
  auto f = make_ready_future(std::string{"now"});
  CHECK(f.is_ready());
  CHECK(f.get() == "now");
  auto nothing = make_ready_future();
  CHECK(nothing.is_ready());
  nothing.get();
  const int three = 3;
  static_assert(std::is_same_v<decltype(make_ready_future(three)), future<int>>);
  CHECK_FALSE(future<int>{}.valid());
}

TEST_CASE("future: who got the value may destroy the promise", "[future][hazard-12][race-03]") {
  struct pair {
    promise<int> p;
    future<int> f = p.get_future();
  };
  int got = 0;
  sync_testing::destroy_after_wait<pair>(
      20'000, [&](pair& both) { got += both.f.get(); }, [](pair& both, int) { both.p.set_value(5); });
  CHECK(got == 100'000);
  int caught = 0;
  sync_testing::destroy_after_wait<pair>(
      5'000,
      [&](pair& both) {
        try {
          got += both.f.get();
        } catch (const std::runtime_error&) {
          ++caught;
        }
      },
      [](pair& both, int) { both.p.set_exception(failure("each its own")); });
  CHECK(caught == 5'000);
  struct coroutine {
    static task<int> wait_and_destroy(std::unique_ptr<pair> both) {
      const int value = co_await std::move(both->f);
      both.reset();
      co_return value;
    }
  };
  auto owned = std::make_unique<pair>();
  promise<int>& p = owned->p;
  auto waiting = spawn(coroutine::wait_and_destroy(std::move(owned)));
  p.set_value(6);
  CHECK(waiting.result() == 6);
}

TEST_CASE("future: promise and future dropped at once free the state once", "[future][hazard-30]") {
  for (int round = 0; round < 1'000; ++round) {
    promise<std::vector<int>> p;
    auto f = p.get_future();
    std::jthread giver{[mine = std::move(p), round]() mutable {
      if (round % 2 == 0) mine.set_value(std::vector<int>(100));
      {
        const promise<std::vector<int>> gone{std::move(mine)};
      }
    }};
    {
      const future<std::vector<int>> gone{std::move(f)};
    }
  }
}

TEST_CASE("future_state: a derived state keeps what computes the value in the same allocation", "[future]") {
  using state = detail::future_state<int>;
  struct computed : state {
    computed(std::function<int()> f, int& living)
        : state{[](state& s) noexcept { delete &static_cast<computed&>(s); }}, compute{std::move(f)}, alive{living} {}
    std::function<int()> compute;
    counted alive;
  };
  int living = 0;
  const auto submit = [&](std::function<int()> f) {
    auto* const c = new computed{std::move(f), living};
    const detail::state_ref<state> mine{c};
    future<int> given{mine.share()};
    CHECK_FALSE(given.is_ready());
    c->set_from(c->compute);
    return given;
  };
  {
    auto value = submit([] { return 8; });
    auto thrown = submit([]() -> int { throw std::runtime_error{"computed"}; });
    CHECK(living == 2);
    CHECK(value.get() == 8);
    CHECK(living == 1);
    CHECK_THROWS_WITH(thrown.get(), "computed");
  }
  CHECK(living == 0);

  auto nothing = detail::make_future_state<void>();
  bool called = false;
  nothing->set_from([&] { called = true; });
  future<void>{nothing.share()}.get();
  CHECK(called);
}

}  // namespace
