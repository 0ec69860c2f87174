// penstock/ext/time_zones.hpp: the time zones of the system, for schedules.
//
//   penstock::memory_store<report> store{{.time_zones = penstock::tz_database}};        // or a sqlite_store with this option
//   penstock::job_queue<report> reports{store, {.clock = wall}};                       // a std::chrono::system_clock
//   reports.schedule({.id = "nightly", .when = "30 2 * * *", .time_zone = "Europe/Berlin"}, report{}).value();
//
// The names of IANA's data base, as the operating system has it: read once, when the first zone is asked for; a program that runs for years sees later changes of
// law when it starts again. CMake: find_package(penstock COMPONENTS time_zones), target penstock::time_zones.
//
// Thread safety  every function may be called concurrently.
// Cost           one search in the zone's table of changes for each period that a schedule passes.
// Needs          Howard Hinnant's date, its time zones (Debian's libhowardhinnant-date-dev), and the zones themselves (tzdata).
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <date/tz.h>

#include <penstock/job/job_time_zone.hpp>

namespace penstock::inline v0_1 {

namespace detail {

class tz_database_zone final : public job_time_zone {
 public:
  explicit tz_database_zone(const date::time_zone& zone) noexcept : zone_{&zone} {}
  [[nodiscard]] period at(std::chrono::sys_seconds t) const override {
    const date::sys_info now = zone_->get_info(t);
    return {now.begin, now.end, now.offset};
  }

 private:
  const date::time_zone* zone_;
};

}  // namespace detail

/// A job_time_zones. Throws std::invalid_argument if there is no zone of that name, or no data base; std::bad_alloc.
[[nodiscard]] inline std::shared_ptr<const job_time_zone> tz_database(std::string_view name) {
  const date::time_zone* zone = nullptr;
  try {
    zone = date::locate_zone(std::string{name});
  } catch (const std::runtime_error& e) {
    throw std::invalid_argument{"penstock::tz_database: \"" + std::string{name} + "\": " + e.what()};
  }
  return std::make_shared<const detail::tz_database_zone>(*zone);
}

}  // namespace penstock::inline v0_1
