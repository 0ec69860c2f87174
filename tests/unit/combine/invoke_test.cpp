#include <penstock/combine/invoke.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/detail/guest_lanes.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "bulk_testing.hpp"

namespace {

using namespace penstock;

long fibonacci(worker_pool& pool, int n) {
  if (n < 2) return n;
  auto [a, b] = penstock::invoke(pool, [&] { return fibonacci(pool, n - 1); }, [&] { return fibonacci(pool, n - 2); });
  return a + b;
}

TEST_CASE("invoke: gives what the functions return, in their order", "[invoke]") {
  worker_pool pool{{.threads = 2}};
  int here = 0;
  const auto r = penstock::invoke(
      pool, [] { return 1; }, [&]() -> int& { return here; }, [] { return std::make_unique<int>(3); }, [&] { here = 4; });
  static_assert(std::is_same_v<decltype(r), const std::tuple<int, int&, std::unique_ptr<int>, std::monostate>>);
  CHECK(std::get<0>(r) == 1);
  CHECK(&std::get<1>(r) == &here);
  CHECK(*std::get<2>(r) == 3);
  CHECK(here == 4);
  static_assert(std::is_void_v<decltype(penstock::invoke(pool, [] {}, [] {}))>);
  CHECK(std::get<0>(penstock::invoke(pool, [] { return 5; })) == 5);
}

TEST_CASE("invoke: functions run at the same time if workers are free, the first one here", "[invoke]") {
  worker_pool pool{{.threads = 2}};
  const auto meet = [&] {
    rendezvous both{2};
    std::thread::id a, b;
    penstock::invoke(
        pool,
        [&] {
          both.arrive_and_wait();
          a = std::this_thread::get_id();
        },
        [&] {
          both.arrive_and_wait();
          b = std::this_thread::get_id();
        });
    CHECK(a == std::this_thread::get_id());
    CHECK(b != a);
  };
  meet();
  pool.submit(meet).get();
}

TEST_CASE("invoke: recursion to any depth ends on pools of any size, from inside and outside", "[invoke][hazard-18]") {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
    worker_pool pool{{.threads = threads, .queue_capacity = 1}};
    CHECK(fibonacci(pool, 16) == 987);
    CHECK(pool.submit([&] { return fibonacci(pool, 16); }).get() == 987);
  }
}

TEST_CASE("invoke: deeper than a lane has room for, functions run at once", "[invoke]") {
  worker_pool pool{{.threads = 1}};
  struct deep {
    static int down(worker_pool& p, int n) {
      if (n == 0) return 0;
      auto [a, b] = penstock::invoke(p, [&] { return down(p, n - 1); }, [] { return 1; });
      return a + b;
    }
  };
  CHECK(deep::down(pool, 1000) == 1000);
  CHECK(pool.submit([&] { return deep::down(pool, 1000); }).get() == 1000);
}

TEST_CASE("invoke: who waits for a stolen function runs what that one forks", "[invoke][hazard-18]") {
  worker_pool pool{{.threads = 2}};
  std::thread::id waiting, thief, part;
  pool.submit([&] {
        waiting = std::this_thread::get_id();
        event stolen;
        penstock::invoke(
            pool, [&] { stolen.wait(); },
            [&] {
              thief = std::this_thread::get_id();
              stolen.set();
              event run;  // no third thread is there to bring it about
              penstock::invoke(
                  pool, [&] { run.wait(); },
                  [&] {
                    part = std::this_thread::get_id();
                    run.set();
                  });
            });
      })
      .get();
  CHECK(thief != waiting);
  CHECK(part == waiting);
}

TEST_CASE("invoke: a worker that waits for a function of a thread from outside runs the coroutine that this one needs",
          "[invoke][hazard-18]") {
  struct local {
    static task<int> hop(worker_pool& pool) {
      co_await pool.schedule();
      co_return 7;
    }
  };
  worker_pool pool{{.threads = 1}};
  const std::thread::id outside = std::this_thread::get_id();
  std::thread::id second;
  int value = 0;
  event stolen, stolen_back;
  penstock::invoke(
      pool, [&] { stolen.wait(); },
      [&] {
        stolen.set();
        penstock::invoke(
            pool, [&] { stolen_back.wait(); },
            [&] {
              second = std::this_thread::get_id();
              stolen_back.set();
              value = spawn(pool, local::hop(pool)).result();  // the only worker waits for this function to end
            });
      });
  CHECK(second == outside);
  CHECK(value == 7);
}

TEST_CASE("invoke: the exception of the leftmost function is thrown when all have ended, others go to the pool",
          "[invoke][hazard-19]") {
  std::atomic<int> handled{0};
  worker_pool pool{{.threads = 2, .on_error = [&](const std::exception_ptr&) { ++handled; }}};
  rendezvous both{2};
  CHECK_THROWS_WITH(penstock::invoke(
                        pool,
                        [&] {
                          both.arrive_and_wait();
                          throw std::runtime_error{"left"};
                        },
                        [&] {
                          both.arrive_and_wait();
                          throw std::runtime_error{"right"};
                        }),
                    "left");
  CHECK(handled == 1);
  CHECK(pool.failed() == 1);
}

TEST_CASE("invoke: a function that nobody has begun is not called after an exception", "[invoke]") {
  worker_pool pool{{.threads = 1}};
  bool called = false;
  pool.submit([&] {
        CHECK_THROWS_WITH(penstock::invoke(pool, [] { throw std::runtime_error{"no"}; }, [&] { called = true; }), "no");
      })
      .get();
  CHECK_FALSE(called);
}

TEST_CASE("invoke: a pool that was shut down helps nobody", "[invoke]") {
  worker_pool pool{{.threads = 2}};
  REQUIRE(pool.shutdown());
  CHECK(fibonacci(pool, 10) == 55);
}

TEST_CASE("invoke: uses several pools at a time", "[invoke]") {
  worker_pool a{{.threads = 1}};
  worker_pool b{{.threads = 1}};
  const auto sum = [&] {
    auto [x, y] = penstock::invoke(
        a, [&] { return fibonacci(b, 10); },
        [&] {
          auto [p, q] = penstock::invoke(b, [&] { return fibonacci(a, 10); }, [&] { return fibonacci(b, 10); });
          return p + q;
        });
    return x + y;
  };
  CHECK(sum() == 165);
  CHECK(a.submit(sum).get() == 165);
}

#if defined(__linux__)
TEST_CASE("invoke: in a forked child the caller calls everything itself", "[invoke][hazard-21]") {
  worker_pool pool{{.threads = 2}};
  CHECK(fibonacci(pool, 5) == 5);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fibonacci(pool, 10) == 55 ? 0 : 1);
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
#endif

TEST_CASE("invoke: a thread from outside that has stolen a part may wait in there for a task of the pool",
          "[invoke][hazard-18]") {
  worker_pool pool{{.threads = 1}};
  event stolen, stolen_back;
  int got = 0;
  const auto waits_for_the_pool = [&] {
    stolen_back.set();
    auto f = pool.submit([] { return 5; });
    test_support::until([&] { return f.is_ready(); });  // while the only worker waits for this very part
    got = f.get();
  };
  invoke(
      pool, [&] { stolen.wait(); },
      [&] {
        stolen.set();
        invoke(pool, [&] { stolen_back.wait(); }, waits_for_the_pool);
      });
  CHECK(got == 5);
}

TEST_CASE("guest_lanes: lends eight lanes, and each again when it came back", "[invoke]") {
  detail::guest_lanes<> lanes;
  std::vector<detail::guest_lanes<>::lane*> lent;
  for (int i = 0; i < 8; ++i) {
    lent.push_back(lanes.borrow());
    REQUIRE(lent.back() != nullptr);
  }
  CHECK(lanes.borrow() == nullptr);
  CHECK_FALSE(lanes.has_work());
  CHECK(lanes.steal() == nullptr);
  work_item job;
  REQUIRE(lent[5]->push(&job));
  CHECK(lanes.has_work());
  CHECK(lanes.steal() == &job);
  CHECK_FALSE(lanes.has_work());
  lanes.give_back(*lent[3]);
  CHECK(lanes.borrow() == lent[3]);
  for (auto* lane : lent) lanes.give_back(*lane);
}

}  // namespace
