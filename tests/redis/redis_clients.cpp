// Clients of a Redis server, for run_redis.py, which starts the server, kills it meanwhile, and compares what several of these say.
//
//   redis_clients connection SOCKET                     checks by itself
//   redis_clients fake SOCKET                           against a server that misbehaves: each line that is read is what it does next
//   redis_clients outage SOCKET                         up, down, end: what a connection sees
//   redis_clients bucket SOCKET NAME SECONDS            takes tokens; prints when each call began and ended, in ns of the steady clock
//   redis_clients semaphore SOCKET NAME SECONDS         holds permits; prints since when, until when, and the fencing token
//   redis_clients lose SOCKET NAME                      holds one permit until it is lost
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/combine/when_all.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/ext/redis_semaphore.hpp>
#include <penstock/ext/redis_token_bucket.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/worker_pool.hpp>

using namespace penstock;
using namespace std::chrono_literals;

namespace {

bool all_well = true;

void check(std::string_view what, bool well, std::string_view detail = {}) {
  all_well = all_well && well;
  std::cout << (well ? "ok " : "FAILED ") << what;
  if (!well) std::cout << ": " << detail;
  std::cout << std::endl;
}

std::int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

template <class T>
std::string told(const result<T>& r, const redis_connection& c) {
  return r ? "no error" : r.error().message() + " (" + c.last_error_text() + ")";
}

// What a registry sees of it.
template <class T>
component_snapshot seen(T& component) {
  registry all;
  const auto joined = all.join("it", component);
  component_snapshot it = all.snapshot().components.at(0);
  check("a " + it.kind + " describes itself", it.error.empty() && !it.kind.empty(), it.error);
  return it;
}

void checks_arguments_and_replies(redis_connection& c) {
  c.command("FLUSHALL").value();
  const std::string bytes{"a\r\nb\0c", 7};
  check("texts may hold any bytes", c.command("SET", "bytes", bytes) && c.command("GET", "bytes")->text() == bytes);
  const std::string large(1 << 22, 'x');
  check("and any number of them", c.command("SET", "large", large) && c.command("GET", "large")->text() == large);
  check("integers", c.command("INCRBY", "n", -7)->integer() == -7 && c.command("GET", "n")->integer() == -7);
  check("nothing is nil", c.command("GET", "none")->is_nil());
  c.command("RPUSH", "list", 1, 2, 3).value();
  const auto list = c.command("LRANGE", "list", 0, -1);
  check("arrays", list->size() == 3 && (*list)[2].text() == "3");
  bool thrown = false;
  try {
    static_cast<void>(list->integer());
  } catch (const std::system_error& e) {
    thrown = e.code() == redis_errc::unexpected_reply;
  }
  check("a reply of another kind throws unexpected_reply", thrown);
  redis_commands batch;
  for (int i = 0; i < 10'000; ++i) batch.add("INCR", "counted");
  const auto counted = c.pipeline(batch);
  check("a pipeline keeps the order", counted && counted->size() == 10'000 && counted->back().integer() == 10'000);
  const auto mixed = c.pipeline(redis_commands{}.add("LPUSH", "n", 1).add("GET", "n"));
  check("an error reply in a pipeline is in its place",
        mixed && (*mixed)[0].error() == redis_errc::wrong_type && (*mixed)[1].integer() == -7);
}

void checks_scripts(redis_connection& c) {
  static const redis_script joined{"return KEYS[1] .. ARGV[1]"};
  const std::array<redis_argument, 1> keys{"k"};
  const std::array<redis_argument, 1> arguments{5};
  c.command("SCRIPT", "FLUSH").value();
  const auto first = c.eval(joined, keys, arguments);
  check("a script that the server does not know is sent in full", first && first->text() == "k5", told(first, c));
  const auto known = c.command("SCRIPT", "EXISTS", joined.sha1());
  check("and is known by its SHA-1 then", (*known)[0].integer() == 1);
  c.command("SCRIPT", "FLUSH").value();
  redis_commands batch;
  for (int i = 0; i < 3; ++i) batch.add("ECHO", i).add_script(joined, {{"k"}}, {{i}});
  const auto replies = c.pipeline(batch);
  bool well = replies && replies->size() == 6;
  for (std::size_t i = 0; well && i < 3; ++i) {
    well = (*replies)[2 * i].text() == std::to_string(i) && (*replies)[2 * i + 1].text() == "k" + std::to_string(i);
  }
  check("in a pipeline, too", well);
}

void checks_refusals(redis_connection& c, const redis_options& options) {
  c.command("SET", "text", "a").value();
  const auto is = [&c](const char* what, const result<redis_reply>& r, redis_errc error) {
    check(what, !r && r.error() == error && !c.last_error_text().empty(), told(r, c));
  };
  is("WRONGTYPE", c.command("LPUSH", "text", 1), redis_errc::wrong_type);
  is("no such command", c.command("NONSENSE"), redis_errc::other);
  check("its text is kept", c.last_error_text().find("NONSENSE") != std::string::npos, c.last_error_text());
  c.command("CONFIG", "SET", "maxmemory", "1").value();
  is("OOM", c.command("SET", "text", "b"), redis_errc::out_of_memory);
  c.command("CONFIG", "SET", "maxmemory", "0").value();
  c.command("REPLICAOF", "127.0.0.1", 1).value();
  is("READONLY", c.command("SET", "text", "b"), redis_errc::read_only);
  c.command("REPLICAOF", "NO", "ONE").value();
  c.command("CONFIG", "SET", "busy-reply-threshold", 10).value();
  {
    redis_connection other{options};
    std::jthread looping{[&other] { static_cast<void>(other.command("EVAL", "while true do end", 0)); }};
    result<redis_reply> busy = c.command("PING");
    while (busy) busy = c.command("PING");
    is("BUSY", busy, redis_errc::busy);
    check("which was not executed", was_not_executed(busy.error()));
    static_cast<void>(c.command("SCRIPT", "KILL"));
  }
  c.command("ACL", "SETUSER", "bob", "on", ">secret", "+ping", "+select").value();
  redis_options bob = options;
  bob.username = "bob";
  bob.password = "secret";
  redis_connection known{bob};
  check("a name and a password", known.command("PING").has_value(), known.last_error_text());
  const auto refused = known.command("GET", "a");
  check("NOPERM", !refused && refused.error() == redis_errc::auth, told(refused, known));
  bob.password = "wrong";
  redis_connection unknown{bob};
  const auto wrong = unknown.command("PING");
  check("a wrong password is told at once", !wrong && wrong.error() == redis_errc::auth, told(wrong, unknown));
  redis_options second = options;
  second.database = 3;
  redis_connection other{second};
  check("another database", other.command("GET", "text")->is_nil() && c.command("GET", "text")->text() == "a");
}

void checks_waits(redis_connection& c, const redis_options& options) {
  redis_options hasty = options;
  hasty.command_timeout = 300ms;  // the server's own timeouts are late by up to 100 ms
  hasty.reconnect_within = 0ms;
  redis_connection waits{hasty};
  const auto none = waits.command_blocking(400ms, "BLPOP", "nothing", "0.4");
  check("a command that waits has its own time besides", none && none->is_nil(), told(none, waits));
  c.command("CLIENT", "PAUSE", 2000, "ALL").value();
  const auto late = waits.command("PING");
  check("no reply in time", !late && late.error() == redis_errc::timeout && late.error() == std::errc::timed_out,
        told(late, waits));
  check("gives the connection up", !waits.is_connected());
  const component_snapshot given_up = seen(waits);
  check("which is told", given_up.kind == "redis_connection" && given_up.total("connected") == 0 &&
                             given_up.total("in_flight") == 0 && given_up.total("lost_total") == 1 &&
                             given_up.total("connections_total") == 1 && given_up.total("completed_total") == 2);
  c.command("CLIENT", "UNPAUSE").value();

  const auto id = c.command("CLIENT", "ID");
  redis_connection killer{options};
  killer.command("CLIENT", "KILL", "ID", id->integer()).value();
  const std::uint64_t before = c.generation();
  const auto after = c.command("PING");
  check("a connection that was killed while idle is replaced before anything is sent", after && c.generation() == before + 1,
        told(after, c));
  c.command("SUBSCRIBE", "news").value();
  killer.command("PUBLISH", "news", "hello").value();
  const auto news = c.receive(5s);
  check("what was subscribed to is received", news && (*news)[2].text() == "hello", told(news, c));
  check("a wait for more ends in time and keeps the connection", c.receive(5ms) == errc::timeout && c.is_connected());
  killer.command("CLIENT", "KILL", "TYPE", "pubsub").value();
  check("its end is told", c.receive(5s) == redis_errc::connection_lost && c.receive(5s) == redis_errc::not_connected);

  {
    std::stop_source stop;
    std::stop_callback stopped{stop.get_token(), [&c] { c.interrupt(); }};
    std::jthread stopper{[&] {
      while (killer.command("INFO", "clients")->text().find("blocked_clients:1") == std::string::npos) {
      }
      check("other threads see what is under way", c.stats().in_flight == 1 && c.stats().connected);
      stop.request_stop();
    }};
    const auto cut = c.command_blocking(60s, "BLPOP", "nothing", 60);
    check("another thread interrupts a command that waits", !cut && cut.error() == errc::cancelled, told(cut, c));
    const auto next = c.command("PING");
    check("and all that come later", !next && next.error() == errc::cancelled, told(next, c));
  }
  c.clear_interrupt();
  check("until that is taken back", c.command("PING").has_value());

  int port = 20'000 + static_cast<int>(now() / 1000 % 10'000);
  while (!c.command("CONFIG", "SET", "port", port)) ++port;  // somebody else may have it
  redis_options over_tcp = options;
  over_tcp.unix_path.clear();
  over_tcp.host = "localhost";
  over_tcp.port = static_cast<std::uint16_t>(port);
  redis_connection tcp{over_tcp};
  const auto answer = tcp.command("ECHO", "by way of TCP");
  check("by the name of a host", answer && answer->text() == "by way of TCP", told(answer, tcp));
  check("and by its address", redis_connection{{.port = over_tcp.port}}.command("PING").has_value());
  redis_connection unnamed{{.host = "no such host", .reconnect_within = 0s}};
  check("of a host that nobody knows it is said", unnamed.command("PING").error() == redis_errc::not_connected &&
                                                      unnamed.last_error_text().find("no such host") != std::string::npos);
  c.command("CONFIG", "SET", "port", 0).value();

  redis_options nobody;
  nobody.port = 1;
  nobody.reconnect_within = 30s;
  redis_connection nowhere{nobody};
  std::jthread stopper{[&nowhere] { nowhere.interrupt(); }};
  const auto never = nowhere.command("PING");
  check("and one that waits to connect again", !never && never.error() == errc::cancelled, told(never, nowhere));
  nobody.reconnect_within = 0s;
  redis_connection refused{nobody};
  const auto lost = refused.command("PING");
  check("nobody is there", !lost && lost.error() == redis_errc::not_connected && was_not_executed(lost.error()),
        told(lost, refused));
}

// Another client, as far as anybody can tell.
struct another_client {
  redis_connection hidden;
  explicit another_client(const redis_options& options) : hidden{options} {}
  result<std::vector<redis_reply>> pipeline(const redis_commands& commands) { return hidden.pipeline(commands); }
  result<redis_reply> execute(const redis_commands& command, std::chrono::nanoseconds block) {
    return hidden.execute(command, block);
  }
  void interrupt() noexcept { hidden.interrupt(); }
  void clear_interrupt() noexcept { hidden.clear_interrupt(); }
  std::string_view last_error_text() const { return hidden.last_error_text(); }
  std::uint64_t generation() const { return hidden.generation(); }
};

// So slow that none comes meanwhile.
void checks_bucket(redis_connection& c, const redis_options& options) {
  const rate slow{1, 1h};
  basic_redis_token_bucket<another_client> empty{options, "b:empty", slow, 5};
  check("a bucket that the server does not know is empty", empty.try_acquire() == errc::empty && empty.available() == 0);
  redis_token_bucket full{options, "b:full", slow, 5, {.start = warm_start::full}};
  redis_token_bucket same{options, "b:full", slow, 5, {.start = warm_start::full}};
  check("or full, if that is wanted",
        full.available() == 5 && full.try_acquire(3) && same.try_acquire(2) && same.try_acquire() == errc::empty);
  const auto wait = same.retry_after(2);
  check("when there are as many", wait && *wait > 119min && *wait <= 120min);
  check("what is given back can be had by others",
        same.refund(2) && full.available() == 2 && full.try_acquire(2) && same.refund(5) && full.available() == 5);

  check("a timed wait that cannot be served takes nothing",
        full.try_acquire(5) && full.try_acquire_for(5ms) == errc::timeout && full.available() == 0);
  std::stop_source first_stop;
  std::stop_source last_stop;
  result<void> first;
  result<void> last;
  {
    std::jthread waiting{[&] { first = full.acquire(first_stop.get_token()); }};
    while (same.available() != -1) {
    }
    std::jthread behind{[&] { last = same.acquire(last_stop.get_token(), 2); }};
    while (same.available() != -3) {
    }
    first_stop.request_stop();
    waiting.join();
    check("who is stopped in the middle of the line loses its place", first == errc::cancelled && full.available() == -3);
    last_stop.request_stop();
  }
  check("who is stopped at its end gives it back", last == errc::cancelled && full.available() == -1);
  check("nothing is given back past those who wait", full.refund(5) && full.available() == -1);

  // As if it had been written before the server started, and read from its disk.
  std::string state = c.command("GET", "b:empty")->text();
  state.replace(0, state.find(' '), "1");
  c.command("SET", "b:empty", state).value();
  check("one that was not used for long is full", empty.available() == 5);
  state.replace(state.rfind(' ') + 1, 4, "0000");
  c.command("SET", "b:empty", state).value();
  check("unless an earlier run of the server has said so", empty.available() == 0);
  const component_snapshot told_of_full = seen(full);
  check("a bucket tells a registry", told_of_full.kind == "redis_token_bucket" && told_of_full.total("accepted_total") == 10 &&
                                         told_of_full.total("rejected_total") == 2);
  const auto stats = full.stats();
  check("counts", stats.granted == 10 && stats.refused == 1 && stats.waited == 1 && stats.abandoned == 1 && stats.failed == 0);
  c.command("DEL", "b:list").value();
  c.command("LPUSH", "b:list", 1).value();
  redis_token_bucket list{options, "b:list", slow, 5};
  check("a key of another type is an error",
        list.try_acquire() == redis_errc::wrong_type && list.stats().failed == 1 && !list.last_error_text().empty());
  worker_pool pool{{.threads = 1}};
  std::jthread closing{[&] {
    while (same.available() != -3) {
    }
    full.close();
  }};
  std::jthread waiting{[&] { first = full.acquire(); }};
  last = sync_wait(full.async_acquire(pool));
  waiting.join();
  check("close() ends what waits, threads and coroutines",
        first == errc::closed && last == errc::closed && full.available() == errc::closed);
  const auto refused = [&](auto make) {
    try {
      make();
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  check("numbers that the server could not count exactly are refused",
        refused([&] { redis_token_bucket{options, "b", rate{1, 1h}, 1 << 22}; }) &&
            refused([&] { redis_token_bucket{options, "b", slow, 0}; }) &&
            refused([&] { static_cast<void>(empty.try_acquire(6)); }));
}

void checks_semaphore(redis_connection& c, const redis_options& options) {
  while (c.command("INFO", "server")->text().find("uptime_in_seconds:0") != std::string::npos) {
  }
  redis_semaphore some{options, "s:some", 2, {.lease = 1500ms, .poll = 2ms}};
  redis_semaphore same{options, "s:some", 2, {.lease = 1500ms, .poll = 2ms}};
  auto one = some.try_acquire_permit_for(30s);  // the server may be young yet
  auto two = same.try_acquire_permit();
  check("permits are shared",
        one && two && two->fence() > one->fence() && some.try_acquire_permit().error() == errc::empty && some.available() == 0);
  check("a timed wait ends", some.try_acquire_permit_for(5ms).error() == errc::timeout);
  std::stop_source stop;
  {
    result<redis_permit> stopped{errc::empty};
    std::jthread waiting{[&] { stopped = some.acquire_permit(stop.get_token()); }};
    stop.request_stop();
    waiting.join();
    check("a stopped one, too", !stopped && stopped.error() == errc::cancelled);
  }
  const component_snapshot two_of_two = seen(some);
  check("what a semaphore tells is of its own object",
        two_of_two.kind == "redis_semaphore" && two_of_two.total("in_flight") == 1 && two_of_two.total("limit") == 2 &&
            two_of_two.total("accepted_total") == 1 && two_of_two.find("rejected_total", "empty")->value == 1 &&
            two_of_two.find("rejected_total", "abandoned")->value == 2 && two_of_two.total("failed_total") == 0);
  {
    std::stop_source enough;
    std::jthread waiting{[&] { static_cast<void>(some.acquire_permit(enough.get_token())); }};
    while (some.stats().waiting != 1) {
    }
    enough.request_stop();
  }
  check("who waits for a permit is counted while it does", some.stats().waiting == 0);
  one->release();
  check("a permit that was given back is not held", some.stats().held == 0);
  auto three = some.acquire_permit();
  check("what is given back can be had",
        three && three->fence() > two->fence() && !three->is_lost() && three->expires_in() > 0ms);
  // The server forgets: they say again that they hold them.
  c.command("DEL", "s:some").value();
  while (c.command("ZCARD", "s:some")->integer() != 2) {
  }
  check("holders that the server has forgotten are entered again", !three->is_lost() && !two->is_lost());
  // And somebody else has them meanwhile: that is a loss.
  c.command("DEL", "s:some").value();
  c.command("ZADD", "s:some", "9e15", "x", "9e15", "y").value();
  while (!two->lost().stop_requested() || !three->lost().stop_requested()) {
  }
  check("who has lost a permit is counted", some.stats().lost == 1 && same.stats().lost == 1 && some.stats().held == 1);
  check("unless others hold them all", two->is_lost() && c.command("ZCARD", "s:some")->integer() == 2);
  c.command("DEL", "s:some").value();
  {
    std::jthread closing{[&some] { some.close(); }};
    result<redis_permit> last = some.acquire_permit();
    while (last) last = some.acquire_permit();
    check("close() ends what waits", last.error() == errc::closed);
  }
}

int connection(const redis_options& options) {
  redis_connection c{options};
  checks_arguments_and_replies(c);
  checks_scripts(c);
  checks_refusals(c, options);
  checks_waits(c, options);
  checks_bucket(c, options);
  checks_semaphore(c, options);
  return all_well ? 0 : 1;
}

// Each line says what the server does with the next connection, and what is to be seen of it.
int fake(redis_options options) {
  options.command_timeout = 300ms;
  options.reconnect_within = 0ms;
  std::string behaviour;
  std::cout << "ready" << std::endl;
  while (std::cin >> behaviour && behaviour != "end") {
    if (behaviour == "loading") options.reconnect_within = 20s;  // is over after a few connections
    redis_connection c{options};
    options.reconnect_within = 0ms;
    const auto reply = c.command("GET", "a");
    std::cout << (reply ? reply->text() : reply.error().message()) << std::endl;
  }
  return 0;
}

int outage(const redis_options& options) {
  redis_options patient = options;
  patient.reconnect_within = 20s;
  redis_options hasty = options;
  hasty.reconnect_within = 0ms;
  hasty.command_timeout = 1s;
  redis_connection waits{patient};
  redis_connection gives_up{hasty};
  static const redis_script script{"return redis.call('INCR', KEYS[1])"};
  const std::array<redis_argument, 1> key{"counted"};
  std::cout << "ready" << std::endl;
  for (std::string word; std::cin >> word && word != "end";) {
    if (word == "up") {
      const auto counted = waits.eval(script, key);
      check("a patient client is answered", counted.has_value(), told(counted, waits));
      const auto answer = gives_up.command("PING");
      check("and a hasty one", answer.has_value(), told(answer, gives_up));
    } else if (word == "down") {
      const auto answer = gives_up.command("PING");
      check("a hasty client has an error",
            !answer && (answer.error() == redis_errc::not_connected || answer.error() == redis_errc::timeout),
            told(answer, gives_up));
    }
    std::cout << word << std::endl;
  }
  return all_well ? 0 : 1;
}

void print(const std::vector<std::array<std::int64_t, 3>>& rows) {
  for (const auto& row : rows)
    std::printf("%lld %lld %lld\n", static_cast<long long>(row[0]), static_cast<long long>(row[1]),
                static_cast<long long>(row[2]));
}

// 100 a second, a burst of 5. Six threads want as many at a time, so that a second's worth stands in line when two processes do; one tries; two
// coroutines on a pool lose patience in the middle of the line.
int take_tokens(redis_options options, const std::string& name, std::chrono::seconds length) {
  options.reconnect_within = 10s;
  redis_token_bucket tokens{options, name, rate{100, 1s}, 5};
  const auto end = std::chrono::steady_clock::now() + length;
  std::stop_source over;
  std::array<std::vector<std::array<std::int64_t, 3>>, 9> rows;
  worker_pool pool{{.threads = 1}};
  const auto coroutine = [&](std::size_t mine) -> task<> {
    while (std::chrono::steady_clock::now() < end) {
      const std::int64_t began = now();
      const result<void> had = co_await (tokens.async_acquire(pool) | with_timeout(rows[mine].size() % 2 == 0 ? 2s : 300ms));
      if (had) rows[mine].push_back({began, now(), 1});
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 6; ++i) {
      threads.emplace_back([&, i] {
        while (std::chrono::steady_clock::now() < end) {
          const std::int64_t began = now();
          const auto n = static_cast<std::int64_t>(i);
          const auto had =
              tokens.acquire({.stop = over.get_token(), .deadline = std::chrono::steady_clock::now() + 900ms}, i == 0 ? 1 : n);
          if (had) rows[i].push_back({began, now(), i == 0 ? 1 : n});
        }
      });
    }
    threads.emplace_back([&] {
      while (std::chrono::steady_clock::now() < end) {
        const std::int64_t began = now();
        if (tokens.try_acquire()) rows[6].push_back({began, now(), 1});
        std::this_thread::sleep_for(3ms);
      }
    });
    sync_wait(when_all(coroutine(7), coroutine(8)));
    over.request_stop();
  }
  for (const auto& of_one : rows) print(of_one);
  const auto s = tokens.stats();
  std::fprintf(stderr, "bucket: %llu tokens, %llu calls refused, %llu waited, %llu waits given up, %llu failed\n",
               static_cast<unsigned long long>(s.granted), static_cast<unsigned long long>(s.refused),
               static_cast<unsigned long long>(s.waited), static_cast<unsigned long long>(s.abandoned),
               static_cast<unsigned long long>(s.failed));
  return 0;
}

// Since when, until when for certain, and the fencing token.
std::array<std::int64_t, 3> held(redis_permit& permit, std::chrono::steady_clock::time_point end) {
  const std::int64_t since = now();
  std::int64_t seen = since;
  for (bool over = false; !over; std::this_thread::sleep_for(1ms)) {
    const std::int64_t looked = now();
    if (permit.is_lost()) break;
    seen = looked;
    over = std::chrono::steady_clock::now() >= end;
  }
  return {since, seen, permit.fence()};
}

// Two permits, leases of a second; three threads, and a coroutine on a pool.
int hold_permits(redis_options options, const std::string& name, std::chrono::seconds length) {
  options.reconnect_within = 10s;
  basic_redis_semaphore<> permits{options, name, 2, {.lease = 1s, .poll = 10ms}};
  const auto end = std::chrono::steady_clock::now() + length;
  std::array<std::vector<std::array<std::int64_t, 3>>, 4> rows;
  std::atomic<std::uint64_t> lost{0};
  worker_pool pool{{.threads = 1}};
  const auto coroutine = [&]() -> task<> {
    while (std::chrono::steady_clock::now() < end) {
      result<redis_permit> had = co_await (permits.async_acquire_permit(pool) | with_timeout(300ms));
      if (!had) continue;
      rows[3].push_back(held(*had, std::chrono::steady_clock::now() + 5ms));
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        while (std::chrono::steady_clock::now() < end) {
          auto had = permits.acquire_permit({.deadline = std::chrono::steady_clock::now() + 500ms});
          if (!had) continue;
          rows[i].push_back(
              held(*had, std::chrono::steady_clock::now() + (i == 0 ? 1500ms : 7ms)));  // one holds for longer than a lease
          if (had->is_lost()) ++lost;
        }
      });
    }
    sync_wait(coroutine());
  }
  for (const auto& of_one : rows) print(of_one);
  std::fprintf(stderr, "semaphore: held %zu, %zu, %zu and %zu times, %llu lost\n", rows[0].size(), rows[1].size(), rows[2].size(),
               rows[3].size(), static_cast<unsigned long long>(lost.load()));
  return 0;
}

int lose(const redis_options& options, const std::string& name) {
  basic_redis_semaphore<> permits{options, name, 1, {.lease = 2s, .poll = 10ms}};
  auto permit = permits.acquire_permit();
  if (!permit) return std::puts(permit.error().message().c_str()), 1;
  event lost;
  std::chrono::nanoseconds left{};
  std::stop_callback told{permit->lost(), [&] {
                            left = permit->expires_in();
                            lost.set();
                          }};
  std::cout << "held" << std::endl;
  lost.wait();
  std::cout << (permit->is_lost() && left > 0s ? "lost in time" : "lost too late") << std::endl;
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  const std::string_view mode = words[1];
  const redis_options options{.unix_path = words[2]};
  if (mode == "connection") return connection(options);
  if (mode == "fake") return fake(options);
  if (mode == "outage") return outage(options);
  if (mode == "lose" && count == 4) return lose(options, words[3]);
  if (count != 5) return 2;
  const std::chrono::seconds length{std::atoi(words[4])};
  if (mode == "bucket") return take_tokens(options, words[3], length);
  if (mode == "semaphore") return hold_permits(options, words[3], length);
  return 2;
}
