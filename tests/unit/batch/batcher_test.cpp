// batcher: when batches leave, who gets what, and who may give up. Its cache: batcher_cache_test.cpp; DataLoader's behaviours:
// dataloader_parity_test.cpp.
#include <penstock/batch/batcher.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/recording_tracer.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using keys = std::vector<int>;
using batches = std::vector<keys>;
using ints = batcher<int, int>;
using options = batcher_options<int, int>;
// Few types of functions: each costs the compiler a second.
using function = move_only_function<std::vector<int>(std::span<const int>)>;
using coroutine_function = move_only_function<task<std::vector<int>>(std::span<const int>)>;

// Ten times the key, and what was asked for.
struct source {
  batches asked;
  bool throws = false;
  int poison = -1;         // a key that fails whatever it is with
  std::ptrdiff_t off = 0;  // how many answers too many
  std::function<void()> during = [] {};

  move_only_function<std::vector<int>(std::span<const int>)> function() {
    return [this](std::span<const int> k) { return answer(keys(k.begin(), k.end())); };
  }
  coroutine_function coroutine() {
    return [this](std::span<const int> k) { return later(keys(k.begin(), k.end())); };
  }
  std::vector<int> answer(keys k) {
    asked.push_back(k);
    during();
    if (throws) throw std::runtime_error{"the source is down"};
    std::vector<int> values;
    for (const int i : k) {
      if (i == poison) throw std::runtime_error{"poison"};
      values.push_back(i * 10);
    }
    values.resize(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(values.size()) + off));
    return values;
  }
  task<std::vector<int>> later(keys k) { co_return answer(std::move(k)); }
};

template <class F>
std::string thrown_by(F&& f) {
  try {
    static_cast<void>(f());
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}

struct fragile {
  explicit fragile(int i) : id{i} {}
  fragile(const fragile& other) : id{other.id} {
    if (--copies_left == 0) throw std::runtime_error{"cannot be copied"};
  }
  bool operator==(const fragile&) const = default;
  int id;
  static inline int copies_left = 0;
};
struct fragile_hash {
  std::size_t operator()(const fragile& f) const { return static_cast<std::size_t>(f.id); }
};

// Uses the batcher while it is destroyed.
struct reentrant : std::exception {
  explicit reentrant(ints* of) : b{of} {}
  reentrant(const reentrant&) = default;
  ~reentrant() override { b->clear(1).flush(); }
  const char* what() const noexcept override { return "re-entrant"; }
  ints* b;
};

task<int> load_one(ints& b, int key) {
  auto r = co_await b.async_load(key);
  co_return r ? *r : -1;
}

}  // namespace

TEST_CASE(
    "batcher: an idle one calls the function at once; keys that come while a batch is under way leave together when it ends",
    "[batcher]") {
  source s;
  manual_executor loop;
  ints b{loop, s.function()};
  s.during = [&] {
    if (s.asked.size() == 1) CHECK(b.stats().in_flight == 1);
  };
  auto one = b.load(1);
  CHECK(loop.size() == 1);
  CHECK_FALSE(one.is_ready());
  loop.run_one();
  CHECK(one.get() == 10);

  event release;  // a batch that is under way until it is set
  std::vector<int> seen;
  auto slowly = [&](std::span<const int> k) -> task<std::vector<int>> {
    keys mine(k.begin(), k.end());
    s.asked.push_back(mine);
    static_cast<void>(co_await release.async_wait());
    for (int& i : mine) i *= 10;
    co_return mine;
  };
  ints slow{loop, coroutine_function{slowly}, {.max_batch_size = 3}};
  s.asked.clear();
  auto first = slow.load(1);
  loop.run_all();
  auto rest = slow.load_many({2, 3, 4, 5});
  loop.run_all();
  CHECK(s.asked == batches{{1}});
  CHECK(slow.stats().waiting == 4);
  release.set();
  loop.run_all();
  CHECK(first.get() == 10);
  CHECK(s.asked == batches{{1}, {2, 3, 4}, {5}});
  CHECK(rest[3].get() == 50);
  CHECK(slow.stats().batch_size.max() == 3);
  CHECK(slow.stats().in_flight == 0);
  CHECK(slow.stats().limit == 1);
}

TEST_CASE("batcher: a window is over when the oldest key has waited, when the batch is full by number or bytes, or is flushed",
          "[batcher]") {
  source s;
  manual_clock clock;
  options o{.max_batch_size = 3, .max_batch_bytes = 100, .max_delay = 10ms, .clock = clock};
  o.key_bytes = [](int key) { return static_cast<std::size_t>(key); };
  ints b{any_scheduler{}, s.function(), std::move(o)};
  auto a = b.load(1);
  clock.advance(6ms);
  auto c = b.load(2);
  clock.advance(3'999'999ns);
  CHECK(s.asked.empty());
  clock.advance(1ns);
  CHECK(s.asked == batches{{1, 2}});
  auto full = b.load_many({3, 4, 5});
  CHECK(s.asked.back() == keys{3, 4, 5});
  auto heavy = b.load_many({60, 61});
  CHECK(s.asked.back() == keys{60});  // the other one waits: it would be too much
  b.flush();
  CHECK(s.asked.back() == keys{61});
  auto alone = b.load_many({-1, -2});  // as sizes, they are more than can be added up
  CHECK(s.asked.back() == keys{-2});
  auto last = b.load(7);
  clock.advance(1h);
  CHECK(last.get() == 70);
  CHECK(clock.next_timer() == manual_clock::time_point::max());
  CHECK(s.asked.size() == 7);
}

TEST_CASE("batcher: flush_only waits for flush(), or for a schedule of one's own, which may keep what it is given", "[batcher]") {
  source s;
  std::vector<std::function<void()>> scheduled;
  {
    options o{.schedule = batch_schedule::flush_only};
    o.on_first_key = [&](std::function<void()> dispatch) { scheduled.push_back(std::move(dispatch)); };
    ints b{any_scheduler{}, s.function(), std::move(o)};
    auto all = b.load_many({1, 2});
    CHECK(s.asked.empty());
    REQUIRE(scheduled.size() == 1);
    scheduled[0]();
    CHECK(s.asked == batches{{1, 2}});
    auto three = b.load(3);
    REQUIRE(scheduled.size() == 2);
    b.flush();
    CHECK(three.get() == 30);
  }
  scheduled[1]();  // the batcher has gone
  CHECK(s.asked.size() == 2);
}

TEST_CASE("batcher: answers may be results, a map, or a task of one of these", "[batcher]") {
  const auto odd = [](std::span<const int> k) {
    std::vector<result<int>> r;
    for (const int i : k) r.push_back(i % 2 != 0 ? result<int>{i} : result<int>{errc::rejected});
    return r;
  };
  const auto mapped = [&](std::span<const int> k) {
    std::map<int, int> r;
    for (const int i : k) {
      if (i % 2 != 0) r[i] = i;
    }
    return r;
  };
  const auto later = [&](std::span<const int> k) -> task<std::map<int, int>> { co_return mapped(k); };
  for (const errc missing : {errc::rejected, errc::not_found}) {
    std::optional<ints> b;
    if (missing == errc::rejected) b.emplace(any_scheduler{}, odd);
    if (missing == errc::not_found) b.emplace(any_scheduler{}, mapped);
    auto all = b->load_many({1, 2});
    CHECK(all[0].get() == 1);
    CHECK_THROWS_AS(all[1].get(), std::system_error);
    CHECK(b->load(2, wait_limits{}).error() == missing);
    CHECK(b->stats().failed == 2);
  }
  batcher<int, int> b{any_scheduler{}, later};
  CHECK(spawn(b.async_load(4)).result().error() == errc::not_found);
  CHECK(spawn(b.async_load(5)).result() == 5);
  // A value that cannot be copied is held once, and looked at.
  batcher<int, std::unique_ptr<int>> unique{any_scheduler{}, [](std::span<const int> k) {
                                              std::vector<std::unique_ptr<int>> r;
                                              for (const int i : k) r.push_back(std::make_unique<int>(i));
                                              return r;
                                            }};
  auto f = unique.load(3);
  CHECK(*f.get() == 3);
}

TEST_CASE("batcher: a function that throws or miscounts fails every caller of that batch and nobody else",
          "[batcher][hazard-31]") {
  const auto coroutine = GENERATE(false, true);
  source s;
  manual_executor loop;
  std::optional<ints> b;
  const options o{.cache = {.max_entries = 10, .negative_ttl = 1h}};
  if (coroutine) {
    b.emplace(loop, s.coroutine(), options{.cache = o.cache, .metrics = true});
  } else {
    b.emplace(loop, s.function(), options{.cache = o.cache, .metrics = true});
  }
  struct fault {
    bool throws;
    std::ptrdiff_t off;
    const char* says;
  };
  for (const fault& f :
       {fault{true, 0, "the source is down"}, fault{false, -1, "a batch function gave 1 answers for a batch of 2"},
        fault{false, 2, "a batch function gave 4 answers for a batch of 2"}}) {
    s.throws = f.throws;
    s.off = f.off;
    auto waits = spawn(loop, b->async_load(2));
    auto bad = b->load_many({1, 2});
    loop.run_all();
    CHECK(thrown_by([&] { return bad[0].get(); }) == f.says);
    CHECK(thrown_by([&] { return bad[1].get(); }) == f.says);
    CHECK(thrown_by([&] { return waits.result(); }) == f.says);
    s.throws = false;
    s.off = 0;
    auto again = b->load_many({1, 2});  // they were not remembered
    loop.run_all();
    CHECK(again[1].get() == 20);
    CHECK(again[0].get() == 10);
    b->clear_all();
  }
  const auto stats = b->stats();
  CHECK(stats.failed == 6);
  CHECK(stats.batches == 6);
  CHECK(stats.function_time->count() == 6);
}

TEST_CASE("batcher: whatever the function does, who gives up meanwhile has given up, and all others get the same",
          "[batcher][hazard-04][hazard-17][hazard-31]") {
  const auto coroutine = GENERATE(false, true);
  struct fault {
    std::string name;
    std::string says;
  };
  for (const fault& f :
       {fault{"none", "nothing"}, fault{"recursive", "nothing"}, fault{"throws", "the source is down"},
        fault{"short", "a batch function gave 0 answers for a batch of 1"},
        fault{"long", "a batch function gave 2 answers for a batch of 1"},
        fault{"cancelled", std::system_error{make_error_code(errc::cancelled)}.what()}, fault{"re-entrant", "re-entrant"}}) {
    INFO(f.name);
    source s;
    manual_clock clock;
    manual_executor loop;
    std::stop_source stop;
    std::optional<ints> b;
    s.throws = f.name == "throws";
    s.off = f.name == "short" ? -1 : f.name == "long" ? 1 : 0;
    s.during = [&] {
      if (s.asked.size() != 1) return;
      clock.advance(10ms);
      stop.request_stop();
      if (f.name == "cancelled") throw std::system_error{make_error_code(errc::cancelled)};
      if (f.name == "recursive" && !coroutine) CHECK(b->load(2).get() == 20);
      if (f.name == "re-entrant") throw reentrant{&*b};
    };
    if (coroutine) {
      b.emplace(loop, s.coroutine());
    } else {
      b.emplace(loop, s.function());
    }
    auto late = spawn(b->async_load(1) | with_timeout(10ms, clock));
    auto stopped = spawn(b->async_load(1) | with_stop(stop.get_token()));
    auto waits = spawn(b->async_load(1));
    auto future = b->load(1);
    std::string thread_says;
    std::jthread thread{[&] { thread_says = thrown_by([&] { return b->load(1, wait_limits{}); }); }};
    while (b->stats().loads != 5) std::this_thread::yield();
    loop.run_all();
    thread.join();
    CHECK(thread_says == f.says);
    CHECK(thrown_by([&] { return future.get(); }) == f.says);
    CHECK(thrown_by([&] { return waits.result(); }) == f.says);
    CHECK(late.result().error() == errc::timeout);
    CHECK(stopped.result().error() == errc::cancelled);
    s.throws = false;
    s.off = 0;
    auto again = b->load(1);
    loop.run_all();
    CHECK(again.get() == 10);
    CHECK(b->stats().in_flight + b->stats().waiting == 0);
  }
}

TEST_CASE("batcher: a call has the span of its first key's load as its parent, the others' as links, and runs in its own",
          "[batcher][trace]") {
  using kind = trace_testing::told::kind;
  trace_testing::recording_tracer t;
  const trace_session session{t};
  std::vector<std::uint64_t> seen;
  manual_executor loop;
  ints squares{loop,
               function{[&](std::span<const int> some) {
                 seen.push_back(current_trace().span);
                 if (some.size() > 2) throw std::runtime_error{"too many"};
                 return std::vector<int>(some.begin(), some.end());
               }},
               {.schedule = batch_schedule::flush_only}};
  std::vector<shared_future<int>> all;
  for (int i = 1; i <= 5; ++i) {
    const trace_scope here{trace_testing::span_of(static_cast<std::uint64_t>(i))};
    all.push_back(squares.load(i));
    if (i != 2 && i != 5) continue;
    squares.flush();
    loop.run_all();
  }
  CHECK((all[1].get() == 2 && current_trace().span == 0));
  CHECK_THROWS(all[2].get());
  const auto begun = t.all(kind::started);
  const auto ended = t.all(kind::finished);
  const auto links = t.all(kind::linked);
  REQUIRE((seen.size() == 2 && begun.size() == 2 && ended.size() == 2 && links.size() == 3));
  CHECK((begun[0].parent == 1 && begun[0].context == seen[0] && begun[0].of == traced::batch));
  CHECK((begun[1].parent == 3 && ended[0].how == trace_outcome::completed && ended[1].why == "too many"));
  CHECK((links[0].parent == 2 && links[1].parent == 4 && links[2].parent == 5 && links[2].context == seen[1]));
}

TEST_CASE("batcher: a failed batch is split until the key that cannot be loaded is alone, if that is asked for",
          "[batcher][hazard-31]") {
  const auto coroutine = GENERATE(false, true);
  source s;
  s.poison = 3;
  manual_executor loop;
  std::optional<ints> b;
  if (coroutine) {
    b.emplace(loop, s.coroutine(), options{.split_failed_batches = true});
  } else {
    b.emplace(loop, s.function(), options{.split_failed_batches = true});
  }
  auto all = b->load_many({1, 2, 3, 4, 5});
  loop.run_all();
  for (int i = 0; i < 5; ++i) {
    if (i != 2) CHECK(all[static_cast<std::size_t>(i)].get() == (i + 1) * 10);
  }
  CHECK(thrown_by([&] { return all[2].get(); }) == "poison");
  CHECK(s.asked == batches{{1, 2, 3, 4, 5}, {1, 2}, {3, 4, 5}, {3}, {4, 5}});
  CHECK(b->stats().split == 2);
  CHECK(b->stats().failed == 1);
}

TEST_CASE("batcher: who gives up takes the key along, unless somebody else wants it or it has left",
          "[batcher][hazard-04][hazard-05]") {
  source s;
  manual_clock clock;
  manual_executor loop;
  ints b{loop, s.function(), {.max_delay = 50ms, .clock = clock}};
  std::stop_source stop;
  auto late = spawn(b.async_load(1) | with_timeout(10ms, clock));
  auto stopped = spawn(b.async_load(2) | with_stop(stop.get_token()));
  auto two = spawn(b.async_load(3) | with_timeout(10ms, clock));
  auto other = b.load(3);
  auto patient = spawn(b.async_load(4) | with_timeout(1h, clock));
  CHECK(b.load(5, wait_limits{.deadline = deadline::after(0ms, clock)}).error() == errc::timeout);
  CHECK(b.stats().waiting == 4);
  clock.advance(10ms);
  CHECK(late.result().error() == errc::timeout);
  CHECK(two.result().error() == errc::timeout);
  stop.request_stop();
  CHECK(stopped.result().error() == errc::cancelled);
  CHECK(b.load(6, stop.get_token()).error() == errc::cancelled);  // not even asked for
  CHECK(b.stats().abandoned == 3);
  clock.advance(40ms);
  auto gone = spawn(b.async_load(4) | with_timeout(1ms, clock));
  clock.advance(1ms);  // its batch is on its way, but still in line: patient wants it
  CHECK(gone.result().error() == errc::timeout);
  loop.run_all();
  CHECK(s.asked == batches{{3, 4}});
  CHECK(other.get() == 30);
  CHECK(patient.result() == 40);
}

TEST_CASE("batcher: a batch function may load from its own batcher, and wait, with a place for one batch", "[batcher]") {
  // A key n > 0 is loaded by way of n - 1. On its thread: inline, and on the only worker of a pool.
  const auto on_pool = GENERATE(false, true);
  worker_pool pool{{.threads = 1}};
  int calls = 0;
  ints* self = nullptr;
  const auto by_way_of = [&](std::span<const int> k) {
    ++calls;
    std::vector<int> r;
    for (const int i : k) r.push_back(i == 0 ? 1 : self->load(i - 1).get() + 1);
    return r;
  };
  ints b{on_pool ? pool.get_scheduler() : any_scheduler{}, function{by_way_of}};
  self = &b;
  CHECK(b.load(5).get() == 6);
  CHECK(calls == 6);
  CHECK(b.load(3, wait_limits{}) == 4);
  // As a coroutine, known by its stop token.
  manual_executor loop;
  ints* inner = nullptr;
  auto nested = [&inner](std::span<const int> k) -> task<std::vector<int>> {
    std::vector<int> r(k.begin(), k.end());
    for (int& i : r) {
      if (i == 0) continue;
      auto below = co_await inner->async_load(i - 1);
      i = *below + 1;
    }
    co_return r;
  };
  ints deep{loop, coroutine_function{nested}};
  inner = &deep;
  auto four = deep.load(4);
  loop.run_all();
  CHECK(four.get() == 4);
  // What others ask for meanwhile stays in line: it may need the very batch that waits.
  source s;
  event go;
  ints* own = nullptr;
  auto waits = [&](std::span<const int> k) -> task<std::vector<int>> {
    keys mine(k.begin(), k.end());
    s.asked.push_back(mine);
    if (mine[0] == 1) {
      static_cast<void>(co_await go.async_wait());
      static_cast<void>(co_await own->async_load(2));
    }
    co_return mine;
  };
  ints apart{loop, coroutine_function{waits}};
  own = &apart;
  auto one = apart.load(1);
  loop.run_all();
  auto other = apart.load(5);
  go.set();
  loop.run_all();
  CHECK(s.asked == batches{{1}, {2}, {5}});
  CHECK(other.is_ready());
}

TEST_CASE("batcher: what a batch function loads by load_many leaves together, by bytes as any batch, also from a coroutine",
          "[batcher]") {
  batches asked;
  ints* self = nullptr;
  const auto by_many = [&](std::span<const int> k) {
    asked.emplace_back(k.begin(), k.end());
    if (k[0] == 1) {
      for (auto& f : self->load_many({2, 3, 4})) f.wait();
    }
    return std::vector<int>(k.begin(), k.end());
  };
  struct another_thread {  // what it gets is over when execute() returns: nothing gathers on the way
    void execute(work_item& item) noexcept {
      std::jthread{[&item] { item(); }};
    }
  } at_once;
  options o{.max_batch_bytes = 100};
  o.key_bytes = [](int) { return std::size_t{50}; };
  ints b{any_scheduler{at_once}, function{by_many}, std::move(o)};
  self = &b;
  CHECK(b.load(1).get() == 1);
  CHECK(asked == batches{{1}, {4}, {2, 3}});  // who takes a batch sends for what is left first

  asked.clear();
  manual_executor loop;
  event go;  // after which the coroutine does not run on the thread that began the batch
  auto later = [&](std::span<const int> k) -> task<std::vector<int>> {
    keys mine(k.begin(), k.end());
    asked.push_back(mine);
    if (mine[0] != 1) co_return mine;
    static_cast<void>(co_await go.async_wait());
    keys below{2, 3};
    auto all = co_await self->async_load_many(below);
    co_return keys{all[0].get() + all[1].get()};
  };
  ints c{loop, coroutine_function{later}};
  self = &c;
  auto one = c.load(1);
  loop.run_all();
  go.set();
  loop.run_all();
  REQUIRE(one.is_ready());
  CHECK(one.get() == 5);
  CHECK(asked == batches{{1}, {2, 3}});
}

TEST_CASE("batcher: a thread of the executor that waits for a key runs its batch", "[batcher]") {
  source s;
  worker_pool pool{{.threads = 1}};
  ints b{pool, s.function(), {.max_delay = 1h}};
  CHECK(pool.submit([&] { return b.load(1).get(); }).get() == 10);
  // And one that is destroyed there needs nobody else.
  auto f = pool.submit([&] {
    std::optional<ints> inner;
    inner.emplace(pool, s.function(), options{.schedule = batch_schedule::flush_only});
    auto all = inner->load_many({2, 3});
    inner.reset();
    CHECK(all[0].is_ready());
    return all[1].get();
  });
  CHECK(f.get() == 30);
}

TEST_CASE("batcher: close() refuses, lets what is in line leave, and destruction waits for it; within a batch it does not",
          "[batcher][hazard-08][hazard-12]") {
  source s;
  std::vector<shared_future<int>> all;
  {
    manual_executor loop;
    ints b{loop, s.function(), {.schedule = batch_schedule::flush_only}};
    all = b.load_many({1, 2});
    b.close();
    b.close();
    CHECK(b.load(3, wait_limits{}).error() == errc::closed);
    CHECK_THROWS_AS(b.load(1).get(), std::system_error);
    CHECK(spawn(b.async_load(3)).result().error() == errc::closed);
    CHECK(b.stats().closed == 3);
    CHECK(b.stats().refused == 0);
    CHECK_FALSE(all[0].is_ready());
    loop.run_all();
  }
  CHECK(all[1].get() == 20);
  // What a batch needs that is under way when it is closed is loaded still.
  ints* closing = nullptr;
  ints recursive{any_scheduler{}, function{[&](std::span<const int> k) {
                   closing->close();
                   return keys{k[0] == 0 ? 1 : closing->load(k[0] - 1).get() + 1};
                 }}};
  closing = &recursive;
  CHECK(recursive.load(3).get() == 4);
  CHECK(recursive.load(3, wait_limits{}).error() == errc::closed);
  // The last one who is told destroys it; and the function itself does.
  auto b = std::make_unique<ints>(any_scheduler{}, s.function());
  auto destroyer = [](std::unique_ptr<ints>& owned) -> task<int> {
    const int value = co_await load_one(*owned, 4);
    owned.reset();
    co_return value;
  };
  CHECK(spawn(destroyer(b)).result() == 40);
  // So it does where the function was resumed by a plain thread, with nothing below it.
  std::coroutine_handle<> resumed;
  struct foreign {
    std::coroutine_handle<>* to;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) const noexcept { *to = h; }
    std::vector<int> await_resume() const { return {44}; }
  };
  b = std::make_unique<ints>(any_scheduler{}, [&](std::span<const int>) { return foreign{&resumed}; });
  auto told = spawn(destroyer(b));
  resumed.resume();
  CHECK(told.result() == 44);
  std::optional<shared_future<int>> next;
  b = std::make_unique<ints>(any_scheduler{}, s.function());
  s.during = [&] {
    if (b == nullptr) return;
    next = b->load(6);
    b.reset();
  };
  auto five = b->load(5);
  CHECK(five.get() == 50);
  CHECK(next->get() == 60);
}

TEST_CASE("batcher: refuses what it cannot do, and more keys than may wait", "[batcher][hazard-27]") {
  source s;
  const auto bad = [&](options o) {
    CHECK_THROWS_AS((ints{any_scheduler{}, s.function(), std::move(o)}), std::invalid_argument);
  };
  bad({.max_batch_size = 0});
  bad({.max_batch_bytes = 10});
  bad({.max_delay = -1ns});
  bad({.max_in_flight_batches = 0});
  bad({.max_waiting_keys = 0});
  bad({.quiet_rounds = 0});
  bad({.cache = {.ttl = -1s}});
  manual_executor loop;
  options most{.max_batch_bytes = SIZE_MAX - 1};
  most.key_bytes = [](int) { return SIZE_MAX / 2 + 1; };
  ints heavy{loop, s.function(), std::move(most)};
  auto one = heavy.load(1);
  CHECK(heavy.load(2, wait_limits{}).error() == errc::full);  // the bytes that wait could not be counted
  ints b{loop, s.function(), {.max_waiting_keys = 2, .metrics = true}};
  auto all = b.load_many({1, 2, 3, 1});
  loop.run_all();
  CHECK(all[3].get() == 10);
  try {
    all[2].get();
    FAIL("a third key waited");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::full);
  }
  const auto stats = b.stats();
  CHECK(stats.loads == 3);
  CHECK(stats.shared == 1);
  CHECK(stats.refused == 1);
  CHECK(stats.saved() == Approx(1.0 / 3));
  CHECK(stats.queue_time->count() == 2);
  CHECK(stats.function_time->count() == 1);
}

TEST_CASE("batcher: a key that cannot be copied fails its load, or the batch, and no other", "[batcher][hazard-31]") {
  manual_executor loop;
  batcher<fragile, int, fragile_hash> b{loop, [](std::span<const fragile> k) {
                                          std::vector<int> r;
                                          for (const fragile& f : k) r.push_back(f.id);
                                          return r;
                                        }};
  const fragile one{1};
  const fragile two{2};
  fragile::copies_left = 1;
  CHECK(thrown_by([&] { return b.load(one).get(); }) == "cannot be copied");
  CHECK(b.stats().waiting == 0);
  for (const int at : {3, 4}) {  // while the batch copies its keys
    fragile::copies_left = at;
    auto first = b.load(one);
    auto second = b.load(two);
    loop.run_all();
    CHECK(thrown_by([&] { return first.get(); }) == "cannot be copied");
    CHECK(thrown_by([&] { return second.get(); }) == "cannot be copied");
  }
  auto first = b.load(one);
  auto second = b.load(two);
  loop.run_all();
  CHECK(first.get() == 1);
  CHECK(second.get() == 2);
}
