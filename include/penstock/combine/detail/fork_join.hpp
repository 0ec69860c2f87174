// penstock/combine/detail/fork_join.hpp: running something in two parts, on a pool or alone.
//
//   fork_place here{pool};                         // a worker's lane, or one that is borrowed
//   here.both(first, second);                      // calls first(here); another thread may call second(there) meanwhile
//
// Parts get the place at which they run, for what they fork themselves, and must not throw. Nothing is allocated: the job that is offered lies in
// this frame, which both() does not leave before it was taken back or has ended.
#pragma once

#include <cassert>
#include <memory>
#include <optional>
#include <utility>

#include <penstock/combine/detail/fork_job.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/pool/detail/pool_access.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1::detail {

template <class Pool>
class basic_fork_place {
 public:
  basic_fork_place(Pool& pool, fork_lane* lane) noexcept : pool_{pool}, lane_{lane} {}

  /// Calls f(place), where place is the calling thread's; it is a guest of the pool meanwhile if it is none of its workers.
  template <class F>
  static void enter(Pool& pool, F&& f) {
    if (fork_lane* const mine = pool_access::lane_here(pool); mine != nullptr) [[likely]] {
      f(basic_fork_place{pool, mine});
    } else {
      const fork_guest<Pool> guest{pool};
      f(basic_fork_place{pool, guest.lane()});
    }
  }

  /// Calls first(place), and second(place) unless skip() says after the first that there is no need; another thread may call it meanwhile.
  template <class First, class Second, class Skip>
  void both(First& first, Second& second, Skip skip) const noexcept {
    job<Second> offered{pool_, second};
    if (lane_ == nullptr || !pool_access::fork(pool_, *lane_, offered)) [[unlikely]] {
      first(*this);
      if (!skip()) second(*this);
      return;
    }
    first(*this);
    if (work_item* const newest = static_cast<dependent<fork_lane, First>*>(lane_)->pop(); newest != nullptr) [[likely]] {
      assert(newest == &offered && "what was forked later was not taken back first");
      if (!skip()) second(*this);
      return;
    }
    wait_for(offered);
  }

 private:
  template <class Body>
  class job final : public fork_job<> {
   public:
    job(Pool& pool, Body& body) noexcept
        : fork_job{[](work_item& self) noexcept { static_cast<job&>(self).run_stolen(); }}, pool_{pool}, body_{body} {}

   private:
    void run_stolen() noexcept {
      fork_lane* const mine = pool_access::lane_here(pool_);
      this->begin(mine);
      body_(basic_fork_place{pool_, mine});
      this->end();
    }
    Pool& pool_;
    Body& body_;
  };

  [[gnu::noinline]] void wait_for(fork_job<>& stolen) const noexcept {
    // The thief may wait for a task of the pool: if this is one of its workers, another thread runs tasks in its stead when that takes long.
    stolen.join([](work_item& part) { part(); }, [this](work_item& other) { pool_.execute(other); },
                [this] { return pool_access::help_once(pool_); }, [this](auto& wait) { return pool_.blocking(wait); });
  }

  Pool& pool_;
  fork_lane* lane_;
};

using fork_place = basic_fork_place<worker_pool>;

}  // namespace penstock::inline v0_1::detail
