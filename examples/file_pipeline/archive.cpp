// Archives are read through from front to back by libarchive, in blocks: every member with its CRC-32, nothing is unpacked to the disk. What has been
// compressed by gzip goes through zlib first, which checks gzip's own checksum; libarchive does not.
#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "input_file.hpp"
#include "readers.hpp"

namespace files {

namespace {

constexpr std::size_t block = std::size_t{64} << 10;
constexpr std::size_t most_members = 100'000;              // they are in memory until they are written, with
constexpr std::size_t most_names = std::size_t{16} << 20;  // their names, of which a few compressed KB may make a MB each

struct free_archive {
  void operator()(::archive* a) const noexcept { ::archive_read_free(a); }
};

class gzip_file {
 public:
  explicit gzip_file(const std::string& path) : handle_{::gzopen(path.c_str(), "rbe")} {
    if (handle_ == nullptr) throw std::system_error{errno != 0 ? errno : ENOMEM, std::generic_category(), path};
    ::gzbuffer(handle_, block);
  }
  ~gzip_file() { ::gzclose_r(handle_); }
  gzip_file(const gzip_file&) = delete;
  gzip_file& operator=(const gzip_file&) = delete;

  /// For archive_read_open().
  static ::la_ssize_t next(::archive* a, void* self, const void** bytes) {
    auto& me = *static_cast<gzip_file*>(self);
    *bytes = me.buffer_.data();
    try {
      return me.read();
    } catch (const broken_file& error) {
      ::archive_set_error(a, EIO, "%s", error.what());
      return -1;
    }
  }

  /// What comes after the archive's end, for gzip's checksum is at the very end of the file.
  void read_to_the_end(const reading_options& o) {
    while (read() > 0) go_on(o);
  }

 private:
  int read() {
    const int n = ::gzread(handle_, buffer_.data(), static_cast<unsigned>(buffer_.size()));
    int error = Z_OK;
    const char* const why = ::gzerror(handle_, &error);  // also at an end that comes too early, which is no error of gzread()
    if (n >= 0 && error >= 0) return n;
    const char* const reason = std::strrchr(why, ':');  // it begins with the path
    throw broken_file{std::string{"gzip:"} + (error == Z_BUF_ERROR ? " the file is cut off"
                                              : reason != nullptr  ? reason + 1
                                                                   : why)};
  }

  ::gzFile handle_;
  std::array<char, block> buffer_;
};

/// The window of an .xz file, which its decoder has in memory: as the first block says; its others have been made in the same way.
std::size_t xz_dictionary(const std::string& path) {
  std::array<char, 32> head{};
  const std::size_t n = input_file{path}.read(head);
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(i < n ? head[i] : 0); };
  // 12 bytes for the stream; then the block: its header's size, flags, and if these say no more, one filter: LZMA2 (0x21), one byte of properties.
  const bool plain = at(13) == 0 && at(14) == 0x21 && at(15) == 1;
  const unsigned bits = at(16) & 0x3F;
  if (!plain || bits > 40) return std::size_t{65} << 20;  // what the strongest usual setting takes
  return bits == 40 ? ~std::uint32_t{0} : (std::size_t{2} | (bits & 1)) << (bits / 2 + 11);
}

/// Every block of the member that was reached.
archive_member check(::archive* a, ::archive_entry* e, const reading_options& o) {
  const char* name = ::archive_entry_pathname_utf8(e);
  if (name == nullptr) name = ::archive_entry_pathname(e);
  archive_member m{.name = name != nullptr ? name : ""};
  if (::archive_entry_is_encrypted(e) != 0) throw broken_file{m.name + ": it is encrypted"};
  auto crc = ::crc32(0, nullptr, 0);
  for (;;) {
    go_on(o);
    const void* bytes = nullptr;
    std::size_t size = 0;
    ::la_int64_t offset = 0;
    const int got = ::archive_read_data_block(a, &bytes, &size, &offset);
    if (got != ARCHIVE_OK && got != ARCHIVE_EOF) throw broken_file{m.name + ": " + ::archive_error_string(a)};
    // The holes of a sparse file are zeros, also the one at its end.
    static constexpr std::array<unsigned char, 4096> zeros{};
    while (m.bytes < offset) {
      go_on(o);  // a hole may be as large as its header says, from a file of a few KB
      const auto n = std::min<std::int64_t>(offset - m.bytes, zeros.size());
      crc = ::crc32(crc, zeros.data(), static_cast<unsigned>(n));
      m.bytes += n;
    }
    if (got == ARCHIVE_EOF) break;
    crc = ::crc32_z(crc, static_cast<const unsigned char*>(bytes), size);
    m.bytes += static_cast<std::int64_t>(size);
  }
  if (::archive_entry_size_is_set(e) != 0 && ::archive_entry_size(e) > m.bytes) throw broken_file{m.name + ": it is cut off"};
  m.crc32 = static_cast<std::uint32_t>(crc);
  return m;
}

}  // namespace

std::size_t archive_weight(const std::string& path) {
  // Blocks, zlib's window, what libarchive has of its own. The other two have the memory that their formats need.
  const std::size_t usual = std::size_t{1} << 20;
  const std::string name = lower_name(path);
  if (name.ends_with(".bz2")) return usual + (std::size_t{4} << 20);
  if (name.ends_with(".xz")) return usual + xz_dictionary(path);
  return usual;
}

archive_facts read_archive(const std::string& path, const reading_options& o) {
  const std::unique_ptr<::archive, free_archive> reading{::archive_read_new()};
  ::archive* const a = reading.get();
  if (a == nullptr) throw std::bad_alloc{};
  ::archive_read_support_format_tar(a);
  ::archive_read_support_format_zip(a);
  ::archive_read_support_filter_bzip2(a);
  ::archive_read_support_filter_xz(a);
  const input_file file{path};  // in any case, so that one that cannot be opened is told as that
  std::unique_ptr<gzip_file> gzip;
  int opened = ARCHIVE_OK;
  if (lower_name(path).ends_with("gz")) {
    gzip = std::make_unique<gzip_file>(path);
    opened = ::archive_read_open(a, gzip.get(), nullptr, gzip_file::next, nullptr);
  } else {
    opened = ::archive_read_open_fd(a, file.descriptor(), block);
  }
  if (opened != ARCHIVE_OK) throw broken_file{::archive_error_string(a)};
  archive_facts all;
  std::size_t names = 0;
  for (;;) {
    go_on(o);
    ::archive_entry* e = nullptr;
    const int got = ::archive_read_next_header(a, &e);
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN) throw broken_file{::archive_error_string(a)};
    if (::archive_entry_filetype(e) != AE_IFREG) continue;
    if (all.members.size() == most_members) throw broken_file{"more than 100,000 members"};
    all.members.push_back(check(a, e, o));
    names += all.members.back().name.size();
    if (names > most_names) throw broken_file{"names of more than 16 MiB in all"};
    // A vector that grows has its members in three places, for a moment.
    if (3 * all.members.size() * sizeof(archive_member) + names > o.most_result) throw longer_result{};
  }
  if (gzip != nullptr) gzip->read_to_the_end(o);
  return all;
}

}  // namespace files
