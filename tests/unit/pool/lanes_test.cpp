// What workers submit from inside: lanes, stealing, and the places for fork-join jobs.
#include <penstock/pool/detail/pool_access.hpp>
#include <penstock/pool/worker_pool.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using test_support::until;

using task = move_only_function<void()>;
using queue = detail::task_queue<task>;

struct worker {
  worker(queue& q, std::size_t index) : queue_{&q}, slot{q.slot_of(index)} {}
  bool run_one() {
    if (!queue_->next(slot, found)) return false;
    found();
    return true;
  }
  result<void> push(task t) { return queue_->try_push(slot, t); }

 private:
  queue* queue_;

 public:
  queue::slot& slot;
  detail::work<task> found;
};

result<void> push(queue& q, task t) { return q.try_push(t); }

struct note : work_item {
  note(std::vector<int>& l, int n) noexcept : log{&l}, number{n} {
    run = [](work_item& self) noexcept {
      auto& me = static_cast<note&>(self);
      me.log->push_back(me.number);
    };
  }
  std::vector<int>* log;
  int number;
};

task noting(std::vector<int>& log, int number) {
  return [&log, number] { log.push_back(number); };
}

void end(queue& q) {
  q.close();
  while (q.drop_one()) {
  }
}

}  // namespace

TEST_CASE("task_queue: a worker's own tasks come out in their order, before those from outside", "[worker_pool]") {
  queue q{8, 2};
  worker w{q, 0};
  std::vector<int> log;
  CHECK(push(q, noting(log, 10)));
  for (const int n : {1, 2, 3}) CHECK(w.push(noting(log, n)));
  CHECK(q.queued() == 4);
  CHECK(q.outstanding() == 4);
  for (int i = 0; i < 4; ++i) REQUIRE(w.run_one());
  CHECK(log == std::vector{1, 2, 3, 10});
  CHECK(q.queued() == 0);
  CHECK(q.outstanding() == 1);  // the last one counts until the next one is asked for
  q.close();
  CHECK_FALSE(w.run_one());
  CHECK(q.outstanding() == 0);
}

TEST_CASE("task_queue: from inside there is room in the worker's lane, then in the queue", "[worker_pool]") {
  queue q{3, 2};
  worker w{q, 0};
  std::vector<int> log;
  for (int i = 0; i < 6; ++i) CHECK(w.push(noting(log, i)));
  CHECK(w.push([] {}) == errc::full);
  CHECK(push(q, [] {}) == errc::full);
  REQUIRE(w.run_one());
  CHECK(w.push([] {}));
  CHECK(push(q, [] {}) == errc::full);  // for the others nothing has changed
  CHECK(q.queued() == 6);
  q.close();
  CHECK(w.push([] {}) == errc::closed);
  end(q);
  CHECK(log == std::vector{0});
}

TEST_CASE("task_queue: the others steal the oldest, and give the place back", "[worker_pool]") {
  queue q{2, 2};
  worker w{q, 0};
  worker thief{q, 1};
  std::vector<int> log;
  for (int lap = 0; lap < 10; ++lap) {
    CHECK(w.push(noting(log, 2 * lap)));
    CHECK(w.push(noting(log, 2 * lap + 1)));
    REQUIRE(thief.run_one());
    REQUIRE(thief.run_one());
  }
  REQUIRE(log.size() == 20);
  for (int i = 0; i < 20; ++i) CHECK(log[static_cast<std::size_t>(i)] == i);
  CHECK(q.outstanding() == 1);
  end(q);
}

TEST_CASE("task_queue: tasks that submit themselves again do not keep those from outside waiting for ever", "[worker_pool]") {
  queue q{8, 1};
  worker w{q, 0};
  bool outside = false;
  CHECK(push(q, [&] { outside = true; }));
  int picks = 0;
  for (; !outside && picks < 1000; ++picks) {
    CHECK(w.push([] {}));
    REQUIRE(w.run_one());
  }
  CHECK(outside);
  CHECK(picks <= 61);
  end(q);
}

TEST_CASE("task_queue: what lies in the lane of a busy worker does not wait for the end of a stream from outside",
          "[worker_pool]") {
  queue q{8, 2};
  worker busy{q, 0};
  worker other{q, 1};
  bool stolen = false;
  CHECK(busy.push([&] { stolen = true; }));
  int picks = 0;
  for (; !stolen && picks < 1000; ++picks) {
    CHECK(push(q, [] {}));
    REQUIRE(other.run_one());
  }
  CHECK(stolen);
  CHECK(picks <= 61);
  end(q);
}

TEST_CASE("task_queue: with many tasks that wait, a worker takes several at a time, in their order", "[worker_pool]") {
  queue q{100, 1};
  worker w{q, 0};
  std::vector<int> log;
  for (int i = 0; i < 100; ++i) CHECK(push(q, noting(log, i)));
  CHECK(push(q, [] {}) == errc::full);
  REQUIRE(w.run_one());
  CHECK(q.queued() == 99);
  for (int i = 100; i < 110; ++i) CHECK(push(q, noting(log, i)));  // more than one place is free
  for (int i = 1; i < 110; ++i) REQUIRE(w.run_one());
  REQUIRE(log.size() == 110);
  for (int i = 0; i < 110; ++i) CHECK(log[static_cast<std::size_t>(i)] == i);
  end(q);
}

TEST_CASE("task_queue: resumptions from inside go first, and more of them than the lane holds are taken", "[worker_pool]") {
  queue q{4, 2, 4};
  worker w{q, 0};
  std::vector<int> log;
  std::vector<note> notes;
  notes.reserve(10);
  CHECK(w.push(noting(log, 100)));
  for (int i = 0; i < 10; ++i) q.push(w.slot, notes.emplace_back(log, i));
  CHECK(q.outstanding() == 11);
  CHECK(q.queued() == 1);
  for (int i = 0; i < 11; ++i) REQUIRE(w.run_one());
  CHECK(log == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100});
  end(q);
}

TEST_CASE("task_queue: after a stop nothing that lies in a lane begins, and all of it is destroyed", "[worker_pool]") {
  queue q{4, 2};
  worker w{q, 0};
  std::vector<int> log;
  const auto held = std::make_shared<int>(0);
  for (int i = 0; i < 3; ++i) CHECK(w.push([&log, held] { log.push_back(1); }));
  REQUIRE(w.run_one());
  q.close(detail::at_close::drop);
  SECTION("by who drops") {
    CHECK(q.drop_one());
    CHECK(q.drop_one());
    CHECK_FALSE(q.drop_one());
    CHECK(q.outstanding() == 1);
  }
  SECTION("by the worker") {}
  CHECK_FALSE(w.run_one());
  CHECK(log == std::vector{1});
  CHECK(held.use_count() == 1);
  CHECK(q.outstanding() == 0);
}

TEST_CASE("task_queue: a job is taken back by its worker, the newest first, or stolen, the oldest first; it is not counted",
          "[worker_pool]") {
  queue q{1, 2, 4};
  worker w{q, 0};
  worker thief{q, 1};
  std::vector<int> log;
  std::vector<note> jobs;
  jobs.reserve(5);
  for (int i = 0; i < 5; ++i) jobs.emplace_back(log, i);
  for (std::size_t i = 0; i < 4; ++i) CHECK(q.fork(w.slot.forks, jobs[i]));
  CHECK_FALSE(q.fork(w.slot.forks, jobs[4]));
  CHECK(q.outstanding() == 0);
  CHECK(w.slot.forks.pop() == &jobs[3]);
  REQUIRE(thief.run_one());
  CHECK(log == std::vector{0});
  CHECK(q.outstanding() == 0);
  CHECK(w.slot.forks.pop() == &jobs[2]);
  CHECK(w.slot.forks.pop() == &jobs[1]);
  CHECK(w.slot.forks.pop() == nullptr);
  end(q);
}

TEST_CASE("worker_pool: what is posted from inside runs once, is waited for, and leaves nothing behind", "[worker_pool]") {
  std::atomic<int> ran{0};
  struct tree {
    worker_pool* pool;
    std::atomic<int>* ran;
    int depth;
    void operator()() const {
      ++*ran;
      for (int i = 0; i < 2 && depth > 0; ++i) {
        if (!pool->post(tree{pool, ran, depth - 1})) std::terminate();
      }
    }
  };
  for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
    ran = 0;
    worker_pool pool{{.threads = threads, .queue_capacity = 16}};
    CHECK(pool.post(tree{&pool, &ran, 12}));
    CHECK(pool.drain());
    CHECK(ran == (1 << 13) - 1);
    CHECK(pool.queued() == 0);
  }
}

TEST_CASE("worker_pool: request_stop drops what a task has submitted from inside", "[worker_pool][hazard-09]") {
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1}};
  future<int> inner;
  event submitted;
  event go;
  auto outer = pool.submit([&] {
    inner = pool.submit([&] { return ++ran; });
    static_cast<void>(pool.post([&] { ++ran; }));
    submitted.set();
    go.wait();
    return pool.post([&] { ++ran; }) == errc::closed;
  });
  submitted.wait();
  CHECK(pool.queued() == 2);
  pool.request_stop();
  CHECK(pool.queued() == 0);
  go.set();
  CHECK(outer.get());
  try {
    static_cast<void>(inner.get());
    FAIL("it was dropped");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::cancelled);
  }
  CHECK(pool.shutdown());
  CHECK(ran == 0);
}

TEST_CASE("worker_pool: a worker has a lane for forked jobs in its own pool, and any other thread while it is a guest",
          "[worker_pool]") {
  worker_pool pool{{.threads = 2}};
  worker_pool other{{.threads = 1}};
  using access = detail::pool_access;
  CHECK(access::lane_here(pool) == nullptr);
  {
    const detail::fork_guest guest{pool};
    CHECK(guest.lane() != nullptr);
    CHECK(access::lane_here(pool) == guest.lane());
    CHECK(access::lane_here(other) == nullptr);
  }
  CHECK(access::lane_here(pool) == nullptr);
  CHECK(pool.submit([&] { return access::lane_here(pool) != nullptr && access::lane_here(other) == nullptr; }).get());
}

TEST_CASE("worker_pool: many tasks are posted in one call", "[worker_pool]") {
  std::atomic<int> ran{0};
  std::atomic<std::size_t> sum{0};
  worker_pool pool{{.threads = 2, .queue_capacity = 10}};
  const range_result counted = pool.post_n(1000, [&](std::size_t i) { sum += i; });
  CHECK(counted);
  CHECK(counted.count == 1000);
  std::array<move_only_function<void()>, 100> tasks;
  for (auto& one : tasks) one = [&] { ++ran; };
  CHECK(pool.post_n(tasks).count == 100);
  CHECK_FALSE(tasks[0]);
  CHECK(pool.drain());
  CHECK(sum == 999 * 1000 / 2);
  CHECK(ran == 100);
  CHECK(pool.submit([&] { return pool.post_n(50, [&](std::size_t) { ++ran; }).count; }).get() == 50);
  CHECK(pool.drain());
  CHECK(ran == 150);
  CHECK(pool.post_n(0, [](std::size_t) {}));
  CHECK_THROWS_AS(pool.post_n(tasks), std::invalid_argument);  // they are empty now
}

TEST_CASE("worker_pool: of many tasks those that did not go in are as they were", "[worker_pool]") {
  event entered;
  event open;
  int ran = 0;
  worker_pool pool{{.threads = 1, .queue_capacity = 4, .overflow = overflow::reject}};
  CHECK(pool.post([&] {
    entered.set();
    open.wait();
  }));
  entered.wait();
  std::array<move_only_function<void()>, 6> tasks;
  for (auto& one : tasks) one = [&] { ++ran; };
  const range_result put = pool.post_n(tasks);
  CHECK(put.count == 4);
  CHECK(put.error == errc::rejected);
  CHECK_FALSE(tasks[3]);
  CHECK(tasks[4]);
  const range_result none = pool.post_n(3, [&](std::size_t) { ++ran; });
  CHECK(none.count == 0);
  CHECK(none.error == errc::rejected);
  open.set();
  CHECK(pool.drain());
  CHECK(ran == 4);
  CHECK(pool.shutdown());
  const range_result late = pool.post_n(std::span{tasks}.subspan(4));
  CHECK(late.count == 0);
  CHECK(late.error == errc::closed);
  CHECK(tasks[4]);
}
