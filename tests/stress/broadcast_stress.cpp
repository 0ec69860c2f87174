// Publishers and subscribers, threads and coroutines, by every way of waiting, that come and go: every subscriber's sequence is without a gap,
// or its gaps are exactly what it was told it lost; all see one order; items are destroyed once. And watches that are set and looked at.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/watch.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/counting_new.hpp"
#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::slow_subscriber;

// A number in two places, so that a torn or dead one is seen; counts its living.
template <bool MayThrow>
struct basic_item {
  static inline std::atomic<std::int64_t> living{0};

  explicit basic_item(std::uint64_t v) noexcept : value{v}, check{~v} { ++living; }
  basic_item(const basic_item& other) noexcept(!MayThrow) : value{other.value}, check{other.check} { ++living; }
  basic_item(basic_item&& other) noexcept(!MayThrow) : value{other.value}, check{other.check} { ++living; }
  ~basic_item() {
    value = check = 0;
    --living;
  }
  [[nodiscard]] bool whole() const noexcept { return check == ~value; }

  std::uint64_t value;
  std::uint64_t check;
};

// What one subscriber got, in order: numbers that a publisher made of its own number and a count, and how much was lost between.
struct record {
  struct entry {
    std::uint64_t lost;
    std::uint64_t value;
  };
  std::vector<entry> got;
  std::uint64_t lost = 0;
  bool disconnected = false;
};

template <class Item>
class session {
 public:
  using broadcast = penstock::broadcast<Item>;
  using subscription = penstock::subscription<Item>;

  session(stress::context& c, std::size_t capacity, slow_subscriber policy)
      : context_{c}, policy_{policy}, bus_{capacity, {.when_slow = policy}} {}

  broadcast& bus() noexcept { return bus_; }

  // False: the end.
  bool take(const penstock::result<Item>& r, subscription& s, record& mine) {
    if (r) {
      context_.check(r->whole(), "a torn item");
      mine.got.push_back({std::exchange(mine.lost, 0), r->value});
      return true;
    }
    if (r.error() == errc::lagged) {
      context_.check(policy_ == slow_subscriber::lose_oldest && s.lost() > 0, "lost nothing, or should not lose");
      mine.lost += s.lost();
      return true;
    }
    if (r.error() == errc::disconnected) {
      context_.check(policy_ == slow_subscriber::disconnect, "disconnected by the wrong policy");
      mine.disconnected = true;
      return false;
    }
    if (r.error() == errc::closed) return false;
    context_.check(r.error() == errc::timeout || r.error() == errc::cancelled || r.error() == errc::empty,
                   "an error of another call");
    return true;
  }

  penstock::result<Item> pop(subscription& s, stress::random& random) {
    switch (random.below(4)) {
      case 0:
        return s.try_pop();
      case 1:
        return s.try_pop_for(random.below(100) * 1us);
      case 2: {
        std::stop_source stop;
        if (random.one_in(4)) stop.request_stop();
        return s.pop({.stop = stop.get_token(), .deadline = penstock::deadline::after(random.below(200) * 1us)});
      }
      default:
        return s.pop();
    }
  }
  void read(subscription s, record& mine, stress::random random, std::size_t leave_after) {
    while (mine.got.size() < leave_after && take(pop(s, random), s, mine)) {
      if (random.one_in(64)) std::this_thread::sleep_for(random.below(100) * 1us);
    }
  }
  penstock::task<> read_in_coroutine(subscription parameter, record& mine, stress::random random, std::size_t leave_after) {
    subscription s = std::move(parameter);  // a parameter would stay in line as long as the ended coroutine is kept
    bool more = true;
    while (more && mine.got.size() < leave_after) {
      if (random.one_in(3)) {
        const penstock::result<Item> r = co_await (s.async_pop() | penstock::with_timeout(random.below(200) * 1us));
        more = take(r, s, mine);
      } else {
        const penstock::result<Item> r = co_await s.async_pop();
        more = take(r, s, mine);
      }
    }
  }

  void write(std::uint64_t publisher, std::uint64_t count, stress::random random) {
    for (std::uint64_t i = 0; i < count;) {
      Item mine{publisher << 32 | i};
      penstock::result<void> r;
      switch (random.below(3)) {
        case 0:
          r = bus_.try_publish(std::move(mine));
          break;
        case 1:
          r = bus_.try_publish_for(random.below(200) * 1us, std::move(mine));
          break;
        default:
          r = bus_.publish(std::move(mine));
      }
      if (r) {
        ++i;
        if (random.one_in(16)) std::this_thread::yield();
      } else {
        context_.check(policy_ == slow_subscriber::wait && (r.error() == errc::full || r.error() == errc::timeout), "refused");
        context_.check(mine.whole() && mine.value == (publisher << 32 | i), "a refused item was touched");
      }
    }
  }
  penstock::task<> write_in_coroutine(std::uint64_t publisher, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      Item mine{publisher << 32 | i};
      const penstock::result<void> r = co_await bus_.async_publish(std::move(mine));
      context_.check(r.has_value(), "refused");
    }
  }

  // Against one who saw everything, or, where items may be lost, only what its own numbers tell.
  void judge(const record& mine, const record* all, bool to_the_end) {
    if (mine.got.empty()) return;
    if (all == nullptr) {
      std::vector<std::uint64_t> next(8, 0);
      for (const auto& e : mine.got) {
        context_.check((e.value & 0xffffffff) >= next[e.value >> 32], "a publisher's items changed places");
        next[e.value >> 32] = (e.value & 0xffffffff) + 1;
      }
      return;
    }
    std::size_t at = 0;
    while (at < all->got.size() && all->got[at].value != mine.got[0].value) ++at;
    for (const auto& e : mine.got) {
      if (&e != &mine.got[0]) at += 1 + e.lost;
      context_.check(at < all->got.size() && all->got[at].value == e.value, "a gap that was not told, or another order");
      if (context_.failed()) return;
    }
    if (to_the_end) context_.check(at + 1 + mine.lost == all->got.size(), "the end is missing");
  }

 private:
  stress::context& context_;
  const slow_subscriber policy_;
  broadcast bus_;
};

constexpr std::size_t for_ever = ~std::size_t{0};

// A publisher alone, so that it knows what all subscribers must see; or several, whom each subscriber's record must put in the same order.
template <class Item>
void come_and_go(stress::context& c, slow_subscriber policy) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    session<Item> s{c, 1 + choose.below<std::size_t>(8), policy};
    const std::uint64_t publishers = policy == slow_subscriber::wait ? 3 : 1;
    constexpr std::uint64_t count = 300;
    std::vector<record> staying(4);
    std::vector<record> passing(6);
    record everything;
    if (policy != slow_subscriber::wait) {
      for (std::uint64_t i = 0; i < count; ++i) everything.got.push_back({0, i});
    }
    {
      penstock::worker_pool pool{{.threads = 2}};
      std::vector<penstock::spawned<void>> coroutines;
      std::vector<std::jthread> readers;
      for (std::size_t i = 0; i < 2; ++i) {
        readers.emplace_back(
            [&, &mine = staying[i], sub = s.bus().subscribe(), random = c.generator(round * 100 + i + 1)]() mutable {
              s.read(std::move(sub), mine, random, for_ever);
            });
      }
      coroutines.push_back(
          penstock::spawn(pool, s.read_in_coroutine(s.bus().subscribe(), staying[2], c.generator(round * 100 + 10), for_ever)));
      coroutines.push_back(
          penstock::spawn(s.read_in_coroutine(s.bus().subscribe(), staying[3], c.generator(round * 100 + 11), for_ever)));
      {
        std::vector<std::jthread> writers;
        std::optional<penstock::spawned<void>> writing;
        for (std::uint64_t p = 0; p < publishers; ++p) {
          if (p == 2) {
            writing.emplace(penstock::spawn(pool, s.write_in_coroutine(p, count)));
          } else {
            writers.emplace_back([&, p, random = c.generator(round * 100 + 20 + p)] { s.write(p, count, random); });
          }
        }
        // Others come and stay for a while; what they leave behind must hold nobody back.
        for (std::size_t i = 0; i < passing.size(); ++i) {
          stress::random random = c.generator(round * 100 + 30 + i);
          const std::size_t until = random.below<std::size_t>(40);
          if (random.one_in(2)) {
            readers.emplace_back([&, &mine = passing[i], random, until] { s.read(s.bus().subscribe(), mine, random, until); });
          } else {
            coroutines.push_back(penstock::spawn(pool, s.read_in_coroutine(s.bus().subscribe(), passing[i], random, until)));
          }
        }
        if (writing) writing->wait();
      }
      s.bus().close();
      readers.clear();
      for (auto& coroutine : coroutines) coroutine.wait();
    }
    if (policy == slow_subscriber::wait) {
      everything = staying[0];
      c.check(everything.got.size() == publishers * count, "an item is missing");
      s.judge(everything, nullptr, true);
    }
    for (const record& r : staying) {
      if (policy == slow_subscriber::lose_oldest && !r.got.empty())
        c.check(r.got[0].value == r.got[0].lost, "what was lost at the beginning");
      s.judge(r, &everything, !r.disconnected);
    }
    for (const record& r : passing) s.judge(r, &everything, false);
    c.check(s.bus().subscribers() == 0, "a subscriber is left");
    c.check(Item::living == 0, "an item is left, or was destroyed twice");
  }
}

// Once it is made, nothing of a broadcast allocates: neither coming and going nor publishing, popping and waiting, of threads or coroutines.
void without_allocating(stress::context& c) {
  constexpr int count = 2000;
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest, slow_subscriber::disconnect}) {
    penstock::broadcast<int> b{4, {.when_slow = policy}};
    std::atomic<bool> coroutine_ended{false};
    const auto pop_all = [](penstock::subscription<int> parameter, std::atomic<bool>& ended) -> penstock::task<> {
      penstock::subscription<int> s = std::move(parameter);
      for (;;) {
        const penstock::result<int> r = co_await s.async_pop();
        if (!r && r.error() != errc::lagged) break;
      }
      ended = true;
    };
    auto coroutine = penstock::spawn(pop_all(b.subscribe(), coroutine_ended));
    stress::start_line begun{2};
    std::atomic<bool> reader_ended{false};
    std::jthread reader{[&, s = b.subscribe()]() mutable {
      begun.wait();
      for ([[maybe_unused]] const int i : s) {
      }
      reader_ended = true;
    }};
    begun.wait();
    const long before = counting_new::made;
    for (int i = 0; i < count; ++i) {
      c.check(b.publish(i).has_value(), "not published");
      auto passing = b.subscribe();
      c.check(!passing.try_pop().has_value(), "came too late for this");
      if (i % 16 == 0) std::this_thread::yield();
    }
    b.close();
    while (!reader_ended || !coroutine_ended) std::this_thread::yield();
    c.check(counting_new::made == before, "something allocates");  // not counted under the sanitizers
  }
}

// One sets, one updates, the others wait or look: versions only grow, values belong to their versions, and everybody sees the last one.
void watch_mix(stress::context& c) {
  using value = basic_item<false>;
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    {
      penstock::watch<value> w{value{0}};
      constexpr std::uint64_t each = 300;
      std::atomic<int> seen_last{0};
      const auto look = [&](const value& v, std::uint64_t& last) {
        c.check(v.whole(), "a torn value");
        c.check(v.value >= last, "a value that is older than the last");
        last = v.value;
      };
      const auto in_coroutine = [](penstock::watcher<value> mine, auto look_at, std::atomic<int>& ends) -> penstock::task<> {
        std::uint64_t last = 0;
        for (;;) {
          const penstock::result<void> r = co_await mine.async_wait_changed();
          if (!r) break;
          look_at(mine.get(), last);
        }
        if (last == 2 * each) ++ends;
      };
      penstock::worker_pool pool{{.threads = 2}};
      auto first = penstock::spawn(pool, in_coroutine(w.subscribe(), look, seen_last));
      auto second = penstock::spawn(in_coroutine(w.subscribe(), look, seen_last));
      std::vector<std::jthread> readers;
      for (std::uint64_t t = 0; t < 2; ++t) {
        readers.emplace_back([&, mine = w.subscribe(), random = c.generator(round * 100 + t)]() mutable {
          std::uint64_t last = 0;
          for (;;) {
            const penstock::result<void> r =
                random.one_in(2) ? mine.wait_changed() : mine.try_wait_changed_for(random.below(100) * 1us);
            if (!r && r.error() == errc::closed) break;
            if (random.one_in(2)) {
              mine.read([&](const value& v) { look(v, last); });
            } else {
              look(mine.get(), last);
            }
          }
          if (last == 2 * each) ++seen_last;
        });
      }
      {
        std::vector<std::jthread> writers;
        for (int t = 0; t < 2; ++t) {
          writers.emplace_back([&] {
            for (std::uint64_t i = 0; i < each; ++i) {
              const auto r = w.update([](value& v) {
                ++v.value;
                v.check = ~v.value;
              });
              c.check(r.has_value(), "not updated");
            }
          });
        }
      }
      w.close();
      readers.clear();
      first.wait();
      second.wait();
      c.check(w.get().value == 2 * each && w.version() == 2 * each, "an update was lost");
      c.check(seen_last == 4, "somebody missed the last value");
    }
    c.check(value::living == 0, "a value is left, or was destroyed twice");
  }
}

}  // namespace

int main() {
  stress::run run{"broadcast"};
  using quiet = basic_item<false>;
  using throwing = basic_item<true>;
  run.scenario("wait", 300ms, [](stress::context& c) { come_and_go<quiet>(c, slow_subscriber::wait); });
  run.scenario("wait, delays before each sleep", 300ms, [&](stress::context& c) {
    park_delay::enable(run.seed(), 50'000);
    come_and_go<quiet>(c, slow_subscriber::wait);
    park_delay::disable();
  });
  run.scenario("wait, items whose move may throw", 200ms,
               [](stress::context& c) { come_and_go<throwing>(c, slow_subscriber::wait); });
  run.scenario("lose the oldest", 300ms, [](stress::context& c) { come_and_go<quiet>(c, slow_subscriber::lose_oldest); });
  run.scenario("lose the oldest, items whose move may throw", 200ms,
               [](stress::context& c) { come_and_go<throwing>(c, slow_subscriber::lose_oldest); });
  run.scenario("disconnect", 300ms, [](stress::context& c) { come_and_go<quiet>(c, slow_subscriber::disconnect); });
  run.scenario("nothing allocates", 100ms, without_allocating);
  run.scenario("watch", 300ms, watch_mix);
  run.again_on_one_processor();
  return run.finish();
}
