#include "support/linearizability.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace {

using namespace linearizability;
using kind = queue_operation::kind;
using queue_history = history<queue_operation>;

call<queue_operation> push(int thread, stamp from, stamp to, int value, answer got = answer::ok) {
  return {thread, from, to, {kind::push, value, got}};
}
call<queue_operation> pop(int thread, stamp from, stamp to, int value) {
  return {thread, from, to, {kind::pop, value, answer::ok}};
}
call<queue_operation> pop(int thread, stamp from, stamp to, answer got) { return {thread, from, to, {kind::pop, 0, got}}; }
call<queue_operation> close(int thread, stamp from, stamp to) { return {thread, from, to, {kind::close, 0, answer::ok}}; }

bool linearizable(const queue_history& calls, std::size_t capacity = 8) { return !check(calls, queue_model{capacity}); }

call<semaphore_operation> semaphore_call(int thread, stamp from, stamp to, semaphore_operation::kind what, std::int64_t n,
                                         answer got = answer::ok) {
  return {thread, from, to, {what, n, got}};
}

// Queues that are wrong in one way each.
struct stack {
  std::optional<int> pop() {
    if (items.empty()) return std::nullopt;
    const int last = items.back();
    items.pop_back();
    return last;
  }
  void push(int i) { items.push_back(i); }
  std::vector<int> items;
};
struct forgetful_queue {
  std::optional<int> pop() {
    if (items.empty()) return std::nullopt;
    const int first = items.front();
    items.erase(items.begin());
    return first;
  }
  void push(int i) {
    if (++pushed % 16 != 0) items.push_back(i);
  }
  std::vector<int> items;
  int pushed = 0;
};
struct repeating_queue : forgetful_queue {
  std::optional<int> pop() {
    if (++popped % 16 == 0 && !items.empty()) return items.front();
    return forgetful_queue::pop();
  }
  void push(int i) { items.push_back(i); }
  int popped = 0;
};
struct right_queue : forgetful_queue {
  void push(int i) { items.push_back(i); }
};

// Two callers push and two pop. A seed decides who goes on next: into its call, to the moment at which the call takes effect, or back
// out of it. So the calls overlap as those of threads do, the history is the same in every run, and so is the effort of judging it.
template <class Queue>
queue_history record(std::uint32_t seed) {
  struct caller {
    enum class at : std::uint8_t { outside, called, done } where = at::outside;
    call<queue_operation> current{};
    int made = 0;
  };
  constexpr int calls_each = 40;
  Queue queue;
  queue_history calls;
  stamp now = 0;
  const auto take_effect = [&queue](queue_operation& o) {
    if (o.what == kind::push) return queue.push(o.value);
    const std::optional<int> got = queue.pop();
    o.value = got.value_or(0);
    o.got = got ? answer::ok : answer::empty;
  };
  std::array<caller, 4> callers;
  std::minstd_rand random{seed};
  while (calls.size() < callers.size() * calls_each) {
    const auto t = static_cast<int>(random() / 7 % callers.size());
    caller& c = callers[static_cast<std::size_t>(t)];
    switch (c.where) {
      case caller::at::outside:
        if (c.made == calls_each) break;
        c.current = {t, now++, no_response, {t < 2 ? kind::push : kind::pop, t < 2 ? t * 1000 + c.made : 0}};
        c.where = caller::at::called;
        ++c.made;
        break;
      case caller::at::called:
        take_effect(c.current.operation);
        c.where = caller::at::done;
        break;
      case caller::at::done:
        c.current.responded = now++;
        calls.push_back(c.current);
        c.where = caller::at::outside;
        break;
    }
  }
  // What is left comes out in the end, as far as it is there.
  for (int i = 0; i < 2 * calls_each; ++i) {
    queue_operation last{kind::pop};
    take_effect(last);
    calls.push_back({0, now, now + 1, last});
    now += 2;
  }
  return calls;
}

}  // namespace

TEST_CASE("linearizability: overlapping calls may take effect in any order that explains the answers", "[linearizability]") {
  // The pushes overlap, so 2 may come out first; the pop that got 2 overlaps its push.
  CHECK(linearizable({push(0, 1, 6, 1), push(1, 2, 5, 2), pop(2, 3, 8, 2), pop(2, 9, 10, 1), pop(2, 11, 12, answer::empty)}));
  // One call that contains all others can be anywhere among them.
  CHECK(linearizable({pop(0, 1, 20, answer::empty), push(1, 2, 3, 1), pop(2, 4, 5, 1), push(1, 6, 7, 2)}));
  CHECK(linearizable({}));
}

TEST_CASE("linearizability: an order that contradicts real time is refused, and the refusal names the call",
          "[linearizability]") {
  const queue_history swapped{push(0, 1, 2, 1), push(0, 3, 4, 2), pop(1, 5, 6, 2), pop(1, 7, 8, 1)};
  const auto why = check(swapped, queue_model{8});
  REQUIRE(why.has_value());
  CHECK(why->find("pop() -> 2") != std::string::npos);
  CHECK(check_queue_values(swapped).has_value());
  CHECK_FALSE(linearizable({push(0, 1, 2, 1), pop(1, 3, 4, answer::empty)}));
  CHECK(linearizable({push(0, 1, 4, 1), pop(1, 2, 3, answer::empty)}));
}

TEST_CASE("linearizability: a queue that is bounded says full only while it is full", "[linearizability]") {
  CHECK(linearizable({push(0, 1, 2, 1), push(0, 3, 4, 2, answer::full)}, 1));
  CHECK_FALSE(linearizable({push(0, 1, 2, 1), push(0, 3, 4, 2, answer::full)}, 2));
  CHECK_FALSE(linearizable({push(0, 1, 2, 1), push(0, 3, 4, 2)}, 1));
  CHECK(linearizable({push(0, 1, 2, 1), push(0, 3, 6, 2), pop(1, 4, 5, 1)}, 1));
}

TEST_CASE("linearizability: a closed queue refuses pushes and is drained before pops say closed", "[linearizability]") {
  CHECK(linearizable(
      {push(0, 1, 2, 1), close(1, 3, 4), push(0, 5, 6, 2, answer::closed), pop(1, 7, 8, 1), pop(1, 9, 10, answer::closed)}));
  CHECK_FALSE(linearizable({push(0, 1, 2, 1), close(1, 3, 4), pop(1, 5, 6, answer::closed)}));
  CHECK_FALSE(linearizable({close(1, 1, 2), push(0, 3, 4, 1)}));
  CHECK_FALSE(linearizable({close(1, 1, 2), pop(0, 3, 4, answer::empty)}));
}

TEST_CASE("linearizability: a call that never returned may have happened or not", "[linearizability]") {
  CHECK(linearizable({push(0, 1, no_response, 1), pop(1, 2, 3, 1)}));
  CHECK(linearizable({push(0, 1, no_response, 1), pop(1, 2, 3, answer::empty)}));
  CHECK_FALSE(linearizable({push(0, 1, no_response, 1), pop(1, 2, 3, 1), pop(1, 4, 5, 1)}));
}

TEST_CASE("linearizability: single values and pairs of values show what a FIFO may not do", "[linearizability]") {
  CHECK_FALSE(check_queue_values({push(0, 1, 4, 1), push(1, 2, 3, 2), pop(2, 5, 6, 2), pop(2, 7, 8, 1)}));
  CHECK(check_queue_values({pop(0, 1, 2, 7)}));
  CHECK(check_queue_values({push(0, 1, 2, 7), pop(1, 3, 4, 7), pop(1, 5, 6, 7)}));
  CHECK(check_queue_values({pop(1, 1, 2, 7), push(0, 3, 4, 7)}));
  // 1 was in before 2 and stays for ever, although 2 came out.
  CHECK(check_queue_values({push(0, 1, 2, 1), push(0, 3, 4, 2), pop(1, 5, 6, 2)}));
}

TEST_CASE("linearizability: queues with a bug are caught in recorded runs, and a right one is not", "[linearizability]") {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const queue_history right = record<right_queue>(seed);
    CHECK_FALSE(check(right, queue_model{1000}).has_value());
    CHECK_FALSE(check_queue_values(right).has_value());

    const queue_history reversed = record<stack>(seed);
    CHECK(check(reversed, queue_model{1000}).has_value());
    CHECK(check_queue_values(reversed).has_value());

    CHECK(check(record<forgetful_queue>(seed), queue_model{1000}).has_value());

    const queue_history repeated = record<repeating_queue>(seed);
    CHECK(check(repeated, queue_model{1000}).has_value());
    CHECK(check_queue_values(repeated).has_value());
  }
}

TEST_CASE("linearizability: a history that is too hard to judge is called undecided, and not right", "[linearizability]") {
  const auto hard = check(record<stack>(1), queue_model{1000}, 5);
  REQUIRE(hard.has_value());
  CHECK(hard->find("undecided after 5 states") == 0);
}

TEST_CASE("linearizability: a semaphore gives no permit that is not free, and says empty only while too few are",
          "[linearizability]") {
  using what = semaphore_operation::kind;
  const auto fine = [](const history<semaphore_operation>& calls, std::int64_t permits) {
    return !check(calls, semaphore_model{permits});
  };
  CHECK(fine({semaphore_call(0, 1, 2, what::acquire, 2), semaphore_call(1, 3, 6, what::acquire, 1),
              semaphore_call(0, 4, 5, what::release, 1)},
             2));
  CHECK_FALSE(fine({semaphore_call(0, 1, 2, what::acquire, 2), semaphore_call(1, 3, 4, what::acquire, 1)}, 2));
  CHECK_FALSE(fine({semaphore_call(0, 1, 2, what::acquire, 1, answer::empty)}, 1));
  CHECK(fine(
      {semaphore_call(0, 1, 2, what::acquire, 2, answer::empty), semaphore_call(0, 3, 4, what::acquire, 2, answer::gave_up)}, 1));
  CHECK(fine({semaphore_call(0, 1, 2, what::close, 0), semaphore_call(0, 3, 4, what::acquire, 1, answer::closed)}, 1));
  CHECK_FALSE(fine({semaphore_call(0, 1, 2, what::close, 0), semaphore_call(0, 3, 4, what::acquire, 1)}, 1));
}
