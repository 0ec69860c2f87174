#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <penstock/pool/sizing.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
namespace sizing = penstock::sizing;

namespace {

// A tree of files as the kernel would show them, below a directory of its own.
class system_files {
 public:
  system_files() {
    static int number = 0;
    root_ = std::filesystem::temp_directory_path() /
            ("penstock-sizing-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
  }
  ~system_files() { std::filesystem::remove_all(root_); }

  system_files& file(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream{root_ / name} << content;
    return *this;
  }
  [[nodiscard]] auto quota() const { return penstock::detail::quota_of_process(root_); }

 private:
  std::filesystem::path root_;
};

// What f throws as std::invalid_argument; empty if it does not.
std::string complaint_of(auto&& f) {
  try {
    static_cast<void>(f());
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

using seconds = std::chrono::duration<double>;
constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr double no_number = std::numeric_limits<double>::quiet_NaN();
constexpr double greatest = std::numeric_limits<double>::max();

}  // namespace

TEST_CASE("sizing: a quota in version 2's words is rounded up", "[sizing][hazard-35]") {
  CHECK(system_files{}.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/cpu.max", "200000 100000\n").quota() == 2u);
  CHECK(system_files{}.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/cpu.max", "150000 100000\n").quota() == 2u);
  CHECK(system_files{}.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/cpu.max", "5000 100000\n").quota() == 1u);
  CHECK_FALSE(system_files{}.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/cpu.max", "max 100000\n").quota());
}

TEST_CASE("sizing: the least quota of a group and its parents counts", "[sizing][hazard-35]") {
  system_files files;
  files.file("proc/self/cgroup", "0::/a/b/c\n")
      .file("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n")
      .file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
      .file("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
  CHECK(files.quota() == 3u);
}

TEST_CASE("sizing: a container sees the host's path but its own mount point", "[sizing][hazard-35]") {
  CHECK(system_files{}.file("proc/self/cgroup", "0::/docker/0123\n").file("sys/fs/cgroup/cpu.max", "400000 100000\n").quota() ==
        4u);
  CHECK(system_files{}.file("proc/self/cgroup", "0::/\n").file("sys/fs/cgroup/cpu.max", "400000 100000\n").quota() == 4u);
}

TEST_CASE("sizing: version 1 keeps quota and period in two files of the cpu controller", "[sizing][hazard-35]") {
  system_files limited;
  limited.file("proc/self/cgroup", "7:memory:/m\n4:cpu,cpuacct:/job\n")
      .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n")
      .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
      .file("sys/fs/cgroup/memory/m/cpu.cfs_quota_us", "100000\n")
      .file("sys/fs/cgroup/memory/m/cpu.cfs_period_us", "100000\n");
  CHECK(limited.quota() == 3u);

  system_files unlimited;
  unlimited.file("proc/self/cgroup", "4:cpu:/job\n")
      .file("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n")
      .file("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  CHECK_FALSE(unlimited.quota());
}

TEST_CASE("sizing: files that make no sense mean no quota", "[sizing][hazard-35]") {
  CHECK_FALSE(system_files{}.quota());
  for (const char* nonsense :
       {"", "max", "x 100000", "100000 0", "-5 100000", "100000", "1e5 100000", "99999999999999999999 1"}) {
    CAPTURE(nonsense);
    CHECK_FALSE(system_files{}.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/cpu.max", nonsense).quota());
  }
  CHECK_FALSE(system_files{}.file("proc/self/cgroup", "nonsense\n::\n").quota());
}

TEST_CASE("sizing: a group without a limit is bound by those around it, in both versions", "[sizing][hazard-35]") {
  system_files nested;
  nested.file("proc/self/cgroup", "2:cpu,cpuacct:/a/b\n1:name=systemd:/a/b\n")
      .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n")
      .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n")
      .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n")
      .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "20000\n");
  CHECK(nested.quota() == 3u);  // 2.5
  // Mounted under the one name though the process sees two.
  CHECK(system_files{}
            .file("proc/self/cgroup", "2:cpuacct,cpu:/a\n")
            .file("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100001\n")
            .file("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
            .quota() == 2u);
  // Both versions at once: the least counts.
  CHECK(system_files{}
            .file("proc/self/cgroup", "2:cpu:/a\n0::/a\n")
            .file("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "400000\n")
            .file("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
            .file("sys/fs/cgroup/a/cpu.max", "200000 100000\n")
            .quota() == 2u);
  // A group outside of what this process may see.
  CHECK(system_files{}.file("proc/self/cgroup", "0::/../../b\n").file("sys/fs/cgroup/cpu.max", "600000 100000\n").quota() == 6u);
  CHECK_FALSE(system_files{}.file("proc/self/cgroup", "0::/a/b\n").file("sys/fs/cgroup/a/cpu.max", "max\n").quota());
}

TEST_CASE("sizing: work that computes gets a thread for each processor", "[sizing]") {
  CHECK(sizing::cpu_bound() == penstock::available_processors());
  CHECK(sizing::cpu_bound() >= 1);
}

TEST_CASE("sizing: work that waits gets threads by Goetz's formula", "[sizing]") {
  using penstock::detail::threads_for_waits;
  CHECK(threads_for_waits(4, 0.045, 0.005, 1.0) == 40);  // 4 * (1 + 9)
  CHECK(threads_for_waits(4, 0, 0.005, 1.0) == 4);
  CHECK(threads_for_waits(4, 0.045, 0.005, 0.5) == 20);
  CHECK(threads_for_waits(1, 1, 2, 1.0) == 2);  // 1.5
  CHECK(threads_for_waits(1, 0, 1, 0.1) == 1);
  CHECK(threads_for_waits(1, 0.1 + 0.2, 0.1, 1.0) == 4);  // not 5, for an error in the last bit
  CHECK(threads_for_waits(2, greatest, 0.001, 1.0) == std::numeric_limits<std::size_t>::max());
  CHECK(sizing::io_bound(9ms, 1ms) == 10 * sizing::cpu_bound());
  CHECK(sizing::io_bound(9min, 1min, 0.5) == 5 * sizing::cpu_bound());
}

TEST_CASE("sizing: what is in flight is rate by latency", "[sizing]") {
  CHECK(sizing::from_littles_law(200, 250ms) == 50);
  CHECK(sizing::from_littles_law(200, 251ms) == 51);  // 50.2
  CHECK(sizing::from_littles_law(30, seconds{0.1}) == 3);
  CHECK(sizing::from_littles_law(0.5, 1s) == 1);
  CHECK(sizing::from_littles_law(0, 1h) == 1);
  CHECK(sizing::from_littles_law(1e6, 0s) == 1);
  CHECK(sizing::from_littles_law(1e300, 1h) == std::numeric_limits<std::size_t>::max());
  CHECK(sizing::from_littles_law(greatest, seconds{greatest}) == std::numeric_limits<std::size_t>::max());
}

TEST_CASE("sizing: an argument that makes no sense is refused by name", "[sizing][hazard-27]") {
  for (const double bad : {-1.0, no_number, infinite, -infinite}) {
    CAPTURE(bad);
    CHECK(complaint_of([&] { return sizing::io_bound(seconds{bad}, 1ms); }).find("wait time") != std::string::npos);
    CHECK(complaint_of([&] { return sizing::io_bound(1ms, seconds{bad}); }).find("compute time") != std::string::npos);
    CHECK(complaint_of([&] { return sizing::io_bound(1ms, 1ms, bad); }).find("utilization") != std::string::npos);
    CHECK(complaint_of([&] { return sizing::from_littles_law(bad, 1ms); }).find("rate") != std::string::npos);
    CHECK(complaint_of([&] { return sizing::from_littles_law(1, seconds{bad}); }).find("latency") != std::string::npos);
  }
  CHECK(complaint_of([] { return sizing::io_bound(1ms, 0ms); }).find("compute time is 0") != std::string::npos);
  CHECK(complaint_of([] { return sizing::io_bound(1ms, 1ms, 0); }).find("utilization is 0") != std::string::npos);
  CHECK(complaint_of([] { return sizing::io_bound(1ms, 1ms, 1.5); }).find("1.5") != std::string::npos);
  CHECK(complaint_of([] { return sizing::io_bound(-2s, 1ms); }).find("-2") != std::string::npos);
}

#if defined(__linux__)
TEST_CASE("sizing: a process that may use one processor gets a pool of one", "[sizing][hazard-35]") {
  const ::pid_t child = ::fork();
  if (child == 0) {
    cpu_set_t allowed;
    ::sched_getaffinity(0, sizeof allowed, &allowed);
    int first = 0;
    while (!CPU_ISSET(first, &allowed)) ++first;
    CPU_ZERO(&allowed);
    CPU_SET(first, &allowed);
    ::sched_setaffinity(0, sizeof allowed, &allowed);
    // A fresh program, as under `taskset`: what this one has counted before is not read again.
    ::execl("/proc/self/exe", "sizing", "[.sizing-alone]", nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
#if defined(__aarch64__)
  if (WEXITSTATUS(status) == 127) {
    WARN("under emulation a program cannot start itself again");
    return;
  }
#endif
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("sizing: on one processor", "[.sizing-alone]") {
  CHECK(penstock::available_processors() == 1);
  penstock::worker_pool pool;
  CHECK(pool.threads() == 1);
  CHECK(sizing::cpu_bound() == 1);
  CHECK(sizing::io_bound(9ms, 1ms) == 10);
}
#endif
