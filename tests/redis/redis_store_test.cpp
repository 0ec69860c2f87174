// redis_store against a server: PENSTOCK_REDIS_SOCKET says where it is; run_store.py makes one.
#include <penstock/ext/redis_store.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <penstock/job/job_queue.hpp>

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

TEST_CASE("redis_store: runs jobs in their order, delayed ones when they are due, and settles them", "[redis_store]") {
  store_conformance::delays<bench>();
  store_conformance::settling<bench>();
  store_conformance::names<bench>();
  user u;
  for (const int p : {1, 2}) u.add(p);
  u.add(10, {.priority = 5});
  u.add(11, {.priority = 1});
  u.add(3, {.lifo = true});
  same(seq({u.in(job_state::waiting), "|", u.in(job_state::waiting, 1, 2), "|", u.in(job_state::waiting, 4, 5), "|",
            u.in(job_state::waiting, 9, 5)}),
       "3 1 2 11 10|1 2|10|");
  same(u.fetch(2), "3 1");
  same(std::to_string(u.fetched.more), "1");
  same(seq({u.fetch(10), std::to_string(u.fetched.more)}), "2 11 100");
  for (int i = 0; i < 4; ++i) u.add(20 + i);
  same(u.fetch(4), "20 21 22 23");
  for (int i = 0; i < 4; ++i) u.settle(20 + i);
  same(u.in(job_state::completed), "22 23");
}

TEST_CASE("redis_store: says what it cannot do, and of whom it cannot know the time", "[redis_store]") {
  user u;
  const auto refused = [&u](const enqueue_options& o) { return how(u.try_add(1, o)) == text(errc::unsupported); };
  CHECK(refused({.backoff = backoff::linear(1s, 9s)}));
  CHECK(refused({.backoff = backoff::exponential(1s, 9s, 3)}));
  CHECK(refused({.backoff = backoff::exponential(1s, 9s).with_jitter(jitter::decorrelated)}));
  CHECK(refused({.priority = 1, .lifo = true}));
  CHECK(refused({.group = "g"}));
  CHECK_THROWS_AS(u.try_add(1, {.job_id = "12"}), std::invalid_argument);
  CHECK_THROWS_AS(u.try_add(1, {.job_id = "a:b"}), std::invalid_argument);
  CHECK_THROWS_AS((redis_store<int>{server(), {}}), std::invalid_argument);
  CHECK_THROWS_AS((redis_store<int>{server(), {.queue = "a:b"}}), std::invalid_argument);
  u.now = 1h;
  CHECK(u.try_add(1).error() == redis_store_errc::wrong_clock);
  same(u.counts(), "waiting 0, delayed 0, active 0, completed 0, failed 0");
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

TEST_CASE("redis_store: a lease that was lost changes nothing", "[redis_store][hazard-32]") {
  user u;
  u.add(1);
  u.add(2);
  same(u.fetch(2), "1 2");
  lease_ticket t = u.ticket(1);
  same(u.extend(t, 20s), "ok");
  // The server's time counts, so the lock goes by hand; a job is missed at the second look.
  u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":1:lock").value();
  const auto look = [&u] {
    u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":stalled-check").value();
    const auto taken = u.store.take_back_stalled(u.now, 1).value();
    return std::to_string(taken.back) + std::to_string(taken.failed);
  };
  same(seq({look(), look()}), "0010");
  auto former = u.take(1);
  same(u.fetch(), "1");
  CHECK(u.leases.at(1).fence() > former.fence());
  same(seq({how(u.store.progress(former, 0.5)), how(u.store.log(former, "x"))}), text(errc::stale) + text(errc::stale));
  same(u.extend({.id = former.id(), .fence = former.fence()}, 10s), "lost");
  t = {.id = former.id(), .fence = former.fence()};
  u.store.hand_back({&t, 1}, u.now).value();
  same(std::to_string(t.lost), "1");
  same(u.settle(std::move(former)), "stale");
  same(u.counts(), "waiting 0, delayed 0, active 2, completed 0, failed 0");
  // Handed back over its head.
  t = u.ticket(2);
  u.store.hand_back({&t, 1}, u.now).value();
  same(seq({std::to_string(t.lost), u.settle(2, settle_as::failed), u.fetch()}), "0stale2");
  // The second stall is one too many: it fails when it is fetched, unrun.
  u.bench.redis.command("DEL", "bull:" + u.bench.queue + ":1:lock").value();
  same(seq({look(), look(), u.fetch(), u.in(job_state::failed)}), "00011");
  same(u.settle(1), "stale");
  u.store.obliterate(true).value();
  same(u.settle(2), "stale");
}

TEST_CASE("redis_store: jobs are looked at, removed, promoted, tried again and cleaned by hand", "[redis_store]") {
  user u;
  for (const int p : {1, 2, 3}) u.add(p);
  u.add(4, {.priority = 1});
  u.add(5, {.delay = 1s});
  u.store.pause().value();
  same(seq({u.fetch(9), u.counts()}), "waiting 4, delayed 1, active 0, completed 0, failed 0, paused");
  u.store.resume().value();
  same(u.fetch(), "1");
  same(seq({how(u.store.remove(u.ids[1])), how(u.store.remove(u.ids[2])), how(u.store.remove(u.ids[2]))}),
       text(errc::busy) + "ok" + text(errc::not_found));
  u.store.progress(u.leases.at(1), 0.25).value();
  same(std::to_string(static_cast<int>(u.store.find(u.ids[1]).value().progress * 100)), "25");
  same(seq({std::to_string(u.store.drain(false).value()), std::to_string(u.store.drain(true).value())}), "21");
  same(u.settle(1, settle_as::failed), "ok");
  u.now += 1s;
  u.add(6);
  same(seq({u.fetch(), u.settle(6, settle_as::failed)}), "6ok");
  same(seq({how(u.store.redrive(u.ids[1])), how(u.store.redrive(u.ids[1])), u.fetch()}), "ok" + text(errc::not_found) + "1");
  u.now += 1s;
  u.settle(1, settle_as::failed);
  same(std::to_string(u.store.redrive_all(1).value()), "1");
  u.now += 1s;
  same(seq({u.fetch(), u.settle(6, settle_as::failed)}), "6ok");
  same(seq({std::to_string(u.store.clean(job_state::failed, u.now - 1s, 9).value()), u.in(job_state::failed)}), "16");
  same(seq({how(u.store.obliterate(false)), u.counts()}), "okwaiting 0, delayed 0, active 0, completed 0, failed 0");
  same(seq({how(u.store.find(job_id{12345u})), how(u.store.find(job_id{}))}), text(errc::not_found) + text(errc::not_found));
  // More than one step takes.
  std::vector<int> payloads(2500, 7);
  const enqueue_options o;
  std::vector<job_entry<int>> entries;
  for (int& p : payloads) entries.push_back({&p, &o});
  u.store.add(entries, u.now).value();
  same(std::to_string(u.store.drain(false).value()), "2500");
}

TEST_CASE("redis_store: who submitted a job is told of its end, and listeners of what happens", "[redis_store]") {
  user u;
  const auto listener = std::make_shared<store_conformance::noted_listener>();
  u.store.subscribe(listener);
  struct told final : job_watch {
    void over(job_state s, const job_text& t) noexcept override {
      state = s;
      said = t;
      done.set();
    }
    event done;
    job_state state = job_state::waiting;
    job_text said;
  } completed, twin, failed, removed, late;
  const auto wait = [](told& w) {
    return w.done.try_wait_for(20s) ? std::to_string(static_cast<int>(w.state)) + (w.said ? *w.said : "")
                                    : std::string{"nothing"};
  };
  static_cast<void>(u.try_add(1, {.job_id = "one"}, &completed).value());
  static_cast<void>(u.try_add(9, {.job_id = "one"}, &twin).value());
  static_cast<void>(u.try_add(2, {}, &failed).value());
  static_cast<void>(u.try_add(3, {.delay = 1h}, &removed).value());
  same(u.fetch(9), "1 2");
  auto lease = u.take(1);
  job_settlement<redis_lease<int>> s{.lease = &lease, .value = std::make_shared<const std::string>("[1]")};
  u.store.settle({&s, 1}, u.now).value();
  u.settle(2, settle_as::failed);
  same(seq({wait(completed), wait(twin), wait(failed)}), "3[1]3[1]4why");
  static_cast<void>(u.try_add(9, {.job_id = "one"}, &late).value());
  same(wait(late), "3[1]");
  same(*u.store.find(job_id{"one"}).value().value, "[1]");
  u.store.remove(u.ids[3]).value();
  same(wait(removed), "0");
  u.store.unsubscribe(*listener);
  std::string events = listener->events;
  if (const auto at = events.find("=[1]"); at != std::string::npos) events.erase(at, 4);  // where listeners note values
  same(events,
       "added duplicate added added delayed started started completed failed retries_exhausted drained duplicate removed");
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
  // A value is JSON, whatever was given.
  auto two = u.take(2);
  const job_id id = two.id();
  s = {.lease = &two, .value = std::make_shared<const std::string>("no \"JSON\"")};
  u.store.settle({&s, 1}, u.now).value();
  same(*u.store.find(id).value().value, "\"no \\\"JSON\\\"\"");
}

TEST_CASE("redis_store: a payload whose reading throws is a dead letter, and those fetched with it are run", "[redis_store]") {
  redis_store<word> store{server(), {.queue = fresh_queue()}};
  const job_time now = bench::begin();
  word words[] = {{"good"}, {"bad"}, {"better"}};
  const enqueue_options usual;
  const job_entry<word> entries[] = {{&words[0], &usual}, {&words[1], &usual}, {&words[2], &usual}};
  store.add(entries, now).value();
  std::vector<redis_lease<word>> leases;
  CHECK(store.fetch({.most = 3, .now = now, .lease_until = now + 30s}, {}, leases));
  CHECK(leases.size() == 2);
  const auto failed = store.list(job_state::failed, 0, 9).value();
  CHECK(failed.size() == 1);
  for (const job_info& f : failed) CHECK(*f.why == "the payload cannot be read: a bad word");
}

TEST_CASE("redis_job_events: remembers ends for who is about to watch, and no older ones", "[redis_store]") {
  using end = std::pair<job_state, job_text>;
  detail::redis_job_events events{server(), "none", [](auto) {},
                                  [](const std::string&) -> std::optional<end> { return end{job_state::completed, nullptr}; }};
  store_conformance::noted_watch early;
  store_conformance::noted_watch late;
  const detail::redis_job_events::expecting one{events};
  events.look_at("x");  // it has ended
  const detail::redis_job_events::expecting other{events};
  events.watch(one, "x", early);
  CHECK(early.calls == 1);
  events.watch(other, "x", late);  // of another job of this name
  CHECK(late.calls == 0);
  events.look_at("x");
  CHECK(late.calls == 1);
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
    for (auto& w : watches) events.watch(all, std::to_string(&w - watches.data()), w);
    events.start().value();
    looking.wait();
    ending.set();
  }
  CHECK(looks < 100);
  for (const auto& w : watches) CHECK(w.calls == 1);
}

TEST_CASE("redis_store: drains no job that a flow or a scheduler of Node's waits for", "[redis_store]") {
  for (const char* field : {"parentKey", "rjk"}) {
    user u;
    for (const int p : {1, 2, 3}) u.add(p);
    u.bench.redis.command("HSET", "bull:" + u.bench.queue + ":2", field, "x").value();
    CHECK(u.store.drain(true).error() == errc::unsupported);
    CHECK(u.store.find(u.ids[2]).value().state == job_state::waiting);
    u.bench.redis.command("HDEL", "bull:" + u.bench.queue + ":2", field).value();
    CHECK(u.store.drain(true).value() >= 1);
    same(u.counts(), "waiting 0, delayed 0, active 0, completed 0, failed 0");
  }
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
