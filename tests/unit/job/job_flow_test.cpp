#include <penstock/job/job_flow.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "note.hpp"

using namespace std::chrono_literals;
using job_test::note;
using penstock::child_failure;
using penstock::enqueue_options;
using penstock::errc;
using penstock::job;
using penstock::job_child;
using penstock::job_entry;
using penstock::job_flow;
using penstock::job_id;
using penstock::job_outcome;
using penstock::job_queue;
using penstock::job_state;
using penstock::job_worker;
using penstock::memory_store;
using penstock::result;

namespace {

using text = std::unique_ptr<std::string>;  // moves only
using handler = std::function<job_outcome(job<text>&)>;

text write(const std::string& s) { return std::make_unique<std::string>(s); }
/// Of those that a handler sees.
std::string seen(const job<text>& j) {
  const std::vector<job_child> all = j.children().value();
  std::string s;
  for (const job_child& c : all) {
    s += (s.empty() ? "" : " ") + (c.name != nullptr ? *c.name : "?") + (c.state == job_state::completed ? "" : "!");
  }
  return s;
}

/// A store that cannot do it.
struct plain_store : memory_store<text> {
  static constexpr bool families = false;
};

struct written_store : memory_store<note> {
  static constexpr bool blocks = true;
};

struct bench {
  explicit bench(handler h, penstock::job_worker_options o = {}) { worker.emplace(queue, loop, std::move(h), std::move(o)); }
  ~bench() {
    worker->request_stop();
    loop.run_all();
  }
  std::string counts() {
    const auto c = queue.counts().value();
    return std::to_string(c.waiting) + " " + std::to_string(c.waiting_children) + " " + std::to_string(c.completed) + " " +
           std::to_string(c.failed);
  }

  penstock::manual_clock clock;
  penstock::manual_executor loop;
  memory_store<text> store{};
  job_queue<text> queue{store, {.clock = clock}};
  std::optional<job_worker<text>> worker;
};

}  // namespace

TEST_CASE("job_flow: is added in one step, and a parent is run after its children", "[job_flow]") {
  std::string ran;
  bench b{handler{[&](job<text>& j) {
    ran += *j.payload() + "(" + seen(j) + ") ";
    return *j.payload() == "bad" ? job_outcome::failed("broken") : job_outcome::done();
  }}};
  job_flow<text> film{.payload = write("film"), .options = {.priority = 1}};
  film.children.push_back({.payload = write("scene"), .options = {.name = "scene"}});
  film.children.push_back({.payload = write("bad"), .options = {.name = "bad", .on_failure = child_failure::ignore}});
  film.children[0].children.push_back({.payload = write("shot"), .options = {.name = "shot"}});
  const std::vector<job_id> ids = b.queue.add_flow(std::move(film)).value();
  CHECK(ids.size() == 4);
  CHECK(film.payload == nullptr);
  CHECK(b.counts() == "2 2 0 0");
  b.loop.run_all();
  CHECK(ran == "shot() bad() scene(shot) film(scene bad!) ");
  CHECK(b.queue.find(ids[1]).value().parent == ids[0]);
  CHECK(*b.queue.children(ids[0]).value().at(1).text == "broken");
  // None of it, where there is no room for all; its payloads are the caller's still.
  memory_store<text> small{{.capacity = 2}};
  job_queue<text> few{small};
  few.add(write("x"), {.job_id = "x"}).value();
  job_flow<text> two{.payload = write("two")};
  two.children.push_back({.payload = write("one")});
  CHECK(few.add_flow(std::move(two), {.deadline = penstock::deadline::after(0s, b.clock)}).error() == errc::timeout);
  CHECK((two.payload != nullptr && two.children[0].payload != nullptr && few.counts().value().waiting == 1));
  few.add(write("y")).value();
  two.options.job_id = "x";  // a duplicate, with all that is below it: needs no room
  const std::vector<job_id> same = few.add_flow(std::move(two), {.deadline = penstock::deadline::after(0s, b.clock)}).value();
  CHECK((same[0] == job_id{"x"} && !same[1] && two.payload != nullptr));
}

TEST_CASE("job: adds jobs as it completes, or waits for them and goes on", "[job_flow]") {
  std::string ran;
  bench* here = nullptr;
  const auto handle = [&](job<text>& j) {
    const std::string& name = *j.payload();
    ran += name + std::to_string(j.attempt()) + "(" + seen(j) + ") ";
    if (name == "parent") {
      if (j.attempt() == 1 && j.children().value().empty()) {  // a first run
        j.enqueue(write("beside")).value();
        j.add_child(write("child"), {.name = "a"}).value();
        j.add_child(write("child"), {.name = "b"}).value();
        CHECK(here->counts() == "0 0 0 0");  // not before it is settled
        return job_outcome::wait_for_children();
      }
      if (j.attempt() == 1) {
        j.enqueue(write("never")).value();  // goes with the attempt that fails
        return job_outcome::failed("again");
      }
      j.enqueue(write("next"), {.job_id = "next"}).value();
    }
    if (name == "lost") {
      j.enqueue(write("never")).value();
      here->store.obliterate(true).value();
    }
    if (name == "loop" && j.children().value().size() < 3) {
      j.add_child(write("child"), {.name = "c"}).value();
      return job_outcome::wait_for_children();
    }
    if (name == "wrong") {
      CHECK_THROWS_AS(j.enqueue(write("x"), {.attempts = 0}), std::invalid_argument);
      CHECK_THROWS_AS(j.add_child(write("x"), {.parent = j.id()}), std::invalid_argument);
      j.add_child(write("alone")).value();  // nobody waits for it
    }
    return job_outcome::done();
  };
  bench b{handler{handle}, {.batch = 4}};
  here = &b;
  b.queue.add(write("parent"), {.attempts = 2}).value();
  b.loop.run_all();
  CHECK(ran == "parent1() beside1() child1() child1() parent1(a b) parent2(a b) next1() ");
  CHECK(b.worker->stats().waited == 1);
  ran.clear();
  b.queue.add(write("loop")).value();
  b.queue.add(write("wrong")).value();
  b.queue.add(write("loop")).value();
  b.loop.run_all();
  CHECK(ran ==
        "loop1() wrong1() loop1() child1() alone1() child1() loop1(c) loop1(c) child1() child1() loop1(c c) loop1(c c) child1() "
        "child1() loop1(c c c) loop1(c c c) ");
  ran.clear();
  b.queue.add(write("lost")).value();
  b.loop.run_all();
  CHECK(ran == "lost1() ");
  CHECK(b.counts() == "0 0 0 0");

  plain_store plain;
  penstock::detail::job_runner<text, plain_store> run{plain, 1};
  CHECK(run.enqueue(write("x"), {}, true).error() == errc::unsupported);
  CHECK(run.enqueue(write("x"), {.parent = penstock::job_id{1u}}, false).error() == errc::unsupported);
  CHECK(run.enqueue(write("x"), {}, false).has_value());  // which takes no family
  CHECK(run.outbox.close(true).size() == 1);
  // What a store that writes payloads down would refuse with the settlement, and so for ever.
  written_store written;
  penstock::detail::job_runner<note, written_store> writing{written, 1};
  CHECK_THROWS_AS(writing.enqueue({-1}, {}, true), std::range_error);
  CHECK(writing.outbox.close(true).empty());
  CHECK(writing.enqueue({1}, {}, true).has_value());
}

TEST_CASE("memory_store: a family of any depth fails, goes on, waits again and is removed in one step each", "[job_flow]") {
  constexpr std::size_t depth = 10'000;
  memory_store<text> store{{.capacity = depth, .keep_completed = {.count = depth}, .keep_failed = {.count = depth}}};
  std::vector<text> payloads(depth);
  const enqueue_options o;
  std::vector<job_entry<text>> chain;
  for (std::size_t i = 0; i < depth; ++i) {
    chain.push_back({.payload = &payloads[i], .options = &o, .parent = i - 1});
  }
  chain[0].parent = job_entry<text>::no_entry;
  std::vector<penstock::job_added> added(depth);
  store.add(chain, 0s, added).value();
  using lease = memory_store<text>::lease_type;
  std::vector<lease> leases;
  const auto run = [&](penstock::settle_as how) {
    store.fetch({.most = 2, .now = 1s, .lease_until = 9s}, {}, leases).value();
    CHECK(leases.size() == 1);
    penstock::job_settlement<lease> s{.lease = &leases[0], .how = how, .why = std::make_shared<const std::string>("no")};
    store.settle({&s, 1}, 1s).value();
    leases.clear();
  };
  run(penstock::settle_as::failed);
  CHECK(store.counts().value().failed == depth);
  CHECK(*store.find(added[0].id).value().why == "child " + added[1].id.to_string() + " has failed: no");
  store.redrive(added.back().id).value();
  CHECK(store.counts().value().waiting_children == depth - 1);
  run(penstock::settle_as::completed);
  run(penstock::settle_as::completed);
  CHECK(store.find(added[depth - 3].id).value().state == job_state::waiting);
  store.remove(added[0].id).value();
  CHECK(store.counts().value().waiting + store.counts().value().waiting_children == 0);
  CHECK(store.counts().value().completed == 2);
}
