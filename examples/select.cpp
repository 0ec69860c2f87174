// Two sources, a heartbeat and a deadline, served by one thread; then the same two sources by a coroutine.
#include <chrono>
#include <cstdio>
#include <thread>

#include <penstock/penstock.hpp>

using namespace penstock;
using namespace std::chrono_literals;

namespace {

void produce(channel<int>& out, int from, int to) {
  for (int i = from; i < to; ++i) {
    if (!out.push(std::move(i))) return;
    std::this_thread::sleep_for(1ms);
  }
  out.close();
}

void serve(channel<int>& left, channel<int>& right) {
  auto heartbeat = tick(5ms);
  const deadline end = deadline::after(10s);
  bool left_open = true;
  bool right_open = true;
  bool timed_out = false;
  int sum = 0;
  int beats = 0;
  const auto add = [&sum](bool& open) {
    return [&](result<int> r) {
      open = r.has_value();  // errc::closed: leave this channel out from now on
      if (r) sum += *r;
    };
  };
  while ((left_open || right_open) && !timed_out) {
    select(when(left_open, on_pop(left, add(left_open))),     //
           when(right_open, on_pop(right, add(right_open))),  //
           on_pop(heartbeat, [&](auto) { ++beats; }),         //
           on_deadline(end, [&] { timed_out = true; }));
  }
  std::printf("sum %d%s, the heart %s\n", sum, timed_out ? " (timed out)" : "", beats > 0 ? "beat" : "did not beat");
}

task<int> merge(channel<int>& left, channel<int>& right) {
  int sum = 0;
  bool left_open = true;
  bool right_open = true;
  while (left_open || right_open) {
    auto s = co_await async_select(when(left_open, pop_case(left)), when(right_open, pop_case(right)), timeout_case(10s));
    if (!s || s->index() == 2) co_return -1;  // stopped, or nothing came for ten seconds
    result<int>& item = s->index() == 0 ? s->get<0>() : s->get<1>();
    if (item) {
      sum += *item;
    } else {
      (s->index() == 0 ? left_open : right_open) = false;
    }
  }
  co_return sum;
}

}  // namespace

int main() {
  {
    channel<int> left{4};
    channel<int> right{4};
    std::jthread a{[&] { produce(left, 0, 10); }};
    std::jthread b{[&] { produce(right, 10, 20); }};
    serve(left, right);
  }
  channel<int> left{4};
  channel<int> right{4};
  std::jthread a{[&] { produce(left, 0, 10); }};
  std::jthread b{[&] { produce(right, 10, 20); }};
  std::printf("sum %d\n", sync_wait(merge(left, right)));
}
