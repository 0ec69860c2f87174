#include <penstock/core/tracer.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/recording_tracer.hpp"

using namespace penstock;
using trace_testing::recording_tracer;
using trace_testing::span_of;
using trace_testing::told;
using kind = told::kind;

TEST_CASE("worker_pool: a task has the submitter's span as its parent and runs in its own, however it was submitted",
          "[trace][pool]") {
  recording_tracer t;
  const trace_session session{t};
  worker_pool pool{{.threads = 2, .priorities = 2}};
  std::vector<std::uint64_t> seen;
  std::array<move_only_function<void()>, 2> several;
  std::uint64_t id = 0;
  const auto note = [&seen] { seen.push_back(current_trace().span); };
  const auto run = [&](auto submit) {
    const trace_scope here{span_of(++id)};
    submit();
    pool.drain().value();
    CHECK(current_trace().span == id);
  };
  run([&] { pool.post(note).value(); });
  run([&] { pool.post(wait_limits{}, note).value(); });
  run([&] { pool.post({.priority = 0}, note).value(); });
  run([&] { pool.try_post(note).value(); });
  run([&] {
    several[0] = note;
    CHECK(pool.post_n({several.data(), 1}).count == 1);
  });
  run([&] { CHECK(pool.post_n(1, [note](std::size_t) { note(); }).count == 1); });
  run([&] { pool.submit(note).get(); });
  run([&] { pool.submit([note](std::stop_token) { note(); }).get(); });
  run([&] { pool.submit(note, {.priority = 1}).get(); });

  strand serial{pool};
  run([&] { serial.post(note).value(); });
  run([&] { serial.submit(note).get(); });

  const std::vector<told> begun = t.all(kind::started);
  const std::vector<told> ended = t.all(kind::finished);
  REQUIRE(seen.size() == id);
  REQUIRE((begun.size() == id && ended.size() == id && t.count(kind::enqueued) == id));
  for (std::size_t i = 0; i < id; ++i) {
    CHECK((begun[i].parent == i + 1 && begun[i].context == seen[i] && begun[i].of == traced::task));
    CHECK((ended[i].context == seen[i] && ended[i].how == trace_outcome::completed));
  }
}

TEST_CASE("worker_pool: a span says what became of its task before anybody else hears of it; what did not go in is the caller's",
          "[trace][pool]") {
  recording_tracer t;
  const trace_session session{t};
  event hold;
  event runs;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::reject}};
  pool.post([&] {
        runs.set();
        hold.wait();
      })
      .value();
  runs.wait();
  auto fails = pool.submit([]() -> int { throw std::runtime_error{"no"}; });
  CHECK(t.count(kind::finished) == 0);
  CHECK(pool.post([] {}).error() == errc::rejected);
  REQUIRE(t.count(kind::finished) == 1);
  CHECK((t.all(kind::finished)[0].how == trace_outcome::cancelled && t.count(kind::started) == 1));

  auto counted = std::make_shared<int>(0);
  std::array<move_only_function<void()>, 1> mine{[counted] { ++*counted; }};
  CHECK(pool.post_n(mine).error == errc::rejected);
  CHECK(t.count(kind::finished) == 2);
  REQUIRE(mine[0]);
  mine[0]();
  CHECK(*counted == 1);

  hold.set();
  CHECK_THROWS_AS(fails.get(), std::runtime_error);
  const std::vector<told> ended = t.all(kind::finished);
  CHECK((ended.back().how == trace_outcome::failed && ended.back().why == "no"));

  pool.drain().value();
  pool.pause();
  auto dropped = pool.submit([] {});
  CHECK(pool.purge() == 1);
  CHECK_THROWS(dropped.get());
  CHECK(t.all(kind::finished).back().how == trace_outcome::cancelled);
}

TEST_CASE("trace_session: tasks may be under way when it ends, and are not told any more", "[trace][pool]") {
  recording_tracer t;
  worker_pool pool{{.threads = 1}};
  pool.pause();
  future<std::uint64_t> span;
  {
    const trace_session session{t};
    const trace_scope here{span_of(9)};
    span = pool.submit([] { return current_trace().span; });
    pool.post([] {}).value();
  }
  pool.resume();
  CHECK(span.get() == 9);
  pool.drain().value();
  CHECK(t.count(kind::enqueued) == 2);
  CHECK(t.all().size() == 2);
  CHECK(pool.submit([] { return current_trace().span; }).get() == 0);
}
