// A sqlite_store does what the sequential model of a store does, whatever it is asked: see support/store_model.hpp.
#include <chrono>
#include <cstddef>

#include <rapidcheck.h>

#include <penstock/ext/sqlite_store.hpp>

#include "support/property.hpp"
#include "support/store_model.hpp"
#include "support/temporary_folder.hpp"

namespace {

struct bench {
  explicit bench(std::size_t capacity) : store_{folder.file(), options(capacity)} {}
  static penstock::sqlite_store_options options(std::size_t capacity) {
    return {.durability = penstock::sqlite_durability::normal,
            .capacity = capacity,
            .keep_completed = {.count = store_model::kept_completed},
            .keep_failed = {.count = store_model::kept_failed},
            .poll_interval = std::chrono::nanoseconds::max()};
  }
  penstock::sqlite_store<int>& store() { return store_; }
  temporary_folder folder;
  penstock::sqlite_store<int> store_;
};

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=100", "max_success=5000");
  return rc::check("a sqlite_store does what the sequential one does",
                   [] {
                     const int steps = *rc::gen::inRange(1, 250);
                     const auto capacity = *rc::gen::inRange(0, 2) == 0 ? store_model::usual_capacity : 70;
                     store_model::follow<bench>([](int n) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, n)); },
                                                steps, capacity);
                   })
             ? 0
             : 1;
}
