#include <filesystem>
#include <fstream>
#include <string>

#if defined(__linux__)
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <penstock/pool/sizing.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "../../support/catch.hpp"

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
}
#endif
