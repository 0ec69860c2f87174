// penstock/ext/detail/worker_spawn.hpp: how a supervisor's child comes to life, by fork() alone or with exec().
#pragma once

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <penstock/ext/supervised_process.hpp>

extern "C" char** environ;

namespace penstock::inline v0_1::detail {

/// Blocks signals, and puts the former mask back.
class blocked_signals {
 public:
  blocked_signals(std::initializer_list<int> signals) {
    ::sigset_t set;
    ::sigemptyset(&set);
    for (const int s : signals) ::sigaddset(&set, s);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    during_ = open_ = before_;
    for (const int s : signals) ::sigaddset(&during_, s), ::sigdelset(&open_, s);
  }
  ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  blocked_signals(const blocked_signals&) = delete;
  blocked_signals& operator=(const blocked_signals&) = delete;

  /// They get through while the result lives.
  [[nodiscard]] auto let_through() const {
    struct gap {
      explicit gap(const blocked_signals& b) : owner{b} { ::pthread_sigmask(SIG_SETMASK, &b.open_, nullptr); }
      ~gap() { ::pthread_sigmask(SIG_SETMASK, &owner.during_, nullptr); }
      gap(const gap&) = delete;
      gap& operator=(const gap&) = delete;
      const blocked_signals& owner;
    };
    return gap{*this};
  }

 private:
  ::sigset_t before_{};
  ::sigset_t during_{};
  ::sigset_t open_{};
};

/// Throws std::logic_error if this process is known to have other threads.
inline void only_thread() {
  std::error_code none;
  const std::filesystem::directory_iterator threads{"/proc/self/task", none};
  if (!none && std::distance(begin(threads), end(threads)) > 1)
    throw std::logic_error{
        "penstock::supervisor: there are threads already, which its workers would lack: start them in the workers"};
}

inline constexpr const char* worker_variable = "PENSTOCK_SUPERVISED";

/// Of a process that a supervisor has executed; nothing in any other.
inline std::optional<worker_birth> birth_by_exec() {
  const char* const text = std::getenv(worker_variable);
  if (text == nullptr) return std::nullopt;
  std::int64_t numbers[5];  // index, generation, drain, two descriptors
  const char* at = text;
  for (std::int64_t& n : numbers) {
    const auto [end, error] = std::from_chars(at, text + std::strlen(text), n);
    if (error != std::errc{}) return std::nullopt;
    at = *end == ',' ? end + 1 : end;
  }
  ::unsetenv(worker_variable);  // what this worker executes is none
  for (const int i : {3, 4}) ::fcntl(static_cast<int>(numbers[i]), F_SETFD, FD_CLOEXEC);
  return worker_birth{static_cast<std::size_t>(numbers[0]), static_cast<std::uint64_t>(numbers[1]),
                      std::chrono::nanoseconds{numbers[2]}, file_descriptor{static_cast<int>(numbers[3])},
                      file_descriptor{static_cast<int>(numbers[4])}};
}

/// What is in the buffers of those that every program has.
inline void flush_streams() noexcept {
  for (std::ostream* const s : {&std::cout, &std::clog}) {
    try {
      s->flush();
    } catch (...) {  // the user's stream may throw what it likes: nothing is to be done about that here
    }
  }
  std::fflush(nullptr);
}

template <class Serve>
[[noreturn]] void be_worker(worker_birth birth, Serve& serve) noexcept {
  int status = 70;  // EX_SOFTWARE
  try {
    supervised_process self{std::move(birth)};
    status = serve(self);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock::supervisor: a worker ends: %s\n", error.what());
  } catch (...) {
    std::fprintf(stderr, "penstock::supervisor: a worker ends: an exception that is no std::exception\n");
  }
  flush_streams();
  ::_exit(status);
}

/// Returns its number, or -1 with errno set. Without arguments the child calls be_child(), which does not return.
template <class BeChild>
::pid_t start_worker(const std::vector<std::string>& arguments, const worker_birth& birth, BeChild be_child) {
  flush_streams();  // or else each of them would write it, too
  if (arguments.empty()) {
    const ::pid_t pid = ::fork();
    if (pid == 0) be_child();
    return pid;
  }
  // All that allocates comes before fork(): here there may be threads.
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  std::string own = worker_variable + std::string{"="} + std::to_string(birth.index) + "," + std::to_string(birth.generation) +
                    "," + std::to_string(birth.drain.count()) + "," + std::to_string(birth.ready.get()) + "," +
                    std::to_string(birth.life.get());
  std::vector<char*> environment{own.data()};
  for (char** v = environ; *v != nullptr; ++v) environment.push_back(*v);
  environment.push_back(nullptr);
  const ::pid_t pid = ::fork();
  if (pid != 0) return pid;
  for (const int descriptor : {birth.ready.get(), birth.life.get()}) ::fcntl(descriptor, F_SETFD, 0);
  for (const int s : {SIGINT, SIGHUP}) ::signal(s, SIG_IGN);
  ::execve(argv[0], argv.data(), environment.data());
  ::_exit(127);
}

}  // namespace penstock::inline v0_1::detail
