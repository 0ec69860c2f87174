// The database: users and their posts in a SQLite file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sqlite.hpp"

namespace api {

/// JSON that many answers share.
using json = std::shared_ptr<const std::string>;

struct post {
  std::int64_t id = 0;
  std::int64_t author = 0;
  std::string title;
};

/// So many posts from behind this one.
struct page_key {
  std::int64_t after = 0;
  std::int64_t limit = 0;
  bool operator==(const page_key&) const = default;
};
struct page_hash {
  std::size_t operator()(const page_key& k) const noexcept { return std::hash<std::int64_t>{}(k.after * 128 + k.limit); }
};

/// Posts as JSON, complete but for what their authors are: that of the i-th post goes where parts[i] ends.
struct page {
  struct part {
    std::int64_t author = 0;
    std::size_t end = 0;
  };
  std::string text;
  std::vector<part> parts;
};

/// To be written; `id` is set then.
struct new_post {
  std::int64_t author = 0;
  std::string title;
  std::shared_ptr<std::int64_t> id;
};

/// What a search found: how many, and the newest.
struct search_result {
  std::int64_t found = 0;
  std::vector<post> newest;
};

/// A connection, for one thread at a time. All members throw fulltext::database_error.
class store {
 public:
  explicit store(const std::string& path);

  /// Makes the tables, with so many users and posts, unless they are there.
  void fill(std::int64_t users, std::int64_t posts);

  /// As JSON objects; who is not there is missing.
  [[nodiscard]] std::unordered_map<std::int64_t, json> users(std::span<const std::int64_t> ids);
  /// The posts of each of these users as a JSON array, the newest first; empty for who has none, or is not there.
  [[nodiscard]] std::unordered_map<std::int64_t, json> posts_of(std::span<const std::int64_t> authors);
  /// A page for each key.
  [[nodiscard]] std::vector<std::shared_ptr<const page>> pages(std::span<const page_key> keys);
  /// Those whose title contains the word. Looks at every post.
  [[nodiscard]] search_result search(std::string_view word, std::size_t most);
  /// In one transaction.
  void insert(std::span<const new_post> posts);

 private:
  struct statements;
  [[nodiscard]] page page_of(const page_key& key);
  template <class F>
  void in_transaction(fulltext::statement& begin, F f);

  // The order of destruction: statements before their database.
  std::unique_ptr<fulltext::database> db_;
  std::shared_ptr<statements> prepared_;
};

}  // namespace api
