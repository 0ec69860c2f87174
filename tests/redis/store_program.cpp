// A producer and a worker on a queue that BullMQ uses, too: run_store.py and the scripts in Node beside it call this.
//
//   store_program SOCKET QUEUE add COUNT [NAME=VALUE...]     payloads {"n":0}, {"n":1}, …; prints the ids
//   store_program SOCKET QUEUE work COUNT [NAME=VALUE...]    until that many runs have ended, or nothing has come for `idle` ms; prints what it did
//   store_program SOCKET QUEUE submit 1 [NAME=VALUE...]      waits for the end of a job
//   store_program SOCKET QUEUE events COUNT                  tells what happens, until so many jobs have ended
//   store_program SOCKET QUEUE pause|resume|counts|find|obliterate|clean|stalled 0 [id=ID]
//
// What a handler does is in the payload: {"n":1,"do":"fail"}, "never", "sleep", "log", "hang", "value", "next".
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/ext/redis_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

namespace {

using namespace std::chrono_literals;
using store_type = penstock::redis_store<std::string>;
using queue_type = penstock::job_queue<std::string, store_type>;

std::map<std::string, std::string> settings;

std::string text(const std::string& name, const std::string& otherwise = {}) {
  const auto at = settings.find(name);
  return at == settings.end() ? otherwise : at->second;
}
long number(const std::string& name, long otherwise) {
  const auto at = settings.find(name);
  return at == settings.end() ? otherwise : std::atol(at->second.c_str());
}
std::chrono::milliseconds ms(const std::string& name, long otherwise) {
  return std::chrono::milliseconds{number(name, otherwise)};
}

penstock::enqueue_options options_of() {
  penstock::enqueue_options o;
  o.name = text("name");
  o.attempts = static_cast<unsigned>(number("attempts", 1));
  if (const auto d = ms("backoff", 0); d.count() > 0) {
    o.backoff = text("type") == "exponential" ? penstock::backoff::exponential(d, 1h) : penstock::backoff::fixed(d);
  }
  o.priority = static_cast<std::uint32_t>(number("priority", 0));
  o.delay = ms("delay", 0);
  o.lifo = number("lifo", 0) != 0;
  o.job_id = text("job_id");
  o.remove_on_complete = number("remove_on_complete", 0) != 0;
  o.remove_on_fail = number("remove_on_fail", 0) != 0;
  if (const std::string key = text("deduplicate"); !key.empty())
    o.deduplicate = penstock::deduplication{
        .id = key, .ttl = ms("ttl", 0), .extend = number("extend", 0) != 0, .replace = number("replace", 0) != 0};
  return o;
}

int add(queue_type& queue, long count) {
  std::vector<std::string> payloads;
  const std::string what = text("do");
  for (long i = 0; i < count; ++i) {
    payloads.push_back("{\"n\":" + std::to_string(i) + (what.empty() ? "" : ",\"do\":\"" + what + "\"") + "}");
  }
  const auto ids = queue.add_bulk(payloads, options_of());
  if (!ids) {
    std::printf("error %s\n", ids.error().message().c_str());
    return 1;
  }
  for (const auto& id : *ids) std::printf("id %s\n", id.to_string().c_str());
  return 0;
}

int submit(queue_type& queue) {
  auto job = queue.submit("{\"n\":0,\"do\":\"" + text("do") + "\"}", options_of()).value();
  std::printf("id %s\n", job.id.to_string().c_str());
  try {
    job.finished.get();
    std::puts("ended");
  } catch (const penstock::job_failed& e) {
    std::printf("failed %s\n", e.what());
  }
  return 0;
}

int work(queue_type& queue, long count) {
  std::atomic<long> runs{0};
  std::atomic<long> at_once{0};
  std::atomic<long> most_at_once{0};
  std::atomic<std::int64_t> last{std::chrono::steady_clock::now().time_since_epoch().count()};
  std::mutex printing;
  penstock::event enough;
  const auto said = [&printing](const std::string& line) {
    std::scoped_lock guard{printing};
    std::puts(line.c_str());
    std::fflush(stdout);
  };
  penstock::worker_pool pool{{.threads = static_cast<unsigned>(number("threads", 4))}};
  const auto handle = [&](penstock::job<std::string>& j) -> std::string {
    last = std::chrono::steady_clock::now().time_since_epoch().count();
    const std::string& p = j.payload();
    const long beside = ++at_once;
    for (long seen = most_at_once; seen < beside && !most_at_once.compare_exchange_weak(seen, beside);) {
    }
    const std::unique_ptr<std::atomic<long>, void (*)(std::atomic<long>*)> leaving{&at_once, [](std::atomic<long>* n) { --*n; }};
    said("run " + j.id().to_string() + " " + std::to_string(j.attempt()) + " " + p);
    const auto has = [&p](const char* word) { return p.find(word) != std::string::npos; };
    if (has("\"log\"")) {
      j.progress(0.5).value();
      j.log("half way").value();
    }
    if (has("\"next\"")) j.enqueue("{\"n\":0}", {.name = "next"}).value();
    if (has("\"sleep\"")) std::this_thread::sleep_for(ms("sleep", 100));
    if (has("\"hang\"")) std::this_thread::sleep_for(1h);
    if (++runs == count) enough.set();
    if (has("\"fail\"")) throw std::runtime_error{"told to fail"};
    if (has("\"never\"")) throw penstock::job_error{penstock::job_outcome::unrecoverable("never")};
    return has("\"value\"") ? "{\"from\":\"penstock\"}" : "null";
  };
  penstock::job_worker_options o;
  o.concurrency = static_cast<std::size_t>(number("concurrency", 4));
  o.batch = static_cast<std::size_t>(number("batch", 1));
  o.lock_duration = ms("lock", 30'000);
  o.stalled_interval = ms("stalled", 30'000);
  o.error_pause = ms("error_pause", 100);
  o.name = text("worker");
  o.on_store_error = [&said](std::error_code e) { said("error " + e.message()); };
  penstock::job_worker worker{queue, pool, handle, std::move(o)};
  while (!enough.try_wait_for(50ms)) {
    const std::chrono::steady_clock::duration at{last.load()};
    if (std::chrono::steady_clock::now().time_since_epoch() - at > ms("idle", 5000)) break;
  }
  worker.shutdown().value();
  const auto s = worker.stats();
  std::printf("at once %ld\n", most_at_once.load());
  std::printf("stats completed %llu failed %llu retried %llu released %llu lost %llu errors %llu\n",
              static_cast<unsigned long long>(s.completed), static_cast<unsigned long long>(s.failed),
              static_cast<unsigned long long>(s.retried), static_cast<unsigned long long>(s.released),
              static_cast<unsigned long long>(s.lost), static_cast<unsigned long long>(s.store_errors));
  return 0;
}

int events(store_type& store, queue_type& queue, long count) {
  static constexpr const char* names[] = {"added",   "delayed",  "started",          "completed",         "failed",
                                          "retried", "released", "stalled",          "promoted",          "redriven",
                                          "removed", "progress", "waiting_children", "retries_exhausted", "duplicate",
                                          "drained", "paused",   "resumed"};
  auto seen = queue.events();
  store.counts().value();  // from here on
  std::puts("ready");
  std::fflush(stdout);
  while (count > 0) {
    const auto e = seen.try_pop_for(10s);
    if (!e) break;
    std::printf("event %s %s%s%s%s\n", names[static_cast<int>(e->what)], e->id.to_string().c_str(),
                e->progress != 0 ? " half" : "", e->value ? (" " + *e->value).c_str() : "",
                e->why ? (" " + *e->why).c_str() : "");
    if (e->what == penstock::job_event::kind::completed || e->what == penstock::job_event::kind::failed) --count;
  }
  return 0;
}

int manage(store_type& store, queue_type& queue, std::string_view what) {
  const auto done = [](const auto& r) { std::printf("%s\n", r ? "ok" : ("error " + r.error().message()).c_str()); };
  if (what == "pause") done(queue.pause());
  if (what == "resume") done(queue.resume());
  if (what == "obliterate") done(queue.obliterate());
  if (what == "clean") std::printf("cleaned %zu\n", queue.clean(penstock::job_state::failed, 0s).value());
  if (what == "stalled") done(store.take_back_stalled(queue.now(), 1));
  if (what == "find") {
    const auto j = queue.find(penstock::job_id{text("id")});
    done(j);
    if (j)
      std::printf("state %d made %u value %s why %s\n", static_cast<int>(j->state), j->attempts_made,
                  j->value ? j->value->c_str() : "", j->why ? j->why->c_str() : "");
    if (j) std::printf("progress %g stalled %u\n", j->progress, j->stalled);
    const auto logged = queue.logs(penstock::job_id{text("id")});
    if (logged)
      for (const std::string& line : *logged) std::printf("log %s\n", line.c_str());
  }
  if (what == "counts") {
    const auto c = queue.counts();
    done(c);
    if (c)
      std::printf("waiting %zu delayed %zu active %zu completed %zu failed %zu\n", c->waiting, c->delayed, c->active,
                  c->completed, c->failed);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const std::string_view what = argv[3];
  const long count = std::atol(argv[4]);
  for (int i = 5; i < argc; ++i) {
    const std::string_view s = argv[i];
    settings.emplace(s.substr(0, s.find('=')), s.substr(s.find('=') + 1));
  }
  try {
    store_type store{{.unix_path = argv[1]},
                     {.queue = argv[2], .stalled_interval = ms("stalled", 30'000), .poll_interval = ms("poll", 5000)}};
    queue_type queue{store, {.clock = store.clock()}};
    if (what == "add") return add(queue, count);
    if (what == "submit") return submit(queue);
    if (what == "events") return events(store, queue, count);
    return what == "work" ? work(queue, count) : manage(store, queue, what);
  } catch (const std::exception& e) {
    std::printf("exception %s\n", e.what());
    return 1;
  }
}
