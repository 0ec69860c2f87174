// penstock/combine/detail/bulk_loop.hpp: threads that take chunk after chunk, until there is none, one has failed, or stop is requested.
//
// Who takes part offers one job to the others, "take part, too", before it takes its first chunk. Who steals it does the same. So as many workers
// as are free come, one after the other, and what nobody has stolen is taken back at the end. The chunks are counted by one atomic; all
// else goes with the jobs: what a thread did is visible to who offered it the job when that one has waited for its end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <penstock/combine/bulk_options.hpp>
#include <penstock/combine/detail/fork_join.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1::detail {

/// Body is called with the number of a chunk.
template <class Pool, class Body>
class bulk_loop {
  using place = basic_fork_place<Pool>;

 public:
  bulk_loop(Pool& pool, std::size_t chunks, const bulk_options& options, Body& body) noexcept
      : pool_{pool}, chunks_{chunks}, options_{options}, body_{body} {}
  bulk_loop(const bulk_loop&) = delete;
  bulk_loop& operator=(const bulk_loop&) = delete;

  /// errc::cancelled if chunks were left because of a stop request. Throws what the first one that failed threw.
  result<void> run() {
    if (options_.failures != nullptr) options_.failures->clear();
    const std::size_t most = std::min(pool_.threads(), chunks_);
    if (most > 1) {
      may_come_.store(most - 1, std::memory_order_relaxed);  // relaxed: the job that is offered publishes it
      place::enter(pool_, [this](place here) { take_part(here); });
    } else {
      work();
    }
    if (first_failure_ != nullptr) [[unlikely]]
      fail();
    if (cancelled_.load(std::memory_order_relaxed)) return errc::cancelled;  // relaxed: all have ended
    return {};
  }

 private:
  void take_part(place here) noexcept {
    // relaxed, all: a count, and a hint. The chunks that are left are the last look: who comes for none goes at once
    std::size_t may_come = may_come_.load(std::memory_order_relaxed);
    while (may_come > 0 && !may_come_.compare_exchange_weak(may_come, may_come - 1, std::memory_order_relaxed)) {
    }
    if (may_come == 0 || next_.load(std::memory_order_relaxed) >= chunks_) return work();
    auto mine = [this](const place&) { work(); };
    auto another = [this](place there) { take_part(there); };
    here.both(mine, another, [] { return true; });  // no chunk is left by then
  }

  void work() noexcept {
    try {
      // relaxed: each chunk goes to one; what there is to be seen was published with the job
      for (std::size_t chunk; (chunk = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;) {
        if (options_.stop.stop_requested()) {
          cancelled_.store(true, std::memory_order_relaxed);  // relaxed: read when all have ended
          break;
        }
        body_(chunk);
      }
    } catch (...) {
      failed(std::current_exception());
    }
    next_.store(chunks_, std::memory_order_relaxed);  // relaxed: whoever sees it late takes a chunk more
  }

  void failed(std::exception_ptr why) noexcept {
    {
      std::scoped_lock guard{lock_};
      const bool first =
          first_failure_ == nullptr;  // not whether it is the same exception: several may throw one that they share
      if (first) first_failure_ = why;
      if (options_.failures != nullptr) {
        try {
          options_.failures->push_back(std::move(why));
          return;
        } catch (...) {  // no memory to keep it: the pool gets it
        }
      } else if (first) {
        return;
      }
    }
    pool_access::report(pool_, std::move(why));
  }
  [[gnu::noinline, noreturn]] void fail() { std::rethrow_exception(std::move(first_failure_)); }

  Pool& pool_;
  const std::size_t chunks_;
  const bulk_options& options_;
  Body& body_;
  std::mutex lock_;
  std::exception_ptr first_failure_;  // guarded by lock_, until all have ended
  std::atomic<std::size_t> may_come_{0};
  std::atomic<bool> cancelled_{false};
  alignas(cache_line) std::atomic<std::size_t> next_{0};
};

}  // namespace penstock::inline v0_1::detail
