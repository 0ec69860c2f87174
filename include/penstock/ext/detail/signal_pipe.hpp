// penstock/ext/detail/signal_pipe.hpp: signals as bytes in a pipe, for a loop that waits in poll() (D. J. Bernstein's self-pipe trick).
//
// One at a time in a process: a handler has nothing but static storage to find the pipe by. The destructor puts the former handlers back. A forked child
// makes one of its own, which takes the place of its parent's.
#pragma once

#include <atomic>
#include <cerrno>
#include <csignal>
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
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
      throw std::system_error{errno, std::generic_category(), "penstock: socketpair"};
    read = file_descriptor{ends[0]};
    write = file_descriptor{ends[1]};
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  }
  file_descriptor read;
  file_descriptor write;
};

class signal_pipe {
 public:
  explicit signal_pipe(std::vector<int> signals)
      : former_write_{write_end.load(std::memory_order_relaxed)} {  // relaxed: this thread's own
    for (const int end : {ends_.read.get(), ends_.write.get()}) ::fcntl(end, F_SETFL, O_NONBLOCK);
    write_end.store(ends_.write.get(), std::memory_order_relaxed);  // relaxed: sigaction() comes after it
    struct ::sigaction action{};
    action.sa_handler = [](int signal) {
      const int error = errno;
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
  static_assert(std::atomic<int>::is_always_lock_free, "a signal handler takes no lock");
  static inline const struct ::sigaction nothing{};

  pipe_ends ends_;
  int former_write_;
  std::vector<std::pair<int, struct ::sigaction>> former_;
};

}  // namespace penstock::inline v0_1::detail
