// The part of a search that is done in one shard, on its own connection: search.hpp asks all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fts.hpp"
#include "layout.hpp"
#include "search_result.hpp"
#include "sqlite.hpp"

namespace fulltext {

/// One word that is searched for, and as a query of FTS5.
struct search_term {
  std::string word;
  std::string match;
};

/// How much there is of everything, in one shard or in all together.
struct search_statistics {
  index_size size;
  std::vector<std::int64_t> matches;  // rows that have the term, for each term
};

/// A file that has all terms.
struct ranked_file {
  std::string path;
  double rank = 0;  // the smaller the better; that with the smaller path is the better one of equal ones
  std::int64_t row = 0;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
};

struct ranked_files {
  std::uint64_t count = 0;        // how many there are
  std::vector<ranked_file> best;  // the best first
};

/// One thread at a time.
class search_shard {
 public:
  /// `path` is that of the index. Throws std::runtime_error unless this is a shard of an index of this version.
  search_shard(const std::string& path, std::size_t number);

  /// From here to end() all that it answers is from one state of the shard.
  void begin();
  void end() noexcept;
  /// Of shard 0.
  [[nodiscard]] shard_layout layout() { return read_layout(*db_); }

  [[nodiscard]] search_statistics count(const std::vector<search_term>& terms);
  /// Ranks by what there is in all shards.
  [[nodiscard]] ranked_files rank(const std::vector<search_term>& terms, const search_statistics& all, std::size_t limit);
  /// What is to be shown of the best files that rank() gave, as many of them as there are hits.
  [[nodiscard]] std::vector<hit> show(const std::vector<search_term>& terms, const std::vector<ranked_file>& best);

 private:
  struct place {
    std::uint64_t piece = 0;  // where it begins in the file
    std::uint64_t lines_before = 0;
  };

  void open();
  place locate(hit& h, std::int64_t file);

  const std::string path_;
  const std::size_t number_;
  std::unique_ptr<database> db_;
};

}  // namespace fulltext
