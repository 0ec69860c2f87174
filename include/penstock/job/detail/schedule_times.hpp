// penstock/job/detail/schedule_times.hpp: when the jobs of a schedule are due.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include <penstock/core/clock.hpp>
#include <penstock/job/cron.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_time_zone.hpp>

namespace penstock::inline v0_1::detail {

/// When a schedule's jobs are due. Never changes.
template <class Calendar = cron>
struct basic_schedule_times {
  std::optional<Calendar> calendar = {};
  std::shared_ptr<const job_time_zone> zone = {};  // null: UTC
  std::chrono::nanoseconds every{0};
  job_time first{0};
  job_time end = no_time;

  /// The first of them that is not before `t`; no_time: none. Throws what the zone throws; to be called without the lock.
  [[nodiscard]] job_time from(job_time t) const {
    using namespace std::chrono;
    t = std::max(t, first);
    job_time found = no_time;
    if (calendar) {
      const sys_seconds before = floor<seconds>(sys_time<nanoseconds>{t - nanoseconds{1}});
      const sys_seconds next = zone != nullptr ? next_in(*zone, *calendar, before) : calendar->next(before);
      if (next < floor<seconds>(sys_time<nanoseconds>::max())) found = duration_cast<nanoseconds>(next.time_since_epoch());
    } else {
      const std::int64_t step = every.count();
      const std::int64_t past = (t - first).count() % step;
      found = past == 0 ? t : job_time{saturating_add(t.count(), step - past)};
    }
    return found <= end ? found : no_time;
  }
};
using schedule_times = basic_schedule_times<>;

}  // namespace penstock::inline v0_1::detail
