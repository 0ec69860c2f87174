// penstock/ext/detail/commit_line.hpp: many threads' steps in one commit: whoever finds nobody leading leads, and does all that is in line.
//
//   struct my_step : commit_line::step { ... };
//   line.pass(mine, [](commit_line::step* first) noexcept { /* do all of them, linked by `after`, and commit once */ });
//
// While a leader waits for the disk others come; the first of them leads next, and takes along all that stand in line by then. So a commit carries
// one step when there is one, and as many as came during the last one when there are many, without anybody waiting for company.
//
// Invariants     when the lock is free: somebody leads if and only if led_; if steps are in line, somebody leads.
// Hand-over      the leader names its successor before it tells the others that their steps are done: the disk rests as shortly as can be.
// Lifetime       a step lies in its caller's frame, and may be gone when it was told: it is read first.
// Thread safety  pass() may be called concurrently, but not by `commit`.
// Source         group commit: D. DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984; leader and followers as
//                in LevelDB's writer queue.
#pragma once

#include <cassert>
#include <cstddef>
#include <mutex>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/polled_mutex.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_commit_line {
 public:
  class step {
   public:
    step() = default;
    step(const step&) = delete;
    step& operator=(const step&) = delete;
    typename Sync::template var<step*> after{nullptr};

   private:
    friend basic_commit_line;
    typename Sync::template var<bool> leads_{false};
    basic_one_shot<Sync> told_;  // it is done, or its caller leads
  };

  basic_commit_line() = default;
  basic_commit_line(const basic_commit_line&) = delete;
  basic_commit_line& operator=(const basic_commit_line&) = delete;
  ~basic_commit_line() { assert(!led_ && first_ == nullptr && "destroyed while somebody waits for a commit"); }

  /// Returns when the step was in a group that `commit` was called with, by this thread or another one. `commit` is called by one thread at a time.
  template <class Commit>
  void pass(step& mine, Commit commit) noexcept {
    bool leads = false;
    {
      std::scoped_lock guard{lock_};
      append(mine);
      leads = !led_;
      led_ = true;
    }
    if (!leads) {  // or a leader will do it, or name this caller the next one
      blocking_wait<basic_one_shot<Sync>, plain_node<Sync>> done{mine.told_};
      done.run();
      if (!mine.leads_) return;
    }
    step* group = nullptr;
    {
      std::scoped_lock guard{lock_};
      group = first_;
      first_ = nullptr;
      last_ = nullptr;
    }
    commit(group);
    step* next = nullptr;
    {
      std::scoped_lock guard{lock_};
      next = first_;
      if (next != nullptr) {
        next->leads_ = true;
      } else {
        led_ = false;
      }
    }
    if (next != nullptr) next->told_.set();
    while (group != nullptr) {
      step* const following = group->after;  // read first
      if (group != &mine) group->told_.set();
      group = following;
    }
  }

  /// Steps that wait for the next commit.
  [[nodiscard]] std::size_t size() const noexcept {
    std::scoped_lock guard{lock_};
    std::size_t n = 0;
    for (const step* s = first_; s != nullptr; s = s->after) ++n;
    return n;
  }

 private:
  void append(step& s) noexcept {
    step* const before = last_;
    if (before != nullptr) {
      before->after = &s;
    } else {
      first_ = &s;
    }
    last_ = &s;
  }

  mutable polled_mutex<Sync> lock_;
  typename Sync::template var<step*> first_{nullptr};  // guarded by lock_, as are the next two
  typename Sync::template var<step*> last_{nullptr};
  typename Sync::template var<bool> led_{false};
};

using commit_line = basic_commit_line<>;

}  // namespace penstock::inline v0_1::detail
