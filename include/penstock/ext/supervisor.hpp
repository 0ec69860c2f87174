// penstock/ext/supervisor.hpp: N processes that do the same (POSIX): what dies is replaced, and all can be replaced, one by one, while they serve.
//
//   int main() {
//     penstock::reuse_port port{"0.0.0.0", 8080};
//     penstock::supervisor all{{.processes = 4}};
//     return all.run([&](penstock::supervised_process& self) { return serve(port.listen(), self); });    // supervised_process.hpp
//   }
//
// SIGTERM, SIGINT  every worker gets SIGTERM and `drain` of time, then SIGKILL; run() returns. A second one: SIGKILL at once.
// SIGHUP           a rolling restart: place by place a new worker is started, and when it is ready() the old one is told to stop. One that does not
//                  become ready ends the restart, and its old one stays. Another SIGHUP meanwhile begins a second round after it.
// A worker that ends by itself, whatever its exit status, is replaced after `restart_delay`.
//
// Invariants     a place has one worker that is not told to stop, or a time at which it gets one; during a rolling restart one place has two.
// Forks          from a process with one thread only: run() throws std::logic_error where it can see others (Linux), for workers would lack
//                them, and find their locks held (hazard 21). Make pools and clocks in the worker. `arguments` executes the program
//                anew instead: then the same call of run() in it finds that it is a worker.
// Workers        run with what the parent had before run(), leave by _exit() when the function returns (std::cout, std::clog and C's streams are flushed,
//                static objects not destroyed), and notice that the supervisor is gone. An exception that leaves the function is named on standard error: status 70.
// Thread safety  one run() in a process, by its only thread; stats() in it, as from on_event, and afterwards.
// Destruction    run() returns, or throws, only when no worker is left.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <penstock/core/backoff.hpp>
#include <penstock/ext/detail/signal_pipe.hpp>
#include <penstock/ext/detail/worker_spawn.hpp>
#include <penstock/ext/supervised_process.hpp>
#include <penstock/ext/supervisor_options.hpp>

namespace penstock::inline v0_1 {

class supervisor {
  using clock_type = detail::poll_clock;
  using kind = supervisor_event::kind;

 public:
  /// Throws std::invalid_argument for a number of processes that is not 1 to 4096, or a negative duration.
  explicit supervisor(supervisor_options options) : options_{std::move(options)} {
    using std::chrono::nanoseconds;
    if (options_.processes < 1 || options_.processes > 4096)
      throw std::invalid_argument{"penstock::supervisor: processes is " + std::to_string(options_.processes)};
    if (std::min({options_.drain, options_.start, options_.stable}) < nanoseconds{0})
      throw std::invalid_argument{"penstock::supervisor: a negative duration"};
  }
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  /// Starts the workers, each of which calls serve(supervised_process&), whose int is its exit status; returns when it was told to end and all have:
  /// 0, or 1 if one had to be killed then. In a worker it does not return. Throws std::logic_error (see above), std::system_error if not all workers
  /// can be started at the beginning, and what on_event throws.
  template <class Serve>
  int run(Serve serve) {
    if (auto birth = detail::birth_by_exec()) detail::be_worker(std::move(*birth), serve);
    if (options_.arguments.empty()) detail::only_thread();
    // Blocked outside poll(): a child begins with them blocked, until it knows what to do with them.
    const detail::blocked_signals blocked{{SIGTERM, SIGINT, SIGHUP, SIGCHLD}};
    stats_ = {};
    lost_at_end_ = false;
    life_.emplace();
    places_.clear();
    places_.resize(options_.processes);
    serve_ = [&serve](detail::worker_birth birth) { detail::be_worker(std::move(birth), serve); };
    signals_.emplace(std::vector<int>{SIGTERM, SIGINT, SIGHUP, SIGCHLD});  // from here to its end run() does not throw
    std::exception_ptr thrown;
    const auto guarded = [&](auto&& step) {
      try {
        step();
      } catch (...) {  // the first one counts; what is running is to end in order
        if (!thrown) thrown = std::current_exception();
        end(false);
      }
    };
    guarded([&] {
      for (std::size_t i = 0; i < places_.size(); ++i) {
        if (const std::error_code error = start(i))
          throw std::system_error{error, "penstock::supervisor: a process cannot be started"};
      }
    });
    while (!ending_ || stats_.running != 0) {
      guarded([&] { wait(blocked); });
      for (int s; (s = signals_->next()) != 0;) guarded([&] { handle(s); });
      guarded([&] { reap(); });
      guarded([&] { look_at_readiness(); });
      guarded([&] { look_at_time(); });
    }
    ending_ = false;
    serve_ = {};
    signals_.reset();
    life_.reset();
    if (thrown) std::rethrow_exception(thrown);
    return lost_at_end_ ? 1 : 0;
  }

  [[nodiscard]] supervisor_stats stats() const noexcept { return stats_; }

 private:
  struct worker {
    ::pid_t pid = 0;
    detail::file_descriptor readiness;
    bool ready = false;
    bool told = false;  ///< to stop
    bool killed = false;
    clock_type::time_point since{};                    ///< it was started, or ready
    std::optional<clock_type::time_point> deadline{};  ///< to be ready, or to have ended
  };
  struct place {
    std::vector<worker> workers;  ///< at the most one that is not told to stop, and during a roll the one to be replaced
    std::optional<clock_type::time_point> restart{};  ///< when it gets another one
    std::uint64_t generation = 0;
    std::uint64_t failures = 0;  ///< in a row
    std::chrono::nanoseconds delay{};
  };

  static clock_type::time_point after(std::chrono::nanoseconds d) noexcept { return detail::poll_time_after(d); }

  void tell(kind what, std::size_t index, ::pid_t pid, int status = 0, std::chrono::nanoseconds delay = {}) {
    if (options_.on_event) options_.on_event({what, index, pid, status, delay});
  }

  // The error: no process can be had now, and nothing has changed.
  [[nodiscard]] std::error_code start(std::size_t index, bool again = false) {
    const std::error_code error = try_start(index, again);
    if (error) ++stats_.starts_failed;
    return error;
  }
  [[nodiscard]] std::error_code try_start(std::size_t index, bool again) {
    place& p = places_[index];
    detail::file_descriptor readiness;
    ::pid_t pid = -1;
    try {
      detail::pipe_ends ends;
      ::fcntl(ends.read.get(), F_SETFL, O_NONBLOCK);
      p.workers.reserve(p.workers.size() + 1);
      detail::worker_birth birth{index, p.generation + 1, options_.drain, std::move(ends.write), std::move(life_->read)};
      pid = detail::start_worker(options_.arguments, birth, [&] {
        // Of the parent's descriptors a worker needs none; above all not the end whose closing tells that the parent is gone.
        life_->write.reset();
        signals_.reset();
        for (place& other : places_) other.workers.clear();
        ends.read.reset();
        serve_(std::move(birth));
      });
      life_->read = std::move(birth.life);
      if (pid < 0) return {errno, std::generic_category()};
      readiness = std::move(ends.read);
    } catch (const std::system_error& error) {
      return error.code();
    }
    ++p.generation;
    p.restart.reset();
    p.workers.push_back(
        {.pid = pid, .readiness = std::move(readiness), .since = clock_type::now(), .deadline = after(options_.start)});
    ++stats_.started;
    stats_.restarts += again ? 1 : 0;
    ++stats_.running;
    tell(kind::started, index, pid);
    return {};
  }

  // Whether it had not been told.
  bool ask_to_stop(worker& w) noexcept {
    if (std::exchange(w.told, true)) return false;
    w.deadline = after(options_.drain);
    ::kill(w.pid, SIGTERM);
    stats_.ready -= w.ready ? 1 : 0;
    return true;
  }

  void end(bool now) {
    ending_ = true;
    rolling_.reset();
    roll_again_ = false;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      places_[i].restart.reset();
      for (worker& w : places_[i].workers) {
        ask_to_stop(w);
        if (now) w.deadline = clock_type::now();
      }
    }
  }

  void handle(int signal) {
    if (signal == SIGCHLD) return;  // reap() looks anyway
    if (signal == SIGHUP) {
      if (ending_) return;
      if (rolling_)
        roll_again_ = true;
      else
        roll(0);
      return;
    }
    const bool again = ending_;
    end(again);
    if (again) return;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      for (const worker& w : places_[i].workers) tell(kind::stopping, i, w.pid);
    }
  }

  // Goes on with the rolling restart in this place.
  void roll(std::size_t index) {
    if (index == places_.size()) {
      rolling_.reset();
      ++stats_.rolled;
      tell(kind::rolled, 0, 0);
      if (std::exchange(roll_again_, false)) roll(0);
      return;
    }
    rolling_ = index;
    if (const std::error_code error = start(index)) {
      tell(kind::start_failed, index, 0, error.value());
      roll_fails();
    } else {
      replacement_ = places_[index].workers.back().pid;
    }
  }

  void roll_fails() {
    rolling_.reset();
    roll_again_ = false;
    ++stats_.rolls_failed;
    tell(kind::roll_failed, 0, 0);
  }

  void reap() {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      for (std::size_t k = 0; k < places_[i].workers.size();) {
        int status = 0;
        const ::pid_t ended = ::waitpid(places_[i].workers[k].pid, &status, WNOHANG);
        if (ended == 0 || (ended < 0 && errno == EINTR)) {
          ++k;
          continue;
        }
        const worker gone = std::move(places_[i].workers[k]);
        places_[i].workers.erase(places_[i].workers.begin() + static_cast<std::ptrdiff_t>(k));
        --stats_.running;
        stats_.ready -= gone.ready && !gone.told ? 1 : 0;
        tell(kind::exited, i, gone.pid, status);
        if (!gone.told && !ending_) replace(i, gone);
      }
    }
  }

  void replace(std::size_t index, const worker& gone) {
    place& p = places_[index];
    const bool other = std::any_of(p.workers.begin(), p.workers.end(), [](const worker& w) { return !w.told; });
    if (rolling_ == index && gone.pid == replacement_) {
      roll_fails();
      if (other) return;
    } else if (other) {
      return;  // the old one ended while the new one starts: that was its replacement
    }
    p.failures = gone.ready && clock_type::now() - gone.since >= options_.stable ? 1 : p.failures + 1;
    p.delay = options_.restart_delay.next_delay(p.failures, random_, p.delay);
    p.restart = after(p.delay);
    tell(kind::restarting, index, gone.pid, 0, p.delay);
  }

  void look_at_readiness() {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      for (std::size_t k = 0; k < places_[i].workers.size(); ++k) {
        worker& w = places_[i].workers[k];
        char byte = 0;
        const ::ssize_t n = w.ready ? 1 : ::read(w.readiness.get(), &byte, 1);
        if (n == 0) w.readiness.reset();  // it has closed what it could tell by; its time runs out
        if (w.ready || n != 1) continue;
        w.ready = true;
        w.since = clock_type::now();
        w.readiness.reset();
        if (!w.told) {
          w.deadline.reset();
          ++stats_.ready;
        }
        tell(kind::ready, i, w.pid);
        if (rolling_ != i || places_[i].workers[k].pid != replacement_) continue;
        for (std::size_t old = 0; old < k; ++old) {
          if (ask_to_stop(places_[i].workers[old])) tell(kind::stopping, i, places_[i].workers[old].pid);
        }
        roll(i + 1);
      }
    }
  }

  void look_at_time() {
    const auto now = clock_type::now();
    for (std::size_t i = 0; i < places_.size(); ++i) {
      for (std::size_t k = 0; k < places_[i].workers.size(); ++k) {
        worker& w = places_[i].workers[k];
        if (!w.deadline || *w.deadline > now || w.killed) continue;
        w.killed = true;
        ::kill(w.pid, SIGKILL);
        ++stats_.killed;
        lost_at_end_ = lost_at_end_ || ending_;
        tell(kind::killed, i, w.pid);
      }
      if (!places_[i].restart || *places_[i].restart > now) continue;
      if (const std::error_code error = start(i, true)) {
        places_[i].delay = options_.restart_delay.next_delay(++places_[i].failures, random_, places_[i].delay);
        places_[i].restart = after(places_[i].delay);
        tell(kind::start_failed, i, 0, error.value(), places_[i].delay);
      }
    }
  }

  void wait(const detail::blocked_signals& blocked) {
    std::vector<::pollfd> watched{{.fd = signals_->descriptor(), .events = POLLIN, .revents = 0}};
    auto until = clock_type::time_point::max();
    for (const place& p : places_) {
      if (p.restart) until = std::min(until, *p.restart);
      for (const worker& w : p.workers) {
        if (w.deadline && !w.killed) until = std::min(until, *w.deadline);
        if (!w.ready) watched.push_back({.fd = w.readiness.get(), .events = POLLIN, .revents = 0});
      }
    }
    const auto open = blocked.let_through();  // a signal writes to the pipe, so that none is missed between here and poll()
    static_cast<void>(::poll(watched.data(), static_cast<::nfds_t>(watched.size()), detail::poll_milliseconds(until)));
  }

  supervisor_options options_;
  supervisor_stats stats_;
  std::vector<place> places_;
  std::optional<detail::signal_pipe> signals_;
  std::optional<detail::pipe_ends> life_;  // its write end is the parent's alone
  std::function<void(detail::worker_birth)> serve_;
  std::optional<std::size_t> rolling_;  // the place whose new worker is awaited
  ::pid_t replacement_ = 0;             // that one
  bool roll_again_ = false;
  bool ending_ = false;
  bool lost_at_end_ = false;
  splitmix64 random_{static_cast<std::uint64_t>(clock_type::now().time_since_epoch().count())};
};

}  // namespace penstock::inline v0_1
