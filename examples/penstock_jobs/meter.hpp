// What goes on in a queue, from outside: by counting, and by the times of the jobs that are over and are kept, so that it works across processes, on
// any store.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include <penstock/job/job_store.hpp>

#include "text_queue.hpp"

namespace jobs {

/// P50, P95 and P99.
using percentiles = std::array<std::chrono::nanoseconds, 3>;

struct reading {
  penstock::job_counts counts = {};
  double in = 0;                         ///< jobs added a second, since the last reading
  double out = 0;                        ///< jobs that ended
  double busy = 0;                       ///< jobs that ran at a time, on average
  std::optional<percentiles> wait = {};  ///< of those that ended in the last minute: from when it was due to its last start
  std::optional<percentiles> run = {};   ///< of its last run
};

class meter {
 public:
  explicit meter(const text_queue& queue);
  /// The first one is about the time since construction.
  [[nodiscard]] reading read();

 private:
  const text_queue& queue_;
  penstock::job_time last_;
  std::size_t held_ = 0;  // jobs that were not over, then
};

/// For people: several lines. `concurrency`: of all workers together; 0: not known.
[[nodiscard]] std::string as_table(const reading& r, std::size_t concurrency);
/// One line.
[[nodiscard]] std::string as_json(const reading& r, std::size_t concurrency);
[[nodiscard]] std::string as_table(const penstock::job_counts& c);
[[nodiscard]] std::string as_json(const penstock::job_counts& c);

}  // namespace jobs
