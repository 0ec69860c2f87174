// What the primitives that one waits for tell a registry.
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/channel/watch.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/observe/prometheus_text.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/mutex.hpp>
#include <penstock/sync/shared_mutex.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../../support/catch.hpp"

namespace {

using penstock::task;

template <class Operation>
task<> await(Operation of) {
  static_cast<void>(co_await std::move(of));
}

// One component in a registry.
class observed {
 public:
  template <class T>
  explicit observed(T& component) : joined_{all_.join("it", component)} {}

  /// Of a component that describes itself without an error.
  double operator()(std::string_view metric) const {
    const penstock::registry_snapshot now = all_.snapshot();
    REQUIRE(now.components.at(0).error.empty());
    REQUIRE(now.components[0].find(metric) != nullptr);
    return now.components[0].total(metric);
  }
  std::string kind() const { return all_.snapshot().components.at(0).kind; }
  const penstock::registry& all() const { return all_; }

 private:
  penstock::registry all_;
  penstock::registry_membership joined_;
};

}  // namespace

TEST_CASE("event, auto_reset_event: a registry sees who waits, and whether it is set", "[event][registry]") {
  penstock::event e;
  const observed of{e};
  penstock::task_group group;
  CHECK(of.kind() == "event");
  CHECK(of("set") == 0);
  group.spawn(await(e.async_wait()));
  group.spawn(await(e.async_wait()));
  CHECK(of("depth") == 2);
  e.set();
  CHECK(of("depth") == 0);
  CHECK(of("set") == 1);

  penstock::auto_reset_event one;
  const observed signals{one};
  CHECK(signals.kind() == "auto_reset_event");
  group.spawn(await(one.async_wait()));
  group.spawn(await(one.async_wait()));
  one.set();
  CHECK(signals("depth") == 1);
  CHECK(signals("set") == 0);
  one.set();
  one.set();
  CHECK(signals("set") == 1);
  group.wait();
}

TEST_CASE("wait_group, task_group: a registry sees what has not finished, and who waits for that",
          "[wait_group][task_group][registry]") {
  penstock::wait_group parts{3};
  penstock::task_group group;
  const observed of_parts{parts};
  const observed of_group{group};
  CHECK(of_parts.kind() == "wait_group");
  CHECK(of_group.kind() == "task_group");
  CHECK(of_group("in_flight") == 0);
  group.spawn(await(parts.async_wait()));
  CHECK(of_parts("depth") == 1);
  CHECK(of_parts("in_flight") == 3);
  CHECK(of_group("in_flight") == 1);
  CHECK(of_group("stopping") == 0);
  parts.done();
  CHECK(of_parts("in_flight") == 2);
  parts.done(2);
  CHECK(of_parts("depth") == 0);
  CHECK(of_group("in_flight") == 0);
  group.request_stop();
  CHECK(of_group("stopping") == 1);
  group.wait();
}

TEST_CASE("mutex: a registry sees whether it is held, and who waits", "[mutex][registry]") {
  penstock::mutex m;
  const observed of{m};
  CHECK(of.kind() == "mutex");
  CHECK(of("in_flight") == 0);
  CHECK(of("limit") == 1);
  penstock::task_group group;
  {
    const std::scoped_lock mine{m};
    group.spawn(await(m.async_lock()));
    CHECK(of("in_flight") == 1);
    CHECK(of("depth") == 1);
  }
  CHECK(of("depth") == 0);
  CHECK(of("in_flight") == 0);
  group.wait();
}

TEST_CASE("shared_mutex: a registry sees readers, a writer, and who waits for what", "[shared_mutex][registry]") {
  penstock::shared_mutex m;
  const observed of{m};
  CHECK(of.kind() == "shared_mutex");
  penstock::task_group group;
  {
    const std::shared_lock one{m};
    const std::shared_lock two{m};
    CHECK(of("in_flight") == 2);
    CHECK(of("writing") == 0);
    group.spawn(await(m.async_lock()));
    group.spawn(await(m.async_lock_shared()));
    group.spawn(await(m.async_lock()));
    CHECK(of("depth") == 3);
    CHECK(of("waiting_writers") == 2);
  }
  CHECK(of("depth") == 0);
  CHECK(of("in_flight") == 0);
  const std::scoped_lock writing{m};
  CHECK(of("in_flight") == 1);
  CHECK(of("writing") == 1);
  group.wait();
}

TEST_CASE("watch: a registry sees how often it changed in an interval, and who waits", "[watch][registry]") {
  using namespace std::chrono_literals;
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  penstock::watch<int> w{1};
  const auto joined = all.join("w", w);
  auto watcher = w.subscribe();
  penstock::task_group group;
  group.spawn(await(watcher.async_wait_changed()));
  const penstock::registry_snapshot before = all.snapshot();
  REQUIRE(before.components.at(0).kind == "watch");
  CHECK(before.components[0].total("depth") == 1);
  CHECK(before.components[0].total("closed") == 0);
  for (int i = 0; i < 6; ++i) w.set(i).value();
  clock.advance(2s);
  const penstock::registry_snapshot now = all.snapshot();
  CHECK(now.components[0].total("depth") == 0);
  CHECK(now.since(before).find("w")->rate("changes_total") == 3);
  w.close();
  CHECK(all.snapshot().components[0].total("closed") == 1);
  CHECK(to_prometheus_text(now).find("penstock_watch_changes_total{component=\"w\"} 6\n") != std::string::npos);
  group.wait();
}
