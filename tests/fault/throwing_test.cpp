// Items, tasks and handlers that throw: where the exception arrives, what is left behind, and that every instance is destroyed exactly once
// (hazards 19 and 30).
#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/catch.hpp"

namespace {

using namespace penstock;

struct on_purpose : std::runtime_error {
  on_purpose() : std::runtime_error{"on purpose"} {}
};

// Knows how many of it there are. Construction registers an address, destruction must find it.
template <bool Throwing>
class instance {
 public:
  static inline std::atomic<int> living{0};
  static inline std::atomic<int> until_throw{0};  // the n-th move or copy from now on throws

  explicit instance(int v) noexcept : value{v}, self_{this} { ++living; }
  instance(instance&& other) noexcept(!Throwing) : value{other.value}, self_{this} {
    count();
    other.value = -1;
    ++living;
  }
  instance(const instance& other) : value{other.value}, self_{this} {
    count();
    ++living;
  }
  instance& operator=(instance&&) = delete;
  instance& operator=(const instance&) = delete;
  ~instance() {
    if (std::exchange(self_, nullptr) != this) std::abort();  // destroyed twice, or moved by memcpy
    --living;
  }

  int value;

 private:
  static void count() {
    if constexpr (Throwing) {
      if (until_throw > 0 && --until_throw == 0) throw on_purpose{};
    }
  }
  instance* self_;
};
using quiet_item = instance<false>;
using throwing_item = instance<true>;

// Destroyed before and after the run, all of them.
template <class Item>
struct all_destroyed {
  all_destroyed() { REQUIRE(Item::living == 0); }
  ~all_destroyed() { CHECK(Item::living == 0); }
};

}  // namespace

TEST_CASE("throwing: an item whose move throws on the way in stays with the caller, and the channel goes on", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{2};
  for (int n = 1;; ++n) {
    throwing_item item{n};
    throwing_item::until_throw = n;
    bool thrown = false;
    try {
      static_cast<void>(c.push(std::move(item)));
    } catch (const on_purpose&) {
      thrown = true;
    }
    throwing_item::until_throw = 0;
    if (thrown) {
      REQUIRE(c.empty());
      REQUIRE(item.value == n);
      continue;
    }
    REQUIRE(n > 1);  // it did throw once
    REQUIRE(c.size() == 1);
    REQUIRE(c.pop()->value == n);
    break;
  }
}

TEST_CASE("throwing: of a pop whose move throws the item is lost, the place is free and the next item comes", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{2};
  REQUIRE(c.push(throwing_item{1}));
  REQUIRE(c.push(throwing_item{2}));
  throwing_item::until_throw = 1;
  REQUIRE_THROWS_AS(c.pop(), on_purpose);
  REQUIRE(c.size() == 1);
  REQUIRE(c.try_push(throwing_item{3}));
  REQUIRE(c.pop()->value == 2);
  REQUIRE(c.pop()->value == 3);
}

TEST_CASE("throwing: a pop whose move throws makes room for who waits to push", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{1};
  REQUIRE(c.push(throwing_item{1}));
  throwing_item second{2};
  auto pusher = spawn(c.async_push(std::move(second)));
  REQUIRE_FALSE(pusher.done());
  throwing_item::until_throw = 1;
  REQUIRE_THROWS_AS(c.try_pop(), on_purpose);
  REQUIRE(pusher.done());
  REQUIRE(pusher.result());
  REQUIRE(c.pop()->value == 2);

  SECTION("of several items") {
    channel<throwing_item> two{2};
    REQUIRE(two.push(throwing_item{1}));
    REQUIRE(two.push(throwing_item{2}));
    throwing_item third{3};
    throwing_item fourth{4};
    auto first_pusher = spawn(two.async_push(std::move(third)));
    auto second_pusher = spawn(two.async_push(std::move(fourth)));
    std::vector<throwing_item> out;
    out.reserve(8);
    for (int n = 1; n < 20 && !(first_pusher.done() && second_pusher.done()); ++n) {
      throwing_item::until_throw = n;
      try {
        static_cast<void>(two.pop_n(std::back_inserter(out), 2, {.deadline = deadline::after(std::chrono::nanoseconds{0})}));
      } catch (const on_purpose&) {
      }
      throwing_item::until_throw = 0;
      REQUIRE((two.size() == 2 || (first_pusher.done() && second_pusher.done())));  // nobody waits beside a free place
    }
  }
}

TEST_CASE("throwing: a waiting push whose own move throws gets the exception, and the next one in line the place", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{1};
  REQUIRE(c.push(throwing_item{1}));
  throwing_item second{2};
  throwing_item third{3};
  auto one = spawn(c.async_push(std::move(second)));
  auto two = spawn(c.async_push(std::move(third)));
  // The pop moves twice, out of the channel and into its result; waking comes before or after the second.
  bool thrown = false;
  for (int n = 2; !thrown; ++n) {
    REQUIRE(n < 10);
    throwing_item::until_throw = n;
    try {
      static_cast<void>(c.try_pop());
    } catch (const on_purpose&) {
    }
    throwing_item::until_throw = 0;
    if (!one.done()) continue;
    try {
      static_cast<void>(one.result());
      break;  // it went in; the pop was what threw
    } catch (const on_purpose&) {
      thrown = true;
    }
  }
  REQUIRE(thrown);
  REQUIRE(second.value == 2);
  REQUIRE(two.done());
  REQUIRE(two.result());
  REQUIRE(c.size() == 1);
  REQUIRE(c.pop()->value == 3);
}

TEST_CASE("throwing: a waiting pop whose move throws gets the exception", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{1};
  auto popper = spawn(c.async_pop());
  throwing_item item{1};
  throwing_item::until_throw = 2;  // the first move is the item's into the channel
  REQUIRE(c.push(std::move(item)));
  throwing_item::until_throw = 0;
  REQUIRE(popper.done());
  REQUIRE_THROWS_AS(popper.result(), on_purpose);
  REQUIRE(c.try_push(throwing_item{2}));
}

TEST_CASE("throwing: a range operation that ends with an exception has moved what it had moved", "[fault]") {
  const all_destroyed<throwing_item> check;
  channel<throwing_item> c{8};
  std::vector<throwing_item> items;
  items.reserve(4);
  for (int i = 0; i < 4; ++i) items.emplace_back(i);
  throwing_item::until_throw = 3;
  REQUIRE_THROWS_AS(c.push_range(items), on_purpose);
  throwing_item::until_throw = 0;
  REQUIRE(c.size() == 2);
  REQUIRE(items[2].value == 2);
  std::vector<throwing_item> out;
  out.reserve(8);
  struct append {
    using difference_type = std::ptrdiff_t;
    std::vector<throwing_item>* to;
    append& operator*() { return *this; }
    append& operator++() { return *this; }
    append operator++(int) { return *this; }
    append& operator=(throwing_item&& i) {
      to->push_back(std::move(i));
      return *this;
    }
  };
  throwing_item::until_throw = 4;
  try {
    static_cast<void>(c.pop_n(append{&out}, 8));
  } catch (const on_purpose&) {
  }
  throwing_item::until_throw = 0;
  REQUIRE(out.size() + c.size() <= 2);
}

TEST_CASE("throwing: every item of a channel is destroyed once, however it leaves", "[fault]") {
  const all_destroyed<quiet_item> check;
  SECTION("with the channel") {
    channel<quiet_item> c{4};
    for (int i = 0; i < 4; ++i) REQUIRE(c.push(quiet_item{i}));
    REQUIRE(c.pop()->value == 0);
    REQUIRE(c.push(quiet_item{4}));
    REQUIRE(quiet_item::living == 4);
  }
  SECTION("refused, timed out, stopped and closed: the caller keeps it") {
    channel<quiet_item> c{1};
    REQUIRE(c.push(quiet_item{1}));
    quiet_item item{2};
    REQUIRE_FALSE(c.try_push(std::move(item)));
    REQUIRE_FALSE(c.try_push_for(std::chrono::nanoseconds{0}, std::move(item)));
    std::stop_source stop;
    auto stopped = spawn(c.async_push(std::move(item)));
    stopped.request_stop();
    REQUIRE_FALSE(stopped.result());
    auto closed = spawn(c.async_push(std::move(item)));
    c.close();
    REQUIRE(closed.result().error() == errc::closed);
    REQUIRE(item.value == 2);
  }
  SECTION("handed from a waiting pusher, taken by a waiting popper, dropped with a future") {
    channel<quiet_item> c{1};
    auto popper = spawn(c.async_pop());
    REQUIRE(c.push(quiet_item{1}));
    REQUIRE(popper.done());
    quiet_item second{2};
    quiet_item third{3};
    REQUIRE(c.push(std::move(second)));
    auto pusher = spawn(c.async_push(std::move(third)));
    REQUIRE(c.pop()->value == 2);
    REQUIRE(pusher.result());
    promise<quiet_item> p;
    {
      future<quiet_item> nobody_looks = p.get_future();
    }
    p.set_value(quiet_item{4});
  }
  SECTION("of both kinds of ring") {
    channel<throwing_item> c{3};
    REQUIRE(c.push(throwing_item{1}));
    REQUIRE(c.push(throwing_item{2}));
    static_cast<void>(c.pop());
  }
  CHECK(throwing_item::living == 0);
}

TEST_CASE("throwing: a task that throws when it is copied or moved into the pool was not submitted", "[fault]") {
  const all_destroyed<throwing_item> check;
  std::atomic<int> ran{0};
  {
    worker_pool pool{{.threads = 1}};
    int refused = 0;
    for (int n = 1; n < 10; ++n) {
      const int before = ran;
      try {
        auto call = [&ran, item = throwing_item{n}] { ++ran; };
        throwing_item::until_throw = n;
        const result<void> r = pool.post(std::move(call));
        throwing_item::until_throw = 0;
        REQUIRE(r);
        REQUIRE(pool.drain());
        REQUIRE(ran == before + 1);
      } catch (const on_purpose&) {
        throwing_item::until_throw = 0;
        ++refused;
        REQUIRE(pool.drain());
        REQUIRE(ran == before);
      }
    }
    CHECK(refused > 0);
  }
}

TEST_CASE("throwing: a submitted callable that throws on its way gives the exception to the caller or to the future", "[fault]") {
  const all_destroyed<throwing_item> check;
  worker_pool pool{{.threads = 1}};
  int thrown = 0;
  int ran = 0;
  for (int n = 1; n < 10; ++n) {
    try {
      auto call = [item = throwing_item{n}] { return item.value; };
      throwing_item::until_throw = n;
      const int value = pool.submit(std::move(call)).get();
      REQUIRE(value == n);
      ++ran;
    } catch (const on_purpose&) {
      ++thrown;
    }
    throwing_item::until_throw = 0;
    REQUIRE(pool.drain());
  }
  CHECK(thrown > 0);
  CHECK(ran > 0);
  CHECK(pool.failed() == 0);
}

TEST_CASE("throwing: a value that throws on its way into the future becomes the future's exception", "[fault]") {
  const all_destroyed<throwing_item> check;
  worker_pool pool{{.threads = 1}};
  int thrown = 0;
  for (int n = 1; n < 6; ++n) {
    future<throwing_item> f = pool.submit([n] {
      throwing_item value{n};
      throwing_item::until_throw = n;
      return throwing_item{std::move(value)};
    });
    f.wait();
    throwing_item::until_throw = 0;
    try {
      const throwing_item got = f.get();
      REQUIRE(got.value == n);
    } catch (const on_purpose&) {
      ++thrown;
    }
    REQUIRE(pool.drain());
  }
  CHECK(thrown > 0);
}

TEST_CASE("throwing: what a posted task throws reaches the handler, a handler that throws ends nothing, and all is counted",
          "[fault]") {
  const all_destroyed<quiet_item> check;
  std::atomic<int> handled{0};
  {
    worker_pool pool{{.threads = 2, .on_error = [&handled](const std::exception_ptr& e) {
                        ++handled;
                        std::rethrow_exception(e);
                      }}};
    for (int i = 0; i < 10; ++i) {
      REQUIRE(pool.post([item = quiet_item{i}] { throw on_purpose{}; }));
    }
    REQUIRE(pool.drain());
    REQUIRE(pool.failed() == 10);
    REQUIRE(pool.submit([] { return 1; }).get() == 1);
  }
  REQUIRE(handled == 10);
}

TEST_CASE("throwing: what is dropped by request_stop is destroyed, and its future says cancelled", "[fault]") {
  const all_destroyed<quiet_item> check;
  semaphore begun{0};
  worker_pool pool{{.threads = 1}};
  future<void> running = pool.submit([&](const std::stop_token& stop) {
    begun.release();
    static_cast<void>(semaphore{0}.acquire(stop));
  });
  REQUIRE(begun.acquire());
  future<int> dropped = pool.submit([item = quiet_item{1}] { return item.value; });
  REQUIRE(pool.post([item = quiet_item{2}] {}));
  REQUIRE(quiet_item::living == 2);
  pool.request_stop();
  running.get();
  try {
    static_cast<void>(dropped.get());
    FAIL("a dropped task has a value");
  } catch (const std::system_error& e) {
    REQUIRE(e.code() == errc::cancelled);
  }
  REQUIRE(pool.shutdown());
}

namespace {

task<int> fails_after(semaphore& s, quiet_item) {
  static_cast<void>(co_await s.async_acquire());
  throw on_purpose{};
}
task<> forwards(semaphore& s) { static_cast<void>(co_await fails_after(s, quiet_item{1})); }

}  // namespace

TEST_CASE("throwing: a coroutine's exception reaches whoever waits for it, and its frame is gone", "[fault]") {
  const all_destroyed<quiet_item> check;
  semaphore s{0};
  {
    auto one = spawn(forwards(s));
    REQUIRE(quiet_item::living > 0);
    s.release();
    REQUIRE_THROWS_AS(one.result(), on_purpose);
  }
  s.release();
  REQUIRE_THROWS_AS(sync_wait(forwards(s)), on_purpose);
  {
    task_group group;
    group.spawn(forwards(s));
    group.spawn(forwards(s));  // stopped by its sibling's failure, then it throws, too
    s.release();
    REQUIRE_THROWS_AS(group.wait(), on_purpose);
  }
  {
    auto never_begun = forwards(s);
  }
  {
    auto never_looked_at = spawn(forwards(s));
  }
}
