// Reads a file in pieces of bounded size that end where a line ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fulltext {

/// Where a piece lies in its file.
struct piece_position {
  std::uint64_t offset = 0;      // in bytes
  std::uint64_t first_line = 0;  // how many lines end before it
};

/// How many bytes a piece has at the most. Great enough that few files have more than one, and small beside the memory that is
/// allowed.
inline constexpr std::size_t piece_size = std::size_t{256} << 10;

/// One open file. What is added to it after it was opened is not read. Belongs to one thread at a time.
class file_reader {
 public:
  /// Throws std::system_error; also, with std::errc::not_supported, if there is no regular file under this path any more.
  explicit file_reader(const std::string& path);
  ~file_reader();
  file_reader(const file_reader&) = delete;
  file_reader& operator=(const file_reader&) = delete;

  /// As of opening.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// As of opening, since 1970.
  [[nodiscard]] std::int64_t modified_ns() const noexcept { return modified_ns_; }
  /// Whether that was so shortly before that a later change might leave it the same.
  [[nodiscard]] bool young() const noexcept { return young_; }

  /// Bytes from anywhere in it, up to `most`; leaves next() where it was. Throws std::system_error.
  [[nodiscard]] std::string read_at(std::uint64_t offset, std::size_t most) const;

  /// Its first bytes, up to `most`; before the first next(). Throws std::system_error.
  [[nodiscard]] std::string_view beginning(std::size_t most);

  /// How many bytes there are still to come.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return rest_.size() + (size_ - read_); }
  /// How many bytes beginning() or next() would read from the file now, for at most `most`.
  [[nodiscard]] std::uint64_t unread(std::size_t most) const noexcept;
  /// How many were read so far.
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return read_; }
  /// The next piece, of at most `most` bytes (at least 1). An empty file has one that is empty. Throws std::system_error.
  [[nodiscard]] std::string next(std::size_t most);
  /// Where the piece that next() gave last begins.
  [[nodiscard]] piece_position position() const noexcept { return position_; }
  /// Whether it was the last.
  [[nodiscard]] bool at_end() const noexcept { return at_end_; }

 private:
  void fill(std::string& buffer, std::size_t size);

  int descriptor_;
  std::uint64_t size_ = 0;
  std::int64_t modified_ns_ = 0;
  bool young_ = false;
  std::uint64_t read_ = 0;   // so far the file has been read
  std::string rest_;         // what was read beyond the last piece
  piece_position position_;  // of the last piece
  piece_position next_;      // of the one after it
  bool at_end_ = false;
};

}  // namespace fulltext
