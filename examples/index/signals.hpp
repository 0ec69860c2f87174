// Turns Ctrl-C into a stop request.
#pragma once

#include <stop_token>
#include <thread>

#include <signal.h>

namespace fulltext {

/// While this object lives, SIGINT, SIGTERM and SIGHUP request stop, but for those that this program was started to ignore; a
/// second one ends the program at once. Construct it before any other thread starts, so that they all leave these signals to the
/// thread in here.
class stop_on_signal {
 public:
  explicit stop_on_signal(std::stop_source stop);
  ~stop_on_signal();
  stop_on_signal(const stop_on_signal&) = delete;
  stop_on_signal& operator=(const stop_on_signal&) = delete;

 private:
  static constexpr int wake_up = SIGUSR1;  // ends the wait of the thread

  ::sigset_t before_{};
  std::jthread waiting_;
};

}  // namespace fulltext
