// What a run has shown: for people, for programs, and row by row while it goes on.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "measurements.hpp"
#include "options.hpp"

namespace load {

/// The sums of what several measurements hold.
struct totals {
  std::array<latencies_snapshot, classes> by_class;
  latencies_snapshot latency;
  latencies_snapshot service;
  latencies_snapshot late;
  std::array<std::uint64_t, 600> status{};
  std::array<std::uint64_t, failure_names.size()> failed{};
  std::uint64_t intended = 0;
  std::uint64_t queued = 0;
  std::uint64_t unfinished = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t connects = 0;

  void add(const measurements& m);
  void add(const totals& other);
  [[nodiscard]] std::uint64_t answered() const { return latency.count(); }
  [[nodiscard]] std::uint64_t unanswered() const;
  /// What had no answer, or one whose status is not accepted.
  [[nodiscard]] std::uint64_t errors(const options& o) const;
};

/// One second, or what the last one was cut to.
struct live_row {
  std::chrono::nanoseconds at{};  ///< its end, since the beginning of the warm-up
  double seconds = 0;
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;
  std::int64_t in_flight = 0;
  std::int64_t queued = 0;
  std::uint64_t p50 = 0;
  std::uint64_t p99 = 0;
  std::uint64_t max = 0;
};

class live_meter {
 public:
  explicit live_meter(const std::vector<std::unique_ptr<engine>>& engines);
  /// Since the last one.
  [[nodiscard]] live_row read();

 private:
  const std::vector<std::unique_ptr<engine>>& engines_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = begin_;
  live_row before_;
  penstock::histogram_snapshot latency_;
};

struct outcome {
  std::vector<totals> steps;
  totals all;
  double seconds = 0;                             ///< that were measured
  double cpu_seconds = 0;                         ///< of this process, warm-up and all
  std::uint64_t answers = 0;                      ///< warm-up and all
  std::chrono::system_clock::time_point began{};  ///< what was measured, after the warm-up
  bool interrupted = false;
  std::vector<live_row> rows;
};

/// The limits of the options that were exceeded, in words.
[[nodiscard]] std::vector<std::string> exceeded(const options& o, const outcome& result);

extern const char* const live_head;
[[nodiscard]] std::string as_row(const live_row& row);
[[nodiscard]] std::string as_text(const options& o, const outcome& result);
[[nodiscard]] std::string as_json(const options& o, const outcome& result);

}  // namespace load
