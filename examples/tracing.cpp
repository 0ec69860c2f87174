// Tracing a small service, as OpenTelemetry wants it: a request runs a task on a pool, which waits for a permit, loads a user (all requests at a time by one
// batch) and adds a job that sends a mail. Each of these becomes a span under the one that caused it, whatever thread it runs on.
//
//   tracing > spans.jsonl      OTLP/JSON, one line a span, as OpenTelemetry's file exporter writes and its collector reads; scripts/trace_picture.py
//                              draws them. On stderr: who waits for the permit, as an operator would see it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/batcher.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/observe/who_waits.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

using namespace penstock;

namespace {

std::uint64_t unix_now() {
  using namespace std::chrono;
  return static_cast<std::uint64_t>(duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count());
}
std::uint64_t steady_now() {
  using namespace std::chrono;
  return static_cast<std::uint64_t>(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

struct finished_span {
  std::string name = {};
  std::string place = {};
  trace_context id = {};
  std::uint64_t parent = 0;
  std::uint64_t queued = 0;  // when it was submitted; 0: it was not
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool failed = false;
  std::vector<trace_context> links = {};

  // The names are all our own: nothing needs to be escaped.
  [[nodiscard]] std::string to_otlp() const {
    const auto trace_id = [](const trace_context& c) { return to_hex(c.trace_high) + to_hex(c.trace_low); };
    std::string s = R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"users"}}]},)"
                    R"("scopeSpans":[{"scope":{"name":"penstock"},"spans":[{"traceId":")";
    s += trace_id(id) + R"(","spanId":")" + to_hex(id.span) + R"(",)";
    if (parent != 0) s += R"("parentSpanId":")" + to_hex(parent) + R"(",)";
    s += R"("name":")" + name + R"(","kind":1,"startTimeUnixNano":")" + std::to_string(begin) + R"(","endTimeUnixNano":")" +
         std::to_string(end) + R"(","attributes":[{"key":"penstock.place","value":{"stringValue":")" + place + R"("}})";
    if (queued != 0) s += R"(,{"key":"penstock.queue_wait_ns","value":{"intValue":")" + std::to_string(begin - queued) + R"("}})";
    s += R"(],"links":[)";
    for (const trace_context& l : links) {
      if (&l != links.data()) s += ',';
      s += R"({"traceId":")" + trace_id(l) + R"(","spanId":")" + to_hex(l.span) + R"("})";
    }
    return s + R"(],"status":{"code":)" + (failed ? "2" : "1") + "}}]}]}]}";
  }
};

/// Hooks do little: what has ended goes into a channel, and is written by a thread of its own. If that cannot keep up, spans are lost, not requests.
class exporter final : public tracer {
 public:
  void enqueued(trace_span& s) noexcept override { s.note[0] = unix_now(); }
  void started(trace_span& s) noexcept override {
    s.context = child_of(s.parent);
    s.note[1] = unix_now();
    if (s.what == traced::batch) {
      std::scoped_lock guard{lock_};
      links_.emplace_back(s.context.span, std::vector<trace_context>{});
    }
  }
  void linked(trace_span& s, const trace_context& other) noexcept override {
    std::scoped_lock guard{lock_};
    for (auto& [span, links] : links_) {
      if (span == s.context.span) links.push_back(other);
    }
  }
  void finished(trace_span& s, trace_outcome how, const std::exception_ptr&) noexcept override {
    if (!s.context) return;  // it has not begun
    finished_span f{.name = s.what == traced::task    ? "task"
                            : s.what == traced::batch ? "batch"
                                                      : "job " + std::string{s.name},
                    .place = name_of(s.place),
                    .id = s.context,
                    .parent = s.parent.span,
                    .queued = s.what == traced::task ? s.note[0] : 0,
                    .begin = s.note[1],
                    .failed = how == trace_outcome::failed};
    if (s.what == traced::batch) {
      std::scoped_lock guard{lock_};
      const auto mine = std::find_if(links_.begin(), links_.end(), [&](const auto& l) { return l.first == s.context.span; });
      f.links = std::move(mine->second);
      links_.erase(mine);
    }
    add(std::move(f));
  }
  void wait_ended(const trace_wait& w, std::error_code error) noexcept override {
    if (!current_trace()) return;  // of nobody's request
    const std::uint64_t waited =
        steady_now() - static_cast<std::uint64_t>(w.since);  // first: this thread may stop between the clocks
    const std::uint64_t now = unix_now();
    add({.name = "wait " + std::string{w.where},
         .place = name_of(w.place),
         .id = child_of(current_trace()),
         .parent = current_trace().span,
         .begin = now - waited,
         .end = now,
         .failed = static_cast<bool>(error)});
  }

  /// Of the service's own spans.
  void add(finished_span f) noexcept {
    if (f.end == 0) f.end = unix_now();
    if (!finished_.try_push(std::move(f))) ++lost_;
  }
  [[nodiscard]] static trace_context child_of(const trace_context& parent) noexcept {
    static thread_local std::mt19937_64 random{std::random_device{}()};
    trace_context c = parent ? parent : trace_context{.trace_high = random(), .trace_low = random(), .flags = 1};
    c.span = random() | 1;
    return c;
  }
  [[nodiscard]] channel<finished_span>& spans() noexcept { return finished_; }
  [[nodiscard]] std::size_t lost() const noexcept { return lost_; }

 private:
  channel<finished_span> finished_{4096};
  std::atomic<std::size_t> lost_{0};
  std::mutex lock_;
  std::vector<std::pair<std::uint64_t, std::vector<trace_context>>> links_;  // of the batches that run
};

/// A span of the service itself: what it submits, and waits for, is below it.
class request_span {
 public:
  request_span(exporter& to, std::string name, const trace_context& caller)
      : to_{to},
        span_{.name = std::move(name), .id = exporter::child_of(caller), .parent = caller.span, .begin = unix_now()},
        scope_{span_.id} {}
  request_span(const request_span&) = delete;
  request_span& operator=(const request_span&) = delete;
  ~request_span() { to_.add(std::move(span_)); }

 private:
  exporter& to_;
  finished_span span_;
  const trace_scope scope_;
};

// What a query costs its thread.
void work_for(std::chrono::microseconds t) {
  const auto until = std::chrono::steady_clock::now() + t;
  while (std::chrono::steady_clock::now() < until) {
  }
}

struct service {
  worker_pool pool{{.threads = 4}};
  semaphore permits{0};
  batcher<int, std::string> users{pool, [](std::span<const int> ids) {
                                    work_for(std::chrono::microseconds{400});
                                    std::vector<std::string> names;
                                    for (const int id : ids) names.push_back("user " + std::to_string(id));
                                    return names;
                                  }};
  job_queue<std::string> mails;
  std::atomic<int> sent{0};
  job_worker<std::string> sender{mails, pool, [this](job<std::string>&) {
                                   work_for(std::chrono::microseconds{200});
                                   ++sent;
                                 }};
  named_place pool_name{pool, "handlers"};
  named_place permits_name{permits, "database permits"};
};

task<void> serve(service& s, exporter& spans, int user, std::string traceparent) {
  const request_span here{spans, "GET /users/" + std::to_string(user),
                          trace_context::parse(traceparent).value_or(trace_context{})};
  auto answer = s.pool.submit([&s, user] {
    s.permits.acquire().value();
    const std::string name = s.users.load(user).get();
    s.permits.release();
    return s.mails.submit(std::string{name}, {.name = "mail"}).value();
  });
  submitted_job<> mail = co_await std::move(answer);
  co_await std::move(mail.finished);
}

void require(bool so, const char* what) {
  if (so) return;
  std::fprintf(stderr, "tracing: %s\n", what);
  std::exit(1);
}

constexpr std::string_view callers_header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

// Each span under the one that caused it.
void check(const std::vector<finished_span>& all) {
  const auto parent_of = [&](const finished_span& s) -> const finished_span* {
    const auto at = std::find_if(all.begin(), all.end(), [&](const finished_span& p) { return p.id.span == s.parent; });
    return at == all.end() ? nullptr : &*at;
  };
  int requests = 0, tasks = 0, jobs = 0, waits = 0;
  std::size_t keys = 0;
  for (const finished_span& s : all) {
    require(s.begin <= s.end && s.id.span != 0, "a span has no time, or no number");
    const finished_span* const parent = parent_of(s);
    if (s.name.starts_with("GET")) {
      ++requests;
      const trace_context caller = trace_context::parse(callers_header).value();
      require(parent == nullptr && (s.parent == 0 || s.parent == caller.span), "a request has a wrong parent");
      if (s.parent != 0) require(s.id.trace_high == caller.trace_high && s.id.trace_low == caller.trace_low, "a trace is lost");
      continue;
    }
    require(parent != nullptr, "a span has no parent");
    require(parent->id.trace_high == s.id.trace_high && parent->id.trace_low == s.id.trace_low, "a span is in another trace");
    require(parent->begin <= s.begin, "a span began before its parent");
    if (s.name == "task") {
      ++tasks;
      require(parent->name.starts_with("GET") && s.place == "handlers", "a task belongs to its request");
    } else if (s.name == "job mail") {
      ++jobs;
      require(parent->name == "task", "a job belongs to the task that added it");
    } else if (s.place == "database permits") {
      ++waits;
      require(parent->name == "task" && s.name == "wait semaphore", "a wait belongs to the task that waited");
    } else if (s.name == "batch") {
      keys += 1 + s.links.size();
      require(parent->name == "task", "a batch belongs to the task that loaded its first key");
    }
  }
  require(requests == 3 && tasks == 3 && jobs == 3 && waits == 3 && keys == 3, "spans are missing");
}

}  // namespace

int main() {
  exporter spans;
  std::vector<finished_span> written;
  {
    std::jthread writer{[&] {
      while (auto s = spans.spans().pop()) {
        std::puts(s->to_otlp().c_str());
        written.push_back(*std::move(s));
      }
    }};
    {
      const wait_watch watch;
      service s;
      const trace_session tracing{spans};
      std::vector<spawned<void>> requests;
      for (const int user : {17, 18, 19}) {
        requests.push_back(spawn(s.pool, serve(s, spans, user, user == 17 ? std::string{callers_header} : std::string{})));
      }
      const auto wait_for_permits = [] { return std::ranges::count(who_waits(), "database permits", &waiter_info::name); };
      while (wait_for_permits() != 3) std::this_thread::yield();
      std::fputs(dump_waiters().c_str(), stderr);
      s.permits.release(2);
      for (auto& r : requests) r.result();
      s.sender.shutdown().value();
    }
    spans.spans().close();
  }
  require(spans.lost() == 0, "spans were lost");
  check(written);
}
