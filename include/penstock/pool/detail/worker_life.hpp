// penstock/pool/detail/worker_life.hpp: how a pool's threads begin, change in number and end: a part of worker_pool.hpp, which includes it.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
inline std::size_t basic_worker_pool<Sync>::checked_threads(worker_pool_options& options) {
  const auto refuse = [](const char* what) { throw std::invalid_argument{std::string{"penstock::worker_pool: "} + what}; };
  if (options.threads == 0) options.threads = available_processors();
  if (options.max_threads == 0) options.max_threads = options.threads + 16;
  if (options.max_threads < options.threads) refuse("max_threads is less than threads");
  if (options.min_threads == 0) refuse("min_threads is 0");
  if (options.time_every == 0) refuse("time_every is 0");
  if (options.keep_alive < std::chrono::nanoseconds::zero()) refuse("keep_alive is negative");
  if (options.room_timeout.length() < std::chrono::nanoseconds::zero()) refuse("room_timeout is negative");
  return options.max_threads;
}

template <class Sync>
inline basic_worker_pool<Sync>::basic_worker_pool(worker_pool_options options)
    : max_threads_{checked_threads(options)},
      queue_{options.queue_capacity, options.threads, 256, options.priorities, max_threads_,
             options.min_threads,    options.metrics},
      overflow_{options.overflow},
      room_timeout_{options.room_timeout},
      priorities_{options.priorities},
      clock_{options.clock},
      metrics_{options.metrics},
      timed_{options.time_every},
      on_error_{std::move(options.on_error)},
      threads_{options, max_threads_} {
  origin_.remember();
  if (metrics_) outside_.measure(clock_, timed_.every());
  for (std::size_t i = 0; i < options.threads; ++i) measure(queue_.slot_of(i));
  queue_.on_short_of_workers(
      [](void* self) noexcept {
        try {
          static_cast<basic_worker_pool*>(self)->start_thread(false, nullptr);
        } catch (...) {  // the others do the work
        }
      },
      this);
  if (options.keep_alive > std::chrono::nanoseconds::zero()) {
    queue_.keep_idle(options.keep_alive.count(), options.clock.after(std::chrono::nanoseconds::zero()).queue());
  }
  try {
    for (std::size_t i = 0; i < options.threads; ++i) start_thread(true);
  } catch (...) {
    queue_.close();
    threads_.join_all();
    throw;
  }
}

template <class Sync>
inline void basic_worker_pool<Sync>::start_thread(bool first, thread_report* waiting) {
  try {
    threads_.start(
        [this](std::size_t index) {
          queue_.provide_slot(index, [this](queue_slot& slot) { measure(slot); });
          queue_.slot_of(index).record.arrive();
        },
        [this](std::size_t index) { queue_.slot_of(index).record.leave(); },
        [this, first, waiting](std::size_t index) { run_worker(index, first, waiting); });
  } catch (...) {
    if (!first) queue_.fail_to_arrive();
    throw;
  }
}

template <class Sync>
inline void basic_worker_pool<Sync>::start_thread(bool first) {
  if (!threads_.may_fail_to_begin()) return start_thread(first, nullptr);
  thread_report report;
  start_thread(first, &report);
  report.told.wait();
  if (report.failure) std::rethrow_exception(std::move(report.failure));
}

// A thread, from its beginning to its end. The runner is there all the while: what would wait for this very thread is an error there, too.
template <class Sync>
inline void basic_worker_pool<Sync>::run_worker(std::size_t index, bool first, thread_report* waiting) noexcept {
  runner here{*this};
  queue_slot& me = queue_.slot_of(index);
  std::exception_ptr failure;
  try {
    threads_.begin(index);
  } catch (...) {
    failure = std::current_exception();
  }
  run_postponed(here);
  const bool begun = failure == nullptr;
  if (!begun) {
    me.record.leave();
    threads_.give_back(index);
  }
  if (!first) begun ? queue_.arrive(me) : queue_.fail_to_arrive();
  if (waiting != nullptr) {
    waiting->failure = std::move(failure);
    waiting->told.set();
  } else if (!begun) {
    report(std::move(failure));
  }
  if (!begun) return;

  run_pieces(me, here);

  try {
    threads_.end(index);
  } catch (...) {
    report(std::current_exception());
  }
  run_postponed(here);
  me.record.leave();
  threads_.give_back(index);
  queue_.left();
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::resize(std::size_t threads) {
  if (threads == 0 || threads > max_threads_) {
    throw std::invalid_argument{"penstock::worker_pool: resize to " + std::to_string(threads) +
                                " threads, which is not from 1 to " + std::to_string(max_threads_)};
  }
  if (origin_.forked()) return forked_error();
  const typename queue::resized change = queue_.resize(threads);
  if (change.before == 0) return errc::closed;
  // No more than that: where idle threads leave as soon as they have begun there would be no end to it.
  for (std::size_t started = 0; started < threads && queue_.begin_arrival(); ++started) {
    try {
      start_thread(false);
    } catch (...) {
      queue_.undo(change);
      queue_.finish_here();
      throw;
    }
    queue_.finish_here();
  }
  return {};
}

template <class Sync>
inline void basic_worker_pool<Sync>::pause() noexcept {
  if (!origin_.forked()) queue_.pause();
}
template <class Sync>
inline void basic_worker_pool<Sync>::resume() noexcept {
  if (!origin_.forked()) queue_.resume();
}
template <class Sync>
inline std::size_t basic_worker_pool<Sync>::purge() noexcept {
  if (origin_.forked()) return 0;
  return queue_.purge([this](task& queued) noexcept { drop(queued); });
}

template <class Sync>
template <std::invocable F>
decltype(auto) basic_worker_pool<Sync>::blocking(F&& f) {
  struct section {
    ~section() {
      if (me != nullptr) of.unblock(*me);
    }
    queue& of;
    queue_slot* const me;
  } const here{queue_, origin_.forked() ? nullptr : slot_here()};
  if (here.me != nullptr) queue_.block(*here.me);
  return std::invoke(std::forward<F>(f));
}

}  // namespace penstock::inline v0_1
