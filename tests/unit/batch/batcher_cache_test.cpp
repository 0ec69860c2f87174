// What a batcher remembers: sizes, lifetimes, errors, caches of one's own, clearing while a key is being loaded, and how keys are told apart.
#include <penstock/batch/batcher.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using batches = std::vector<std::vector<int>>;
using function = move_only_function<std::vector<result<int>>(std::span<const int>)>;
using ints = batcher<int, int>;
using options = batcher_options<int, int>;

// What it answers grows by one with each call; keys below zero are not found.
struct source {
  batches asked;
  int version = 0;
  std::function<void()> during = [] {};
  function answers() {
    return [this](std::span<const int> k) {
      asked.emplace_back(k.begin(), k.end());
      const int now = ++version;
      during();
      std::vector<result<int>> r;
      for (const int i : k) r.push_back(i < 0 ? result<int>{errc::not_found} : result<int>{i * 100 + now});
      return r;
    };
  }
};

struct map_cache {
  std::map<int, int> held;
  std::function<void()> after_set = [] {};
  std::optional<int> get(int key) {
    const auto found = held.find(key);
    return found != held.end() ? std::optional<int>{found->second} : std::nullopt;
  }
  void set(int key, int value) {
    held.insert_or_assign(key, value);
    after_set();
  }
  void erase(int key) { held.erase(key); }
  void clear() { held.clear(); }
};

struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};

std::error_code error_of(const shared_future<int>& f) {
  try {
    static_cast<void>(shared_future<int>{f}.get());
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("batcher: remembers nothing unless asked to, but shares what is being loaded", "[batcher][cache]") {
  source s;
  manual_executor loop;
  ints b{loop, s.answers()};
  auto one = b.load(1);
  auto same = b.load(1);
  loop.run_all();
  CHECK(one.get() == 101);
  CHECK(&one.get() == &same.get());
  CHECK(b.try_load(1).error() == errc::empty);
  CHECK_FALSE(b.prime(1, 7));
  auto again = b.load(1);
  loop.run_all();
  CHECK(again.get() == 102);
  CHECK(s.asked == batches{{1}, {1}});
}

TEST_CASE("batcher: of those remembered the one that was not asked for the longest goes first", "[batcher][cache][hazard-28]") {
  source s;
  ints b{any_scheduler{}, s.answers(), {.cache = {.max_entries = 2}}};
  for (const int key : {1, 2, 1, 3, 1, 2}) static_cast<void>(b.load(key).get());
  CHECK(s.asked == batches{{1}, {2}, {3}, {2}});
  CHECK(b.stats().cached == 2);
  CHECK(b.stats().hits == 2);
  CHECK(b.try_load(1) == 101);
  CHECK(b.try_load(3).error() == errc::empty);
  // Thousands come and go, and the table that finds them grows on the way.
  ints many{any_scheduler{}, s.answers(), {.cache = {.max_entries = 3000}}};
  for (int key = 0; key < 5000; ++key) static_cast<void>(many.load(key * 1024));
  CHECK(many.stats().cached == 3000);
  CHECK(many.try_load(1999 * 1024).error() == errc::empty);
  CHECK(many.try_load(2000 * 1024));
}

TEST_CASE("batcher: many keys are looked up together as they are one by one", "[batcher][cache]") {
  source s;
  manual_clock clock;
  manual_executor loop;
  ints b{loop, s.answers(), {.cache = {.max_entries = 3, .ttl = 10s, .negative_ttl = 20s}, .clock = clock}};
  const auto known = [&](std::initializer_list<int> keys) {
    std::vector<int> values;
    for (const auto& r : b.try_load_many(keys)) values.push_back(r ? *r : (r.error() == errc::empty ? 0 : -1));
    return values;
  };
  CHECK(known({}) == std::vector<int>{});
  CHECK(known({1, 2}) == std::vector{0, 0});
  for (const int key : {1, 2, -3}) static_cast<void>(b.load(key));
  loop.run_all();
  auto under_way = b.load(4);
  CHECK(known({-3, 4, 2, 1, 2}) == std::vector{-1, 0, 201, 101, 201});
  CHECK(b.stats().hits == 4);
  loop.run_all();
  CHECK(under_way.get() == 402);
  CHECK(known({1, 2, -3, 4}) == std::vector{101, 201, 0, 402});  // -3 was asked for first, and so the first to go
  clock.advance(10s);
  CHECK(known({1, 2, 4}) == std::vector{0, 0, 0});
  CHECK(b.stats().cached == 0);
  CHECK(b.prime(5, std::make_exception_ptr(std::logic_error{"five"})));
  CHECK_THROWS_AS(known({5}), std::logic_error);
  // Among thousands, and by another kind of range.
  ints many{any_scheduler{}, s.answers(), {.cache = {.max_entries = 5000}}};
  for (int key = 0; key < 5000; ++key) CHECK(many.prime(key * 1024, key));
  const auto all = many.try_load_many(std::views::iota(0, 6000) | std::views::transform([](int n) { return n * 1024; }));
  REQUIRE(all.size() == 6000);
  CHECK(std::count_if(all.begin(), all.end(), [](const result<int>& r) { return r.has_value(); }) == 5000);
  CHECK(all[4999] == 4999);
  // What a range runs may use the batcher, and is run once for a key.
  int made = 0;
  const std::vector steps{1, 2, 9};
  const auto keys = steps | std::views::transform([&](int n) {
                      ++made;
                      return many.try_load(n * 1024).value_or(-1) * 1024;
                    });
  CHECK(many.try_load_many(keys) == std::vector<result<int>>{1, 2, 9});
  CHECK(made == 3);
}

TEST_CASE("batcher: a value lives as long as its ttl, an error as its negative ttl, and by default not at all",
          "[batcher][cache][hazard-24]") {
  source s;
  manual_clock clock;
  ints b{any_scheduler{}, s.answers(), {.cache = {.max_entries = 10, .ttl = 10s, .negative_ttl = 2s}, .clock = clock}};
  CHECK(b.load(1).get() == 101);
  CHECK(error_of(b.load(-1)) == errc::not_found);
  clock.advance(1'999ms);
  CHECK(error_of(b.load(-1)) == errc::not_found);
  CHECK(s.asked.size() == 2);
  clock.advance(1ms);
  CHECK(error_of(b.load(-1)) == errc::not_found);
  CHECK(s.asked.size() == 3);
  clock.advance(7'999ms);
  CHECK(b.load(1).get() == 101);
  clock.advance(1ms);
  CHECK(b.try_load(1).error() == errc::empty);
  CHECK(b.load(1).get() == 104);
  CHECK(b.prime(2, 7));
  CHECK(b.prime(-2, errc::rejected));
  clock.advance(2s);
  CHECK(error_of(b.load(-2)) == errc::not_found);
  CHECK(b.load(2).get() == 7);

  ints no_errors{any_scheduler{}, s.answers(), {.cache = {.max_entries = 10}}};
  CHECK(error_of(no_errors.load(-1)) == errc::not_found);
  CHECK(error_of(no_errors.load(-1)) == errc::not_found);
  CHECK(s.asked.back() == std::vector<int>{-1});
  CHECK(no_errors.stats().batches == 2);
  CHECK_FALSE(no_errors.prime(5, errc::rejected));
  ints no_time{any_scheduler{}, s.answers(), {.cache = {.max_entries = 10, .ttl = 0s}}};
  CHECK_FALSE(no_time.prime(5, 6));
}

TEST_CASE("batcher: what is cleared while it is being loaded reaches those who asked, and nobody who asks later",
          "[batcher][cache]") {
  const auto own = GENERATE(false, true);
  source s;
  map_cache cache;
  options o{.cache = {.max_entries = 10}};
  if (own) o.own_cache = cache;
  ints* self = nullptr;
  ints b{any_scheduler{}, s.answers(), std::move(o)};
  self = &b;
  std::optional<shared_future<int>> later;
  s.during = [&] {
    if (s.version != 1) return;
    if (own) cache.set(1, 3);  // somebody's
    self->clear(1);
    // Its old value gets there, and is taken out again. Who asks in between does not get it.
    cache.after_set = [&] {
      if (!later) later = self->load(1);
    };
    if (!own) cache.after_set();
  };
  CHECK(b.load(1).get() == 101);
  CHECK(later->get() == 102);
  CHECK(b.load(1).get() == 102);
  s.during = [&] {
    if (s.version == 3) self->clear_all();
  };
  CHECK(b.load(2).get() == 203);
  CHECK(b.load(2).get() == 204);
  CHECK(b.load(1).get() == 105);
  CHECK(b.clear(1).prime(1, 9));
  CHECK_FALSE(b.prime(1, 10));
  CHECK(b.load(1).get() == 9);
}

TEST_CASE("batcher: what is cleared while it is in line is not loaded twice", "[batcher][cache]") {
  source s;
  manual_executor loop;
  ints b{loop, s.answers()};
  auto before = b.load(1);
  b.clear(1).clear_all();
  auto after = b.load(1);
  loop.run_all();
  CHECK(after.get() == 101);
  CHECK(s.asked == batches{{1}});
}

TEST_CASE("batcher: a cache of one's own is asked first and told of values, not of errors", "[batcher][cache]") {
  source s;
  map_cache cache;
  cache.held = {{5, 55}};
  options o{};
  o.own_cache = cache;
  ints b{any_scheduler{}, s.answers(), std::move(o)};
  CHECK(b.load(5).get() == 55);
  CHECK(b.load(1).get() == 101);
  CHECK(error_of(b.load(-1)) == errc::not_found);
  CHECK(cache.held == std::map<int, int>{{1, 101}, {5, 55}});
  CHECK(b.prime(6, 66));
  CHECK_FALSE(b.prime(6, 67));
  CHECK(b.load(6).get() == 66);
  CHECK(b.stats().hits == 2);
  bool primed = true;
  s.during = [&] { primed = b.prime(7, 77); };
  CHECK(b.load(7).get() == 703);
  CHECK_FALSE(primed);  // it was being loaded
  b.clear_all();
  CHECK(cache.held.empty());
}

TEST_CASE("batcher: keys are told apart by Hash and Equal; a transparent pair looks for what it is given", "[batcher][cache]") {
  int calls = 0;
  const auto lengths = [&calls](const auto& k) {
    ++calls;
    std::vector<std::size_t> r;
    for (const auto& s : k) r.push_back(s.size());
    return r;
  };
  batcher<std::string, std::size_t, text_hash> b{
      any_scheduler{}, [&](std::span<const std::string> k) { return lengths(k); }, {.cache = {.max_entries = 10}}};
  CHECK(b.load(std::string_view{"four"}).get() == 4);
  CHECK(b.load("four").get() == 4);
  CHECK(b.try_load(std::string{"four"}) == 4u);
  b.clear("four");
  CHECK(b.load_many(std::vector<std::string_view>{"four", "a"})[1].get() == 1);
  CHECK(calls == 2);

  struct first_letter {
    char operator()(const std::string& s) const { return s.empty() ? '\0' : s[0]; }
  };
  batcher<std::string, std::size_t, cache_key<first_letter>, cache_key<first_letter>> by_letter{
      any_scheduler{}, [&](std::span<const std::string> k) { return lengths(k); }, {.cache = {.max_entries = 10}}};
  CHECK(by_letter.load("anna").get() == 4);
  CHECK(by_letter.load("albert").get() == 4);
}

TEST_CASE("batcher: what is forgotten is destroyed under no lock, and each value once",
          "[batcher][cache][hazard-17][hazard-30]") {
  using shared = std::shared_ptr<int>;
  using function_of_shared = move_only_function<std::vector<shared>(std::span<const int>)>;
  int made = 0;
  int gone = 0;
  {
    batcher<int, shared>* self = nullptr;
    function_of_shared values = [&](std::span<const int> k) {
      std::vector<shared> r;
      for (const int i : k) {
        ++made;
        r.emplace_back(new int{i}, [&](int* p) {
          if (self != nullptr) self->clear(*p + 1000);  // would wait for itself
          ++gone;
          delete p;
        });
      }
      return r;
    };
    batcher<int, shared> b{any_scheduler{}, std::move(values), {.cache = {.max_entries = 2}}};
    self = &b;
    CHECK(*b.load(1).get() == 1);
    static_cast<void>(b.load_many({2, 3, 4}));
    CHECK(gone == 2);
    b.clear(3);
    CHECK(gone == 3);
    auto kept = b.load(4);
    b.clear_all();
    CHECK(gone == 3);
    CHECK(b.prime(5, std::make_shared<int>(5)));
    CHECK(*kept.get() == 4);
    self = nullptr;
  }
  CHECK(gone == made);
  // What the function keeps, and gives a reference to, stays whole.
  std::vector<shared> kept{std::make_shared<int>(7)};
  batcher<int, shared> b{any_scheduler{}, [&](std::span<const int>) -> std::vector<shared>& { return kept; }};
  CHECK(*b.load(1).get() == 7);
  CHECK(*b.load(2).get() == 7);
}
