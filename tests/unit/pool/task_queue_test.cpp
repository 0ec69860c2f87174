#include <penstock/pool/detail/task_queue.hpp>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/move_only_function.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

using task = move_only_function<void()>;
using queue = detail::task_queue<task>;
using work = detail::work<task>;

// A resumption that notes its number.
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

result<void> push(queue& q, task t) { return q.try_push(t); }

// What one worker does, by hand.
class worker {
 public:
  explicit worker(queue& q, std::size_t index = 0) : queue_{&q}, slot{q.slot_of(index)} {}
  bool next() { return queue_->next(slot, found); }
  void run(std::size_t pieces) {
    for (std::size_t i = 0; i < pieces; ++i) {
      REQUIRE(next());
      found();
    }
  }
  void run_all() {
    while (next()) found();
  }

 private:
  queue* queue_;

 public:
  queue::slot& slot;
  work found;
};

void end(queue& q) {
  q.close();
  while (q.drop_one()) {
  }
}

}  // namespace

TEST_CASE("task_queue: a capacity of 0 is refused", "[worker_pool]") { CHECK_THROWS_AS(queue(0, 1), std::invalid_argument); }

TEST_CASE("task_queue: a task that does not go in stays with the caller", "[worker_pool]") {
  queue q{2, 1};
  int ran = 0;
  task t = [&ran] { ++ran; };
  CHECK(push(q, [] {}));
  CHECK(q.try_push(t));
  CHECK_FALSE(t);
  t = [&ran] { ++ran; };
  CHECK(q.try_push(t) == errc::full);
  REQUIRE(t);
  CHECK(q.queued() == 2);
  q.close();
  CHECK(q.try_push(t) == errc::closed);
  REQUIRE(t);
  t();
  CHECK(ran == 1);
  end(q);
  CHECK(q.outstanding() == 0);
}

TEST_CASE("task_queue: tasks come out in order, around and around", "[worker_pool]") {
  queue q{3, 1};
  worker w{q};
  std::vector<int> log;
  int next = 0;
  for (int lap = 0; lap < 5; ++lap) {
    for (int n = 0; n < 2; ++n) CHECK(push(q, noting(log, next++)));
    w.run(2);
  }
  for (int i = 0; i < 10; ++i) CHECK(log[static_cast<std::size_t>(i)] == i);
  end(q);
}

TEST_CASE("task_queue: resumptions go first, but not more than fifteen in a row", "[worker_pool]") {
  queue q{3, 1};
  std::vector<int> log;
  for (const int t : {1001, 1002, 1003}) CHECK(push(q, noting(log, t)));
  std::vector<note> notes;
  notes.reserve(40);
  for (int i = 0; i < 40; ++i) CHECK(q.push(notes.emplace_back(log, i)));
  CHECK(q.queued() == 3);
  CHECK(q.outstanding() == 43);
  worker w{q};
  w.run(43);
  std::vector<int> expected;
  for (int i = 0; i < 40; ++i) {
    if (i == 15) expected.push_back(1001);
    if (i == 30) expected.push_back(1002);
    expected.push_back(i);
  }
  expected.push_back(1003);
  CHECK(log == expected);
  end(q);
}

TEST_CASE("task_queue: who waits for room gets the next place, and nobody overtakes him", "[worker_pool]") {
  queue q{1, 1};
  manual_clock clock;
  std::vector<int> log;
  CHECK(push(q, noting(log, 1)));
  std::optional<result<void>> put;
  task second = noting(log, 2);
  std::jthread waiting{[&] {
    detail::blocking_wait<queue, queue::room_node> wait{q, second};
    put = detail::to_result(wait.run({}, deadline{clock.now() + 1h, clock}));
  }};
  until([&] { return q.room_waiters() == 1; });
  worker w{q};
  REQUIRE(w.next());
  w.found();
  waiting.join();
  CHECK(*put);
  CHECK_FALSE(second);
  CHECK(push(q, noting(log, 3)) == errc::full);
  REQUIRE(w.next());
  w.found();
  CHECK(log == std::vector{1, 2});
  end(q);
}

TEST_CASE("task_queue: a wait for room that ends with nothing leaves the task with its owner", "[worker_pool]") {
  queue q{1, 1};
  manual_clock clock;
  std::stop_source stop;
  const deadline soon{clock.now() + 10ms, clock};
  CHECK(push(q, [] {}));
  task t = [] {};
  detail::outcome how = detail::outcome::pending;
  std::jthread waiting{[&] {
    detail::blocking_wait<queue, queue::room_node> wait{q, t};
    how = wait.run(stop.get_token(), soon);
  }};
  until([&] { return q.room_waiters() == 1; });
  SECTION("timed out") {
    clock.advance(10ms);
    waiting.join();
    CHECK(how == detail::outcome::timeout);
  }
  SECTION("stopped") {
    stop.request_stop();
    waiting.join();
    CHECK(how == detail::outcome::cancelled);
  }
  SECTION("closed") {
    q.close();
    waiting.join();
    CHECK(how == detail::outcome::closed);
  }
  CHECK(t);
  CHECK(q.queued() == 1);
  CHECK(q.room_waiters() == 0);
  end(q);
}

TEST_CASE("task_queue: drained means that the last piece was worked on to its end", "[worker_pool]") {
  queue q{4, 1};
  std::vector<int> log;
  note resumed{log, 2};
  const auto drained = [&q] {
    detail::blocking_wait<queue, queue::drained_node> wait{q};
    return wait.run(0) == detail::outcome::granted;  // a deadline long ago: one look
  };
  CHECK(drained());
  CHECK(push(q, noting(log, 1)));
  CHECK(q.push(resumed));
  CHECK(q.outstanding() == 2);
  CHECK_FALSE(drained());
  worker w{q};
  REQUIRE(w.next());
  CHECK(q.outstanding() == 2);
  REQUIRE(w.next());
  CHECK(q.outstanding() == 1);
  CHECK_FALSE(drained());
  q.close();
  CHECK_FALSE(w.next());
  CHECK(drained());
}

TEST_CASE("task_queue: what its submitter runs counts as outstanding, and is not begun after closing", "[worker_pool]") {
  queue q{1, 1};
  CHECK(q.begin_here());
  CHECK(q.outstanding() == 1);
  q.close();
  CHECK(q.begin_here() == errc::closed);
  std::vector<int> log;
  note last{log, 1};
  CHECK(q.push(last));  // its worker is there as long as something runs
  worker w{q};
  REQUIRE(w.next());
  w.found();
  q.finish_here();
  CHECK(q.outstanding() == 1);
  CHECK_FALSE(w.next());
}

TEST_CASE("task_queue: closed, it gives out what is left and then ends its workers", "[worker_pool]") {
  queue q{4, 2};
  std::vector<int> log;
  CHECK(push(q, noting(log, 1)));
  q.close();
  q.close();
  worker w{q};
  REQUIRE(w.next());
  w.found();
  CHECK_FALSE(w.next());
  CHECK_FALSE(w.found.task);
  CHECK(log == std::vector{1});
}

TEST_CASE("task_queue: a resumption is taken as long as a worker is left that will run it, and refused afterwards",
          "[worker_pool][hazard-08]") {
  queue q{1, 2};
  std::vector<int> log;
  note first{log, 1};
  note second{log, 2};
  worker ends_first{q, 1};
  worker w{q, 0};
  q.close();
  CHECK_FALSE(ends_first.next());
  CHECK(q.push(first));
  REQUIRE(w.next());
  w.found();
  CHECK_FALSE(w.next());
  CHECK_FALSE(q.push(second));
  CHECK(log == std::vector{1});
}

TEST_CASE("task_queue: workers that sleep when it is closed count as ended", "[worker_pool][hazard-10]") {
  queue q{1, 2};
  std::vector<int> log;
  note late{log, 1};
  std::atomic<int> ended{0};
  const auto sleeper = [&](std::size_t index) {
    worker w{q, index};
    if (!w.next()) ++ended;
  };
  std::jthread one{sleeper, 0};
  std::jthread two{sleeper, 1};
  until([&] { return q.idle() == 2; });
  q.close();
  CHECK_FALSE(q.push(late));
  CHECK(q.idle() == 0);
  one.join();
  two.join();
  CHECK(ended == 2);
}

TEST_CASE("task_queue: work that comes while all sleep wakes one, and more work wakes more", "[worker_pool]") {
  constexpr std::size_t count = 3;
  queue q{8, count};
  std::atomic<std::size_t> at_once{0};
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < count; ++i) {
    workers.emplace_back([&q, i] { worker{q, i}.run_all(); });
  }
  until([&] { return q.idle() == count; });
  for (int round = 0; round < 100; ++round) {
    at_once = 0;
    std::atomic<bool> warm{false};  // then one worker polls, and the others sleep
    CHECK(push(q, [&warm] { warm = true; }));
    until([&] { return warm.load(); });
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(push(q, [&] {  // ends when all of them run
        ++at_once;
        until([&] { return at_once >= count; });
      }));
    }
    until([&] { return q.outstanding() == 0; });
    if (round % 2 == 0) until([&] { return q.idle() == count; });
  }
  q.close();
}

TEST_CASE("task_queue: what is dropped was not begun, and is destroyed before it counts as done", "[worker_pool]") {
  queue q{4, 1};
  std::vector<std::size_t> outstanding;
  std::vector<int> log;
  struct noting_end {
    queue* q;
    std::vector<std::size_t>* seen;
    std::vector<int>* ran;
    noting_end(queue& on, std::vector<std::size_t>& s, std::vector<int>& r) : q{&on}, seen{&s}, ran{&r} {}
    noting_end(noting_end&& other) noexcept : q{std::exchange(other.q, nullptr)}, seen{other.seen}, ran{other.ran} {}
    ~noting_end() {
      if (q != nullptr) seen->push_back(q->outstanding());
    }
    void operator()() { ran->push_back(1); }
  };
  for (int i = 1; i <= 3; ++i) CHECK(push(q, noting_end{q, outstanding, log}));
  worker w{q};
  REQUIRE(w.next());
  q.close();
  CHECK(q.drop_one());
  CHECK(q.queued() == 1);
  CHECK(q.drop_one());
  CHECK_FALSE(q.drop_one());
  CHECK(outstanding == std::vector<std::size_t>{3, 2});
  CHECK(q.outstanding() == 1);
  CHECK(log.empty());
  CHECK_FALSE(w.next());
}
