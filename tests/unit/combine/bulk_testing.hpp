// What the tests of loops and fork-join calls share.
#pragma once

#include <atomic>
#include <cstddef>

#include <penstock/sync/event.hpp>

/// Lets nobody pass before `n` have come: so they run at the same time.
class rendezvous {
 public:
  explicit rendezvous(int n) noexcept : missing_{n} {}
  void arrive_and_wait() {
    if (--missing_ == 0) all_.set();
    all_.wait();
  }

 private:
  std::atomic<int> missing_;
  penstock::event all_;
};
