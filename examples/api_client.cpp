// A client of an API that allows so much and says so: two hundred requests, sent all at once, by the limits that the documentation tells, and by those and
// what the server's answers tell (Retry-After, remaining, reset). The server is simulated, on a clock that the program moves: it takes no time.
//
//   api_client [requests]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <system_error>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/sync/event.hpp>

namespace {

using namespace std::chrono_literals;
using penstock::limiter;
using penstock::manual_clock;
using penstock::result;
using penstock::server_hints;
using penstock::task;

struct answer {
  int status = 200;
  server_hints hints;
};

/// Serves 20 requests in each window of 200 ms, and four at a time; others get 429 and are told when to come again. Who comes all the same before that
/// has the next window cut by one.
class server {
 public:
  explicit server(manual_clock& clock) : clock_{clock}, window_end_{clock.now() + window} {}

  task<answer> get() {
    ++requests_;
    const auto now = clock_.now();
    if (now >= window_end_) {
      window_end_ += (now - window_end_) / window * window + window;
      left_ = std::max(20 - nuisances_, 5);
      nuisances_ = 0;
    }
    if (left_ == 0 || in_work_ == 4) {
      ++refused_;
      ++nuisances_;
      answer busy;
      busy.status = 429;
      busy.hints.retry_after = left_ == 0 ? window_end_ - now : 10ms;
      co_return busy;
    }
    --left_;
    ++in_work_;
    auto working = never_.async_wait() | penstock::with_timeout(15ms, clock_);
    static_cast<void>(co_await std::move(working));
    --in_work_;
    answer done;
    done.hints.remaining = left_;
    done.hints.reset = window_end_ - clock_.now();
    co_return done;
  }

  [[nodiscard]] int requests() const { return requests_; }
  [[nodiscard]] int refused() const { return refused_; }

 private:
  static constexpr auto window = 200ms;

  manual_clock& clock_;
  penstock::event never_;
  manual_clock::time_point window_end_;
  int left_ = 20;
  int in_work_ = 0;
  int nuisances_ = 0;
  int requests_ = 0;
  int refused_ = 0;
};

/// One request, until it has been answered.
task<> ask(limiter& api, server& s, bool listens) {
  const auto request = [&]() -> task<result<int>> {
    auto asking = s.get();
    const answer a = co_await std::move(asking);
    if (listens) api.on_response(a.hints);
    if (a.status == 429) co_return std::make_error_code(std::errc::resource_unavailable_try_again);
    co_return a.status;
  };
  // After a refusal: who listens stands in line again, where everybody waits for the time that the server told. Who does not tries after 10 ms.
  auto answered =
      api.async_run(request, {.retry = [listens](const penstock::job_failure&) -> std::optional<std::chrono::nanoseconds> {
                      return listens ? 0ms : 10ms;
                    }});
  static_cast<void>(co_await std::move(answered));
}

void report(const char* who, int n, penstock::limiter_options limits, bool listens) {
  manual_clock clock;
  server s{clock};
  limiter api{std::move(limits), {.clock = clock}};
  penstock::task_group all;
  const auto begin = clock.now();
  for (int i = 0; i < n; ++i) all.spawn(ask(api, s, listens));
  while (all.running() != 0) clock.advance(1ms);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - begin);
  std::printf("%-40s %6d sent %6d refused %8.2f s\n", who, s.requests(), s.refused(), static_cast<double>(took.count()) / 1000);
}

}  // namespace

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 200;
  if (n < 1 || n > 100'000) {
    std::fprintf(stderr, "usage: api_client [requests]\n");
    return 2;
  }
  const penstock::limiter_options documented{.max_concurrent = 4, .rates = {{{120, 1s}, 4}}};  // a little more than is true
  report("all at once", n, {}, false);
  report("by the documented limits", n, documented, false);
  report("by those, and what the answers say", n, documented, true);
}
