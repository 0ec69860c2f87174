// penstock/pool/detail/pool_threads.hpp: the threads of a pool: where each one has its place, what it is called, and how it begins and ends.
//
// There are as many places as there can be threads at a time. A thread has one from before it is started until it has run what is to be run at its
// end; so the index of a place is that of the worker, of its slot and in its name. Who takes a place joins the thread that had it before; if that is
// itself, which starts another one on its way out, the next one does.
//
// Thread safety  every member may be called concurrently, but for forget(). No lock is held while something of the user's runs; the one for places is
//                held while a thread is created, for a thread that has ended already must find its place filled.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <penstock/core/detail/gate.hpp>
#include <penstock/pool/worker_pool_options.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// For who waits until a thread has begun: with what it failed, if it did.
template <class Sync>
struct thread_report {
  std::exception_ptr failure;
  basic_event<Sync> told;
};

template <class Sync>
class pool_threads {
 public:
  pool_threads(worker_pool_options& options, std::size_t most)
      : name_{std::move(options.name)},
        on_start_{std::move(options.on_thread_start)},
        on_exit_{std::move(options.on_thread_exit)},
        affinity_{std::move(options.affinity)},
        places_(most) {}

  /// Whether a thread may fail after it was started.
  [[nodiscard]] bool may_fail_to_begin() const noexcept { return static_cast<bool>(on_start_) || !affinity_.empty(); }

  /// Starts a thread that calls `body(index)`, with the index of the place that it got; before that calls `prepare(index)`, and, if the thread cannot
  /// be started, `undo(index)`. There must be a place. Throws what `prepare` and starting a thread throw; the place is free again then.
  template <class Prepare, class Undo, class Body>
  void start(Prepare prepare, Undo undo, Body body) {
    std::unique_lock guard{lock_};
    std::size_t index = 0;
    while (places_[index].taken) ++index;
    places_[index].taken = true;
    std::thread ended[] = {std::move(places_[index].thread), std::move(places_[index].former)};
    guard.unlock();
    for (std::thread& thread : ended) {  // they have given the place back, and end
      if (thread.joinable() && thread.get_id() != std::this_thread::get_id()) thread.join();
    }
    guard.lock();
    try {
      places_[index].former = std::move(ended[ended[0].joinable() ? 0 : 1]);  // this very thread, if it is one of them
      prepare(index);
      try {
        places_[index].thread = std::thread{[body, index]() mutable { body(index); }};
      } catch (...) {
        undo(index);
        throw;
      }
    } catch (...) {
      places_[index].taken = false;
      throw;
    }
  }

  /// By the thread itself: its name, its processor, and what the user wants to be run. Throws std::system_error and what that throws.
  void begin(std::size_t index) const {
#if defined(__linux__)
    std::string name = name_.substr(0, 11) + '-' + std::to_string(index);
    name.resize(name.size() < 15 ? name.size() : 15);  // what the kernel keeps
    ::pthread_setname_np(::pthread_self(), name.c_str());
    if (!affinity_.empty()) bind_to(affinity_[index % affinity_.size()]);
#endif
    if (on_start_) on_start_(index);
  }
  /// By the thread itself, at its end. Throws what the user's function throws.
  void end(std::size_t index) const {
    if (on_exit_) on_exit_(index);
  }
  /// By the thread itself, at last: somebody else may have its place.
  void give_back(std::size_t index) noexcept {
    std::scoped_lock guard{lock_};
    places_[index].taken = false;
  }

  /// Returns when there is no thread any more, nor anybody who starts one. (Who starts one keeps the others from ending meanwhile.)
  void join_all() noexcept {
    std::scoped_lock one_at_a_time{joining_};
    for (std::thread thread = take_any(); thread.joinable(); thread = take_any()) thread.join();
  }
  /// In a forked child: they exist in the parent only.
  void forget() noexcept {
    for (place& p : places_) std::construct_at(&p);
  }

 private:
  struct place {
    std::thread thread;
    std::thread former;
    bool taken = false;
  };

#if defined(__linux__)
  static void bind_to(unsigned processor) {
    const struct processor_set {
      ~processor_set() { CPU_FREE(these); }
      cpu_set_t* these;
    } set{CPU_ALLOC(processor + 1)};
    if (set.these == nullptr) throw std::bad_alloc{};
    const std::size_t size = CPU_ALLOC_SIZE(processor + 1);
    CPU_ZERO_S(size, set.these);
    CPU_SET_S(processor, size, set.these);
    if (const int error = ::pthread_setaffinity_np(::pthread_self(), size, set.these); error != 0) {
      throw std::system_error{error, std::generic_category(),
                              "penstock::worker_pool: a thread cannot be bound to processor " + std::to_string(processor)};
    }
  }
#endif

  std::thread take_any() noexcept {
    std::scoped_lock guard{lock_};
    for (place& p : places_) {
      if (p.thread.joinable()) return std::move(p.thread);
      if (p.former.joinable()) return std::move(p.former);
    }
    return {};
  }

  const std::string name_;
  const move_only_function<void(std::size_t) const> on_start_;
  const move_only_function<void(std::size_t) const> on_exit_;
  const std::vector<unsigned> affinity_;
  std::mutex joining_;
  std::mutex lock_;
  std::vector<place> places_;  // guarded by lock_
};

}  // namespace penstock::inline v0_1::detail
