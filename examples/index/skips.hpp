// Why something in the tree is not in the index, or is there with a remark: counted by reason, with a few examples of each.
#pragma once

#include <penstock/observe/counter.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace fulltext {

enum class skip_reason : unsigned char {
  binary,
  symbolic_link,
  special_file,
  own_database,
  dangling_link,
  link_loop,
  unreadable_file,
  unreadable_directory,
  vanished,
  odd_name,  // a remark: the file is indexed
};

struct skip_text {
  std::string_view key;    // in JSON
  std::string_view words;  // for people
  bool problem;            // worth an example: the user may want to mend it
};

inline constexpr std::array<skip_text, 10> skip_texts{{
    {"binary", "binary", false},
    {"symbolic_link", "symbolic link", false},
    {"special_file", "no regular file", false},
    {"own_database", "the index itself", false},
    {"dangling_link", "dangling link", true},
    {"link_loop", "loop of links", true},
    {"unreadable_file", "unreadable file", true},
    {"unreadable_directory", "unreadable directory", true},
    {"vanished", "vanished meanwhile", true},
    {"odd_name", "name is not UTF-8 (indexed)", true},
}};

struct skip_count {
  skip_reason reason;
  std::uint64_t count;
  std::vector<std::string> examples;
};

/// Every member may be called by several threads at a time.
class skip_ledger {
 public:
  static constexpr std::size_t examples_kept = 5;  // of each reason: memory stays bounded

  void add(skip_reason reason, std::string_view path, std::string_view detail = {}) {
    entry& e = entries_[static_cast<std::size_t>(reason)];
    e.count.add();
    if (!skip_texts[static_cast<std::size_t>(reason)].problem) return;
    std::scoped_lock guard{lock_};
    if (e.examples.size() >= examples_kept) return;
    std::string& example = e.examples.emplace_back(path);
    if (!detail.empty()) example.append(": ").append(detail);
  }

  /// The reasons that occurred, in the order of the enumeration.
  [[nodiscard]] std::vector<skip_count> counts() const {
    std::vector<skip_count> all;
    std::scoped_lock guard{lock_};
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::uint64_t n = entries_[i].count.value();
      if (n > 0) all.push_back({static_cast<skip_reason>(i), n, entries_[i].examples});
    }
    return all;
  }

 private:
  struct entry {
    penstock::basic_counter<1> count;
    std::vector<std::string> examples;  // guarded by lock_
  };

  mutable std::mutex lock_;
  std::array<entry, skip_texts.size()> entries_;
};

}  // namespace fulltext
