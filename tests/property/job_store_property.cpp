// A memory_store does what a sequential model of vectors and maps does, whatever it is asked: see support/store_model.hpp.
#include <cstddef>

#include <rapidcheck.h>

#include <penstock/job/memory_store.hpp>

#include "support/family_walk.hpp"
#include "support/property.hpp"
#include "support/store_model.hpp"

namespace {

struct bench {
  explicit bench(std::size_t capacity = 12) : store_{options(capacity)} {}
  static penstock::memory_store_options options(std::size_t capacity) {
    return {.capacity = capacity,
            .keep_completed = {.count = store_model::kept_completed},
            .keep_failed = {.count = store_model::kept_failed}};
  }
  penstock::memory_store<int>& store() { return store_; }
  penstock::memory_store<int> store_;
};

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=2500", "max_success=50000");
  // Of all sizes from the first case on.
  const auto below = [](int n) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, n)); };
  const bool as_the_model = rc::check("a memory_store does what the sequential one does", [&] {
    const int steps = *rc::gen::inRange(1, 250);
    const auto capacity = *rc::gen::inRange(0, 2) == 0 ? store_model::usual_capacity : 70;
    store_model::follow<bench>(below, steps, capacity);
  });
  const bool families_end = rc::check("nobody waits for children for ever, whatever becomes of families", [&] {
    const int steps = *rc::gen::inRange(1, 250);
    store_model::walk_with_families<bench>(below, steps);
  });
  return as_the_model && families_end ? 0 : 1;
}
