// One of each of penstock's components, in a state that is known, in a registry.
//
// usage: penstock_every_component json | prometheus | table
//
// run_observe.py compares what they tell with what it should be. It is a program of its own, and no unit test, so that all these headers are compiled
// once and not with each sanitizer.
#include <penstock/penstock.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;

// Of what the program needs in order to go on.
template <class R>
void need(const R& r) {
  if (!r) throw std::runtime_error{"a step failed"};
}

struct connection {};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view form = argc > 1 ? argv[1] : "table";
  penstock::manual_clock clock;
  penstock::registry all{{.clock = clock}};
  std::vector<penstock::registry_membership> joined;

  penstock::worker_pool helper{{.threads = 1}};  // runs what others need
  penstock::worker_pool pool{{.threads = 1,
                              .queue_capacity = 2,
                              .overflow = penstock::overflow::reject,
                              .metrics = true,
                              .time_every = 1,
                              .clock = clock}};
  pool.submit([] {}).get();
  need(pool.drain());
  pool.pause();
  need(pool.post([] {}));
  need(pool.post([] {}));
  need(!pool.post([] {}));
  penstock::strand serial{helper};
  need(serial.post([] {}));
  need(serial.drain());
  serial.close();
  need(!serial.post([] {}));

  penstock::semaphore places{5};
  need(places.try_acquire(2));
  penstock::measured<penstock::semaphore> counted{5};
  need(counted.try_acquire(3));
  need(!counted.try_acquire(3));
  penstock::channel<int> numbers{{.capacity = 2, .metrics = true}};
  need(numbers.try_push(1));
  need(numbers.try_push(2));
  need(!numbers.try_push(3));
  need(numbers.try_pop());
  penstock::broadcast<int> news{4};
  need(news.try_publish(1));
  const auto listening = news.subscribe();
  need(news.try_publish(2));
  need(news.try_publish(3));
  penstock::resource_pool<connection> connections{[] { return connection{}; }, {.max_size = 1, .metrics = true}};
  connections.acquire().value().release();
  const auto lease = connections.acquire();
  need(lease);
  penstock::keyed_resource_pool<int, connection> shards{[](int) { return connection{}; }};
  need(shards.acquire(7));

  penstock::token_bucket<penstock::manual_clock> tokens{penstock::rate{10, 1s}, 4, clock};
  need(tokens.try_acquire(3));
  penstock::leaky_bucket<penstock::manual_clock> leaky{5, 1s, clock};
  penstock::fixed_window<penstock::manual_clock> window{6, 1s, clock};
  penstock::sliding_window<penstock::manual_clock> sliding{7, 1s, clock};
  penstock::limiter jobs{{.max_concurrent = 2}, {.metrics = true}};
  penstock::adaptive_limit<> adaptive{{.initial = 1}};
  const auto permit = adaptive.acquire();
  need(permit);
  need(!adaptive.try_acquire());
  penstock::keyed_limiter<std::string> users{penstock::rate{1, 1s}, 1, {.max_keys = 100}};
  need(users.try_acquire(std::string{"ann"}));
  need(!users.try_acquire(std::string{"ann"}));
  penstock::codel delay;
  auto save = penstock::debounce(helper, 1h, [](int) {}, {.clock = clock});  // beyond the two seconds below
  save(1);
  auto notify = penstock::throttle_by_key(helper, 1s, [](int) {}, {.clock = clock});

  penstock::batcher<int, int> squares{helper,
                                      [](std::span<const int> keys) { return std::vector<int>(keys.begin(), keys.end()); }};
  need(squares.load(3).get() == 3);
  penstock::accumulator<int> writes{helper, [](std::span<const int>) {}, {.metrics = true}};
  writes.add(1).get();
  need(writes.drain());

  penstock::balancer<std::string> backends;
  need(backends.insert("a"));
  const auto picked = backends.pick();
  penstock::hash_ring<std::string> ring;
  need(ring.insert("a"));
  penstock::concurrent_hash_ring<std::string> moving_ring;
  need(moving_ring.insert("a"));

  penstock::circuit_breaker breaker{{.clock = clock}};
  penstock::retry_budget budget{{.min_per_second = 1, .clock = clock}};
  penstock::job_queue<int> queue;
  penstock::job_worker<int> worker{queue, helper, [](penstock::job<int>&) {}};
  penstock::job_queue<int> later{{.clock = clock}};
  need(later.add(1));
  const std::vector<int> three{1, 2, 3};
  auto sum = penstock::from(three) | penstock::map([](int n) { return n; }) | penstock::to([](int) {});
  need(sum.run());

  penstock::event begun{true};
  penstock::auto_reset_event signal;
  penstock::mutex door;
  const std::scoped_lock inside{door};
  penstock::shared_mutex table;
  const std::shared_lock reading{table};
  penstock::wait_group parts{3};
  penstock::task_group children;
  penstock::watch<int> settings{1};
  need(settings.set(2));

  const auto join = [&](const char* name, auto& component) { joined.push_back(all.join(name, component)); };
  join("pool", pool);
  join("helper", helper);
  join("serial", serial);
  join("places", places);
  join("counted", counted);
  join("numbers", numbers);
  join("news", news);
  join("connections", connections);
  join("shards", shards);
  join("tokens", tokens);
  join("leaky", leaky);
  join("window", window);
  join("sliding", sliding);
  join("jobs", jobs);
  join("adaptive", adaptive);
  join("users", users);
  join("delay", delay);
  join("save", save);
  join("notify", notify);
  join("squares", squares);
  join("writes", writes);
  join("backends", backends);
  join("ring", ring);
  join("moving_ring", moving_ring);
  join("breaker", breaker);
  join("budget", budget);
  join("queue", later);
  join("worker", worker);
  join("sum", sum);
  join("begun", begun);
  join("signal", signal);
  join("door", door);
  join("table", table);
  join("parts", parts);
  join("children", children);
  join("settings", settings);
  joined.push_back(all.join("a \"name\"\\ of\nt\xc3\xb6rk and \xff", [](penstock::metric_sink& to) {
    to.kind("mine");
    to.counter({"shipped", "Parcels."}, 7, {"country", "a \"b\"\\\n"});
    throw std::runtime_error{"half way"};
  }));

  const penstock::registry_snapshot before = all.snapshot();
  clock.advance(2s);
  const penstock::registry_snapshot now = all.snapshot();
  if (form == "json") {
    std::printf("%s\n%s\n", to_json(before).c_str(), to_json(now.since(before)).c_str());
  } else if (form == "prometheus") {
    std::fputs(to_prometheus_text(before).c_str(), stdout);
  } else {
    std::fputs(to_table(now.since(before)).c_str(), stdout);
  }
  pool.resume();
  return EXIT_SUCCESS;
}
