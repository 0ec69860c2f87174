// What the stress programs share: tiers, a printed seed, scenarios, and a watchdog that turns a hang into a message.
//
//   int main() {
//     stress::run run{"semaphore"};
//     run.scenario("threads and coroutines", 500ms, [](stress::context& c) { ... c.check(total == 4, "a permit was lost"); ... });
//     return run.finish();
//   }
//
// PENSTOCK_TIER (quick, ci, long) sets how long a program runs, PENSTOCK_SEED repeats a run's random choices (the schedule is the machine's).
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

#include <penstock/core/detail/futex.hpp>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define PENSTOCK_TEST_SANITIZED 1
#endif
#endif

namespace stress {

#if defined(PENSTOCK_TEST_SANITIZED)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

enum class tier { quick, ci, long_ };

inline tier current_tier() {
  const char* const name = std::getenv("PENSTOCK_TIER");
  const std::string_view t = name != nullptr ? name : "quick";
  return t == "long" ? tier::long_ : t == "ci" ? tier::ci : tier::quick;
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded by any number.
class random {
 public:
  explicit random(std::uint64_t seed) noexcept : state_{seed} {}

  std::uint64_t operator()() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// 0 to n - 1.
  template <class Int>
  Int below(Int n) noexcept {
    return static_cast<Int>((*this)() % static_cast<std::uint64_t>(n));
  }
  bool one_in(unsigned n) noexcept { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

/// Lets `n` threads begin together: short runs would be over before the next thread exists.
class start_line {
 public:
  explicit start_line(int n) noexcept : missing_{n} {}
  void wait() noexcept {
    --missing_;
    while (missing_ > 0) std::this_thread::yield();
  }

 private:
  std::atomic<int> missing_;
};

/// One scenario while it runs. Thread-safe.
class context {
 public:
  context(std::string name, std::uint64_t seed, std::chrono::milliseconds budget)
      : name_{std::move(name)}, seed_{seed}, end_{std::chrono::steady_clock::now() + budget} {}

  /// Counts a failure and says what is wrong.
  void check(bool holds, std::string_view what) noexcept {
    if (holds) return;
    if (failures_.fetch_add(1) < 10) {
      std::printf("stress %s: FAILED: %.*s\n", name_.c_str(), static_cast<int>(what.size()), what.data());
      std::fflush(stdout);
    }
  }
  [[nodiscard]] bool failed() const noexcept { return failures_ != 0; }

  /// Whether the scenario's share of time has not run out yet.
  [[nodiscard]] bool time_left() const noexcept { return std::chrono::steady_clock::now() < end_; }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// A generator of its own for each thread: the same one each time for the same seed and `stream`.
  [[nodiscard]] random generator(std::uint64_t stream) const noexcept { return random{seed_ ^ (stream * 0xd1342543de82ef95)}; }

 private:
  std::string name_;
  std::uint64_t seed_;
  std::chrono::steady_clock::time_point end_;
  std::atomic<int> failures_{0};
};

class run {
 public:
  explicit run(std::string name) : name_{std::move(name)}, seed_{seed_of_run()}, watchdog_{[this] { watch(); }} {
    if (const char* const carried = std::getenv("PENSTOCK_STRESS_PASSED")) passed_ = std::atoi(carried);
    if (const char* const carried = std::getenv("PENSTOCK_STRESS_FAILED")) failed_ = std::atoi(carried);
    std::printf("stress %s: seed %llu, %u processor(s)\n", name_.c_str(), static_cast<unsigned long long>(seed_),
                penstock::detail::usable_processors());
    std::fflush(stdout);
  }
  run(const run&) = delete;
  run& operator=(const run&) = delete;
  ~run() {
    {
      std::scoped_lock guard{lock_};
      ended_ = true;
    }
    changed_.notify_all();
    watchdog_.join();
  }

  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

  /// Runs one scenario; `quick` is its share of time in the quick tier (twice that in ci, a hundred times that in long).
  template <class F>
  void scenario(const std::string& name, std::chrono::milliseconds quick, F body) {
    const tier t = current_tier();
    context c{name_ + "/" + name, seed_ + static_cast<std::uint64_t>(passed_ + failed_),
              t == tier::long_ ? quick * 100
              : t == tier::ci  ? quick * 2
                               : quick};
    expect_end(c.name(), (t == tier::long_ ? quick * 100 : quick) + std::chrono::seconds{sanitized ? 120 : 60});
    try {
      body(c);
    } catch (const std::exception& e) {
      c.check(false, e.what());
    }
    expect_end({}, {});
    ++(c.failed() ? failed_ : passed_);
    if (!c.failed()) std::printf("stress %s: ok\n", c.name().c_str());
    std::fflush(stdout);
  }

  /// Runs the whole program once more on a single processor, where a thread that polls for another one stands in its way. Call it last: it
  /// does not return if it begins the program anew.
  void again_on_one_processor() {
#if defined(__linux__)
    if (penstock::detail::usable_processors() == 1) return;
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    int first = 0;
    while (!CPU_ISSET(first, &allowed)) ++first;
    CPU_ZERO(&allowed);
    CPU_SET(first, &allowed);
    if (::sched_setaffinity(0, sizeof allowed, &allowed) != 0) return;
    ::setenv("PENSTOCK_STRESS_PASSED", std::to_string(passed_).c_str(), 1);
    ::setenv("PENSTOCK_STRESS_FAILED", std::to_string(failed_).c_str(), 1);
    ::setenv("PENSTOCK_SEED", std::to_string(seed_).c_str(), 1);
    // Not a child: the count of this image goes on in the next one, and so does its exit code.
    const char* const arguments[] = {name_.c_str(), name_.c_str(),
                                     nullptr};  // the second: where one program is several (tests/unity.cmake)
    ::execv("/proc/self/exe", const_cast<char* const*>(arguments));
    std::printf("stress %s: cannot begin anew on one processor; skipped\n", name_.c_str());
#endif
  }

  [[nodiscard]] int finish() {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  static std::uint64_t seed_of_run() {
    if (const char* const given = std::getenv("PENSTOCK_SEED")) return std::strtoull(given, nullptr, 10);
    return std::random_device{}();
  }

  void expect_end(std::string name, std::chrono::milliseconds within) {
    {
      std::scoped_lock guard{lock_};
      watched_ = std::move(name);
      limit_ = std::chrono::steady_clock::now() + within;
    }
    changed_.notify_all();
  }

  void watch() {
    std::unique_lock guard{lock_};
    while (!ended_) {
      if (watched_.empty()) {
        changed_.wait(guard);
      } else if (changed_.wait_until(guard, limit_) == std::cv_status::timeout && !watched_.empty() &&
                 std::chrono::steady_clock::now() >= limit_) {
        std::printf("stress %s: FAILED: it hangs (PENSTOCK_SEED=%llu)\n", watched_.c_str(),
                    static_cast<unsigned long long>(seed_));
        std::fflush(stdout);
        std::abort();  // a core file, or a debugger, shows where
      }
    }
  }

  std::string name_;
  std::uint64_t seed_;
  int passed_ = 0;
  int failed_ = 0;
  std::mutex lock_;
  std::condition_variable changed_;
  bool ended_ = false;                             // guarded by lock_, as are the next two
  std::string watched_;                            // the scenario that runs
  std::chrono::steady_clock::time_point limit_{};  // when it counts as hanging
  std::thread watchdog_;
};

}  // namespace stress
