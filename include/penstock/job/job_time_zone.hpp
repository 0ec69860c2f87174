// penstock/job/job_time_zone.hpp: calendars by the clocks of a place.
//
//   const auto berlin = penstock::tz_database("Europe/Berlin");                            // ext/time_zones.hpp; or a class of your own
//   penstock::next_in(*berlin, penstock::cron{"30 2 * * *"}, now);                         // the first half past two there that is later than now
//
// A store is given a function that knows zones by name (memory_store_options::time_zones); schedules name one (job_schedule_options::time_zone).
//
// Changed clocks What Debian's cron(8) does, but for changes of any length. A calendar of certain hours (its field of hours is not *): a time that is skipped
//                when clocks go forward is made up for in the moment of the change, several that are skipped once; one that comes twice when they go back
//                counts the first time. A calendar of each hour (*, 0-23) follows the clock: what is skipped is left out, what comes twice comes twice.
//                (robfig/cron leaves out skipped times of either kind: a job of the night is missed one night a year.)
// Thread safety  zones are used concurrently, and under no lock.
// Cost           one or two calls of at() and one search in the calendar for each change of the clock until the time that is found.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string_view>

#include <penstock/job/cron.hpp>

namespace penstock::inline v0_1 {

class job_time_zone {
 public:
  /// While which local time is UTC + offset.
  struct period {
    std::chrono::sys_seconds begin;  ///< the first second
    std::chrono::sys_seconds end;    ///< not included
    std::chrono::seconds offset;
  };
  job_time_zone() = default;
  job_time_zone(const job_time_zone&) = delete;
  job_time_zone& operator=(const job_time_zone&) = delete;
  virtual ~job_time_zone() = default;
  /// The one that a time is in. May throw.
  [[nodiscard]] virtual period at(std::chrono::sys_seconds t) const = 0;
};

/// Gives the zone of a name; null, or std::invalid_argument: there is none.
using job_time_zones = std::function<std::shared_ptr<const job_time_zone>(std::string_view name)>;

/// The first of a calendar's times in a zone that is later than `after`, in UTC; sys_seconds::max() if there is none within some centuries. Throws what the
/// zone throws.
template <class = void>
[[nodiscard]] std::chrono::sys_seconds next_in(const job_time_zone& zone, const cron& calendar, std::chrono::sys_seconds after) {
  using std::chrono::seconds;
  using std::chrono::sys_seconds;
  constexpr seconds longest_change = std::chrono::hours{48};
  if (after == sys_seconds::max()) return after;
  sys_seconds from = after + seconds{1};
  for (int changes = 0; changes < 2000; ++changes) {
    const job_time_zone::period now = zone.at(from);
    sys_seconds local = from + now.offset;  // as if it were UTC
    if (!calendar.each_hour() && now.begin > from - longest_change) {
      const seconds before = zone.at(now.begin - seconds{1}).offset;
      if (from == now.begin && calendar.next(from + before - seconds{1}) < local) return from;  // skipped
      local = std::max(local, now.begin + before);                                              // not a second time
    }
    const sys_seconds next = calendar.next(local - seconds{1});
    if (next == sys_seconds::max()) return next;
    if (next - now.offset < now.end) return next - now.offset;
    if (now.end <= from) return sys_seconds::max();  // no zone
    from = now.end;
  }
  return sys_seconds::max();
}

}  // namespace penstock::inline v0_1
