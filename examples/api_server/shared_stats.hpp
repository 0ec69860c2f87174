// What the supervisor counts, for the /metrics of its processes: it answers no requests itself.
//
// The numbers lie in memory that is made before the first fork, and so belongs to all. The supervisor writes them after each of its events; a process
// reads them when somebody asks for its metrics. So each process tells the same: of several targets, look at one, or at the greatest (max without (instance)).
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <system_error>

#include <penstock/ext/supervisor_options.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace api {

class shared_stats {
  using number = std::atomic<std::uint64_t>;
  static_assert(number::is_always_lock_free, "a lock would be of one process");

 public:
  /// Throws std::system_error.
  shared_stats() {
    void* const memory = ::mmap(nullptr, sizeof(numbers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error{errno, std::generic_category(), "memory that is shared"};
    numbers_ = new (memory) numbers;
  }
  shared_stats(const shared_stats&) = delete;
  shared_stats& operator=(const shared_stats&) = delete;
  ~shared_stats() { ::munmap(numbers_, sizeof(numbers)); }

  /// By the supervisor's thread.
  void tell(const penstock::supervisor_stats& s) noexcept {
    // relaxed, here and below: numbers that publish nothing; each is whole, and those of one event may come one after the other
    const auto set = [](number& n, std::uint64_t value) { n.store(value, std::memory_order_relaxed); };
    set(numbers_->started, s.started);
    set(numbers_->restarts, s.restarts);
    set(numbers_->starts_failed, s.starts_failed);
    set(numbers_->killed, s.killed);
    set(numbers_->rolled, s.rolled);
    set(numbers_->rolls_failed, s.rolls_failed);
    set(numbers_->running, s.running);
    set(numbers_->ready, s.ready);
  }

  /// In any process.
  [[nodiscard]] penstock::supervisor_stats stats() const noexcept {
    const auto get = [](const number& n) { return n.load(std::memory_order_relaxed); };
    return {.started = get(numbers_->started),
            .restarts = get(numbers_->restarts),
            .starts_failed = get(numbers_->starts_failed),
            .killed = get(numbers_->killed),
            .rolled = get(numbers_->rolled),
            .rolls_failed = get(numbers_->rolls_failed),
            .running = static_cast<std::size_t>(get(numbers_->running)),
            .ready = static_cast<std::size_t>(get(numbers_->ready))};
  }

 private:
  struct numbers {
    number started{0}, restarts{0}, starts_failed{0}, killed{0}, rolled{0}, rolls_failed{0}, running{0}, ready{0};
  };
  numbers* numbers_;
};

}  // namespace api
