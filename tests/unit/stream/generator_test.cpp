#include <penstock/stream/generator.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;

static_assert(std::ranges::input_range<generator<int>> && std::ranges::view<generator<int>>);
static_assert(!std::ranges::forward_range<generator<int>>);
static_assert(!std::copy_constructible<generator<int>> && std::movable<generator<int>>);
static_assert(std::same_as<std::ranges::range_reference_t<generator<int>>, int&&>);
static_assert(std::same_as<std::ranges::range_reference_t<generator<int&>>, int&>);
static_assert(std::same_as<std::ranges::range_reference_t<generator<const int&>>, const int&>);
static_assert(std::same_as<std::ranges::range_value_t<generator<std::string_view, std::string>>, std::string>);

template <class Promise>
concept can_wait = requires(Promise& p) { p.await_transform(std::suspend_always{}); };
static_assert(!can_wait<generator<int>::promise_type>, "co_await in a generator must not compile");

template <class T, class G>
std::vector<T> all_of(G&& g) {
  std::vector<T> all;
  for (auto&& v : g) all.emplace_back(std::forward<decltype(v)>(v));
  return all;
}

generator<int> numbers(int first, int last) {
  for (int i = first; i < last; ++i) co_yield i;
}

struct counts_copies {
  int* copies;
  explicit counts_copies(int& n) : copies{&n} {}
  counts_copies(const counts_copies& other) : copies{other.copies} { ++*copies; }
  counts_copies& operator=(const counts_copies&) = delete;
};

// Notes its end.
struct guard {
  std::string& log;
  std::string_view text;
  ~guard() { log += text; }
};

TEST_CASE("generator: gives its values in order, and is a view", "[generator]") {
  CHECK(all_of<int>(numbers(0, 5)) == std::vector{0, 1, 2, 3, 4});
  CHECK(all_of<int>(numbers(5, 5)).empty());
  std::vector<int> odd;
  for (int i : numbers(0, 1'000'000) | std::views::filter([](int n) { return n % 2 == 1; }) | std::views::take(3))
    odd.push_back(i);
  CHECK(odd == std::vector{1, 3, 5});
}

TEST_CASE("generator: nothing runs before begin(), and only what is asked for", "[generator]") {
  int steps = 0;
  const auto body = [](int& n) -> generator<int> {
    for (;;) co_yield ++n;
  };
  auto g = body(steps);
  CHECK(steps == 0);
  auto it = g.begin();
  CHECK(steps == 1);
  ++it;
  CHECK(steps == 2);
  CHECK(*it == 2);
  CHECK(it != g.end());
}

TEST_CASE("generator: values are not copied on their way", "[generator]") {
  int copies = 0;
  const counts_copies object{copies};
  SECTION("by reference, the very object comes out") {
    const auto body = [](const counts_copies& o) -> generator<const counts_copies&> { co_yield o; };
    for (const counts_copies& o : body(object)) CHECK(&o == &object);
    CHECK(copies == 0);
  }
  SECTION("an lvalue of which the consumer gets an rvalue is copied once") {
    const auto body = [](const counts_copies& o) -> generator<counts_copies> { co_yield o; };
    for (counts_copies&& o : body(object)) CHECK(&o != &object);
    CHECK(copies == 1);
  }
  SECTION("a mutable reference changes the original") {
    int n = 1;
    const auto body = [](int& i) -> generator<int&> { co_yield i; };
    for (int& i : body(n)) i = 7;
    CHECK(n == 7);
  }
}

TEST_CASE("generator: items that can only be moved", "[generator]") {
  const auto body = []() -> generator<std::unique_ptr<int>> {
    for (int i = 0; i < 3; ++i) co_yield std::make_unique<int>(i);
    auto last = std::make_unique<int>(3);
    co_yield std::move(last);
    if (last != nullptr) co_yield nullptr;  // it was taken
  };
  std::vector<int> seen;
  for (std::unique_ptr<int>&& p : body()) seen.push_back(*std::unique_ptr<int>{std::move(p)});
  CHECK(seen == std::vector{0, 1, 2, 3});
}

TEST_CASE("generator: an exception comes out of the begin() or ++ that met it, and that is the end", "[generator]") {
  const auto body = [](int good) -> generator<int> {
    for (int i = 0; i < good; ++i) co_yield i;
    throw std::runtime_error{"on purpose"};
  };
  auto at_once = body(0);
  CHECK_THROWS_AS(at_once.begin(), std::runtime_error);
  auto later = body(1);
  auto it = later.begin();
  CHECK(*it == 0);
  CHECK_THROWS_WITH(++it, "on purpose");
  CHECK(it == later.end());
}

TEST_CASE("generator: destroyed in the middle, it destroys what it holds", "[generator]") {
  std::string log;
  const auto body = [](std::string& l) -> generator<int> {
    const guard g{l, "x"};
    for (;;) co_yield 1;
  };
  {
    auto g = body(log);
    static_cast<void>(g.begin());
    auto moved = std::move(g);
    moved = body(log);  // the first one goes
    CHECK(log == "x");
    static_cast<void>(moved.begin());
  }
  CHECK(log == "xx");
  {
    auto never_begun = body(log);
  }
  CHECK(log == "xx");
}

generator<int> countdown(int from) {
  co_yield from;
  if (from > 0) co_yield elements_of(countdown(from - 1));
}

struct tree {
  int value;
  std::vector<tree> children;
};
generator<const tree&> each(const tree& t) {
  co_yield t;
  for (const tree& c : t.children) co_yield elements_of(each(c));
}

TEST_CASE("generator: nested generators give their values in place", "[generator]") {
  const auto body = []() -> generator<int> {
    co_yield elements_of(numbers(0, 0));
    co_yield elements_of(numbers(0, 2));
    co_yield 10;
    co_yield elements_of(countdown(2));
    auto named = numbers(5, 6);
    co_yield elements_of(std::move(named));
    co_yield elements_of(numbers(0, 0));
  };
  CHECK(all_of<int>(body()) == std::vector{0, 1, 10, 2, 1, 0, 5});

  const tree t{1, {{2, {{3, {}}, {4, {}}}}, {5, {}}}};
  std::vector<int> values;
  for (const tree& n : each(t)) values.push_back(n.value);
  CHECK(values == std::vector{1, 2, 3, 4, 5});
}

TEST_CASE("generator: elements of any range can be nested", "[generator]") {
  std::vector<std::string> words{"a", "b"};
  const auto body = [](std::vector<std::string>& w) -> generator<std::string> {
    co_yield elements_of(w);             // copies
    std::vector<std::string> more{"c"};  // g++ 12 fails on a braced list inside a co_yield expression
    co_yield elements_of(std::move(more));
    co_yield elements_of(w | std::views::transform([](const std::string& s) { return s + s; }));
  };
  CHECK(all_of<std::string>(body(words)) == std::vector<std::string>{"a", "b", "c", "aa", "bb"});
  CHECK(words == std::vector<std::string>{"a", "b"});
}

TEST_CASE("generator: nesting needs no stack by depth, to run, to end, to throw and to be destroyed", "[generator]") {
  constexpr int depth = 100'000;
  SECTION("to the end") {
    long sum = 0;
    for (int i : countdown(depth)) sum += i;
    CHECK(sum == long{depth} * (depth + 1) / 2);
  }
  SECTION("destroyed at the innermost") {
    auto g = countdown(depth);
    auto it = g.begin();
    int steps = 0;
    for (; *it != 0; ++it) ++steps;
    CHECK(steps == depth);
  }
  SECTION("thrown through") {
    struct local {
      static generator<int> fall(int n) {
        if (n == 0) throw std::runtime_error{"bottom"};
        co_yield elements_of(fall(n - 1));
      }
    };
    auto g = local::fall(depth / 10);
    CHECK_THROWS_WITH(g.begin(), "bottom");
  }
}

TEST_CASE("generator: an exception of a nested generator can be caught around its co_yield", "[generator]") {
  struct local {
    static generator<int> inner() {
      co_yield 1;
      throw std::runtime_error{"inner"};
    }
    static generator<int> outer() {
      bool caught = false;
      try {
        co_yield elements_of(inner());
      } catch (const std::runtime_error&) {
        caught = true;
      }
      if (caught) co_yield 2;
    }
  };
  CHECK(all_of<int>(local::outer()) == std::vector{1, 2});
}

TEST_CASE("generator: nested frames are destroyed from the innermost outwards", "[generator]") {
  struct local {
    static generator<int> level(int n, std::string& log) {
      const guard g{log, std::string_view{"012"}.substr(static_cast<std::size_t>(n), 1)};
      if (n < 2) {
        co_yield elements_of(level(n + 1, log));
      } else {
        co_yield 1;
      }
    }
  };
  std::string log;
  {
    auto g = local::level(0, log);
    static_cast<void>(g.begin());
  }
  CHECK(log == "210");
}

}  // namespace
