// penstock/observe/detail/registry_entries.hpp: who has joined a registry, and who reads them just now.
//
// Lifetime  an entry is shared by its membership and the snapshots under way; its component is read only within a registry_reading that has begun.
//           Leaving forbids new ones under the lock that they begin under, and waits for those that have begun.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/observe/named_place.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct registry_entry {
  std::string name;
  std::uint64_t number = 0;
  move_only_function<void(metric_sink&) const> describe;
  std::optional<dependent<named_place, Sync>> place = {};  // of a component that is an object; its membership's alone
  bool left = false;              // guarded by registry_entries::lock; with it nobody begins to read any more
  basic_join<Sync> readers = {};  // begun under registry_entries::lock

  /// After `left` was set.
  void wait_for_readers() noexcept { blocking_wait<basic_join<Sync>, plain_node<Sync>>{readers}.run(); }
};

template <class Sync>
struct registry_entries {
  std::mutex lock;
  std::vector<std::shared_ptr<registry_entry<Sync>>> all;  // guarded by lock, in the order of joining
  std::uint64_t joined = 0;                                // guarded by lock
};

// As long as it lives, the end of the membership waits.
template <class Sync>
class registry_reading {
 public:
  registry_reading(registry_entries<Sync>& where, registry_entry<Sync>& what) noexcept : of_{what} {
    std::scoped_lock guard{where.lock};
    begun_ = !what.left;
    if (begun_) what.readers.begin_one();
  }
  ~registry_reading() {
    if (begun_) of_.readers.end_one();
  }
  registry_reading(const registry_reading&) = delete;
  registry_reading& operator=(const registry_reading&) = delete;
  [[nodiscard]] bool begun() const noexcept { return begun_; }

 private:
  registry_entry<Sync>& of_;
  bool begun_;
};

}  // namespace penstock::inline v0_1::detail
