// What tests of worker pools have in common.
#pragma once

#include <atomic>
#include <cstdlib>
#include <system_error>
#include <utility>

#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>

#include "until.hpp"

namespace test_support {

/// For threads other than the test's own: Catch is for one.
inline void must(bool holds) {
  if (!holds) std::abort();
}

/// Keeps one worker of a pool busy from construction until open().
class gate {
 public:
  explicit gate(penstock::worker_pool& pool) {
    must(pool.post([this] {
               entered_.set();
               opened_.wait();
               left_ = true;
             })
             .has_value());
    entered_.wait();
  }
  gate(const gate&) = delete;
  gate& operator=(const gate&) = delete;
  ~gate() {
    open();
    until([this] { return left_.load(); });  // the worker may still be inside the event
  }
  void open() { opened_.set(); }

 private:
  penstock::event entered_;
  penstock::event opened_;
  std::atomic<bool> left_{false};
};

/// Counts its living instances.
struct token {
  explicit token(std::atomic<int>& n) noexcept : count{&n} { ++*count; }
  token(const token& other) noexcept : count{other.count} { ++*count; }
  token& operator=(const token&) = delete;
  ~token() { --*count; }
  std::atomic<int>* count;
};

/// What a future fails with: nothing if it has a value.
template <class T>
std::error_code error_of(penstock::future<T>&& f) {
  try {
    static_cast<void>(f.get());
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace test_support
