// A batcher under load: threads and coroutines that load, give up, clear and prime, while batches fail, on a pool and inline; and its end.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/batcher.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using loader = penstock::batcher<int, int>;
using options = penstock::batcher_options<int, int>;
using answers = std::vector<penstock::result<int>>;

constexpr int key_count = 64;
constexpr int not_there = 13;  // answered with an error
constexpr int poisonous = 17;  // makes its batch fail

// No key is in two batches at a time, no more batches run than may, and none when the batcher has gone.
struct source {
  stress::context& c;
  int places;
  bool poison = true;
  bool clears = false;  // who clears a key that is being loaded may have it loaded again meanwhile
  std::atomic<int> inside{0};
  std::atomic<bool> gone{false};
  std::array<std::atomic<int>, key_count> loading{};

  answers load(std::span<const int> keys) {
    c.check(!gone, "a batch after the destruction");
    c.check(++inside <= places, "more batches than there are places");
    for (const int k : keys) {
      const int others = loading[static_cast<std::size_t>(k)]++;
      c.check(clears || others == 0, "a key is loaded twice at a time");
    }
    answers r;
    bool fails = false;
    for (const int k : keys) {
      fails = fails || (poison && k == poisonous);
      r.push_back(k == not_there ? penstock::result<int>{errc::not_found} : penstock::result<int>{k * 7 + 1});
    }
    for (const int k : keys) --loading[static_cast<std::size_t>(k)];
    --inside;
    if (fails) throw std::runtime_error{"poison"};
    return r;
  }
  auto function() {
    return [this](std::span<const int> keys) { return load(keys); };
  }
};

void check(stress::context& c, int key, const penstock::result<int>& r) {
  if (r) {
    c.check(*r == key * 7 + 1 && key != not_there, "the value of another key");
  } else {
    c.check(r.error() == errc::timeout || r.error() == errc::cancelled || (r.error() == errc::not_found && key == not_there),
            "an error that there is not");
  }
}
template <class Get>
void checked(stress::context& c, int key, Get get) {
  try {
    check(c, key, get());
  } catch (const std::system_error& e) {
    check(c, key, e.code());
  } catch (...) {  // the poison, which whoever was in its batch gets
  }
}

penstock::task<> visitor(stress::context& c, loader& from, stress::random random) {
  for (int i = 0; i < 20; ++i) {
    const int key = random.below(key_count);
    const bool hurried = random.one_in(3);
    const auto within = random.below(30) * 1us;
    try {
      if (hurried) {
        auto r = co_await (from.async_load(key) | penstock::with_timeout(within));
        check(c, key, r);
      } else {
        auto r = co_await from.async_load(key);
        check(c, key, r);
      }
    } catch (const std::runtime_error&) {
    }
  }
}

void mixed(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  auto choose = c.generator(0);
  for (std::uint64_t round = 1; c.time_left() && !c.failed(); ++round) {
    source s{.c = c, .places = 1 + choose.below(2)};
    s.clears = choose.one_in(2);
    // With halves, it is only the poison that fails.
    options o{.max_in_flight_batches = static_cast<std::size_t>(s.places), .split_failed_batches = choose.one_in(2)};
    o.max_batch_size = choose.one_in(2) ? 3 : 1000;
    if (choose.one_in(3)) o.max_delay = 20us;
    if (choose.one_in(3)) o.schedule = penstock::batch_schedule::ready_work;
    if (choose.one_in(2)) o.cache = {.max_entries = 20, .ttl = 50us, .negative_ttl = 10us};
    o.metrics = choose.one_in(4);
    const bool clears = s.clears;
    std::optional<loader> l;
    if (choose.one_in(2)) {
      l.emplace(pool, s.function(), std::move(o));
    } else {
      l.emplace(penstock::any_scheduler{}, s.function(), std::move(o));
    }
    {
      auto one = penstock::spawn(pool, visitor(c, *l, c.generator(round * 10 + 8)));
      auto two = penstock::spawn(visitor(c, *l, c.generator(round * 10 + 9)));
      stress::start_line start{2};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, random = c.generator(round * 10 + t)]() mutable {
          start.wait();
          for (int i = 0; i < 40; ++i) {
            const int key = random.below(key_count);
            switch (random.below(clears ? 6 : 4)) {
              case 0:
                checked(c, key, [&] { return l->try_load_for(key, random.below(30) * 1us); });
                break;
              case 1: {
                std::stop_source stop;
                auto waits = penstock::spawn(l->async_load(key) | penstock::with_stop(stop.get_token()));
                stop.request_stop();
                checked(c, key, [&] { return waits.result(); });
                break;
              }
              case 2: {
                auto many = l->load_many({key, (key + 1) % key_count, (key + 2) % key_count});
                for (int n = 0; n < 3; ++n) {
                  checked(c, (key + n) % key_count,
                          [&] { return penstock::result<int>{many[static_cast<std::size_t>(n)].get()}; });
                }
                break;
              }
              case 3:
                static_cast<void>(l->load(key));
                break;
              case 4:
                random.one_in(4) ? l->clear_all() : l->clear(key);
                break;
              default:
                if (key != not_there) l->prime(key, key * 7 + 1);
            }
          }
        });
      }
      threads.clear();
      two.wait();
      one.wait();
    }
    const auto last = l->load_many({1, 2, 3});
    l.reset();
    s.gone = true;
    for (const auto& f : last) c.check(f.is_ready(), "somebody was not told at the end");
  }
}

// Each key is loaded by way of one a level below, by threads and workers at once: with one place, on a pool of one, none waits for itself.
void nested(stress::context& c) {
  penstock::worker_pool pool{{.threads = 1}};
  auto choose = c.generator(0);
  while (c.time_left() && !c.failed()) {
    loader* self = nullptr;
    const auto by_way_of = [&self](std::span<const int> keys) {
      std::vector<int> r;
      for (const int k : keys) r.push_back(k < 100 ? 1 : self->load(k - 100).get() + 1);
      return r;
    };
    std::optional<loader> l;
    if (choose.one_in(2)) {
      l.emplace(pool, by_way_of);
    } else {
      l.emplace(penstock::any_scheduler{}, by_way_of);
    }
    self = &*l;
    auto on_the_pool = pool.submit([&] { return self->load(402).get(); });
    c.check(self->load(301).get() == 4, "another value");
    c.check(on_the_pool.get() == 5, "another value");
  }
}

}  // namespace

int main() {
  stress::run run{"batcher"};
  run.scenario("loads, timeouts, clears and failures", 500ms, mixed);
  run.scenario("nested loads", 200ms, nested);
  return run.finish();
}
