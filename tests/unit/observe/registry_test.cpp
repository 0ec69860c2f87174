#include <penstock/observe/histogram.hpp>
#include <penstock/observe/live_table.hpp>
#include <penstock/observe/metric_json.hpp>
#include <penstock/observe/metric_table.hpp>
#include <penstock/observe/prometheus_text.hpp>
#include <penstock/observe/registry.hpp>

#include <penstock/core/manual_clock.hpp>
#include <penstock/sync/event.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "../../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::metric_sink;
using penstock::metrics;

// A component of a user's.
struct desk {
  int waiting = 0;
  int served = 0;
  int turned_away = 0;
  std::chrono::nanoseconds busy{};
  std::chrono::nanoseconds open{};
  penstock::histogram waits = {};

  friend void describe(const desk& d, metric_sink& to) {
    to.kind("desk");
    to.gauge(metrics::depth, d.waiting);
    to.counter(metrics::completed, d.served);
    to.counter(metrics::rejected, d.turned_away, {"reason", "full"});
    to.counter(metrics::rejected, 1, {"reason", "closed"});
    to.counter(metrics::busy, d.busy);
    to.counter(metrics::offered, d.open);
    to.times(metrics::queue_wait, d.waits.snapshot());
    to.gauge({"lamps", "Lamps that are on."}, 0.5);
  }
};

// One whose stats() describe themselves.
struct lamp_stats {
  friend void describe(const lamp_stats&, metric_sink& to) { to.kind("lamp"); }
};
struct lamp {
  [[nodiscard]] lamp_stats stats() const { return {}; }
};

static_assert(penstock::measurable<desk> && penstock::measurable<lamp> && !penstock::measurable<int>);

// What a component that does this has for an error.
template <class F>
std::string error_of(F f) {
  penstock::registry all;
  const auto joined = all.join("it", std::move(f));
  const auto s = all.snapshot();
  CHECK(s.components.at(0).total("up") == (s.components.at(0).error.empty() ? 1 : 0));
  return s.components.at(0).error;
}

std::string read_all(std::FILE* f) {
  std::string text;
  std::rewind(f);
  for (int c = std::fgetc(f); c != EOF; c = std::fgetc(f)) text += static_cast<char>(c);
  return text;
}

}  // namespace

TEST_CASE("registry: shows who has joined, by name, until the membership ends", "[registry]") {
  penstock::registry_membership outlives;
  CHECK_NOTHROW(outlives.leave());
  {
    penstock::registry all{{.prefix = "shop"}};
    desk front{.waiting = 3};
    const lamp light;
    auto a = all.join("front", front);
    const auto b = all.join("light", light);
    CHECK_THROWS_AS(all.join("front", front), std::invalid_argument);
    CHECK_THROWS_AS(all.join("", front), std::invalid_argument);
    {
      const auto bytes = all.join("no UTF-8: \xff", front);  // they would be one in whatever is made of the snapshot
      CHECK_THROWS_AS(all.join("no UTF-8: \xfe", front), std::invalid_argument);
      CHECK_THROWS_AS(all.join("no UTF-8: \xef\xbf\xbd", front), std::invalid_argument);
      CHECK(all.snapshot().find("no UTF-8: \xef\xbf\xbd") != nullptr);
    }

    penstock::registry_snapshot s = all.snapshot();
    REQUIRE(s.components.size() == 2);
    CHECK(s.components[1].kind == "lamp");
    const penstock::component_snapshot* const c = s.find("front");
    REQUIRE(c != nullptr);
    CHECK(c->kind == "desk");
    CHECK(c->total("depth") == 3);
    CHECK(c->find("depth")->family == "shop_depth");
    CHECK(c->find("lamps")->family == "shop_desk_lamps");
    CHECK(c->find("rejected_total", "closed")->value == 1);
    CHECK(c->find("busy_seconds_total") != nullptr);

    front.waiting = 4;
    CHECK(all.snapshot().find("front")->total("depth") == 4);
    a.leave();
    CHECK(all.snapshot().find("front") == nullptr);
    a = all.join("front", front);
    CHECK(all.snapshot().components.back().name == "front");
    a = {};
    CHECK(all.size() == 1);
    outlives = all.join("front", front);
  }
  outlives.leave();
  CHECK_THROWS_AS(penstock::registry{{.prefix = "My-App"}}, std::invalid_argument);
}

TEST_CASE("registry: leaving waits for who reads the component, and nobody reads it afterwards", "[registry]") {
  penstock::registry all;
  penstock::event reading;
  penstock::event go_on;
  const auto alive = std::make_shared<int>(1);
  auto joined = all.join("it", [&, inside = alive](metric_sink& to) {
    to.kind("slow");
    reading.set();
    go_on.wait();
    to.gauge({"alive", "1."}, *inside);
  });
  CHECK(alive.use_count() == 2);
  double seen = 0;
  {
    const std::jthread reader{[&] { seen = all.snapshot().components.at(0).total("alive"); }};
    reading.wait();
    const std::jthread leaver{[&] {
      while (all.size() != 0) std::this_thread::yield();
      go_on.set();
    }};
    joined.leave();
    CHECK(go_on.is_set());
    CHECK(alive.use_count() == 1);
  }
  CHECK(seen == 1);

  // One that leaves while another one is read is not read after that.
  penstock::registry_membership second;
  const auto first = all.join("first", [&](metric_sink& to) {
    to.kind("k");
    second.leave();
  });
  second = all.join("second", [](metric_sink& to) { to.kind("k"); });
  CHECK(all.snapshot().components.size() == 1);
}

TEST_CASE("registry: components come and go while others look, and are read only while they are there", "[registry]") {
  penstock::registry all;
  std::atomic<int> working{2};
  std::uint64_t wrong = 0;
  std::uint64_t seen = 0;
  {
    const std::jthread looking{[&] {
      // At least once more after the last one has gone.
      for (bool last = false; !last;) {
        last = working.load() == 0;
        for (const auto& c : all.snapshot().components) {
          ++seen;
          if (!c.error.empty() || c.total("depth") != 7) ++wrong;
        }
      }
    }};
    const auto come_and_go = [&](const char* name) {
      for (int i = 0; i < 500; ++i) {
        auto d = std::make_unique<desk>();
        d->waiting = 7;
        auto joined = all.join(name, *d);
        if (i % 16 == 0) std::this_thread::yield();
        joined.leave();
        d->waiting = -1;
      }
      working.fetch_sub(1);
    };
    const std::jthread one{come_and_go, "one"};
    const std::jthread other{come_and_go, "other"};
  }
  CHECK(wrong == 0);
  CHECK(all.size() == 0);
  CAPTURE(seen);
}

TEST_CASE("registry: a component that throws or misuses the sink has an error, and hides no other", "[registry]") {
  CHECK(error_of([](metric_sink& to) { to.kind("k"); }).empty());
  CHECK(error_of([](metric_sink&) {}).find("names no kind") != std::string::npos);
  CHECK(error_of([](metric_sink& to) { to.gauge(metrics::depth, 1); }).find("names no kind") != std::string::npos);
  CHECK(error_of([](metric_sink&) { throw std::runtime_error{"lost"}; }) == "it threw: lost");
  CHECK(error_of([](metric_sink&) { throw 1; }) == "it threw what is no std::exception");
  const auto with = [](penstock::metric m, penstock::metric_label label = {}) {
    return error_of([=](metric_sink& to) {
      to.kind("k");
      to.gauge(m, 1, label);
    });
  };
  CHECK_FALSE(with({"Depth", ""}).empty());
  CHECK_FALSE(with({"", ""}).empty());
  CHECK_FALSE(with({"jobs_total", ""}).empty());
  CHECK_FALSE(with({"wait_seconds", ""}).empty());
  for (const char* name : {"total", "seconds", "count", "sum", "bucket"}) CHECK_FALSE(with({name, ""}).empty());
  CHECK_FALSE(with({"up", "", true}).empty());
  CHECK_FALSE(with({"jobs", ""}, {"le", "1"}).empty());
  CHECK_FALSE(with({"jobs", ""}, {"quantile", "1"}).empty());
  CHECK_FALSE(with({"jobs", ""}, {"a-b", "1"}).empty());
  CHECK(with({"jobs", ""}, {"a_b", "any \n text"}).empty());
  CHECK(error_of([](metric_sink& to) {
          to.kind("k");
          to.gauge(metrics::depth, 1);
          to.gauge(metrics::depth, 2);
        }).find("told twice") != std::string::npos);
  for (const bool label_first : {false, true}) {
    const std::string error = error_of([=](metric_sink& to) {
      to.kind("k");
      if (!label_first) to.gauge(metrics::depth, 1);
      to.gauge(metrics::depth, 2, {"shelf", ""});
      to.gauge(metrics::depth, 2, {"shelf", "top"});
      to.gauge(metrics::depth, 1);
    });
    CHECK(error.find("told twice") != std::string::npos);
  }
  CHECK(error_of([](metric_sink& to) {
          to.kind("k");
          to.gauge(metrics::depth, 2, {"shelf", "\xff"});
          to.gauge(metrics::depth, 2, {"shelf", "\xef\xbf\xbd<ff>"});  // one in whatever is made of the snapshot
        }).find("told twice") != std::string::npos);
  CHECK(error_of([](metric_sink& to) {
          to.kind("k");
          to.gauge(metrics::depth, 2, {"shelf", ""});
          to.gauge(metrics::depth, 2, {"shelf", "top"});
        }).empty());

  penstock::registry all;  // one name, one type, whoever tells it
  const desk d;
  const auto a = all.join("a", d);
  const auto b = all.join("b", [](metric_sink& to) {
    to.kind("k");
    to.histogram({"depth", "", true}, penstock::histogram{}.snapshot());
  });
  const auto c = all.join("c", d);
  const auto s = all.snapshot();
  CHECK(s.components.at(0).error.empty());
  CHECK(s.components.at(1).error.find("of another type") != std::string::npos);
  CHECK(s.components.at(2).total("up") == 1);
}

TEST_CASE("registry: labels' values that differ in what is no UTF-8 are series of their own", "[registry]") {
  penstock::registry all;
  const auto joined = all.join("a", [](metric_sink& to) {
    to.kind("k");
    to.gauge(metrics::depth, 1, {"shelf", "a\xff\xc3\xb6"});
    to.gauge(metrics::depth, 2, {"shelf", "a\xfe\xc3\xb6"});
    to.gauge(metrics::depth, 3, {"shelf", "a\xef\xbf\xbd\xc3\xb6"});
  });
  const std::string text = penstock::to_prometheus_text(all.snapshot());
  CHECK(text.find("shelf=\"a\xef\xbf\xbd<ff>\xc3\xb6\"} 1\n") != std::string::npos);
  CHECK(text.find("shelf=\"a\xef\xbf\xbd<fe>\xc3\xb6\"} 2\n") != std::string::npos);
  CHECK(text.find("shelf=\"a\xef\xbf\xbd\xc3\xb6\"} 3\n") != std::string::npos);
}

TEST_CASE("registry: an interval has rates, utilization and Little's law of what happened in it", "[registry]") {
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  desk d{.waiting = 4, .served = 100, .busy = 10s, .open = 20s};
  for (int i = 0; i < 50; ++i) d.waits.record(1h);
  auto joined = all.join("d", d);
  const auto before = all.snapshot();
  clock.advance(10s);
  d.served += 20;
  d.turned_away += 5;
  d.busy += 5s;
  d.open += 10s;
  d.waiting = 2;
  for (int i = 0; i < 15; ++i) d.waits.record(2s);
  const auto interval = all.snapshot().since(before);
  CHECK(interval.elapsed == 10s);
  const penstock::component_interval& c = *interval.find("d");
  CHECK(c.whole);
  CHECK(c.rate("completed_total") == 2);
  CHECK(c.rate("rejected_total") == 0.5);
  CHECK(c.rate("queue_wait_seconds") == 1.5);
  CHECK(c.rate("depth") == 0);
  CHECK(c.utilization() == 0.5);
  CHECK(c.values("queue_wait_seconds")->quantile(1) >= 2'000'000'000U);
  CHECK(c.values("queue_wait_seconds")->quantile(1) < 2'100'000'000U);
  const penstock::littles_law law = c.queue_law();
  CHECK(law.rate == 1.5);
  CHECK(law.expected() > 2.9);
  CHECK(law.expected() < 3.1);
  CHECK(law.seen == 3);
  CHECK(law.holds());
  CHECK(law.measured);
  CHECK_FALSE(penstock::littles_law{1, 1, 10}.holds());
  CHECK(penstock::littles_law{1, 1, 10}.holds(10));
  CHECK(penstock::littles_law{0.1, 1, 1}.holds());

  // Who tells times and not what is inside has nothing to compare: no law is broken.
  penstock::histogram waits;
  penstock::histogram runs;
  const auto clerk = all.join("clerk", [&](metric_sink& to) {
    to.kind("clerk");
    to.times(metrics::queue_wait, waits.snapshot());
    to.times(metrics::run, runs.snapshot());
  });
  const auto idle = all.snapshot();
  clock.advance(1s);
  for (penstock::histogram* h : {&waits, &runs}) {
    for (int i = 0; i < 100; ++i) h->record(1s);
  }
  const auto busy = all.snapshot().since(idle);
  const penstock::component_interval& of_clerk = *busy.find("clerk");
  CHECK(of_clerk.rate("queue_wait_seconds") == 100);
  CHECK_FALSE(of_clerk.queue_law().measured);
  CHECK_FALSE(of_clerk.run_law().measured);
  CHECK(of_clerk.queue_law().holds());
  const std::string told = to_json(busy);
  CHECK(told.find(R"("queue":{)") == told.rfind(R"("queue":{)"));  // of the desk only
  CHECK(told.find(R"("run":{)") == std::string::npos);
  CHECK(to_table(busy).find('!') == std::string::npos);

  // Another one of the same name has had no interval; a counter that began anew counts from there.
  joined = {};
  desk other{.served = 1000};
  joined = all.join("d", other);
  const auto replaced = all.snapshot();
  CHECK_FALSE(replaced.since(before).find("d")->whole);
  CHECK(replaced.since(before).find("d")->rate("completed_total") == 0);
  other.served = 30;
  clock.advance(1s);
  CHECK(all.snapshot().since(replaced).find("d")->rate("completed_total") == 30);
}

TEST_CASE("registry: snapshots become JSON, a table and Prometheus text, whatever the names are", "[registry]") {
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  desk d{.waiting = 3, .turned_away = 2, .busy = 1500ms, .open = 3s};
  d.waits.record(1ms);
  d.waits.record(1us);
  const auto a = all.join("a\"\\\n\xff\x01\xc3\xb6", d);
  const auto bad = all.join("bad", [](metric_sink& to) {
    to.kind("k");
    throw std::runtime_error{"two\nlines"};
  });
  const auto first = all.snapshot();
  clock.advance(2s);
  d.waits.record(3us);
  const auto s = all.snapshot();
  const std::string json = to_json(s);
  CHECK(
      json.find(
          R"({"name":"a\"\\\u000a)"
          "\xef\xbf\xbd"
          R"(\u0001)"
          "\xc3\xb6"
          R"(","kind":"desk","metrics":{"depth":3,"completed_total":0,"rejected_total":{"full":2,"closed":1},"busy_seconds_total":1.5,)") !=
      std::string::npos);
  CHECK(json.find(R"("queue_wait_seconds":{"count":3,"sum":0.001)") != std::string::npos);
  CHECK(json.find(R"("error":"it threw: two\u000alines")") != std::string::npos);
  const std::string changes = to_json(s.since(first));
  CHECK(changes.find(R"("elapsed_seconds":2,)") != std::string::npos);
  CHECK(changes.find(R"("rates":{"completed_total":0,"rejected_total":{"full":0,"closed":0})") != std::string::npos);
  CHECK(changes.find(R"("queue":{"rate":0.5,)") != std::string::npos);

  const std::string text = to_prometheus_text(s);
  const std::string name = "{component=\"a\\\"\\\\\\n\xef\xbf\xbd\x01\xc3\xb6\"";
  for (const std::string& line : {
           "# HELP penstock_depth What waits inside now.\n# TYPE penstock_depth gauge\npenstock_depth" + name +
               ",kind=\"desk\"} 3\n",
           "# TYPE penstock_rejected_total counter\npenstock_rejected_total" + name + ",kind=\"desk\",reason=\"full\"} 2\n",
           "penstock_busy_seconds_total" + name + ",kind=\"desk\"} 1.5\n",
           "penstock_desk_lamps" + name + "} 0.5\n",
           "penstock_queue_wait_seconds_bucket" + name + ",kind=\"desk\",le=\"2.5e-06\"} 1\n",
           "penstock_queue_wait_seconds_bucket" + name + ",kind=\"desk\",le=\"0.0005\"} 2\n",
           "penstock_queue_wait_seconds_bucket" + name + ",kind=\"desk\",le=\"0.0025\"} 3\n",
           "penstock_queue_wait_seconds_bucket" + name + ",kind=\"desk\",le=\"+Inf\"} 3\n",
           "penstock_queue_wait_seconds_count" + name + ",kind=\"desk\"} 3\n",
           std::string{"penstock_up{component=\"bad\",kind=\"k\"} 0\n"},
       }) {
    CAPTURE(line, text);
    CHECK(text.find(line) != std::string::npos);
  }

  const std::string table = to_table(s.since(first));
  CAPTURE(table);
  CHECK(table.find("component  kind  waits") == 0);
  CHECK(table.find("bad        k     it threw: two?lines\n") != std::string::npos);
  CHECK(table.find("50 %") == std::string::npos);  // nothing was offered in the interval
}

TEST_CASE("registry: a live table is drawn over the last one with each interval of the clock", "[registry]") {
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  penstock::event shown;
  const auto joined = all.join("it", [&](metric_sink& to) {
    to.kind("k");
    shown.set();
  });
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  {
    std::jthread watching{[&](const std::stop_token& stop) { live_table(all, penstock::terminal_view{file, true}, 1s, stop); }};
    for (int i = 0; i < 2; ++i) {
      shown.wait();
      shown.reset();
      while (clock.next_timer() == penstock::manual_clock::time_point::max()) std::this_thread::yield();
      clock.advance(1s);
    }
    shown.wait();
  }
  const std::string text = read_all(file);
  std::fclose(file);
  CHECK(text.find("component  kind") == 0);
  CHECK(text.find("\nit         k ") != std::string::npos);
  CHECK(text.find("\x1b[2F\x1b[J"
                  "component") != std::string::npos);
}
