#include "signals.hpp"

#include <unistd.h>

namespace fulltext {

stop_on_signal::stop_on_signal(std::stop_source stop) {
  ::sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, s);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  waiting_ = std::jthread{[set, stop](std::stop_token done) mutable {
    for (int received = 0; sigwait(&set, &received) == 0 && !done.stop_requested();) {
      if (!stop.request_stop()) ::_exit(128 + received);  // the second: the index is sound whatever happens
    }
  }};
}

stop_on_signal::~stop_on_signal() {
  waiting_.request_stop();
  ::pthread_kill(waiting_.native_handle(), SIGINT);  // it waits for nothing else
  waiting_.join();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace fulltext
