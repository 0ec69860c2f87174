// penstock/ext/detail/signal_pipe.hpp: signals as bytes in a pipe, for a loop that waits in poll() (D. J. Bernstein's self-pipe trick), and how long that waits.
//
// One at a time in a process: a handler has nothing but static storage to find the pipe by. The destructor puts the former handlers back. A process that was
// forked inherits handler and pipe, but the signals that it gets are its own: there the handler does what would happen without it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

namespace penstock::inline v0_1::detail {

class file_descriptor {
 public:
  explicit file_descriptor(int number = -1) noexcept : number_{number} {}
  file_descriptor(file_descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  file_descriptor& operator=(file_descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~file_descriptor() { reset(); }
  void reset() noexcept {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }
  [[nodiscard]] int get() const noexcept { return number_; }

 private:
  int number_;
};

/// Both ends are closed on exec. A pair of sockets, for who writes to a pipe whose reader is gone gets SIGPIPE. Throws std::system_error.
struct pipe_ends {
  pipe_ends() {
    int ends[2];
#if defined(SOCK_CLOEXEC)  // in one step: another thread may fork and exec between two
    constexpr int type = SOCK_STREAM | SOCK_CLOEXEC;
#else
    constexpr int type = SOCK_STREAM;
#endif
    if (::socketpair(AF_UNIX, type, 0, ends) != 0)
      throw std::system_error{errno, std::generic_category(), "penstock: socketpair"};
    read = file_descriptor{ends[0]};
    write = file_descriptor{ends[1]};
#if !defined(SOCK_CLOEXEC)
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
  }
  file_descriptor read;
  file_descriptor write;
};

using poll_clock = std::chrono::steady_clock;

/// `d` from now, at the most the greatest time there is.
[[nodiscard]] inline poll_clock::time_point poll_time_after(std::chrono::nanoseconds d) noexcept {
  const auto now = poll_clock::now();
  return d > poll_clock::time_point::max() - now ? poll_clock::time_point::max() : now + d;
}
/// What poll() takes; it may end earlier.
[[nodiscard]] inline int poll_milliseconds(poll_clock::time_point until) noexcept {
  if (until == poll_clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - poll_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
}

class signal_pipe {
 public:
  explicit signal_pipe(std::vector<int> signals)
      : former_write_{write_end.load(std::memory_order_relaxed)} {  // relaxed: this thread's own
    for (const int end : {ends_.read.get(), ends_.write.get()}) ::fcntl(end, F_SETFL, O_NONBLOCK);
    write_end.store(ends_.write.get(), std::memory_order_relaxed);  // relaxed, both: sigaction() comes after them
    owner.store(::getpid(), std::memory_order_relaxed);
    struct ::sigaction action{};
    action.sa_handler = [](int signal) {
      const int error = errno;
      if (::getpid() != owner.load(std::memory_order_relaxed)) {  // relaxed: as the descriptor
        ::signal(signal, SIG_DFL);
        ::raise(signal);  // delivered when this returns
        errno = error;
        return;
      }
      const auto byte = static_cast<unsigned char>(signal);
      // relaxed: stored before the handler was installed. A pipe that is full holds enough to wake up for.
      static_cast<void>(!::write(write_end.load(std::memory_order_relaxed), &byte, 1));
      errno = error;
    };
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    for (const int s : signals) {
      former_.emplace_back(s, nothing);
      ::sigaction(s, &action, &former_.back().second);
    }
  }
  ~signal_pipe() {
    for (const auto& [signal, action] : former_) ::sigaction(signal, &action, nullptr);
    write_end.store(former_write_, std::memory_order_relaxed);  // relaxed: no handler is left that reads it
  }
  signal_pipe(const signal_pipe&) = delete;
  signal_pipe& operator=(const signal_pipe&) = delete;

  /// To poll for reading.
  [[nodiscard]] int descriptor() const noexcept { return ends_.read.get(); }
  /// The next signal that has come; 0: none.
  [[nodiscard]] int next() noexcept {
    unsigned char byte = 0;
    return ::read(ends_.read.get(), &byte, 1) == 1 ? byte : 0;
  }
  /// As if a signal of this number had come.
  void put(int number) noexcept {
    const auto byte = static_cast<unsigned char>(number);
    static_cast<void>(!::write(ends_.write.get(), &byte, 1));
  }

 private:
  static inline std::atomic<int> write_end{-1};
  static inline std::atomic<::pid_t> owner{0};
  static_assert(std::atomic<int>::is_always_lock_free && std::atomic<::pid_t>::is_always_lock_free,
                "a signal handler takes no lock");
  static inline const struct ::sigaction nothing{};

  pipe_ends ends_;
  int former_write_;
  std::vector<std::pair<int, struct ::sigaction>> former_;
};

}  // namespace penstock::inline v0_1::detail
