// penstock/pool/detail/control_groups.hpp: the processor quota of the control groups that this process is in.
//
// Source  Linux: Documentation/admin-guide/cgroup-v2.rst (cpu.max), Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace penstock::inline v0_1::detail {

/// Processors that a quota amounts to, rounded up, at least 1; nothing if there is no quota or it makes no sense.
template <class = void>
[[nodiscard]] std::optional<unsigned> processors_of_quota(std::string_view quota, std::string_view period) noexcept {
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

// By the C library: <filesystem> and <fstream> take every source that has a pool a third of a second to compile.
template <class Text = std::string>
std::optional<Text> content_of(const std::string& file) {
  const struct open_file {
    ~open_file() {
      if (at != nullptr) std::fclose(at);
    }
    std::FILE* at;
  } in{std::fopen(file.c_str(), "r")};
  if (in.at == nullptr) return std::nullopt;
  Text text;
  char block[1024];
  for (std::size_t n; (n = std::fread(block, 1, sizeof block, in.at)) > 0;) text.append(block, n);
  return text;
}

// Takes it off the front.
template <class = void>
std::string_view next_line(std::string_view& text) noexcept {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

template <class Text = std::string>
std::optional<Text> first_line(const std::string& file) {
  const auto text = content_of<Text>(file);
  if (!text || text->empty()) return std::nullopt;
  std::string_view rest = *text;
  Text line{next_line(rest)};
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

// One group's own limit, in either version's words.
template <class Text = std::string>
std::optional<unsigned> quota_of_group(const std::string& group) {
  if (const auto v2 = first_line<Text>(group + "/cpu.max")) {
    const std::string_view line = *v2;
    const std::size_t space = line.find(' ');
    if (space != std::string_view::npos) return processors_of_quota(line.substr(0, space), line.substr(space + 1));
  }
  const auto quota = first_line<Text>(group + "/cpu.cfs_quota_us");
  const auto period = first_line<Text>(group + "/cpu.cfs_period_us");
  return quota && period ? processors_of_quota(*quota, *period) : std::nullopt;
}

/// The least quota among the control groups that this process is in and their parents, read below `root` (for tests: a copy of the files).
template <class Text = std::string>
[[nodiscard]] std::optional<unsigned> quota_of_process(const std::string& root) {
  std::optional<unsigned> least;
  const auto groups = content_of<Text>(root + "/proc/self/cgroup");
  if (!groups) return least;
  for (std::string_view rest = *groups; !rest.empty();) {  // "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1)
    const std::string_view line = next_line(rest);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string controllers{line.substr(first + 1, second - first - 1)};
    std::string mount = root + "/sys/fs/cgroup";
    if (!controllers.empty()) {
      if ((',' + controllers + ',').find(",cpu,") == std::string::npos) continue;
      mount += '/' + (content_of<Text>(mount + '/' + controllers) ? controllers : "cpu");  // a folder opens, too
    }
    // Inside a container the path may be that of the host, which is not mounted: then the mount point itself is our group.
    for (std::string_view group = line.substr(second + 1);;) {
      while (!group.empty() && group.back() == '/') group.remove_suffix(1);
      if (const auto quota = quota_of_group<Text>(mount + '/' + std::string{group}))
        least = least ? std::min(*least, *quota) : quota;
      if (group.empty()) break;
      group = group.substr(0, group.rfind('/') + 1);
    }
  }
  return least;
}

}  // namespace penstock::inline v0_1::detail
