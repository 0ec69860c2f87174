#include <penstock/core/scheduler.hpp>

#include <memory>
#include <thread>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/slow.hpp"
#include "support.hpp"

using penstock::any_scheduler;
using penstock::manual_executor;
using penstock::task;

namespace {

struct call_item : penstock::work_item {
  explicit call_item(std::function<void()> f = {}) : what{std::move(f)} {
    this->run = [](penstock::work_item& self) noexcept { static_cast<call_item&>(self).what(); };
  }
  std::function<void()> what;
};

// A context that does not say whether it runs here.
struct plain_context {
  void execute(penstock::work_item& item) noexcept { items.push_back(item); }
  penstock::detail::work_list items;
};

// A scheduler that a user writes: a handle that points to a loop.
struct my_scheduler {
  void execute(penstock::work_item& item) const noexcept {
    ++*runs;
    item();
  }
  bool operator==(const my_scheduler&) const = default;
  int* runs;
};
static_assert(penstock::scheduler<my_scheduler>);

// Others: smaller than a pointer, without a value to begin with, and of no size at all, which says where it runs.
struct numbered_scheduler {
  explicit numbered_scheduler(short n) : number{n} {}
  void execute(penstock::work_item& item) const noexcept {
    ran[number] = true;
    item();
  }
  bool operator==(const numbered_scheduler&) const = default;
  static inline bool ran[3] = {};
  short number;
};
struct empty_scheduler {
  void execute(penstock::work_item& item) const noexcept { item(); }
  bool running_here() const noexcept { return true; }
  bool operator==(const empty_scheduler&) const = default;
};

// A coroutine of another library, whose promise gives `Scheduler`, by value.
template <class Scheduler>
struct foreign {
  struct promise_type {
    template <class... Arguments>
    explicit promise_type(Scheduler s, Arguments&&...) : scheduler{s} {}
    foreign get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
    Scheduler get_scheduler() noexcept { return scheduler; }  // not const
    Scheduler scheduler;
  };
};
template <class Scheduler>
foreign<Scheduler> take_in(Scheduler, core_test::pile<>& gate, bool& taken) {
  const auto r = co_await gate.async_take();
  taken = r.has_value();
}

task<> hop(any_scheduler to, std::vector<std::thread::id>& seen) {
  seen.push_back(std::this_thread::get_id());
  co_await to.schedule();
  seen.push_back(std::this_thread::get_id());
}

}  // namespace

TEST_CASE("scheduler: the default runs an item at once, on the calling thread", "[scheduler]") {
  const any_scheduler inline_one;
  bool ran = false;
  call_item item{[&] { ran = true; }};
  inline_one.execute(item);
  CHECK(ran);
  CHECK(inline_one.is_inline());
  CHECK(inline_one.running_here());
}

TEST_CASE("scheduler: an item that comes while another one runs waits until that one returns", "[scheduler]") {
  const any_scheduler inline_one;
  std::vector<int> order;
  call_item third{[&] { order.push_back(3); }};
  call_item second{[&] {
    inline_one.execute(third);
    order.push_back(2);
  }};
  call_item first{[&] {
    inline_one.execute(second);
    order.push_back(1);
  }};
  inline_one.execute(first);
  CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("scheduler: a chain of a million inline items needs the stack of one", "[scheduler]") {
  const any_scheduler inline_one;
  int left = test_support::slow ? 200'000 : 1'000'000;
  call_item even;
  call_item odd;
  even.what = [&] {
    if (--left > 0) inline_one.execute(odd);
  };
  odd.what = [&] {
    if (--left > 0) inline_one.execute(even);
  };
  inline_one.execute(even);
  CHECK(left == 0);
}

TEST_CASE("scheduler: an item that runs an executor by hand finds its work complete", "[scheduler]") {
  manual_executor loop;
  std::vector<int> order;
  call_item second{[&] { order.push_back(2); }};
  call_item first{[&] {
    order.push_back(1);
    any_scheduler{}.execute(second);
  }};
  call_item last{[&] { order.push_back(4); }};
  call_item outer{[&] {
    loop.execute(first);
    loop.run_one();
    any_scheduler{}.execute(last);  // queues behind this item, as before
    order.push_back(3);
  }};
  any_scheduler{}.execute(outer);
  CHECK(order == std::vector{1, 2, 3, 4});
}

TEST_CASE("scheduler: an item may destroy itself", "[scheduler]") {
  const any_scheduler inline_one;
  auto item = std::make_unique<call_item>();
  item->what = [&] {
    auto keep = std::move(item->what);
    item.reset();
  };
  inline_one.execute(*item);
  CHECK(item == nullptr);
}

TEST_CASE("scheduler: handles of one context are equal", "[scheduler]") {
  manual_executor a;
  manual_executor b;
  CHECK(a.get_scheduler() == any_scheduler{a});
  CHECK_FALSE(a.get_scheduler() == b.get_scheduler());
  CHECK_FALSE(a.get_scheduler() == any_scheduler{});
  CHECK(any_scheduler{} == any_scheduler{});
  CHECK_FALSE(a.get_scheduler().is_inline());
}

TEST_CASE("scheduler: a context that cannot tell counts as running elsewhere", "[scheduler]") {
  plain_context context;
  const any_scheduler s{context};
  bool ran = false;
  call_item item{[&] {
    ran = true;
    CHECK_FALSE(s.running_here());
  }};
  s.execute(item);
  CHECK_FALSE(ran);
  (*context.items.pop_front())();
  CHECK(ran);
}

TEST_CASE("scheduler: one that a user writes can be given wherever a context can", "[scheduler]") {
  int runs = 0;
  const my_scheduler mine{&runs};
  core_test::pile<> gate;

  auto spawned = penstock::spawn(mine, gate.async_take());
  CHECK(runs == 1);  // began there
  gate.give();
  CHECK(runs == 2);  // and went on there
  CHECK(spawned.result());

  auto elsewhere = penstock::spawn(gate.async_take() | penstock::via(mine));
  CHECK(runs == 2);
  gate.give();
  CHECK(runs == 3);
  CHECK(elsewhere.result());

  penstock::task_group group{mine};
  group.spawn(gate.async_take());
  gate.give();
  group.wait();
  CHECK(runs == 5);
}

TEST_CASE("scheduler: handles are held by value, and equal if the user says so", "[scheduler]") {
  const any_scheduler one = numbered_scheduler{1};
  bool ran = false;
  call_item item{[&] { ran = true; }};
  one.execute(item);
  CHECK(ran);
  CHECK(numbered_scheduler::ran[1]);
  CHECK_FALSE(one.running_here());
  CHECK_FALSE(one.is_inline());
  CHECK_FALSE(any_scheduler{numbered_scheduler{0}}.is_inline());  // all its bits are zero
  CHECK(one == any_scheduler{numbered_scheduler{1}});
  CHECK_FALSE(one == any_scheduler{numbered_scheduler{2}});
  CHECK_FALSE(any_scheduler{numbered_scheduler{0}} == any_scheduler{});

  const any_scheduler empty = empty_scheduler{};
  CHECK(empty.running_here());
  CHECK(empty == any_scheduler{empty_scheduler{}});
  CHECK_FALSE(empty == one);

  int runs = 0;
  const any_scheduler mine = my_scheduler{&runs};
  CHECK(mine == any_scheduler{my_scheduler{&runs}});
  plain_context context;
  CHECK_FALSE(any_scheduler{context} == any_scheduler{my_scheduler{reinterpret_cast<int*>(&context)}});
}

TEST_CASE("scheduler: a foreign coroutine goes on where its promise says", "[scheduler]") {
  int runs = 0;
  core_test::pile<> gate;
  bool taken = false;
  take_in(my_scheduler{&runs}, gate, taken);
  CHECK(runs == 0);
  gate.give();
  CHECK(taken);
  CHECK(runs == 1);
}

TEST_CASE("scheduler: schedule() moves a coroutine into the context", "[scheduler]") {
  core_test::loop_thread loop;
  std::vector<std::thread::id> seen;
  auto hopping = penstock::spawn(hop(loop.get_scheduler(), seen));
  hopping.wait();
  CHECK(seen == std::vector{std::this_thread::get_id(), loop.id()});
}

TEST_CASE("scheduler: schedule() on the default scheduler lets those who wait go first", "[scheduler]") {
  std::vector<std::thread::id> seen;
  penstock::spawn(hop(any_scheduler{}, seen)).wait();
  CHECK(seen.size() == 2);
}
