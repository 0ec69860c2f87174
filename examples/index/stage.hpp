// What the pipeline is made of: stages that work, with queues between them, both measured.
#pragma once

#include <penstock/channel/channel.hpp>
#include <penstock/observe/busy_time.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/pool/worker_pool.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "report.hpp"

namespace fulltext {

/// One step of the work, and the threads that do it.
class stage {
 public:
  /// 0 threads: one for each processor that this process may use.
  stage(std::string name, std::size_t threads)
      : name_{std::move(name)}, pool_{{.threads = threads, .name = name_}}, busy_{static_cast<std::uint32_t>(pool_.threads())} {}

  ~stage() { static_cast<void>(pool_.shutdown()); }  // while what its threads use is there
  stage(const stage&) = delete;
  stage& operator=(const stage&) = delete;

  /// Has every thread of the stage run body(), once.
  template <class F>
  void start(const F& body) {
    for (std::size_t i = 0; i < pool_.threads(); ++i) pool_.post(body).value();
  }
  /// Waits until all have returned.
  void join() { pool_.shutdown().value(); }
  /// For what has its work done by the threads of the stage.
  [[nodiscard]] penstock::worker_pool& pool() noexcept { return pool_; }

  /// Lives while a thread works on one item, and not while it waits for other stages.
  class work {
   public:
    explicit work(stage& s) : stage_{s} { resume(); }
    ~work() {
      if (busy_) pause();
      stage_.times_.record(spent_);
    }
    work(const work&) = delete;
    work& operator=(const work&) = delete;

    /// Around a wait in the middle of the item.
    void pause() {
      busy_.reset();
      spent_ += std::chrono::steady_clock::now() - began_;
    }
    void resume() {
      busy_.emplace(stage_.busy_);
      began_ = std::chrono::steady_clock::now();
    }

   private:
    stage& stage_;
    std::optional<penstock::busy_scope<std::chrono::steady_clock>> busy_;  // without a value during a pause
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::duration spent_{};
  };

  [[nodiscard]] stage_report report() const {
    return {name_, pool_.threads(), times_.snapshot(), busy_.snapshot().utilization()};
  }

 private:
  const std::string name_;
  penstock::histogram times_;
  penstock::worker_pool pool_;
  penstock::busy_time busy_;
};

/// A channel that remembers how full it was.
template <class T>
class queue {
 public:
  queue(std::string name, std::size_t capacity) : name_{std::move(name)}, items_{capacity} {}

  penstock::result<void> push(const std::stop_token& stop, T&& item) {
    penstock::result<void> pushed = items_.push(stop, std::move(item));
    depth_.set(static_cast<std::int64_t>(items_.size()));
    return pushed;
  }
  penstock::result<T> pop(const penstock::wait_limits& limits) { return items_.pop(limits); }
  void close() noexcept { items_.close(); }

  [[nodiscard]] bound_report report() const { return {name_, items_.capacity(), static_cast<std::size_t>(depth_.peak())}; }

 private:
  const std::string name_;
  penstock::channel<T> items_;
  penstock::gauge depth_;
};

}  // namespace fulltext
