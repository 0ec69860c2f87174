#include <penstock/core/acquirable.hpp>

#include <chrono>
#include <stop_token>

#include <penstock/core/manual_clock.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;

struct without_a_result {
  void acquire(const wait_limits&) {}
};
struct without_limits {
  result<void> acquire() { return {}; }
};

static_assert(acquirable<semaphore>);
static_assert(!acquirable<without_a_result> && !acquirable<without_limits> && !acquirable<int>);

// Whoever takes an acquirable knows no more of it than this.
template <acquirable L>
int turns(L& pace, const wait_limits& limits) {
  int n = 0;
  while (pace.acquire(limits)) ++n;
  return n;
}

}  // namespace

TEST_CASE("acquirable: what paces work tells by its result when there is no turn", "[core]") {
  manual_clock clock;
  semaphore three{3};
  CHECK(turns(three, {.deadline = {clock.now(), clock}}) == 3);
  three.close();
  CHECK(turns(three, {}) == 0);
}
