#include <penstock/core/move_only_function.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../../support/catch.hpp"
#include "support.hpp"

using core_test::census;
using core_test::counted;
using penstock::move_only_function;

namespace {

// Says whether it lies on the heap: operator new of the class is called for nothing else.
template <std::size_t Size, std::size_t Align = 1, bool NothrowMove = true>
struct alignas(Align) sized {
  static inline int on_heap = 0;
  static void* operator new(std::size_t n) {
    ++on_heap;
    return ::operator new(n, std::align_val_t{alignof(sized)});
  }
  static void* operator new(std::size_t, void* where) noexcept { return where; }
  static void operator delete(void* p) {
    --on_heap;
    ::operator delete(p, std::align_val_t{alignof(sized)});
  }

  sized() = default;
  sized(sized&&) noexcept(NothrowMove) {}
  bool operator()() const { return reinterpret_cast<std::uintptr_t>(this) % Align == 0; }

  std::array<char, Size> content{};
};

template <class F>
bool allocates() {
  move_only_function<bool()> f{F{}};
  CHECK(f());
  const bool on_heap = F::on_heap == 1;
  move_only_function<bool()> moved = std::move(f);
  CHECK(moved());
  CHECK(F::on_heap == (on_heap ? 1 : 0));  // moving allocates nothing
  moved = nullptr;
  CHECK(F::on_heap == 0);
  return on_heap;
}

template <class Signature>
bool lies_inside(const void* p, const move_only_function<Signature>& f) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&f);
  return std::less_equal<>{}(begin, static_cast<const std::byte*>(p)) &&
         std::less<>{}(static_cast<const std::byte*>(p), begin + sizeof(f));
}

int twice(int i) { return 2 * i; }
struct throws_at_its_end {
  ~throws_at_its_end() noexcept(false) {}
  void operator()() const {}
};

static_assert(!std::is_copy_constructible_v<move_only_function<void()>>);
static_assert(std::is_nothrow_move_constructible_v<move_only_function<void()>> &&
              std::is_nothrow_move_assignable_v<move_only_function<void()>>);
static_assert(std::is_constructible_v<move_only_function<int(int)>, int (*)(int)>);
static_assert(!std::is_constructible_v<move_only_function<int(std::string)>, int (*)(int)>);
static_assert(std::is_constructible_v<move_only_function<void(int)>, int (*)(int)>);
static_assert(!std::is_constructible_v<move_only_function<int(int) noexcept>, int (*)(int)>);
static_assert(!std::is_constructible_v<move_only_function<void()>, throws_at_its_end>);
struct cannot_be_copied {
  std::unique_ptr<int> p;
  void operator()() const {}
};
static_assert(std::is_constructible_v<move_only_function<void()>, cannot_be_copied> &&
              !std::is_constructible_v<move_only_function<void()>, cannot_be_copied&>);
static_assert(!std::is_constructible_v<move_only_function<void()>, move_only_function<void()>&>);
static_assert(sizeof(move_only_function<void()>) == 64 || sizeof(void*) != 8);

}  // namespace

TEST_CASE("move_only_function: calls what it owns, with arguments and result", "[move_only_function]") {
  move_only_function<int(int)> f = twice;
  CHECK(f(4) == 8);
  f = [n = std::make_unique<int>(1)](int i) { return *n += i; };
  CHECK(f(2) == 3);
  CHECK(f(2) == 5);
  move_only_function<std::unique_ptr<int>(std::unique_ptr<int>)> passes = [](std::unique_ptr<int> p) { return p; };
  CHECK(*passes(std::make_unique<int>(6)) == 6);
  int target = 0;
  move_only_function<int&(int&)> refers = [](int& i) -> int& { return i; };
  CHECK(&refers(target) == &target);
  move_only_function<void(int)> drops = twice;
  drops(1);
  move_only_function<std::size_t(const std::string&)> member = &std::string::size;
  CHECK(member("four") == 4);
  auto kept = [&target] { return ++target; };
  move_only_function<int()> by_reference = std::ref(kept);
  CHECK(by_reference() == 1);
  CHECK(target == 1);
}

TEST_CASE("move_only_function: is empty until it is given something, and after it was moved", "[move_only_function]") {
  move_only_function<void()> f;
  CHECK_FALSE(f);
  CHECK(f == nullptr);
  f = [] {};
  CHECK(f);
  CHECK(f != nullptr);
  move_only_function<void()> g = std::move(f);
  CHECK_FALSE(f);
  CHECK(g);
  f = std::move(g);
  CHECK(f);
  CHECK_FALSE(g);
  f = nullptr;
  CHECK_FALSE(f);
  int (*const null_pointer)(int) = nullptr;
  CHECK_FALSE(move_only_function<int(int)>{null_pointer});
  CHECK_FALSE(move_only_function<int(int)>{std::function<int(int)>{}});
  std::size_t (std::string::* const null_member)() const noexcept = nullptr;
  CHECK_FALSE(move_only_function<std::size_t(const std::string&)>{null_member});
}

TEST_CASE("move_only_function: up to 48 bytes lie inside, what is bigger or may throw when moved does not",
          "[move_only_function]") {
  CHECK_FALSE(allocates<sized<1>>());
  CHECK_FALSE(allocates<sized<48>>());
  CHECK(allocates<sized<49>>());
  CHECK_FALSE(allocates<sized<16, alignof(std::max_align_t)>>());
  CHECK(allocates<sized<16, 2 * alignof(std::max_align_t)>>());
  CHECK(allocates<sized<256, 256>>());
  CHECK(allocates<sized<1, 1, false>>());
}

TEST_CASE("move_only_function: what it owns is destroyed once", "[move_only_function]") {
  census all;
  {
    move_only_function<void()> small = [c = counted{all}] {};
    move_only_function<void()> big = [c = counted{all}, filling = std::array<char, 64>{}] { static_cast<void>(filling); };
    CHECK(all.living == 2);
    swap(small, big);
    CHECK(all.living == 2);
    small();
    big();
    move_only_function<void()>& self = small;
    small = std::move(self);
    CHECK(small);
    small = std::move(big);
    CHECK(all.living == 1);
    std::vector<move_only_function<void()>> many;
    for (int i = 0; i < 10; ++i) many.emplace_back([c = counted{all}] {});
    CHECK(all.living == 11);
    many[0] = nullptr;
    CHECK(all.living == 10);
  }
  CHECK(all.living == 0);
}

TEST_CASE("move_only_function: a callable that throws while it is wrapped leaves nothing behind", "[move_only_function]") {
  struct throws_when_copied {
    explicit throws_when_copied(census& c) : count{c} {}
    throws_when_copied(const throws_when_copied& other) : count{other.count} { throw std::runtime_error{"on purpose"}; }
    int operator()() const { return 1; }
    counted count;
  };
  census all;
  {
    const throws_when_copied original{all};
    move_only_function<int()> f = [] { return 2; };
    CHECK_THROWS_AS(f = original, std::runtime_error);
    CHECK(f() == 2);
    CHECK(all.living == 1);
  }
  CHECK(all.living == 0);
}

TEST_CASE("move_only_function: an exception of the callable passes through", "[move_only_function]") {
  move_only_function<void(int)> f = [](int i) {
    if (i == 1) throw std::runtime_error{"on purpose"};
  };
  CHECK_THROWS_AS(f(1), std::runtime_error);
  CHECK_NOTHROW(f(2));
}

TEST_CASE("move_only_function: what is replaced is destroyed last, and its destructor may look", "[move_only_function]") {
  struct looks {
    looks(move_only_function<int()>& f, int& s) noexcept : function{&f}, saw{&s} {}
    looks(looks&& other) noexcept : function{std::exchange(other.function, nullptr)}, saw{other.saw} {}
    ~looks() {
      if (function != nullptr) *saw = *function ? (*function)() : 0;
    }
    int operator()() const { return 1; }
    move_only_function<int()>* function;
    int* saw;
  };
  int saw = -1;
  move_only_function<int()> f;
  f = looks{f, saw};
  f = [] { return 2; };
  CHECK(saw == 2);
  f = looks{f, saw};
  f = nullptr;
  CHECK(saw == 0);
}

TEST_CASE("move_only_function: const and noexcept are part of the signature", "[move_only_function]") {
  struct tells {
    int operator()() { return 1; }
    int operator()() const { return 2; }
  };
  move_only_function<int()> changing = tells{};
  CHECK(changing() == 1);
  const move_only_function<int() const> constant = tells{};
  CHECK(constant() == 2);
  const auto counts = [n = 0]() mutable { return ++n; };
  static_assert(!std::is_constructible_v<move_only_function<int() const>, decltype(counts)>);
  move_only_function<int(int) noexcept> quiet = [](int i) noexcept { return i; };
  static_assert(noexcept(quiet(1)));
  static_assert(!noexcept(changing()));
  CHECK(quiet(5) == 5);
}

TEST_CASE("move_only_function: an empty one needs no code to be initialised", "[move_only_function]") {
  static constinit move_only_function<void()> f;
  CHECK_FALSE(f);
}

TEST_CASE("move_only_function: moves an argument that is passed by value once", "[move_only_function]") {
  struct counts_moves {
    counts_moves() = default;
    counts_moves(counts_moves&& other) noexcept : moves{other.moves + 1} {}
    int moves = 0;
  };
  move_only_function<int(counts_moves)> f = [](counts_moves c) { return c.moves; };
  CHECK(f(counts_moves{}) == 1);
  move_only_function<int(counts_moves)> by_reference = [](const counts_moves& c) { return c.moves; };
  CHECK(by_reference(counts_moves{}) == 0);
}

TEST_CASE("move_only_function: 48 bytes of captures lie inside it", "[move_only_function]") {
  struct words {
    std::int64_t all[6];
  };
  static_assert(sizeof(words) == 48);
  move_only_function<const words*()> f = [data = words{{1, 2, 3, 4, 5, 6}}] { return &data; };
  CHECK(lies_inside(f(), f));
  move_only_function<const words*()> g = std::move(f);
  CHECK(lies_inside(g(), g));
  CHECK(g()->all[0] == 1);
  CHECK(g()->all[5] == 6);
  move_only_function<const words*()> outside = [data = words{}, one_more = char{}] { return (void)one_more, &data; };
  CHECK_FALSE(lies_inside(outside(), outside));
}

TEST_CASE("move_only_function: trivial callables move and swap as others do", "[move_only_function]") {
  int calls = 0;
  const auto add = [&calls](int n) { return [&calls, n] { calls += n; }; };
  static_assert(std::is_trivially_copyable_v<decltype(add(1))>);
  move_only_function<void()> a = add(1);
  move_only_function<void()> b = add(10);
  swap(a, b);
  a();
  CHECK(calls == 10);
  b();
  CHECK(calls == 11);
  a = std::move(b);
  CHECK_FALSE(b);
  a();
  CHECK(calls == 12);
  a = move_only_function<void()>{[big = std::array<int, 64>{7}, &calls] { calls += big[0]; }};
  a();
  CHECK(calls == 19);
  a = add(100);
  a();
  CHECK(calls == 119);
}

TEST_CASE("move_only_function: builds a callable in place that could not be moved", "[move_only_function]") {
  struct immovable {
    explicit immovable(int n) : number{n} {}
    immovable(immovable&&) = delete;
    int operator()() const { return number; }
    int number;
  };
  move_only_function<int()> f{std::in_place_type<immovable>, 9};
  move_only_function<int()> g = std::move(f);
  CHECK(g() == 9);
}

TEST_CASE("move_only_function: what is assigned may be owned by the callable that it replaces", "[move_only_function]") {
  move_only_function<int()> inner = [] { return 2; };
  auto owner = std::make_unique<move_only_function<int()>>(std::move(inner));
  move_only_function<int()>& owned = *owner;
  move_only_function<int()> f = [owner = std::move(owner)] { return 1; };
  f = std::move(owned);
  CHECK(f() == 2);
}

TEST_CASE("move_only_function: wraps one of another signature, and an empty one makes an empty one", "[move_only_function]") {
  move_only_function<int(int)> f =
      move_only_function<int(long) const noexcept>{[](long n) noexcept { return static_cast<int>(n + 1); }};
  CHECK(f(1) == 2);
  move_only_function<int(int)> g = std::move(f);
  CHECK(g(2) == 3);
  CHECK_FALSE(move_only_function<int(int)>{move_only_function<int(int) const>{}});
}
