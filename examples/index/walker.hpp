// Finds the regular files of directory trees.
//
// Directories are read one at a time, and their subdirectories afterwards, deepest first. Memory: the names of the subdirectories
// that are still to be read, of the directories on the way to the current one; the files are passed on and forgotten.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "skips.hpp"

namespace fulltext {

struct found_file {
  std::string path;
  std::uint64_t size = 0;        // in bytes
  std::int64_t modified_ns = 0;  // since 1970
};

struct walk_options {
  bool follow_links = false;         // into directories and to files; otherwise links are counted and left alone
  std::vector<std::string> exclude;  // absolute paths of files that are passed over
};

/// What a walk tells. Both are called on the walking thread.
struct walk_events {
  std::function<void(found_file&&)> on_file;
  std::function<void(skip_reason, std::string_view path, std::string_view detail)> on_skip = {};  // may be empty
};

/// Walks trees, whose roots are absolute paths of directories or files. Nothing that it meets ends the walk, only a stop request
/// does; what cannot be read is told by on_skip.
void walk(const std::stop_token& stop, const std::vector<std::string>& roots, const walk_options& options,
          const walk_events& events);

/// The absolute paths of directories or files, without links, duplicates, and those inside others. Throws std::runtime_error that
/// names one that does not exist, unless known() says of its path that something has been there: then it is an empty tree.
[[nodiscard]] std::vector<std::string> resolve_roots(const std::vector<std::string>& given,
                                                     const std::function<bool(const std::string& path)>& known);

}  // namespace fulltext
