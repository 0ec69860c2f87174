// What the tests of resource pools share: resources that are counted, and a world in which making them can fail.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/resource_pool.hpp>

namespace resource_testing {

struct world {
  std::atomic<int> living{0};
  std::atomic<int> most{0};      // that ever lived at a time
  std::atomic<int> made{0};      // also the number of the last one
  std::atomic<int> attempts{0};  // to make one
  std::atomic<int> checks{0};
  std::atomic<bool> down{false};
  std::atomic<bool> good{true};  // what a check finds
};

class thing {
 public:
  explicit thing(world& w) : number{++w.made}, world_{&w} {
    const int now = ++w.living;
    for (int seen = w.most; seen < now && !w.most.compare_exchange_weak(seen, now);) {
    }
  }
  thing(const thing&) = delete;
  thing& operator=(const thing&) = delete;
  ~thing() {
    if (--world_->living < 0) std::abort();
  }

  const int number;

 private:
  world* world_;
};

struct is_down : std::runtime_error {
  is_down() : std::runtime_error{"it is down"} {}
};

/// Makes things in a world, as a plain function.
inline auto maker(world& w) {
  return [&w]() -> thing {
    ++w.attempts;
    if (w.down) throw is_down{};
    return thing{w};
  };
}
inline auto checker(world& w) {
  return [&w](thing&) {
    ++w.checks;
    return w.good.load();
  };
}

using pool = penstock::resource_pool<thing>;
using options = penstock::resource_pool_options<thing>;

}  // namespace resource_testing
