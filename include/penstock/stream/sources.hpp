// penstock/stream/sources.hpp: files and directories as generators: a file of any size is read in a few hundred KiB.
//
//   for (const std::string& line : penstock::lines("access.log")) count(line);
//   auto p = penstock::from(penstock::walk("/srv/data")) | penstock::filter(is_image) | penstock::to(thumbnails);
//
// Lifetime       every value owns what it refers to and may be moved from and taken to another thread. (Views into a buffer that the next
//                ++ overwrites would be quicker, and wrong behind the first thread boundary of a pipeline.)
// Errors         a file that cannot be opened is an std::system_error that names it, thrown by the call; one that cannot be read on, by ++.
// Thread safety  each generator belongs to one thread at a time.
// Cancellation   a read that blocks (a pipe, a network file system) is not interrupted; the pipeline ends behind it.
// Cost           lines: 64 KiB of buffer and the line; one allocation per line longer than the string's own buffer if the consumer
//                keeps it, none if not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/detail/owner.hpp>
#include <penstock/stream/detail/input_file.hpp>
#include <penstock/stream/generator.hpp>

namespace penstock::inline v0_1 {

struct lines_options {
  /// In bytes, without the newline. A longer line is an std::length_error: memory stays bounded whatever the file holds.
  std::size_t longest = std::size_t{16} << 20;
};

struct walk_options {
  bool follow_links = false;  ///< enter directories behind symbolic links, but none that is being walked already
};

/// What a walk found. Where the walk could not look (a directory that cannot be read, a link that leads back), `error` says why.
struct walk_entry {
  std::filesystem::path path;
  std::filesystem::file_type type = std::filesystem::file_type::unknown;  ///< links: of what they lead to, with follow_links
  std::error_code error = {};

  [[nodiscard]] bool is_file() const noexcept { return !error && type == std::filesystem::file_type::regular; }
};

namespace detail {

// Templates, all of these: g++ compiles the body of any other coroutine in every source that includes it.
template <class File>
generator<std::string> lines_of(File file, std::size_t longest) {
  constexpr std::size_t size = std::size_t{64} << 10;
  const detail::owner<char[]> buffer{new char[size]};
  std::string line;
  bool open = false;  // a line has begun and has not ended
  for (std::size_t n = file.read(buffer.get(), size); n > 0; n = file.read(buffer.get(), size)) {
    for (std::string_view rest{buffer.get(), n}; !rest.empty();) {
      const std::size_t end = rest.find('\n');
      const std::string_view part = rest.substr(0, end);
      if (part.size() > longest - line.size()) {
        throw std::length_error{"penstock: a line of " + file.name() + " is longer than " + std::to_string(longest) + " bytes"};
      }
      line.append(part);
      open = end == std::string_view::npos;
      if (open) break;
      co_yield std::move(line);
      line.clear();
      rest.remove_prefix(end + 1);
    }
  }
  if (open) co_yield std::move(line);
}

template <class File>
generator<std::vector<std::byte>> chunks_of(File file, std::size_t size) {
  std::vector<std::byte> block;
  for (bool more = true; more;) {
    block.resize(size);
    std::size_t filled = 0;
    while (filled < size && more) {
      const std::size_t n = file.read(block.data() + filled, size - filled);
      filled += n;
      more = n > 0;
    }
    block.resize(filled);
    if (filled > 0) co_yield std::move(block);
  }
}

// The directories that are being walked, the outermost first, and what is still to be read of them.
struct walk_level {
  std::filesystem::path directory;
  std::filesystem::directory_iterator rest;
};

template <class Level>
generator<walk_entry> walk_of(Level root, walk_options options) {
  namespace fs = std::filesystem;
  std::vector<Level> levels;
  levels.push_back(std::move(root));
  while (!levels.empty()) {
    fs::directory_iterator& at = levels.back().rest;
    if (at == fs::directory_iterator{}) {
      levels.pop_back();
      continue;
    }
    walk_entry found{.path = at->path()};
    const fs::file_status status = options.follow_links ? at->status(found.error) : at->symlink_status(found.error);
    found.type = status.type();
    std::error_code broken;
    at.increment(broken);
    if (broken) {  // the rest of this directory is lost: say so
      at = {};
      walk_entry lost{.path = levels.back().directory, .type = fs::file_type::directory, .error = broken};
      co_yield std::move(lost);
    }
    if (found.type == fs::file_type::directory) {
      Level inner{.directory = found.path, .rest = {}};
      const bool back = options.follow_links && std::any_of(levels.begin(), levels.end(), [&](const Level& l) {
                          std::error_code gone;
                          return fs::equivalent(l.directory, inner.directory, gone);
                        });
      if (back) {
        found.error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
      } else {
        inner.rest = fs::directory_iterator{inner.directory, found.error};
      }
      if (!found.error) levels.push_back(std::move(inner));
    }
    co_yield std::move(found);
  }
}

}  // namespace detail

/// The lines of a file, in order, without their line feed. A carriage return before it stays. A last line counts also without a line feed; a file that ends with one
/// has no empty line behind it. Any other byte, 0 included, is text.
/// Throws std::system_error that names the path if the file cannot be opened.
template <class = void>
[[nodiscard]] generator<std::string> lines(const std::filesystem::path& path, lines_options options = {}) {
  return detail::lines_of(detail::input_file{path}, options.longest);
}

/// The bytes of a file in blocks of `size`; the last one may be shorter, none is empty.
/// Throws std::system_error that names the path if the file cannot be opened, std::invalid_argument if size is 0.
template <class = void>
[[nodiscard]] generator<std::vector<std::byte>> chunks(const std::filesystem::path& path, std::size_t size) {
  if (size == 0) throw std::invalid_argument{"penstock::chunks: size is 0"};
  return detail::chunks_of(detail::input_file{path}, size);
}

/// Everything below a directory, which itself is not among it: directories before what they hold, otherwise in the order of the file system.
/// What cannot be read is an entry with an error, and the walk goes on. One directory is open per level.
/// Throws std::system_error that names the path if `directory` itself cannot be read.
template <class = void>
[[nodiscard]] generator<walk_entry> walk(const std::filesystem::path& directory, walk_options options = {}) {
  std::error_code error;
  detail::walk_level root{.directory = directory, .rest = std::filesystem::directory_iterator{directory, error}};
  if (error) throw std::system_error{error, "penstock: cannot read the directory " + directory.string()};
  return detail::walk_of(std::move(root), options);
}

}  // namespace penstock::inline v0_1
