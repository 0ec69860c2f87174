// Windows keep their laws for random requests, refunds, steps of the clock and changes of the limit; the exact one refuses nothing that its law
// allows; and the time that each of them names for a request is the first at which it can be had.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include <penstock/rate/detail/fixed_window_shape.hpp>
#include <penstock/rate/detail/shape.hpp>
#include <penstock/rate/detail/sliding_counter_shape.hpp>
#include <penstock/rate/detail/sliding_log_shape.hpp>

#include "support/property.hpp"

namespace {

static_assert(penstock::detail::shape<penstock::detail::fixed_window_shape<>>);
static_assert(penstock::detail::shape<penstock::detail::sliding_log_shape<>>);
static_assert(penstock::detail::shape<penstock::detail::sliding_counter_shape<>>);

using penstock::detail::never;

struct taken {
  std::int64_t time;
  std::int64_t amount;
};

// The sum of what was taken in (from, to].
std::int64_t sum(const std::vector<taken>& all, std::int64_t from, std::int64_t to) {
  std::int64_t total = 0;
  for (const taken& t : all) total += t.time > from && t.time <= to ? t.amount : 0;
  return total;
}

std::int64_t between(std::int64_t low, std::int64_t high) { return *rc::gen::inRange<std::int64_t>(low, high + 1); }

// Whether `n` can be had at a time is whether the time named for it is that one: asked around the time that is named.
template <class Shape>
void check_named_time(const Shape& shape, std::int64_t now, std::int64_t n) {
  const std::int64_t named = shape.ready_at(now, n);
  RC_ASSERT(named > now);
  RC_ASSERT(shape.ready_at(named, n) == named);
  RC_ASSERT(shape.ready_at(named - 1, n) == named);
}

enum class law { fixed, log, counter };

// A history of requests whose clock only moves forward by steps that are short or long beside the window, but which some threads read too early.
template <law Law, class Shape>
void keeps_its_law() {
  const std::int64_t limit = between(1, 20);
  const std::int64_t length = between(1, 100);
  Shape shape{limit, length};
  std::vector<taken> history;
  std::int64_t latest = between(-1'000, 1'000);
  std::int64_t seen = std::numeric_limits<std::int64_t>::min();
  const int steps = *rc::gen::inRange(1, 80);
  for (int i = 0; i < steps; ++i) {
    latest += between(0, *rc::gen::element<std::int64_t>(0, 3, length / 2, 3 * length));
    const bool stale = *rc::gen::weightedElement<bool>({{9, false}, {1, true}});
    const std::int64_t now = stale ? latest - between(0, 2 * length) : latest;
    const std::int64_t n = between(1, std::max<std::int64_t>(1, limit / 2));
    seen =
        std::max(seen, now);  // a clock that is behind stands still for the law: what passes then passes when the clock was ahead
    const std::int64_t available = shape.available(now);
    const bool granted = shape.try_take(now, n);
    RC_ASSERT(granted == (n <= available));
    if (granted) history.push_back({seen, n});
    if (Law == law::log) {
      RC_ASSERT(sum(history, seen - length, seen) <= limit);
      RC_ASSERT(granted || sum(history, now - length, never) + n > limit);  // exact: it was refused for a reason
    } else {
      const std::int64_t begins = penstock::detail::begin_of_window(seen, length);
      RC_ASSERT(sum(history, begins - 1, begins + length - 1) <= limit);
    }
    if (Law == law::counter) {
      for (const taken& first : history) {
        const std::int64_t width = std::min(length, seen - first.time);
        if (width == seen - first.time) RC_ASSERT(sum(history, first.time - 1, seen) * length <= limit * (length + width));
      }
    }
    if (!granted && !stale) check_named_time(shape, now, n);
  }
}

// In the net of what is given back, and after changes: nothing more than the greatest limit in force passes at once, and all is to be had again
// after two lengths at the latest.
template <class Shape>
void stays_in_bounds() {
  std::int64_t limit = between(1, 20);
  std::int64_t length = between(1, 100);
  Shape shape{limit, length};
  std::int64_t now = 0;
  const int steps = *rc::gen::inRange(1, 60);
  for (int i = 0; i < steps; ++i) {
    now += between(0, 10);
    const std::int64_t before = shape.available(now);
    RC_ASSERT(before >= 0);
    RC_ASSERT(before <= limit);
    switch (*rc::gen::inRange(0, 4)) {
      case 0: {
        const std::int64_t n = between(1, limit);
        const bool granted = shape.try_take(now, n);
        RC_ASSERT(shape.available(now) == (granted ? before - n : before));
        break;
      }
      case 1: {
        const std::int64_t n = between(1, limit);
        shape.give_back(now, n);
        RC_ASSERT(shape.available(now) >= before);
        RC_ASSERT(shape.available(now) <= std::min(limit, before + n));
        break;
      }
      case 2: {
        const std::int64_t raised = between(limit, limit + 5);
        shape.set_limit(now, raised, length);
        RC_ASSERT(shape.available(now) <= before + (raised - limit));  // no bonus
        limit = raised;
        break;
      }
      default:
        limit = between(1, 20);
        length = between(1, 100);
        shape.set_limit(now, limit, length);
        RC_ASSERT(shape.largest() == limit);
        if (shape.available(now) == 0) RC_ASSERT(shape.ready_at(now, limit) <= now + 2 * length);  // no deep debt
    }
  }
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=300", "max_success=20000");
  using penstock::detail::fixed_window_shape;
  using penstock::detail::sliding_counter_shape;
  using penstock::detail::sliding_log_shape;
  bool right =
      rc::check("a fixed window grants its limit in each window", [] { keeps_its_law<law::fixed, fixed_window_shape<>>(); });
  right &= rc::check("an exact sliding window grants its limit in any window, and no less",
                     [] { keeps_its_law<law::log, sliding_log_shape<>>(); });
  right &=
      rc::check("two counters exceed it by no more than stated", [] { keeps_its_law<law::counter, sliding_counter_shape<>>(); });
  right &=
      rc::check("a fixed window stays in bounds through refunds and changes", [] { stays_in_bounds<fixed_window_shape<>>(); });
  right &= rc::check("an exact sliding window stays in bounds through refunds and changes",
                     [] { stays_in_bounds<sliding_log_shape<>>(); });
  right &=
      rc::check("two counters stay in bounds through refunds and changes", [] { stays_in_bounds<sliding_counter_shape<>>(); });
  return right ? 0 : 1;
}
