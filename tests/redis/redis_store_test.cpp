// redis_store against a server: PENSTOCK_REDIS_SOCKET says where it is; run_store.py makes one.
#include <penstock/ext/redis_store.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/job/job_queue.hpp>
#include <penstock/observe/registry.hpp>

#include "support/catch.hpp"
#include "support/store_conformance.hpp"

using namespace penstock;
using namespace std::chrono_literals;
using store_conformance::how;
using store_conformance::same;
using store_conformance::seq;
using store_conformance::text;

namespace {

redis_options server() {
  const char* const socket = std::getenv("PENSTOCK_REDIS_SOCKET");
  return {.unix_path = socket != nullptr ? socket : "/nowhere"};
}
std::string fresh_queue() {
  static std::atomic<int> n{0};
  return "test" + std::to_string(++n);
}

struct bench {
  static constexpr bool tells_later = true;
  static std::chrono::nanoseconds begin() {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()).time_since_epoch();
  }
  redis_store<int>& store() { return store_; }
  redis_connection redis{server()};
  const std::string queue = fresh_queue();
  redis_store<int> store_{server(),
                          {.queue = queue, .keep_completed = {.count = 2}, .keep_failed = {.count = 3}, .stalled_interval = 1ms}};
};
using user = store_conformance::user<bench>;

std::string text(redis_store_errc e) { return make_error_code(e).message(); }

struct word {
  std::string text;
};

}  // namespace

template <>
struct penstock::job_codec<word> {
  static std::string encode(const word& w) { return w.text; }
  static result<word> decode(std::string_view text) {
    if (text == "bad") throw std::out_of_range{"a bad word"};
    return word{std::string{text}};
  }
};

// All that this store refuses and others do. tests/redis/store_conformance_test.cpp has what it does in another way.
TEST_CASE("redis_store: says what it cannot do, and what to do instead", "[redis_store]") {
  user u;
  u.add(1);
  struct {
    const char* what;
    std::error_code got;
    redis_store_errc wanted;
    const char* advice;
  } const refusals[] = {
      {"linear backoff", u.try_add(2, {.backoff = backoff::linear(1s, 9s)}).error(), redis_store_errc::no_such_backoff,
       "retry_after()"},
      {"another factor", u.try_add(2, {.backoff = backoff::exponential(1s, 9s, 3)}).error(), redis_store_errc::no_such_backoff,
       "fixed"},
      {"decorrelated", u.try_add(2, {.backoff = backoff::exponential(1s, 9s).with_jitter(jitter::decorrelated)}).error(),
       redis_store_errc::no_such_backoff, "no, full or equal jitter"},
      {"lifo with a priority", u.try_add(2, {.priority = 1, .lifo = true}).error(), redis_store_errc::no_lifo_with_priority,
       "leave out"},
      {"a group", u.try_add(2, {.group = "g"}).error(), redis_store_errc::no_groups, "a queue of its own"},
      {"a group's rule", u.store.set_group("g", {}).error(), redis_store_errc::no_groups, "sqlite_store"},
      {"groups", u.store.groups().error(), redis_store_errc::no_groups, "sqlite_store"},
      {"a parent", u.try_add(2, {.parent = u.ids[1]}).error(), redis_store_errc::no_families, "job::enqueue()"},
      {"children", u.store.children(u.ids[1]).error(), redis_store_errc::no_families, "sqlite_store"},
      {"a schedule", u.store.put_schedule({.id = "s", .every = 1s}, 1, u.now).error(), redis_store_errc::no_schedules, "cron"},
      {"its end", u.store.remove_schedule("s").error(), redis_store_errc::no_schedules, "job schedulers"},
      {"schedules", u.store.schedules().error(), redis_store_errc::no_schedules, "sqlite_store"},
  };
  for (const auto& r : refusals) {
    INFO(r.what << ": " << r.got.message());
    CHECK((r.got == r.wanted && r.got == std::errc::operation_not_supported &&
           r.got.message().find(r.advice) != std::string::npos));
  }
  const auto throws = [&u](const char* id) {
    try {
      static_cast<void>(u.try_add(1, {.job_id = id}));
    } catch (const std::invalid_argument& e) {
      return std::string_view{e.what()}.find(id) != std::string_view::npos;
    }
    return false;
  };
  for (const char* id : {"12", "a:b", "meta", "wait"}) CHECK(throws(id));
  CHECK_THROWS_AS((redis_store<int>{server(), {}}), std::invalid_argument);
  CHECK_THROWS_AS((redis_store<int>{server(), {.queue = "a:b"}}), std::invalid_argument);
  u.now = 1h;
  const std::error_code e = u.try_add(1).error();
  CHECK((e == redis_store_errc::wrong_clock && e.message().find("store.clock()") != std::string::npos));
  same(u.counts(), "waiting 1, delayed 0, active 0, completed 0, failed 0");
}

TEST_CASE("redis_store: what BullMQ has words for comes back from its options", "[redis_store]") {
  user u;
  u.add(1, {.attempts = 7, .backoff = backoff::exponential(1s, 60s).with_jitter(jitter::full), .timeout = 3s, .keep_logs = 2});
  u.add(2, {.attempts = 2, .backoff = backoff::fixed(1500us)});
  same(u.fetch(2), "1 2");
  const job_policy& p = u.leases.at(1).policy();
  same(seq({std::to_string(p.attempts), " ", std::to_string(p.timeout / 1ms), " ", std::to_string(p.backoff.growth_at(3) / 1ms),
            " ", std::to_string(p.backoff.growth_at(30) / 1ms), " ", std::to_string(p.backoff.spread() == jitter::full)}),
       "7 3000 4000 60000 1");
  same(std::to_string(u.leases.at(2).policy().backoff.growth_at(2) / 1us), "2000");  // in whole ms, upwards
  for (const char* line : {"a", "b", "c"}) u.store.log(u.leases.at(1), line).value();
  const auto lines = u.store.logs(u.ids[1]).value();
  same(seq({std::to_string(lines.size()), lines.at(0), lines.at(1)}), "2bc");
  same(seq({how(u.store.logs(job_id{"none"})), std::to_string(u.store.payload(u.ids[1]).value()),
            how(u.store.payload(job_id{99u}))}),
       text(errc::not_found) + "1" + text(errc::not_found));
  // What is no number is nothing to run here.
  bench& b = u.bench;
  b.redis.command("HSET", "bull:" + b.queue + ":x", "name", "n", "data", "{}", "opts", "{\"removeOnFail\":false}", "timestamp", 1)
      .value();
  b.redis.command("LPUSH", "bull:" + b.queue + ":wait", "x").value();
  same(u.fetch(), "");
  const job_info x = u.store.find(job_id{"x"}).value();
  same(seq({std::to_string(static_cast<int>(x.state)), " ", *x.why, " ", *x.name}),
       "4 the payload cannot be read: Invalid argument n");
  // Ids in the line whose jobs are gone are passed over.
  b.redis.command("LPUSH", "bull:" + b.queue + ":wait", "ghost").value();
  u.add(3);
  same(u.fetch(), "3");
}

TEST_CASE("redis_store: fences grow, also where a job comes again at the same time or the server lost its data",
          "[redis_store][hazard-32]") {
  user u;
  std::uint64_t last = 0;
  const auto next = [&] {
    u.add(1, {.job_id = "one"});
    u.fetch();
    const std::uint64_t fence = u.leases.at(1).fence();
    const bool greater = fence > last;
    last = fence;
    u.leases.clear();
    return greater;
  };
  CHECK(next());
  u.store.obliterate(true).value();
  CHECK(next());
  // Whatever keys there were.
  const auto keys = u.bench.redis.command("KEYS", "bull:" + u.bench.queue + ":*").value();
  for (const auto& key : keys.items()) u.bench.redis.command("DEL", key.text()).value();
  CHECK(next());
  // Only the latest ones, as after a crash.
  const std::string newest = "bull:" + u.bench.queue + ":penstock:fence";
  const std::string before = u.bench.redis.command("GET", newest).value().text();
  u.store.obliterate(true).value();
  CHECK(next());
  u.bench.redis.command("SET", newest, before).value();
  u.store.obliterate(true).value();
  CHECK(next());
  CHECK(static_cast<double>(last) < 9007199254740992.0);  // what is exact in a script
}

TEST_CASE("redis_store: what goes over many jobs takes several steps, and redrives no more than it is told", "[redis_store]") {
  user u;
  std::vector<int> payloads(2500, 7);
  const enqueue_options o;
  std::vector<job_entry<int>> entries;
  for (int& p : payloads) entries.push_back({&p, &o});
  u.store.add(entries, u.now).value();
  same(std::to_string(u.store.drain(false).value()), "2500");
  // Draining is about each job once, however long the line is: taking one out of it is not as dear as looking through thousands.
  entries.resize(20'000, entries.front());
  u.store.add(entries, u.now).value();
  u.bench.redis.command("CONFIG", "RESETSTAT").value();
  same(std::to_string(u.store.drain(false).value()), "20000");
  const std::string spent = u.bench.redis.command("INFO", "commandstats").value().text();
  const auto each = [&spent](const std::string& command) {
    const std::size_t at = spent.find("usec_per_call=", spent.find("cmdstat_" + command + ":"));
    return std::stod(spent.substr(at + 14));
  };
  INFO(each("lrem") << " and " << each("hget") << " us");
  CHECK(each("lrem") < 50 * each("hget"));
  entries.resize(2500, entries.front());
  u.store.add(entries, u.now).value();
  u.store.obliterate(false).value();
  for (const int p : {1, 2}) u.add(p);
  same(seq({u.fetch(9), u.settle(1, settle_as::failed), u.settle(2, settle_as::failed),
            std::to_string(u.store.redrive_all(1).value()), u.counts()}),
       "1 2okok1waiting 1, delayed 0, active 0, completed 0, failed 1");
}

TEST_CASE("redis_store: who adds a job of a name that is free again is not told its predecessor's end", "[redis_store]") {
  user u;
  struct slow final : store_listener {  // holds up the thread that tells, with the first end in its hands
    void work_ready() noexcept override {}
    void room_made() noexcept override {}
    [[nodiscard]] bool wants_events() const noexcept override { return true; }
    void happened(std::span<const job_event> all) noexcept override {
      for (const auto& e : all) {
        if (e.what != job_event::kind::completed) continue;
        has_it.set();
        go_on.wait();
      }
    }
    event has_it;
    event go_on;
  };
  const auto listener = std::make_shared<slow>();
  u.store.subscribe(listener);
  store_conformance::noted_watch first, twin, second;
  const enqueue_options one{.job_id = "one"};
  static_cast<void>(u.try_add(1, one, &first).value());
  static_cast<void>(u.try_add(1, one, &twin).value());
  same(seq({u.fetch(), u.settle(1)}), "1ok");
  listener->has_it.wait();
  u.store.remove(job_id{"one"}).value();
  static_cast<void>(u.try_add(2, one, &second).value());
  listener->go_on.set();
  u.until([&] { return first.calls + twin.calls == 2; });
  same(seq({std::to_string(first.calls), first.said, std::to_string(twin.calls), twin.said, std::to_string(second.calls)}),
       "11001100"
       "0");
  same(seq({u.fetch(), u.settle(2, settle_as::failed)}), "2ok");
  u.until([&] { return second.calls == 1; });
  same(seq({std::to_string(second.calls), std::to_string(second.state == job_state::failed), second.said}), "11why");
  u.store.unsubscribe(*listener);
}

TEST_CASE("redis_store: jobs that are added with a settlement come with it, or not at all", "[redis_store]") {
  user u;
  u.add(1);
  same(u.fetch(), "1");
  int next[] = {2, 3};
  const enqueue_options plain;
  const enqueue_options first{.priority = 3};
  const job_entry<int> then[] = {{&next[0], &plain}, {&next[1], &first}};
  auto lease = u.take(1);
  auto stale = lease;
  job_settlement<redis_lease<int>> s{.lease = &lease, .then = then};
  u.store.settle({&s, 1}, u.now).value();
  s = {.lease = &stale, .then = then};
  u.store.settle({&s, 1}, u.now).value();
  CHECK(s.stale);
  same(u.fetch(9), "2 3");
  // A run whose end cannot be told to this layout has failed, rather than go on for ever.
  const enqueue_options odd{.group = "g"};
  const job_entry<int> others[] = {{&next[0], &plain}, {&next[1], &odd}};
  auto three = u.take(3);
  s = {.lease = &three, .then = others};
  u.store.settle({&s, 1}, u.now).value();
  same(u.counts(), "waiting 0, delayed 0, active 1, completed 1, failed 1");
  for (const char* id : {"12", "meta"}) {
    u.add(4);
    same(u.fetch(), "4");
    const enqueue_options named{.job_id = id};
    const job_entry<int> third[] = {{&next[0], &named}};
    auto four = u.take(4);
    s = {.lease = &four, .then = third};
    CHECK_NOTHROW(u.store.settle({&s, 1}, u.now).value());
  }
  same(u.counts(), "waiting 0, delayed 0, active 1, completed 1, failed 3");
  // A value is JSON, whatever was given.
  auto two = u.take(2);
  const job_id id = two.id();
  s = {.lease = &two, .value = std::make_shared<const std::string>("no \"JSON\"")};
  u.store.settle({&s, 1}, u.now).value();
  same(*u.store.find(id).value().value, "\"no \\\"JSON\\\"\"");
}

TEST_CASE("redis_store: many are settled and fetched in one step as each would be alone", "[redis_store]") {
  user u;
  const std::string base = "bull:" + u.bench.queue + ":";
  const auto redis = [&](auto... words) { return u.bench.redis.command(words...).value(); };
  for (const int p : {1, 2, 3}) u.add(p);
  redis("LPUSH", base + "wait", "ghost");
  for (const int p : {4, 5, 6}) u.add(p, {.attempts = 2});
  u.add(10, {.priority = 7});
  same(u.fetch(9), "1 2 3 4 5 6 10");
  CHECK((redis("LLEN", base + "wait").integer() == 0 && redis("LLEN", base + "active").integer() == 7));
  // One of them was lost to somebody else; one brings another along; those that come back are fetched by the same step, after others.
  u.add(7);
  redis("DEL", base + u.ids[3].to_string() + ":lock");
  redis("SADD", base + "stalled", u.ids[1].to_string(), u.ids[3].to_string(), "other");
  int next = 8;
  const enqueue_options named{.job_id = "eight"};
  const job_entry<int> then{&next, &named};
  std::vector<redis_lease<int>> leases;
  for (const int p : {1, 2, 3, 4, 5, 6, 10}) leases.push_back(u.take(p));
  using settlement = job_settlement<redis_lease<int>>;
  std::vector<settlement> all{{.lease = &leases[0]},
                              {.lease = &leases[1], .how = settle_as::failed, .why = std::make_shared<const std::string>("bad")},
                              {.lease = &leases[2], .then = {&then, 1}},
                              {.lease = &leases[3], .how = settle_as::retry},
                              {.lease = &leases[4], .how = settle_as::released},
                              {.lease = &leases[5], .then = {&then, 1}},
                              {.lease = &leases[6], .how = settle_as::retry, .at = u.now + 5s}};
  std::vector<redis_lease<int>> more;
  u.store.fetch({.most = 3, .now = u.now, .lease_until = u.now + 10s, .runs = 3}, all, more).value();
  std::string stale;
  for (const settlement& s : all) stale += s.stale ? '1' : '0';
  same(stale, "0010000");
  std::string got;
  for (const auto& l : more) got += std::to_string(l.payload()) + "/" + std::to_string(l.attempt()) + " ";
  same(got, "5/1 7/1 4/2 ");  // what was handed back goes first, what is tried again last but for what was added with the sixth
  same(u.store.list(job_state::waiting, 0, 9).value().at(0).id.to_string() + "|" + u.in(job_state::completed), "eight|1 6");
  same(u.counts(), "waiting 1, delayed 1, active 4, completed 2, failed 1");
  same(*u.store.find(u.ids[2]).value().why, "bad");
  CHECK(redis("SCARD", base + "stalled").integer() == 2);
  CHECK((redis("EXISTS", base + u.ids[1].to_string() + ":lock", base + u.ids[6].to_string() + ":lock").integer() == 0));
  CHECK((redis("EXISTS", base + u.ids[5].to_string() + ":lock", base + u.ids[4].to_string() + ":lock").integer() == 2));
  // A job of a flow stays in its place, and what is behind it.
  user f;
  for (const int p : {1, 2, 3}) f.add(p);
  f.bench.redis.command("HSET", "bull:" + f.bench.queue + ":2", "parentKey", "x").value();
  same(f.fetch(3), "1");
  same(f.in(job_state::waiting), "2 3");
}

TEST_CASE("redis_store: what many threads add at a time is added once, and each is told of its own", "[redis_store]") {
  user u;
  std::atomic<int> first{0};
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          int payload = 100 * t + i;
          const enqueue_options o{.job_id = i % 10 == 9 ? "shared" + std::to_string(i) : ""};
          const job_entry<int> e{&payload, &o};
          job_added added;
          u.store.add({&e, 1}, u.now, {&added, 1}).value();
          if (i % 10 != 9) {
            if (added.duplicate || u.store.payload(added.id).value() != payload) ++wrong;
          } else if (!added.duplicate) {
            ++first;
          }
        }
      });
    }
  }
  CHECK((wrong == 0 && first == 5));
  same(u.counts(), "waiting 275, delayed 0, active 0, completed 0, failed 0");
}

TEST_CASE("redis_store: a payload whose reading throws is a dead letter, and those fetched with it are run", "[redis_store]") {
  const std::string queue = fresh_queue();
  redis_store<word> store{server(), {.queue = queue}};
  const job_time now = bench::begin();
  word words[] = {{"good"}, {"bad"}, {"better"}};
  const enqueue_options usual;
  const job_entry<word> entries[] = {{&words[0], &usual}, {&words[1], &usual}, {&words[2], &usual}};
  job_added added[3];
  store.add(entries, now, added).value();
  std::vector<redis_lease<word>> leases;
  CHECK(store.fetch({.most = 3, .now = now, .lease_until = now + 30s}, {}, leases));
  CHECK(leases.size() == 2);
  const auto failed = store.list(job_state::failed, 0, 9).value();
  CHECK(failed.size() == 1);
  for (const job_info& f : failed) CHECK(*f.why == "the payload cannot be read: a bad word");
  // What reading it throws is the caller's, and no error of the server. The queue's own keys are no jobs.
  CHECK_THROWS_AS(store.payload(added[1].id), std::out_of_range);
  CHECK(store.payload(added[0].id).value().text == "good");
  redis_connection redis{server()};
  redis.command("HSET", "bull:" + queue + ":meta", "version", "bullmq:6.7.0").value();
  for (const char* key : {"active", "meta", "id", "failed", "none"}) {
    const job_id id{key};
    same(seq({how(store.payload(id)), how(store.find(id)), how(store.logs(id)), how(store.remove(id)), how(store.promote(id)),
              how(store.redrive(id))}),
         seq({text(errc::not_found), text(errc::not_found), text(errc::not_found), text(errc::not_found), text(errc::not_found),
              text(errc::not_found)}));
  }
  CHECK(redis.command("EXISTS", "bull:" + queue + ":active", "bull:" + queue + ":meta", "bull:" + queue + ":id")
            .value()
            .integer() == 3);
}

TEST_CASE("redis_job_events: remembers ends for who is about to watch, and no older ones", "[redis_store]") {
  using end = std::pair<job_state, job_text>;
  const std::string stream = fresh_queue();
  detail::redis_job_events events{server(), stream, [](auto) {},
                                  [](const std::string&) -> std::optional<end> { return end{job_state::failed, nullptr}; }};
  events.start().value();
  store_conformance::noted_watch early, late, other, last;
  redis_connection redis{server()};
  const detail::redis_job_events::expecting one{events};
  const auto ended = [&](const char* id) {
    return redis.command("XADD", stream, "*", "event", "completed", "jobId", id, "returnvalue", "1").value().text();
  };
  const std::string place = ended("x");
  events.watch(one, "end", "0-0", last);
  ended("end");
  user::until([&] { return last.calls == 1; });  // so it is read
  events.watch(one, "x", "0-0", early);
  events.watch(one, "x", place, late);  // of another job of this name
  same(seq({std::to_string(early.calls), std::to_string(late.calls)}), "10");
  ended("x");
  user::until([&] { return late.calls == 1; });
  same(seq({std::to_string(late.calls), late.said}), "11");
  events.watch(one, "y", place, other);
  events.look_at("y");
  same(seq({std::to_string(other.calls), std::to_string(other.state == job_state::failed)}), "11");
}

TEST_CASE("redis_job_events: its end waits for one look at the server and not for all", "[redis_store]") {
  std::vector<store_conformance::noted_watch> watches(100);
  std::atomic<int> looks{0};
  event looking;
  event ending;
  {
    detail::redis_job_events events{server(), "none", [](auto) {},
                                    [&](const std::string&) -> std::optional<std::pair<job_state, job_text>> {
                                      ++looks;
                                      looking.set();
                                      ending.wait();
                                      static_cast<void>(event{}.try_wait_for(20ms));  // of a server that does not answer
                                      return std::nullopt;
                                    }};
    const detail::redis_job_events::expecting all{events};
    for (auto& w : watches) events.watch(all, std::to_string(&w - watches.data()), "0-0", w);
    events.start().value();
    looking.wait();
    ending.set();
  }
  CHECK(looks < 100);
  for (const auto& w : watches) CHECK(w.calls == 1);
}

TEST_CASE("redis_store: takes no job that a flow or a scheduler of Node's waits for", "[redis_store]") {
  for (const char* field : {"parentKey", "rjk"}) {
    user u;
    for (const int p : {1, 2, 3}) u.add(p);
    const std::string base = "bull:" + u.bench.queue + ":";
    u.bench.redis.command("HSET", base + "2", field, "x").value();
    same(seq({how(u.store.obliterate(false)), how(u.store.obliterate(true)), how(u.store.remove(u.ids[2])), u.counts()}),
         seq({text(redis_store_errc::tied), text(redis_store_errc::tied), text(redis_store_errc::tied),
              "waiting 3, delayed 0, active 0, completed 0, failed 0"}));
    CHECK(u.store.drain(true).error() == redis_store_errc::tied);
    CHECK(u.store.find(u.ids[2]).value().state == job_state::waiting);
    u.bench.redis.command("HDEL", base + "2", field).value();
    CHECK(u.store.drain(true).value() >= 1);
    same(u.counts(), "waiting 0, delayed 0, active 0, completed 0, failed 0");
  }
  // A child that has failed is waited for still; one that has completed is not, nor is what a scheduler added and has failed.
  user u;
  const std::string base = "bull:" + u.bench.queue + ":";
  const auto tie = [&](int payload, const char* field) {
    return u.bench.redis.command("HSET", base + u.ids[payload].to_string(), field, "x").value();
  };
  for (int p = 1; p <= 7; ++p) u.add(p);
  same(u.fetch(9), "1 2 3 4 5 6 7");
  u.settle(1), u.settle(2);
  u.settle(3, settle_as::failed), u.settle(4, settle_as::failed);
  tie(1, "parentKey"), tie(3, "parentKey"), tie(4, "rjk");
  u.settle(5, settle_as::failed), u.settle(6, settle_as::failed),
      u.settle(7, settle_as::failed);  // three are kept, and the child
  same(seq({u.in(job_state::failed), "|", std::to_string(u.store.redrive_all(2).value()), "|", u.in(job_state::failed)}),
       "3 5 6 7|2|3 7");
  same(seq({std::to_string(u.store.clean(job_state::failed, u.now, 9).value()),
            std::to_string(u.store.clean(job_state::completed, u.now, 9).value()), u.in(job_state::failed),
            how(u.store.redrive(u.ids[3]))}),
       "123" + text(redis_store_errc::tied));
  same(how(u.store.obliterate(true)), text(redis_store_errc::tied));
  same(seq({u.fetch(9), u.settle(5, settle_as::failed), u.settle(6), u.counts()}),
       "5 6okokwaiting 0, delayed 0, active 0, completed 1, failed 2");
  u.bench.redis.command("HDEL", base + u.ids[3].to_string(), "parentKey").value();
  u.add(8), tie(8, "parentKey"), u.store.pause().value();
  same(seq({how(u.store.obliterate(true)), u.counts()}),
       text(redis_store_errc::tied) + "waiting 1, delayed 0, active 0, completed 1, failed 2, paused");
  // Nor is one replaced.
  u.add(9, {.delay = 1h, .deduplicate = deduplication{.id = "d", .replace = true}});
  tie(9, "rjk");
  u.add(10, {.delay = 1h, .deduplicate = deduplication{.id = "d", .replace = true}});
  same(seq({std::to_string(u.duplicate), u.in(job_state::delayed)}), "19");
}

TEST_CASE("redis_store: a server without memory renews leases, and gives back what stalled", "[redis_store]") {
  user u;
  u.add(1);
  same(u.fetch(), "1");
  u.bench.redis.command("CONFIG", "SET", "maxmemory", 1).value();
  lease_ticket t = u.ticket(1);
  const std::string renewed = how(u.store.extend({&t, 1}, u.now, u.now + 60s));
  const auto left = u.bench.redis.command("PTTL", "bull:" + u.bench.queue + ":1:lock");
  std::string taken;
  for (int look = 0; look < 2; ++look) {
    static_cast<void>(
        u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":1:lock", "bull:" + u.bench.queue + ":stalled-check"));
    const auto r = u.store.take_back_stalled(u.now, 1);
    taken += r ? std::to_string(r->back) : r.error().message();
  }
  u.bench.redis.command("CONFIG", "SET", "maxmemory", 0).value();
  same(renewed, "ok");
  CHECK(left.value().integer() > 40'000);
  same(taken, "01");
}

TEST_CASE("redis_store: what stalled goes before all others, and in its order", "[redis_store]") {
  user u;
  for (int p = 1; p <= 4; ++p) u.add(p);
  same(u.fetch(3), "1 2 3");
  for (const char* id : {"1", "2", "3"}) u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":" + id + ":lock").value();
  std::size_t back = 0;
  for (int look = 0; look < 2; ++look) {
    u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":stalled-check").value();
    back += u.store.take_back_stalled(u.now, 1).value().back;
  }
  same(std::to_string(back) + " " + u.fetch(4), "3 1 2 3 4");
}

TEST_CASE("redis_connection: limits that are longer than a clock can tell are none", "[redis]") {
  constexpr auto for_ever = std::chrono::nanoseconds::max();
  redis_options o = server();
  o.connect_timeout = o.command_timeout = o.reconnect_within = for_ever;
  redis_connection redis{o};
  CHECK(redis.command_blocking(for_ever, "PING"));
  redis_store<int> store{o, {.queue = fresh_queue(), .retry_within = for_ever}};
  CHECK(store.counts());
  o.unix_path = "/nowhere";
  redis_connection nobody{o};
  const std::jthread later{[&nobody] {
    static_cast<void>(event{}.try_wait_for(30ms));
    nobody.interrupt();
  }};
  CHECK(nobody.connect().error() == errc::cancelled);  // it was tried until then
}

TEST_CASE("redis_store: a registry sees its commands and connections", "[redis_store]") {
  user u;
  registry all;
  const auto joined = all.join("store", u.store);
  u.add(1);
  const registry_snapshot now = all.snapshot();
  REQUIRE(now.components.at(0).error.empty());
  const component_snapshot& s = now.components[0];
  CHECK(s.kind == "redis_store");
  CHECK(s.total("completed_total") >= 1);
  CHECK(s.total("failed_total") == 0);
  CHECK(s.total("in_flight") == 0);
  CHECK(s.total("limit") == 4);
  CHECK(s.total("adding") == 0);

  redis_store<int> nowhere{{.unix_path = "/nowhere", .reconnect_within = 0ms}, {.queue = "none", .retry_within = 30ms}};
  const auto joined_too = all.join("nowhere", nowhere);
  CHECK(nowhere.counts().error() == redis_errc::not_connected);
  const registry_snapshot later = all.snapshot();
  CHECK(later.components.at(1).total("failed_total") == 1);
  CHECK(later.components[1].total("retried_total") >= 1);
}
