// penstock/job/detail/job_runner.hpp: what worker_core.hpp is made of: the answers of handlers, where the keeper runs, what a store tells a worker, and the
// leases of one of the jobs that run at a time.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/timer_service.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// Runs a coroutine on the thread that fires a clock's timers. One item at a time.
class timer_context {
 public:
  /// Throws std::system_error if that thread cannot be started.
  explicit timer_context(timer_queue& timers) : timers_{timers}, entry_{*this} {
    timers_.add(entry_, never - 1);  // so that execute() does not throw
    timers_.remove(entry_);
  }
  ~timer_context() { timers_.remove(entry_); }
  void execute(work_item& item) noexcept {
    entry_.item = &item;
    timers_.add(entry_, timers_.now());
  }

 private:
  struct entry : timer_entry<std_sync> {
    explicit entry(timer_context&) noexcept {
      this->fire = [](timer_entry<std_sync>& self) noexcept {
        work_item& next = *static_cast<entry&>(self).item;
        next();  // the last touch
      };
    }
    work_item* item = nullptr;
  };
  timer_queue& timers_;
  entry entry_;
};

template <class R>
concept job_answer = std::is_void_v<R> || std::same_as<R, result<void>> || std::same_as<R, job_outcome>;

template <class R>
struct job_answer_of {
  using type = R;
  static constexpr bool awaited = false;
};
template <class R>
  requires(!job_answer<R> && requires { typename std::type_identity_t<await_result<R>>; })
struct job_answer_of<R> {
  using type = await_result<R>;
  static constexpr bool awaited = true;
};
template <class F, class Payload>
concept handles_jobs =
    std::invocable<F&, job<Payload>&> && job_answer<typename job_answer_of<std::invoke_result_t<F&, job<Payload>&>>::type>;

/// What a worker and its store share.
class worker_signal final : public store_listener {
 public:
  // If it is set already, who takes it looks after that: the store's lock orders its look and what was put in before this.
  void work_ready() noexcept override {
    if (!work.is_set()) work.set();
  }
  auto_reset_event work;
};

/// One of the jobs that run at a time, and the leases behind it.
template <class Payload, class Store>
class job_runner final : public job_run<Payload> {
 public:
  using lease = typename Store::lease_type;

  job_runner(Store& s, std::size_t most) : store{s} {
    batch.reserve(most);
    next.reserve(most);
    results.reserve(most);
    held.reserve(most);
  }
  const Payload& payload() const noexcept override { return batch[current].payload(); }
  job_id id() const noexcept override { return batch[current].id(); }
  unsigned attempt() const noexcept override { return batch[current].attempt(); }
  std::uint64_t fence() const noexcept override { return batch[current].fence(); }
  result<void> progress(double done) override { return store.progress(batch[current], done); }
  result<void> log(std::string line) override { return store.log(batch[current], std::move(line)); }
  std::stop_token get_stop_token() override {
    std::scoped_lock guard{lock};
    if (!stop) {
      stop.emplace();
      if (unwanted) stop->request_stop();  // nobody listens yet
    }
    return stop->get_token();
  }

  /// False: the lease is lost already.
  bool begin(std::size_t i, job_time stop_when) noexcept {
    std::scoped_lock guard{lock};
    if (held[i].lost) return false;
    current = i;
    running = true;
    unwanted = false;
    stop_at = stop_when;
    return true;
  }
  void end() noexcept {
    std::optional<std::stop_source> gone;  // destroyed after unlocking
    std::scoped_lock guard{lock};
    gone.swap(stop);
    running = false;
    finished = current + 1;
    stop_at = no_time;
  }
  /// With the lock held: the run that goes on is not wanted any more. Stop is to be requested of what this gives, without the lock; if nobody has asked for the
  /// token yet, the wish is kept.
  [[nodiscard]] std::optional<std::stop_source> unwant() noexcept {
    unwanted = true;
    stop_at = no_time;
    return stop;
  }
  /// The batch was fetched, or all of the last one was told to the store.
  void renew_batch() noexcept {
    {
      std::scoped_lock guard{lock};
      batch.swap(next);
      held.clear();
      for (const lease& l : batch) held.push_back({.id = l.id(), .fence = l.fence()});
      settled = 0;
      finished = 0;
    }
    next.clear();
  }

  Store& store;
  std::vector<lease> batch;
  std::vector<lease> next;
  std::vector<job_settlement<lease>> results;  // of the batch, that the store was not told of
  job_time fetched_at{0};
  std::size_t current = 0;

  polled_mutex<> lock;
  // Guarded by it:
  std::vector<lease_ticket> held;  // as batch
  std::size_t settled = 0;         // how many of them the store was told of
  std::size_t finished = 0;        // how many of them have ended, and will be told
  std::optional<std::stop_source> stop;
  bool running = false;
  bool unwanted = false;
  job_time stop_at = no_time;
};

}  // namespace penstock::inline v0_1::detail
