#include "walker.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "text.hpp"

namespace fulltext {

namespace {

struct close_directory {
  void operator()(DIR* d) const noexcept { ::closedir(d); }
};
using open_directory = std::unique_ptr<DIR, close_directory>;

std::string message(int error) { return std::generic_category().message(error); }

std::int64_t modified_ns(const struct stat& s) noexcept {
#if defined(__APPLE__)
  const struct timespec& t = s.st_mtimespec;
#else
  const struct timespec& t = s.st_mtim;
#endif
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// A directory on the way from the root to where the walk is.
struct level {
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
  std::string names = {};  // of its subdirectories, each ending in a NUL
  std::size_t next = 0;    // where in `names` the next one to be read begins
};

class walking {
 public:
  walking(const std::stop_token& stop, const walk_options& options, const walk_events& events)
      : stop_{stop}, options_{options}, events_{events} {}

  void tree(const std::string& root) {
    entry(AT_FDCWD, root.c_str(), root, nullptr);
    while (!levels_.empty() && !stop_.stop_requested()) {
      level& l = levels_.back();
      if (l.next == l.names.size()) {
        levels_.pop_back();
        continue;
      }
      const std::string_view name = l.names.c_str() + l.next;
      l.next += name.size() + 1;
      directory(child(l.path, name));
    }
  }

 private:
  static std::string child(const std::string& parent, std::string_view name) {
    std::string path;
    path.reserve(parent.size() + 1 + name.size());
    path.append(parent);
    if (path.back() != '/') path.push_back('/');
    return path.append(name);
  }

  void skip(skip_reason reason, std::string_view path, std::string_view detail = {}) const {
    if (events_.on_skip) events_.on_skip(reason, path, detail);
  }

  // Reads one directory: passes on its files, notes its subdirectories.
  void directory(std::string path) {
    open_directory d{::opendir(path.c_str())};
    struct stat s{};
    if (d == nullptr || ::fstat(::dirfd(d.get()), &s) != 0) {
      const int error = errno;
      skip(error == ENOENT ? skip_reason::vanished : skip_reason::unreadable_directory, path, message(error));
      return;
    }
    const bool loops =
        std::any_of(levels_.begin(), levels_.end(), [&](const level& l) { return l.device == s.st_dev && l.inode == s.st_ino; });
    if (loops) {
      skip(skip_reason::link_loop, path);
      return;
    }
    levels_.push_back({std::move(path), s.st_dev, s.st_ino});
    while (!stop_.stop_requested()) {
      errno = 0;
      const dirent* e = ::readdir(d.get());
      if (e == nullptr) {
        if (errno != 0) skip(skip_reason::unreadable_directory, levels_.back().path, message(errno));
        return;
      }
      const std::string_view name = e->d_name;
      if (name == "." || name == "..") continue;
      if (e->d_type == DT_DIR) {
        levels_.back().names.append(name).push_back('\0');
      } else {
        entry(::dirfd(d.get()), e->d_name, child(levels_.back().path, name), &levels_.back());
      }
    }
  }

  // Something that is no directory for sure. `parent` is null for a root.
  void entry(int at, const char* name, std::string path, level* parent) {
    struct stat s{};
    if (::fstatat(at, name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
      const int error = errno;
      skip(error == ENOENT ? skip_reason::vanished : skip_reason::unreadable_file, path, message(error));
      return;
    }
    if (S_ISLNK(s.st_mode)) {
      if (::fstatat(at, name, &s, 0) != 0) {
        const int error = errno;
        const bool dangling = error == ENOENT || error == ENOTDIR;
        skip(dangling         ? skip_reason::dangling_link
             : error == ELOOP ? skip_reason::link_loop
                              : skip_reason::unreadable_file,
             path, dangling ? std::string{} : message(error));
        return;
      }
      if (!options_.follow_links) {
        skip(skip_reason::symbolic_link, path);
        return;
      }
    }
    if (S_ISDIR(s.st_mode)) {
      if (parent == nullptr) return directory(std::move(path));
      parent->names.append(name).push_back('\0');
      return;
    }
    if (!S_ISREG(s.st_mode)) {
      skip(skip_reason::special_file, path);
      return;
    }
    if (std::find(options_.exclude.begin(), options_.exclude.end(), path) != options_.exclude.end()) {
      skip(skip_reason::own_database, path);
      return;
    }
    if (!is_utf8(path)) skip(skip_reason::odd_name, path);
    events_.on_file({std::move(path), static_cast<std::uint64_t>(s.st_size), modified_ns(s)});
  }

  const std::stop_token& stop_;
  const walk_options& options_;
  const walk_events& events_;
  std::vector<level> levels_;
};

}  // namespace

void walk(const std::stop_token& stop, const std::vector<std::string>& roots, const walk_options& options,
          const walk_events& events) {
  walking w{stop, options, events};
  for (const std::string& root : roots) w.tree(root);
}

std::vector<std::string> resolve_roots(const std::vector<std::string>& given,
                                       const std::function<bool(const std::string& path)>& known) {
  std::vector<std::string> roots;
  for (const std::string& path : given) {
    std::error_code error;
    std::filesystem::path real = std::filesystem::canonical(path, error);
    if (error == std::errc::no_such_file_or_directory) {
      real = std::filesystem::weakly_canonical(std::filesystem::absolute(path));
      if (!real.has_filename()) real = real.parent_path();  // "name/"
      if (known(real.string())) error.clear();
    }
    roots.push_back(real.string());
    if (error) throw std::runtime_error{path + ": " + error.message()};
  }
  // By components and not by bytes: what is inside a directory then follows it at once.
  std::sort(roots.begin(), roots.end(),
            [](const auto& a, const auto& b) { return std::filesystem::path{a} < std::filesystem::path{b}; });
  std::vector<std::string> outer;
  for (std::string& path : roots) {
    const bool inside =
        !outer.empty() && (path == outer.back() || path.starts_with(outer.back() == "/" ? "/" : outer.back() + '/'));
    if (!inside) outer.push_back(std::move(path));
  }
  return outer;
}

}  // namespace fulltext
