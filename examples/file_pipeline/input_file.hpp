// A file that is open for reading.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

namespace files {

class input_file {
 public:
  /// A regular file. Throws std::system_error, as all members do.
  explicit input_file(const std::string& path)
      : path_{path}, descriptor_{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)} {
    if (descriptor_ < 0) fail();
    // What was a file when it was found may be a pipe by now, and opening that would wait for somebody who writes.
    struct ::stat s{};
    if (::fstat(descriptor_, &s) == 0 && S_ISREG(s.st_mode)) return;
    ::close(descriptor_);
    throw std::system_error{ENOTSUP, std::generic_category(), path};
  }
  ~input_file() { ::close(descriptor_); }
  input_file(const input_file&) = delete;
  input_file& operator=(const input_file&) = delete;

  /// What comes next: fewer bytes than `to` has only at the end.
  std::size_t read(std::span<char> to) {
    std::size_t done = 0;
    while (done < to.size()) {
      const ::ssize_t n = ::read(descriptor_, to.data() + done, to.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail();
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }
  struct state {
    std::int64_t bytes = 0;
    std::int64_t modified_ns = 0;
  };
  [[nodiscard]] state stat() const {
    struct ::stat s{};
    if (::fstat(descriptor_, &s) != 0) fail();
    return {s.st_size, std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec};
  }
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  [[noreturn]] void fail() const { throw std::system_error{errno, std::generic_category(), path_}; }

  const std::string& path_;  // of the caller, who outlives this
  int descriptor_;
};

}  // namespace files
