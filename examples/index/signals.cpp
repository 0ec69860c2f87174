#include "signals.hpp"

#include <unistd.h>

namespace fulltext {

namespace {

// Whoever started this program may have had it ignore a signal: nohup does, and shells do for jobs in the background.
bool is_ignored(int signal) noexcept {
  struct ::sigaction action{};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

stop_on_signal::stop_on_signal(std::stop_source stop) {
  ::sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_ignored(s)) sigaddset(&set, s);
  }
  sigaddset(&set, wake_up);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  waiting_ = std::jthread{[set, stop](std::stop_token done) mutable {
    for (int received = 0; sigwait(&set, &received) == 0 && !done.stop_requested();) {
      if (received == wake_up) continue;                  // from somebody else
      if (!stop.request_stop()) ::_exit(128 + received);  // the second: the index is sound whatever happens
    }
  }};
}

stop_on_signal::~stop_on_signal() {
  waiting_.request_stop();
  ::pthread_kill(waiting_.native_handle(), wake_up);
  waiting_.join();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace fulltext
