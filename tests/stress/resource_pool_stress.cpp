// Resource pools under load: threads and coroutines borrow, give up, discard and release while resources age, break and are evicted and connects fail.
// Each resource has one user at a time, there are never too many, and none is lost. And one thread that does all of it by the clock.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/keyed_resource_pool.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::task;

struct world {
  stress::context* c;
  std::atomic<int> living{0};
  std::atomic<int> most{0};
  std::atomic<std::uint64_t> turns{0};
};

class thing {
 public:
  explicit thing(world& w) : world_{&w} {
    const int now = ++w.living;
    for (int seen = w.most; seen < now && !w.most.compare_exchange_weak(seen, now);) {
    }
  }
  thing(const thing&) = delete;
  ~thing() { --world_->living; }
  void use() {
    ++uses_;  // plain: a race if two have it
    world_->c->check(!used_.exchange(true), "two use one resource");
    world_->turns.fetch_add(1, std::memory_order_relaxed);
    used_ = false;
  }
  [[nodiscard]] std::uint64_t uses() const { return uses_; }

 private:
  world* world_;
  std::uint64_t uses_ = 0;
  std::atomic<bool> used_{false};
};

using pool = penstock::resource_pool<thing>;

void settled(stress::context& c, const world& w, const penstock::resource_pool_stats& s, int most) {
  c.check(s.in_use == 0 && s.waiting == 0 && s.connecting == 0 && s.checking == 0 && s.idle == 0, "somebody is left");
  c.check(s.created == s.discarded.total(), "a resource was lost");
  c.check(w.living == 0, "a resource lives on");
  c.check(w.most <= most, "there were too many");
}

// Everything at once (hazards 1, 2, 4, 6, 7, 10).
void everybody(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    world w{&c};
    penstock::worker_pool workers{{.threads = 2, .queue_capacity = 64}};
    std::atomic<unsigned> connects{0}, checks{0};
    const bool background = choose.one_in(2);
    const bool timed = choose.one_in(2);  // otherwise what is idle lies on the lane
    std::optional<pool> lives;
    lives.emplace(
        [&]() -> thing {
          if (connects.fetch_add(1) % 7 == 3) throw std::runtime_error{"down"};
          return thing{w};
        },
        penstock::resource_pool_options<thing>{
            .min_idle = background ? choose.below<std::size_t>(3) : 0,
            .max_size = 3,
            .max_overflow = choose.below<std::size_t>(2),
            .idle_timeout = timed ? 300us : 0us,
            .max_lifetime = timed ? 500us : 0us,
            .max_uses = 40,
            .order = timed && choose.one_in(2) ? penstock::resource_order::fifo : penstock::resource_order::lifo,
            .validate = [&](thing&) { return checks.fetch_add(1) % 100 != 50; },
            .validate_after = timed ? 5us : 1'000'000us,
            .keep_alive = background && timed ? 50us : 0us,
            .connect_backoff = penstock::backoff::fixed(1ms),
            .executor = background ? workers.get_scheduler() : penstock::any_scheduler{},
            .leak_threshold = timed ? 100us : 0us,
            .seed = round + 1});
    pool& p = *lives;
    const auto turn = [](auto& lease, stress::random& random) {
      if (!lease) return;
      (*lease)->use();
      if (random.one_in(20)) lease->discard();
    };
    const auto resident = [&](stress::random random) -> task<> {
      for (int i = 0; i < 30; ++i) {
        auto waiting = p.async_acquire() | penstock::with_timeout(random.below(400) * 1us);
        auto lease = co_await std::move(waiting);
        turn(lease, random);
      }
    };
    {
      penstock::task_group residents{workers};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        residents.spawn(resident(c.generator(round * 100 + 50 + t)));
        threads.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          for (int i = 0; i < 40 && !c.failed(); ++i) {
            auto lease = random.one_in(3)   ? p.try_acquire()
                         : random.one_in(2) ? p.try_acquire_for(random.below(300) * 1us)
                                            : p.acquire();
            c.check(lease || lease.error() == penstock::errc::empty || lease.error() == penstock::errc::timeout,
                    "the wrong error");
            turn(lease, random);
            if (random.one_in(50)) p.evict_all();
            if (random.one_in(50)) p.resize(0, 2 + random.below<std::size_t>(2), random.below<std::size_t>(2));
          }
        });
      }
      threads.clear();
      if (choose.one_in(2)) residents.request_stop();
      residents.wait();
    }
    c.check(p.drain().has_value(), "it cannot be drained");
    settled(c, w, p.stats(), 4);
    lives.reset();
  }
}

// Many acquires with churn lose nothing: lifetimes, discards, checks that fail 1 % of the time.
void churn(stress::context& c, std::chrono::milliseconds lifetime) {
  const std::uint64_t wanted = stress::current_tier() == stress::tier::long_ ? 1'000'000 : stress::sanitized ? 4'000 : 20'000;
  const bool on_lane = lifetime > 500ms;  // with a timer that looks every 62 ms
  world w{&c};
  std::atomic<unsigned> checks{0};
  {
    pool p{[&] { return thing{w}; },
           {.max_size = 4,
            .max_lifetime = lifetime,
            .validate = [&](thing&) { return checks.fetch_add(1) % 100 != 50; },
            .validate_after = on_lane ? 1s : 0s}};
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 8; ++t) {
        threads.emplace_back([&, random = c.generator(t)]() mutable {
          for (std::uint64_t i = 0; i < wanted / 8; ++i) {
            auto lease = p.acquire();
            c.check(lease.has_value(), "an acquire failed");
            if (!lease) return;
            (*lease)->use();
            if (random.one_in(100)) lease->discard();
          }
        });
      }
    }
    const penstock::resource_pool_stats s = p.stats();
    c.check(w.turns == wanted / 8 * 8 && s.acquired == w.turns, "a turn was lost");
    c.check(s.created == s.idle + s.discarded.total() && static_cast<int>(s.idle) == w.living, "a resource was lost");
  }
  c.check(w.living == 0 && w.most <= 4, "there were too many, or one lives on");
}

// A pool is destroyed as soon as its last lease is on its way back (hazard 12), or while connects run.
void ends(stress::context& c) {
  while (c.time_left() && !c.failed()) {
    world w{&c};
    penstock::worker_pool workers{{.threads = 1}};
    auto p = std::make_unique<pool>(
        [&] { return thing{w}; },
        penstock::resource_pool_options<thing>{.min_idle = 1, .max_size = 2, .executor = workers.get_scheduler()});
    auto a = p->acquire();
    auto b = p->acquire();
    std::jthread first{[lease = *std::move(a)]() mutable { lease.release(); }};
    std::jthread second{[lease = *std::move(b)]() mutable { lease.discard(); }};
    p.reset();
    c.check(w.living == 0, "a resource lives on");
  }
}

// Keys come and go: no more pools than max_keys, and each key has its own limit.
void keys(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    world w{&c};
    {
      penstock::keyed_resource_pool<std::uint64_t, thing> pools{[&](std::uint64_t) { return thing{w}; },
                                                                {.max_keys = 6, .each = {.max_size = 2}}};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, random = c.generator(round * 10 + t)]() mutable {
          for (int i = 0; i < 100; ++i) {
            auto lease = pools.try_acquire_for(random.below<std::uint64_t>(9), 1s);
            c.check(lease || lease.error() == penstock::errc::full, "the wrong error");
            if (!lease) continue;
            (*lease)->use();
            if (random.one_in(3)) lease->discard();
          }
        });
      }
    }
    c.check(w.living == 0 && w.most <= 12, "there were too many, or one lives on");
  }
}

// One thread, at random, on a clock that is moved by hand. At each step the account is right, and nobody is lent what was evicted, is too old, was
// idle for too long, or should have been checked, within the sixteenth of a limit that a busy pool may be late.
struct dated {
  dated(world& w, penstock::manual_clock& c) : it{w}, born{c.now()}, back{born}, checked{born} {}
  thing it;
  penstock::manual_clock::time_point born, back, checked;
};
void sequences(stress::context& c) {
  using lease = penstock::resource_lease<dated>;
  constexpr auto life = 100s, idle = 48s, valid = 16s;
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    penstock::manual_clock clock;
    world w{&c};
    const bool ages = random.one_in(2), rests = random.one_in(2), is_checked = random.one_in(2);
    const std::chrono::nanoseconds late = std::chrono::nanoseconds{is_checked ? valid : rests ? idle : life} / 16;
    std::size_t max_size = 2;
    std::uint64_t granted = 0;
    auto evicted = clock.now();
    bool down = false, good = true;
    penstock::resource_pool<dated> p{
        [&]() -> dated {
          if (down) throw std::runtime_error{"down"};
          return dated{w, clock};
        },
        {.max_size = max_size,
         .max_overflow = 1,
         .acquire_timeout = 0s,
         .idle_timeout = rests ? idle : 0s,
         .max_lifetime = ages ? life : 0s,
         .lifetime_jitter = 0,
         .max_uses = random.one_in(3) ? 90U : 0U,
         .validate =
             [&](dated& d) {
               d.checked = clock.now();
               return good;
             },
         .validate_after = is_checked ? std::chrono::nanoseconds{valid} : std::chrono::nanoseconds::max(),
         .connect_backoff = penstock::backoff::fixed(1s),
         .clock = clock}};
    std::vector<lease> held;
    std::vector<penstock::spawned<penstock::result<lease>>> line;
    const auto taken = [&](lease l, bool just_now) {
      ++granted;
      c.check(l->born >= evicted, "lent though evicted");
      if (just_now) {
        const auto now = clock.now();
        c.check(!ages || now - l->born < life + late, "lent though too old");
        c.check(!rests || now - l->back <= idle + late, "lent though idle for too long");
        c.check(!is_checked || l->back == l->born || now - std::max(l->checked, l->back) < valid + late, "lent without a check");
      }
      l->it.use();
      held.push_back(std::move(l));
    };
    const auto give_back = [&](std::size_t i, bool broken) {
      held[i]->back = clock.now();
      broken ? held[i].discard() : held[i].release();
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
    };
    for (int step = 0; step < 1000 && !c.failed(); ++step) {
      switch (random.below(8)) {
        case 0:
        case 1:
          if (auto l = p.try_acquire()) taken(*std::move(l), true);
          break;
        case 2:
          for (int i = random.one_in(3) ? 80 : 0; i > 0 && !held.empty(); --i) {  // busy
            give_back(0, false);
            if (auto l = p.try_acquire()) taken(*std::move(l), true);
          }
          break;
        case 3:
        case 4:
          if (!held.empty()) give_back(random.below(held.size()), random.one_in(20));
          break;
        case 5:
          if (line.size() < 4) line.push_back(penstock::spawn(p.async_acquire()));
          if (random.one_in(4)) line[random.below(line.size())].request_stop();
          break;
        case 6:
          clock.advance(random.one_in(4) ? 1s * random.below(60) : 1ms * random.below(3000));
          break;
        default:
          if (random.one_in(6)) {
            p.evict_all();
            evicted = clock.now();
          } else if (random.one_in(6)) {
            p.resize(0, max_size = 1 + random.below<std::size_t>(4), 1);
          }
          down = random.one_in(6);
          good = !random.one_in(6);
      }
      for (std::size_t i = 0; i < line.size();) {
        if (!line[i].done()) {
          ++i;
          continue;
        }
        auto l = line[i].result();
        line.erase(line.begin() + static_cast<std::ptrdiff_t>(i));
        if (l) taken(*std::move(l), false);
      }
      const penstock::resource_pool_stats s = p.stats();
      c.check(s.created == s.in_use + s.idle + s.discarded.total() && static_cast<int>(s.in_use + s.idle) == w.living,
              "one was lost");
      c.check(s.in_use == held.size() && s.waiting == line.size() && s.acquired == granted, "the account is wrong");
      c.check(line.empty() || s.idle == 0, "one is idle, and somebody waits");
    }
    line.clear();
    held.clear();
    p.close();
    settled(c, w, p.stats(), 5);
  }
}

}  // namespace

int main() {
  stress::run run{"resource_pool"};
  run.scenario("everybody: hazard-01 hazard-06 hazard-07 hazard-10", 300ms, everybody);
  run.scenario("churn", 200ms, [](stress::context& c) { churn(c, 2ms); });
  run.scenario("churn without a lock", 200ms, [](stress::context& c) { churn(c, 1000ms); });
  run.scenario("ends: hazard-12", 100ms, ends);
  run.scenario("keys", 100ms, keys);
  run.scenario("sequences: hazard-01 hazard-05 hazard-30", 100ms, sequences);
  return run.finish();
}
