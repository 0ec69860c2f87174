// penstock/core/detail/fork.hpp: notices that this process is a forked child, whose threads stayed with the parent.
//
// A component that owns threads remembers where they were started. In a child it would queue work that nobody runs, so using it there
// is an error at once and not a hang. The check is one relaxed load.
#pragma once

#include <atomic>
#include <system_error>

#if __has_include(<pthread.h>)
#include <pthread.h>
#endif

namespace penstock::inline v0_1::detail {

class process_origin {
 public:
  void remember() noexcept { born_ = generation(); }

  /// Throws std::system_error (operation_not_permitted) if the process was forked since remember().
  void check() const {
    if (born_ != generation()) {
      throw std::system_error{
          std::make_error_code(std::errc::operation_not_permitted),
          "penstock: a component that owns threads is used in a forked child, where its threads do not exist"};
    }
  }

  [[nodiscard]] bool forked() const noexcept { return born_ != generation(); }

 private:
  static unsigned generation() noexcept {
#if __has_include(<pthread.h>)
    // relaxed: runs in a child that has a single thread
    static const bool registered =
        ::pthread_atfork(nullptr, nullptr, [] { forks_.fetch_add(1, std::memory_order_relaxed); }) == 0;
    static_cast<void>(registered);
#endif
    return forks_.load(std::memory_order_relaxed);  // relaxed: written only in a child that has a single thread
  }

  static inline std::atomic<unsigned> forks_{0};
  unsigned born_ = 0;
};

}  // namespace penstock::inline v0_1::detail
