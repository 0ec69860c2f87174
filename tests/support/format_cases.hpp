// What fmt's formatters and the standard's make of penstock's types, which is the same: unit/ext/fmt_test.cpp and format_test.cpp give it their library.
//
//   struct by_fmt {
//     template <class... A>
//     static std::string format(std::string_view f, const A&... a) { return fmt::vformat(f, fmt::make_format_args(a...)); }
//     template <class T>
//     static constexpr bool formats = ...;                 // whether there is a formatter
//     using error = fmt::format_error;
//   };
#pragma once

#include <penstock/batch/accumulator_options.hpp>
#include <penstock/batch/batcher_options.hpp>
#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/channel_options.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/ext/redis_semaphore.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/ext/redis_token_bucket.hpp>
#include <penstock/ext/sqlite_store_options.hpp>
#include <penstock/ext/supervisor_options.hpp>
#include <penstock/job/circuit_breaker_options.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/observe/busy_time.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/measured.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/pool_stats.hpp>
#include <penstock/pool/resource_pool_stats.hpp>
#include <penstock/pool/strand_stats.hpp>
#include <penstock/rate/adaptive_limit_options.hpp>
#include <penstock/rate/keyed_limiter_options.hpp>
#include <penstock/rate/limiter_options.hpp>
#include <penstock/route/balancer_options.hpp>
#include <penstock/stream/report.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "catch.hpp"

namespace format_cases {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::result;

// A user's stats.
struct oven_stats {
  int loaves = 0;
  int burnt = 0;

  friend void describe(const oven_stats& s, penstock::metric_sink& to) {
    to.kind("oven");
    to.gauge(penstock::metrics::in_flight, s.loaves);
    to.counter(penstock::metrics::failed, s.burnt);
  }
};

// A component describes itself, too, but is no plain value.
class oven {
 public:
  oven() = default;
  friend void describe(const oven& o, penstock::metric_sink& to) { describe(oven_stats{o.loaves_, 0}, to); }

 private:
  int loaves_ = 0;
};

template <class By>
void errors() {
  CHECK(By::format("{}", errc::closed) == "closed");
  CHECK(By::format("{}", errc::timeout) == "timed out");
  CHECK(By::format("[{:>8}|{:*^10}|{:.3}]", errc::closed, errc::closed, errc::closed) == "[  closed|**closed**|clo]");
  CHECK(By::format("[{:{}}]", errc::full, 9) == "[no room  ]");
  CHECK(By::format("{}", static_cast<errc>(99)) == "unknown penstock error 99");
  CHECK_THROWS_AS(By::format("{:d}", errc::closed), typename By::error);
}

template <class By>
void results() {
  CHECK(By::format("{}", result<int>{7}) == "7");
  CHECK(By::format("{}", result<int>{errc::closed}) == "error: closed");
  CHECK(By::format("{}", result<std::string>{"bread"}) == "bread");
  CHECK(By::format("{}", result<result<int>>{std::in_place, errc::empty}) == "error: nothing to take");
  // The specification is the value's,
  CHECK(By::format("{:#06x}", result<int>{255}) == "0x00ff");
  CHECK(By::format("[{:>8.2f}]", result<double>{2.345}) == "[    2.35]");
  CHECK(By::format("[{:{}}]", result<int>{7}, 4) == "[   7]");
  CHECK_THROWS_AS(By::format("{:.2f}", result<std::string>{"bread"}), typename By::error);
  CHECK_THROWS_AS(By::format("{:Q}", result<int>{errc::closed}), typename By::error);  // also where there is none
  // and an error takes of it what any text takes.
  const result<double> none = errc::closed;
  CHECK(By::format("[{:15}]", none) == "[error: closed  ]");
  CHECK(By::format("[{:>15.2f}]", none) == "[  error: closed]");
  CHECK(By::format("[{:^16}]", none) == "[ error: closed  ]");
  CHECK(By::format("[{:*^+016.2e}]", none) == "[*error: closed**]");
  CHECK(By::format("[{:\u00b7<15}]", none) == "[error: closed\u00b7\u00b7]");
  CHECK(By::format("[{:#<+#015}]", none) == "[error: closed##]");
  CHECK(By::format("[{:5}]", none) == "[error: closed]");
  CHECK(By::format("{:1234567}", none).size() == 1'234'567);
  CHECK_THROWS_AS(By::format("{:99999999999999999999999}", none), typename By::error);
  CHECK(By::format("[{0:>{1}}]", none, 15) == "[error: closed]");  // a width that is an argument is a value's only
  // What follows is not part of it.
  CHECK(By::format("{:}15", none) == "error: closed15");
  CHECK(By::format("{}15", none) == "error: closed15");

  CHECK(By::format("[{:>4}]", result<void>{}) == "[  ok]");
  CHECK(By::format("{}", result<void>{errc::rejected}) == "error: rejected");
  CHECK(By::format("{}", result<int>{std::make_error_code(std::errc::invalid_argument)}) == "error: Invalid argument");

  CHECK(By::template formats<result<int>>);
  CHECK(By::template formats<result<const char*>>);
  CHECK_FALSE(By::template formats<result<oven>>);
  CHECK_FALSE(By::template formats<result<std::unique_ptr<int>>>);
}

template <class By>
void stats() {
  penstock::pool_stats s;
  s.threads = 4;
  s.submitted = 31;
  s.completed = 30;
  s.rejected.full = 2;
  CHECK(By::format("{}", s) ==
        "worker_pool: depth=0 waiters=0 in_flight=0 limit=4 accepted_total=31 completed_total=30 rejected_total{full}=2");
  const std::string all = By::format("{:#}", s);
  CHECK(all.find("failed_total=0 rejected_total{closed}=0 rejected_total{full}=2") != std::string::npos);
  CHECK(By::format("{}", s) == penstock::to_text(s));
  CHECK(By::format("{:#}", s) == penstock::to_text(s, {.zeros = true}));

  CHECK(By::format("[{:>25}|{:.4}]", oven_stats{3, 0}, oven_stats{}) == "[        oven: in_flight=3|oven]");
  CHECK(By::format("[{:##>34}]", oven_stats{3, 0}) == "[##oven: in_flight=3 failed_total=0]");
  CHECK(By::format("[{:#>20}]", oven_stats{3, 0}) == "[###oven: in_flight=3]");
  CHECK(By::format("{:} {:#}", oven_stats{}, oven_stats{}) == "oven: in_flight=0 oven: in_flight=0 failed_total=0");
  CHECK(By::format("{}", result<oven_stats>{oven_stats{1, 2}}) == "oven: in_flight=1 failed_total=2");
  CHECK_FALSE(By::template formats<oven>);

  // Whatever a component's stats() returns.
  CHECK(By::format("{}", penstock::accumulator_stats{}).starts_with("accumulator: depth=0"));
  CHECK(By::format("{}", penstock::adaptive_limit_stats{}).starts_with("adaptive_limit: depth=0"));
  CHECK(By::format("{}", penstock::batcher_stats{}).starts_with("batcher: depth=0"));
  CHECK(By::format("{}", penstock::broadcast_stats{}).starts_with("broadcast: "));
  CHECK(By::format("{}", penstock::channel_stats{.depth = 3, .pushed = 8})
            .starts_with("channel: depth=3 weight=0 peak_depth=0 accepted_total=8"));
  CHECK(By::format("{}", penstock::breaker_stats{}) == "circuit_breaker: state{closed}=1");
  CHECK(By::format("{}", penstock::endpoint_stats{}) ==
        "endpoint: id=0 state{listed}=1 weight=1 in_flight=0 share=1 latency_mean=0 ns");
  CHECK(By::format("{}", penstock::job_counts{}) == "job_queue: depth=0 in_flight=0 paused=0");
  CHECK(By::format("{}", penstock::job_worker_stats{}) == "job_worker: in_flight=0 limit=0");
  CHECK(By::format("{}", penstock::keyed_limiter_stats{}) == "keyed_limiter: depth=0 keys=0");
  CHECK(By::format("{}", penstock::limiter_counts{}) == "limiter: depth=0 in_flight=0");
  CHECK(By::format("{}", penstock::measured_stats{.accepted = 3, .refused = {.timeout = 2}}) ==
        "measured: accepted_total=3 rejected_total{timeout}=2");
  CHECK(By::format("{}", penstock::redis_connection_stats{.connected = true, .answered = 4}) ==
        "redis_connection: in_flight=0 connected=1 completed_total=4");
  CHECK(By::format("{}", penstock::redis_semaphore_stats{.limit = 8}) == "redis_semaphore: depth=0 in_flight=0 limit=8");
  CHECK(By::format("{}", penstock::redis_store_stats{.retried = 1}) ==
        "redis_store: depth=0 in_flight=0 limit=0 adding=0 retried_total=1");
  CHECK(By::format("{}", penstock::redis_token_bucket_stats{.granted = 5}) == "redis_token_bucket: accepted_total=5");
  CHECK(By::format("{}", penstock::resource_pool_stats{}).starts_with("resource_pool: depth=0 in_flight=0 limit=0"));
  CHECK(By::format("{}", penstock::sqlite_store_stats{}) == "sqlite_store: depth=0");
  CHECK(By::format("{}", penstock::strand_stats{}).starts_with("strand: depth=0"));
  CHECK(By::format("{}", penstock::supervisor_stats{.rolled = 1}) == "supervisor: running=0 ready=0 rolls_total{completed}=1");
  CHECK(By::format("{}", penstock::retry_report{.attempts = 3, .end = penstock::retry_end::out_of_time, .paused = 1500ms}) ==
        "retry: attempts=3 end{out_of_time}=1 paused=1.50 s");
  CHECK(By::format("{}", penstock::stage_report{.name = "map", .items_in = 7, .busy = 2s}) ==
        "stage: items_in_total{map}=7 stage_busy_total{map}=2.00 s");
  CHECK(By::format("{}", penstock::pipeline_report{}) == to_string(penstock::pipeline_report{}));
}

template <class By>
void snapshots() {
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  penstock::histogram waits;
  std::uint64_t served = 0;
  const auto joined = all.join("bread \n", [&](penstock::metric_sink& to) {
    to.kind("counter_of_bread");
    to.gauge(penstock::metrics::depth, 2.5);
    to.counter(penstock::metrics::completed, served);
    to.counter(penstock::metrics::busy, 1500ms);
    to.times(penstock::metrics::queue_wait, waits.snapshot());
  });
  const auto broken = all.join("broken", [](penstock::metric_sink& to) {
    to.kind("thing");
    to.gauge(penstock::metrics::depth, 1);
    throw std::runtime_error{"half way"};
  });
  const penstock::registry_snapshot before = all.snapshot();
  CHECK(By::format("{}", before) ==
        "bread ? (counter_of_bread): depth=2.5 busy_total=1.50 s\n"
        "broken (thing): [it threw: half way] depth=1\n");
  CHECK(By::format("{:#}", before.components[0]) ==
        "bread ? (counter_of_bread): depth=2.5 completed_total=0 busy_total=1.50 s queue_wait=(0)");

  served = 12;
  waits.record(1ms);
  waits.record(3s);
  clock.advance(2s);
  const penstock::registry_snapshot after = all.snapshot();
  CHECK(By::format("[{:>10.5}]", after.components[0]) == "[     bread]");
  CHECK(By::format("{}", after.components[0]).find("queue_wait=(2: P50 1.0 ms, P99 3.00 s, max 3.00 s)") != std::string::npos);
  const std::string table = By::format("{}", after.since(before));
  CHECK(table == to_table(after.since(before)));
  CHECK(table.find(" 6.0 ") != std::string::npos);  // a second
  const std::string one = By::format("{}", *after.since(before).find("broken"));
  CHECK(one == to_table(penstock::registry_interval{2s, {*after.since(before).find("broken")}}));
  CHECK((one.starts_with("component  kind") && one.find("half way") != std::string::npos));

  penstock::gauge open;
  open.add(9);
  open.sub(6);
  CHECK(By::format("[{:>27}]", open.snapshot()) == "[      gauge: value=3 peak=9]");
  CHECK(By::format("{}", penstock::busy_snapshot{1s, 4s}) ==
        "busy_time: busy_total=1.00 s offered_total=4.00 s utilization=0.25");

  penstock::histogram numbers;
  CHECK(By::format("{}", numbers.snapshot()) == "0");
  for (const unsigned n : {1u, 2u, 9u}) numbers.record(n);
  CHECK(By::format("[{:>25}]", numbers.snapshot()) == "[   3: P50 2, P99 9, max 9]");
  CHECK(By::format("{}", numbers.snapshot().distribution()) == "3: P50 2, P99 9, max 9");
}

}  // namespace format_cases
