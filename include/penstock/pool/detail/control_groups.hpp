// penstock/pool/detail/control_groups.hpp: the processor quota of the control groups that this process is in.
//
// Source  Linux: Documentation/admin-guide/cgroup-v2.rst (cpu.max), Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace penstock::inline v0_1::detail {

/// Processors that a quota amounts to, rounded up, at least 1; nothing if there is no quota or it makes no sense.
[[nodiscard]] inline std::optional<unsigned> processors_of_quota(std::string_view quota, std::string_view period) noexcept {
  long long q = 0;
  long long p = 0;
  const auto number = [](std::string_view text, long long& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
  };
  if (!number(quota, q) || !number(period, p) || q <= 0 || p <= 0) return std::nullopt;  // "max" (v2) and -1 (v1) mean no limit
  const long long n = q / p + (q % p != 0 ? 1 : 0);
  return static_cast<unsigned>(std::min<long long>(n, std::numeric_limits<int>::max()));
}

inline std::optional<std::string> first_line(const std::filesystem::path& file) {
  std::ifstream in{file};
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

// One group's own limit, in either version's words.
inline std::optional<unsigned> quota_of_group(const std::filesystem::path& group) {
  if (const auto v2 = first_line(group / "cpu.max")) {
    const std::string_view line = *v2;
    const std::size_t space = line.find(' ');
    if (space != std::string_view::npos) return processors_of_quota(line.substr(0, space), line.substr(space + 1));
  }
  const auto quota = first_line(group / "cpu.cfs_quota_us");
  const auto period = first_line(group / "cpu.cfs_period_us");
  return quota && period ? processors_of_quota(*quota, *period) : std::nullopt;
}

/// The least quota among the control groups that this process is in and their parents, read below `root` (for tests: a copy of the files).
[[nodiscard]] inline std::optional<unsigned> quota_of_process(const std::filesystem::path& root) {
  std::optional<unsigned> least;
  std::ifstream groups{root / "proc/self/cgroup"};
  for (std::string line; std::getline(groups, line);) {  // "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1)
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string below = line.substr(second + 1);
    std::filesystem::path mount = root / "sys/fs/cgroup";
    if (!controllers.empty()) {
      if ((',' + controllers + ',').find(",cpu,") == std::string::npos) continue;
      std::error_code ignored;
      mount /= std::filesystem::exists(mount / controllers, ignored) ? controllers : "cpu";
    }
    // Inside a container the path may be that of the host, which is not mounted: then the mount point itself is our group.
    std::filesystem::path group = std::filesystem::path{below}.relative_path();
    for (;;) {
      if (const auto quota = quota_of_group(mount / group)) least = least ? std::min(*least, *quota) : quota;
      if (group.empty()) break;
      group = group.has_parent_path() ? group.parent_path() : std::filesystem::path{};
    }
  }
  return least;
}

}  // namespace penstock::inline v0_1::detail
