// penstock/ext/supervised_process.hpp: what a worker process of a supervisor knows, and says.
//
//   int serve(penstock::supervised_process& self) {
//     http_server server{port.listen()};                      // see reuse_port.hpp
//     self.ready();                                          // a rolling restart goes on
//     self.wait_for_stop();                                  // or: self.get_stop_token()
//     return server.drain(self.drain_time()) ? 0 : 1;        // afterwards it is killed
//   }
//
// Stop is requested by SIGTERM, and when the supervisor is gone. Then nobody else would kill a worker that does not stop: after drain_time() it kills
// itself, so that none keeps a port, and the connections that come to it. SIGINT and SIGHUP are ignored: from a terminal they reach the supervisor, too,
// which says what is to be done. The handler of SIGTERM interrupts calls like epoll_wait(), which say EINTR then. A process that a worker forks has none of
// this: SIGTERM ends it.
//
// Thread safety  every member may be called concurrently.
// Destruction    ends the thread that watches for stop.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <thread>
#include <utility>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <penstock/ext/detail/signal_pipe.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// What a worker is born with.
struct worker_birth {
  std::size_t index = 0;
  std::uint64_t generation = 0;
  std::chrono::nanoseconds drain{};
  file_descriptor ready;  ///< to write to
  file_descriptor life;   ///< ends when the supervisor does
};

}  // namespace detail

class supervised_process {
 public:
  /// For the supervisor, in the child, with SIGTERM blocked until now.
  explicit supervised_process(detail::worker_birth birth) : birth_{std::move(birth)}, signals_{{SIGTERM}} {
    for (const int s : {SIGINT, SIGHUP}) ::signal(s, SIG_IGN);
    ::signal(SIGCHLD, SIG_DFL);
    watcher_ = std::jthread{[this] { watch(); }};
    ::sigset_t supervisors;  // what it had blocked
    ::sigemptyset(&supervisors);
    for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) ::sigaddset(&supervisors, s);
    ::pthread_sigmask(SIG_UNBLOCK, &supervisors, nullptr);
  }
  ~supervised_process() { signals_.put(quit); }
  supervised_process(const supervised_process&) = delete;
  supervised_process& operator=(const supervised_process&) = delete;

  /// Of this worker's place among all, from 0.
  [[nodiscard]] std::size_t index() const noexcept { return birth_.index; }
  /// The how-manieth process in this place this is, from 1.
  [[nodiscard]] std::uint64_t generation() const noexcept { return birth_.generation; }
  /// How long it may go on once stop is requested, before it is killed.
  [[nodiscard]] std::chrono::nanoseconds drain_time() const noexcept { return birth_.drain; }

  /// Tells the supervisor that this worker serves. Once is enough.
  void ready() noexcept {
    const char byte = 'R';
    static_cast<void>(::send(birth_.ready.get(), &byte, 1, MSG_NOSIGNAL));  // if it is gone, stop will be requested
  }

  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  /// Blocks until stop is requested.
  void wait_for_stop() { stopped_.wait(); }

 private:
  static constexpr int quit = 255;  // no signal

  void watch() noexcept {
    ::pollfd watched[] = {{.fd = signals_.descriptor(), .events = POLLIN, .revents = 0},
                          {.fd = birth_.life.get(), .events = POLLIN, .revents = 0}};
    ::nfds_t number = 2;
    auto killed_at = detail::poll_clock::time_point::max();
    for (;;) {
      const int events = ::poll(watched, number, detail::poll_milliseconds(killed_at));
      if (detail::poll_clock::now() >= killed_at) ::kill(::getpid(), SIGKILL);
      if (events < 0) continue;  // interrupted
      for (int s; (s = signals_.next()) != 0;) {
        if (s == quit) return;
        if (s == SIGTERM) stop();
      }
      if (number == 2 && watched[1].revents != 0) {  // nobody ever writes there
        number = 1;
        killed_at = detail::poll_time_after(birth_.drain);
        stop();
      }
    }
  }
  void stop() noexcept {
    stop_.request_stop();
    stopped_.set();
  }

  detail::worker_birth birth_;
  detail::signal_pipe signals_;
  std::stop_source stop_;
  event stopped_;
  std::jthread watcher_;
};

}  // namespace penstock::inline v0_1
