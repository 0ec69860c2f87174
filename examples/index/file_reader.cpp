#include "file_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace fulltext {

namespace {

[[noreturn]] void fail(int error) { throw std::system_error{error, std::generic_category()}; }

// Where a piece that must not be longer than `text` ends best: after a line, else between words, else anywhere.
std::size_t best_cut(std::string_view text) noexcept {
  const std::size_t line_end = text.rfind('\n');
  if (line_end != std::string_view::npos) return line_end + 1;
  const std::size_t gap = text.find_last_of(" \t,;()[]{}<>\"");
  return gap != std::string_view::npos ? gap + 1 : text.size();
}

}  // namespace

file_reader::file_reader(const std::string& path) : descriptor_{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)} {
  if (descriptor_ < 0) fail(errno);  // O_NONBLOCK: if a FIFO has taken the file's place, open() does not wait for its writer
  struct stat s{};
  const int error = ::fstat(descriptor_, &s) != 0 ? errno : S_ISREG(s.st_mode) ? 0 : ENOTSUP;
  if (error != 0) {
    ::close(descriptor_);
    fail(error);
  }
  size_ = static_cast<std::uint64_t>(s.st_size);
#if defined(__APPLE__)
  const struct timespec& t = s.st_mtimespec;
#else
  const struct timespec& t = s.st_mtim;
#endif
  modified_ns_ = std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  // File systems take the time from a clock that ticks: one more change within this tick would not show.
  // A time in the future (of a clock that was wrong, or of another machine) is no younger for being read again.
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  young_ = std::chrono::abs(now - std::chrono::nanoseconds{modified_ns_}) < std::chrono::milliseconds{20};
}

file_reader::~file_reader() { ::close(descriptor_); }

std::string file_reader::read_at(std::uint64_t offset, std::size_t most) const {
  std::string bytes(offset < size_ ? static_cast<std::size_t>(std::min<std::uint64_t>(most, size_ - offset)) : 0, '\0');
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t n = ::pread(descriptor_, bytes.data() + filled, bytes.size() - filled, static_cast<off_t>(offset + filled));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    if (n == 0) break;  // it became shorter meanwhile
    filled += static_cast<std::size_t>(n);
  }
  bytes.resize(filled);
  return bytes;
}

std::uint64_t file_reader::unread(std::size_t most) const noexcept {
  return std::min<std::uint64_t>(most - std::min(most, rest_.size()), size_ - read_);
}

std::string_view file_reader::beginning(std::size_t most) {
  fill(rest_, static_cast<std::size_t>(std::min<std::uint64_t>(size_, most)));
  return rest_;
}

std::string file_reader::next(std::size_t most) {
  std::string piece = std::exchange(rest_, {});
  fill(piece, most);
  if (read_ < size_ || piece.size() > most) {
    const std::size_t cut = best_cut(std::string_view{piece}.substr(0, most));
    rest_ = piece.substr(cut);
    piece.resize(cut);
  }
  at_end_ = read_ == size_ && rest_.empty();
  position_ = next_;
  next_.offset += piece.size();
  next_.first_line += static_cast<std::uint64_t>(std::count(piece.begin(), piece.end(), '\n'));
  return piece;
}

// Reads until the buffer has `size` bytes or the file ends.
void file_reader::fill(std::string& buffer, std::size_t size) {
  std::size_t filled = buffer.size();
  if (filled >= size) return;
  buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size, filled + (size_ - read_))));
  while (filled < buffer.size()) {
    const ssize_t n = ::read(descriptor_, buffer.data() + filled, buffer.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    if (n == 0) {  // it became shorter meanwhile
      size_ = read_;
      break;
    }
    filled += static_cast<std::size_t>(n);
    read_ += static_cast<std::uint64_t>(n);
  }
  buffer.resize(filled);
}

}  // namespace fulltext
