// penstock/ext/detail/redis_lease_keeper.hpp: a thread that renews leases, gives back what is not needed any more, and tells who has lost one.
//
// Who works with a permit may be busy or stand still: so he renews nothing himself. The thread has a connection of its own, whose timeouts are
// short: an attempt takes a sixth of a lease at the most, so that there is time for several, and so that a loss is told a sixth of a lease before
// the server forgets.
//
// Invariants     good_until of a lease is a lease after what was sent for it last and answered well: by the local clock it is over no later than on
//                the server.
// Lifetime       a record is shared by its permit and the keeper. Destroying the keeper gives back what was released, in one attempt.
// Thread safety  every member may be called concurrently. Stop callbacks of the users run on the thread, under no lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/ext/detail/redis_semaphore_scripts.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

struct redis_lease {
  std::string owner;
  std::int64_t fence = 0;
  std::atomic<nanoseconds_point> good_until{0};
  std::stop_source lost{};
  nanoseconds_point renew_at = 0;  // of the keeper's thread
  bool released = false;           // guarded by the keeper's lock
};

template <redis_transport Transport>
class redis_lease_keeper {
 public:
  using lease_pointer = std::shared_ptr<redis_lease>;

  redis_lease_keeper(redis_options options, std::string name, std::int64_t permits, std::chrono::nanoseconds lease)
      : name_{std::move(name)},
        fence_name_{name_ + ":fence"},
        permits_{permits},
        lease_{lease},
        transport_{hurried(std::move(options), lease)} {
    thread_ = std::thread{[this] { run(); }};
  }
  ~redis_lease_keeper() {
    ending_.store(true, std::memory_order_relaxed);  // relaxed: ordered by wake_
    wake_.set();
    thread_.join();
  }
  redis_lease_keeper(const redis_lease_keeper&) = delete;
  redis_lease_keeper& operator=(const redis_lease_keeper&) = delete;

  /// From now on the lease is renewed. `sent`: when it was asked for.
  void keep(lease_pointer lease, nanoseconds_point sent) {
    renewed(*lease, sent);
    {
      std::scoped_lock guard{lock_};
      leases_.push_back(std::move(lease));
    }
    wake_.set();
  }
  /// It is given back soon.
  void release(redis_lease& lease) noexcept {
    {
      std::scoped_lock guard{lock_};
      lease.released = true;
    }
    wake_.set();
  }
  struct numbers {
    std::int64_t held;   // and not given back, lost ones too
    std::uint64_t lost;  // since the beginning
  };
  [[nodiscard]] numbers kept() noexcept {
    std::scoped_lock guard{lock_};
    return {std::count_if(leases_.begin(), leases_.end(), [](const lease_pointer& l) { return !l->released; }),
            lost_.load(std::memory_order_relaxed)};  // relaxed: a counter
  }
  /// Set once for what was given back here: it may be had.
  [[nodiscard]] auto_reset_event& freed() noexcept { return freed_; }

 private:
  static redis_options hurried(redis_options options, std::chrono::nanoseconds lease) {
    options.connect_timeout = std::min(options.connect_timeout, lease / 12);
    options.command_timeout = std::min(options.command_timeout, lease / 12);
    options.reconnect_within = {};
    return options;
  }
  void renewed(redis_lease& lease, nanoseconds_point sent) const noexcept {
    // release: pairs with the acquire in redis_permit; what the server has confirmed was done before
    lease.good_until.store(saturating_add(sent, lease_.count()), std::memory_order_release);
    lease.renew_at = saturating_add(sent, lease_.count() / 3);
  }
  [[nodiscard]] nanoseconds_point losing_at(const redis_lease& lease) const noexcept {
    return lease.good_until.load(std::memory_order_relaxed) - lease_.count() / 6;  // relaxed: only this thread writes it by now
  }

  void run() {
    nanoseconds_point next = never;
    for (;;) {
      static_cast<void>(wake_.wait(wait_limits{.deadline = deadline_at(next)}));
      const bool ending = ending_.load(std::memory_order_relaxed);  // relaxed: see the destructor
      try {
        next = round(std_sync::now());
      } catch (const std::bad_alloc&) {  // there may be memory again in time
        next = saturating_add(std_sync::now(), pause());
      }
      if (ending) return;
    }
  }
  static deadline deadline_at(nanoseconds_point when) noexcept {
    if (when == never) return {};
    return std::chrono::steady_clock::time_point{
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::nanoseconds{when})};
  }

  // When to come again.
  nanoseconds_point round(nanoseconds_point now) {
    std::vector<lease_pointer> due;
    {
      std::scoped_lock guard{lock_};
      for (lease_pointer& lease : leases_) {
        if (lease->released) {
          given_back_.push_back(std::move(lease));
        } else if (lease->renew_at <= now) {
          due.push_back(lease);
        }
      }
      std::erase(leases_, nullptr);
    }
    // By now the server has forgotten them by itself.
    std::erase_if(given_back_, [now](const lease_pointer& l) {
      return l->good_until.load(std::memory_order_relaxed) <= now;
    });  // relaxed: as above
    if (!due.empty() || !given_back_.empty()) talk(due, now);

    std::vector<lease_pointer> lost;
    nanoseconds_point next = given_back_.empty() ? never : saturating_add(std_sync::now(), pause());
    {
      std::scoped_lock guard{lock_};
      for (const lease_pointer& lease : leases_) {
        if (lease->released) continue;  // wake_ is set
        if (lease->lost.stop_requested()) continue;
        if (losing_at(*lease) <= std_sync::now()) {
          lost.push_back(lease);
        } else {
          next = std::min({next, lease->renew_at, losing_at(*lease)});
        }
      }
    }
    for (const lease_pointer& lease : lost) lose(*lease);
    return next;
  }

  void talk(const std::vector<lease_pointer>& due, nanoseconds_point now) {
    commands_.clear();
    for (const lease_pointer& lease : given_back_) commands_.add("ZREM", name_, lease->owner);
    for (const lease_pointer& lease : due) {
      commands_.add_script(redis_semaphore_renew(), {{name_, fence_name_}},
                           {{lease->owner, permits_, std::chrono::duration_cast<std::chrono::microseconds>(lease_).count()}});
    }
    const auto replies = transport_.pipeline(commands_);
    if (!replies) {
      for (const lease_pointer& lease : due) lease->renew_at = saturating_add(std_sync::now(), pause());
      return;
    }
    const std::size_t given = given_back_.size();
    given_back_.clear();
    for (std::size_t i = 0; i < given; ++i) freed_.set();
    for (std::size_t i = 0; i < due.size(); ++i) {
      const redis_reply& reply = (*replies)[given + i];
      if (reply.is_integer() && reply.integer() == 1) {
        renewed(*due[i], now);
      } else if (reply.is_integer()) {
        lose(*due[i]);
      } else {
        due[i]->renew_at = saturating_add(std_sync::now(), pause());  // LOADING, OOM and the like: they may pass
      }
    }
  }
  [[nodiscard]] std::int64_t pause() const noexcept { return lease_.count() / 24; }

  // It stays entered until it is given back: the holder may need a moment to end.
  void lose(redis_lease& lease) noexcept {
    lease.renew_at = never;
    lost_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    lease.lost.request_stop();
  }

  const std::string name_;
  const std::string fence_name_;
  const std::int64_t permits_;
  const std::chrono::nanoseconds lease_;
  Transport transport_;  // of the thread, as what follows
  redis_commands commands_;
  std::vector<lease_pointer> given_back_;
  std::mutex lock_;
  std::vector<lease_pointer> leases_;  // guarded by lock_
  std::atomic<bool> ending_{false};
  std::atomic<std::uint64_t> lost_{0};
  auto_reset_event wake_;
  auto_reset_event freed_;
  std::thread thread_;
};

}  // namespace penstock::inline v0_1::detail
