#include <penstock/core/limiter.hpp>

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

static_assert(limiter<semaphore>);
static_assert(!limiter<without_a_result> && !limiter<without_limits> && !limiter<int>);

// Whoever takes a limiter knows no more of it than this.
template <limiter L>
int turns(L& pace, const wait_limits& limits) {
  int n = 0;
  while (pace.acquire(limits)) ++n;
  return n;
}

}  // namespace

TEST_CASE("limiter: what paces work tells by its result when there is no turn", "[core]") {
  manual_clock clock;
  semaphore three{3};
  CHECK(turns(three, {.deadline = {clock.now(), clock}}) == 3);
  three.close();
  CHECK(turns(three, {}) == 0);
}
