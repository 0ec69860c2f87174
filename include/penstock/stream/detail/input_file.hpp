// penstock/stream/detail/input_file.hpp: a file that is read from front to back.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace penstock::inline v0_1::detail {

/// Every error is an std::system_error that names the path.
class input_file {
 public:
  explicit input_file(const std::filesystem::path& path) : name_{path.string()} {
#if defined(__unix__) || defined(__APPLE__)
    do {
      file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    } while (file_ == none && errno == EINTR);
#else
    file_ = std::fopen(name_.c_str(), "rb");
#endif
    if (file_ == none) fail("open");
  }
  input_file(input_file&& other) noexcept : name_{std::move(other.name_)}, file_{std::exchange(other.file_, none)} {}
  input_file& operator=(input_file&&) = delete;
  ~input_file() {
    if (file_ == none) return;
#if defined(__unix__) || defined(__APPLE__)
    ::close(file_);
#else
    std::fclose(file_);
#endif
  }

  /// What can be had now, at most `size` bytes and at least one, waiting for it (a pipe); 0 at the end.
  std::size_t read(void* to, std::size_t size) {
#if defined(__unix__) || defined(__APPLE__)
    for (;;) {
      const ssize_t n = ::read(file_, to, size);
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) fail("read");
    }
#else
    const std::size_t n = std::fread(to, 1, size, file_);
    if (n == 0 && std::ferror(file_) != 0) fail("read");
    return n;
#endif
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int error = errno;
    throw std::system_error{error, std::generic_category(), std::string{"penstock: cannot "} + what + ' ' + name_};
  }

  std::string name_;
#if defined(__unix__) || defined(__APPLE__)
  static constexpr int none = -1;
  int file_ = none;
#else
  static constexpr std::FILE* none = nullptr;
  std::FILE* file_ = none;
#endif
};

}  // namespace penstock::inline v0_1::detail
