// What the tests of the limiter share.
#pragma once

#include <chrono>
#include <list>
#include <string>
#include <utility>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/rate/limiter.hpp>

namespace limiter_testing {

using namespace std::chrono_literals;
using penstock::job_options;
using penstock::limiter;
using penstock::limiter_options;
using penstock::manual_clock;
using penstock::result;
using penstock::task;

/// A limiter on a clock that stands still, and jobs that write down when they start.
class bench {
 public:
  explicit bench(limiter_options options, penstock::limiter_setup setup = {})
      : l{std::move(options), (setup.clock = clock, std::move(setup))}, begin_{clock.now()} {}
  ~bench() {
    l.stop();
    jobs_.clear();
  }

  /// Comes now, and runs until end(): "a", or "(timeout)" and the like if it gets no turn.
  void come(std::string name, job_options job = {}) { jobs_.push_back(penstock::spawn(run(std::move(name), job))); }
  void come(std::string name, unsigned priority) { come(std::move(name), job_options{.priority = priority}); }
  /// The n-th job gives up.
  void give_up(std::size_t n) { std::next(jobs_.begin(), static_cast<std::ptrdiff_t>(n))->request_stop(); }

  /// What happened since the last call.
  std::string started() { return std::exchange(started_, {}); }
  /// At which times, in milliseconds: "0 100 200".
  std::string times() { return std::exchange(times_, {}); }

  manual_clock clock;
  limiter l;

 private:
  task<> run(std::string name, job_options job) {
    auto turn = l.async_acquire(job);
    const result<void> mine = co_await std::move(turn);
    if (!mine) {
      started_ += name + "(" + mine.error().message() + ")";
      co_return;
    }
    started_ += name;
    const auto at = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - begin_).count();
    times_ += (times_.empty() ? "" : " ") + std::to_string(at);
  }

  manual_clock::time_point begin_;
  std::string started_;
  std::string times_;
  std::list<penstock::spawned<void>> jobs_;
};

}  // namespace limiter_testing
