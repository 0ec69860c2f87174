// penstock/testing/seeded_executor.hpp: an execution context that runs coroutines in an order drawn from a seed, the same each
// time.
//
//   auto failure = penstock::find_failing_seed(0, 1000, [](penstock::seeded_executor& loop) {
//     account a{100};
//     auto one = penstock::spawn(loop, transfer(a, 60));
//     auto two = penstock::spawn(loop, transfer(a, 60));
//     loop.run_all();
//     return a.balance() >= 0;
//   });
//   REQUIRE_FALSE(failure);   // otherwise failure->seed replays it: penstock::seeded_executor loop{seed}
//
// A coroutine may be overtaken wherever it goes through the scheduler: at its beginning, when a wait that had to wait is over,
// when a task that it awaits has ended, and at `co_await loop.get_scheduler().schedule()`, which does nothing else.
//
// Determinism    the order depends on the seed and on the scenario alone, on every machine; as long as one thread does everything
//                and time is a manual_clock's. The generator is splitmix64 (Steele, Lea, Flood 2014).
// Thread safety  execute() may be called concurrently; the other members belong to one thread.
// Destruction    as manual_executor's: run_all() before what waits for a coroutine is destroyed.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1 {

class seeded_executor {
 public:
  /// Of the items that are ready, oldest first: the index of the one that ran.
  using choice_list = std::vector<std::size_t>;

  explicit seeded_executor(std::uint64_t seed) noexcept : seed_{seed}, state_{seed} {}
  /// Repeats recorded choices, or a beginning of them; after the last one the oldest item runs, as after one that does not fit
  /// (see diverged()).
  explicit seeded_executor(choice_list replay) noexcept : replay_{std::move(replay)}, replaying_{true} {}
  seeded_executor(const seeded_executor&) = delete;
  seeded_executor& operator=(const seeded_executor&) = delete;
  ~seeded_executor() { assert(ready_.empty() && "a seeded_executor was destroyed before it ran all of its work"); }

  /// Queues an item. What a scheduler does; allocates nothing.
  void execute(work_item& item) noexcept {
    std::scoped_lock guard{lock_};
    ready_.push_back(item);
    ++size_;
  }

  /// Runs one of the items that are ready. False: there is none. Complexity: linear in the number of items that are ready.
  bool run_one() {
    work_item* item = nullptr;
    {
      std::scoped_lock guard{lock_};
      if (ready_.empty()) return false;
      const std::size_t choice = choose();
      choices_.push_back(choice);
      item = take(choice);
    }
    (*item)();
    return true;
  }

  /// Runs items, those that they queue too, until none is left. Returns how many it ran.
  std::size_t run_all() {
    std::size_t count = 0;
    while (run_one()) ++count;
    return count;
  }

  /// How many items are ready.
  [[nodiscard]] std::size_t size() const noexcept {
    std::scoped_lock guard{lock_};
    return size_;
  }

  /// The seed; 0 for a replay.
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  /// What was chosen so far.
  [[nodiscard]] const choice_list& choices() const noexcept { return choices_; }

  /// Whether a replayed choice asked for an item that was not there: the scenario is not the one that was recorded. From there on
  /// the oldest item runs, so that its coroutines come to their end.
  [[nodiscard]] bool diverged() const noexcept { return diverged_; }

  // There is no running_here(): a task that ends goes through the queue to its awaiter, so that others may come between.
  [[nodiscard]] any_scheduler get_scheduler() noexcept { return any_scheduler{*this}; }

 private:
  std::size_t choose() {
    if (!replaying_) return static_cast<std::size_t>(next() % size_);  // the bias of the remainder does not matter here
    if (diverged_ || choices_.size() >= replay_.size()) return 0;
    const std::size_t choice = replay_[choices_.size()];
    if (choice < size_) return choice;
    diverged_ = true;
    return 0;
  }

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  work_item* take(std::size_t index) noexcept {
    detail::work_list rest;
    for (; index > 0; --index) rest.push_back(*ready_.pop_front());
    work_item* const item = ready_.pop_front();
    while (work_item* const later = ready_.pop_front()) rest.push_back(*later);
    ready_ = rest;
    --size_;
    return item;
  }

  const std::uint64_t seed_ = 0;
  std::uint64_t state_ = 0;
  const choice_list replay_;
  const bool replaying_ = false;
  bool diverged_ = false;
  choice_list choices_;
  mutable std::mutex lock_;
  detail::work_list ready_;  // guarded by lock_
  std::size_t size_ = 0;     // guarded by lock_
};

/// A run that went wrong, and how to see it again.
struct failing_seed {
  std::uint64_t seed = 0;
  seeded_executor::choice_list choices = {};
  std::exception_ptr error = nullptr;  ///< what the scenario threw; null if it returned false
};

/// Runs `scenario(seeded_executor&)`, which returns whether all was well or throws, with the seeds first, first + 1, … until
/// `count` runs went well (returns nothing) or one failed. A scenario looks at what came of it after run_all(): if it throws
/// before, it may wait for ever for coroutines.
template <class Scenario>
  requires std::predicate<Scenario&, seeded_executor&>
[[nodiscard]] std::optional<failing_seed> find_failing_seed(std::uint64_t first, std::uint64_t count, Scenario scenario) {
  for (std::uint64_t seed = first; seed - first < count; ++seed) {
    seeded_executor executor{seed};
    try {
      if (!scenario(executor)) return failing_seed{seed, executor.choices(), nullptr};
    } catch (...) {
      return failing_seed{seed, executor.choices(), std::current_exception()};
    }
  }
  return std::nullopt;
}

}  // namespace penstock::inline v0_1
