// Waiting in tests for what another thread is about to do, without a sleep.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace test_support {

/// Gives way to other threads until it is so. Ends the program if it is not within half a minute: the test would hang.
template <class Condition>
void until(Condition&& condition) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > patience) {
      std::fputs("a test waited in vain\n", stderr);
      std::abort();
    }
    std::this_thread::yield();
  }
}

}  // namespace test_support
