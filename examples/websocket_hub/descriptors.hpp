// How many connections a process may have.
//
// Each is a file descriptor. The limit of a process can be raised to its hard limit, and further by root, unless it lacks that right, as in a
// container. But the limit is one of the table of descriptors, and on Linux a thread can have a table of its own (unshare, CLONE_FILES): so where the limit stays low
// a process with N threads, each with its own sockets, may have N times as many. What is open when a thread takes its own table stays open in both,
// under the same number, so that the descriptors by which the threads wake each other go on to mean the same in all.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>

namespace hub {

/// Raises the limit to `wanted` if it may, else as far as it may. Returns what it is then.
inline std::size_t raise_descriptor_limit(std::size_t wanted) noexcept {
  ::rlimit now{};
  ::getrlimit(RLIMIT_NOFILE, &now);
  if (now.rlim_cur >= wanted) return now.rlim_cur;
  const ::rlimit all{wanted, std::max<::rlim_t>(now.rlim_max, wanted)};
  if (::setrlimit(RLIMIT_NOFILE, &all) == 0) return wanted;
  const ::rlimit some{now.rlim_max, now.rlim_max};
  return ::setrlimit(RLIMIT_NOFILE, &some) == 0 ? some.rlim_cur : now.rlim_cur;
}

/// For what is no connection.
inline constexpr std::size_t other_descriptors = 100;

/// How many threads it takes at the least, if each has a table of its own. A little more than an equal share goes to some of them.
inline std::size_t threads_for(std::size_t connections, std::size_t limit) noexcept {
  const std::size_t each = limit > 2 * other_descriptors ? limit - other_descriptors : other_descriptors;
  if (connections <= each) return 1;
  return (connections + connections / 20 + each - 1) / each;
}

}  // namespace hub
