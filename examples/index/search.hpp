// Answers which files have all of some words, best first, and on which lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sqlite.hpp"
#include "text.hpp"

namespace fulltext {

struct hit {
  std::string path;
  std::uint64_t line = 0;  // from 1; the first of those with the most of the words
  std::string text;        // of this line, without what a terminal would obey; empty if the file cannot be read any more
  std::size_t lines = 0;   // how many lines have one of the words, in the best piece of the file
  double score = 0;        // the greater the better
  bool up_to_date = true;  // false: the file has changed since it was indexed, or is gone
};

struct search_result {
  std::vector<std::string> words;  // as they were searched
  std::uint64_t files = 0;         // how many have all of them
  std::vector<hit> hits;           // the best
};

[[nodiscard]] std::string as_json(const search_result& result);

/// One thread at a time.
class searcher {
 public:
  /// Throws std::runtime_error unless there is an index of this version.
  explicit searcher(const std::string& path);

  /// Searches for files with all words of the query, wherever in the file they are; a * after a word stands for any ending. Files
  /// rank by the sum of BM25 (Robertson and Zaragoza 2009) over the words, each with the best piece of the file and a line
  /// counted once.
  [[nodiscard]] search_result search(const std::vector<std::string>& query, std::size_t limit);

 private:
  struct term;
  struct place {
    std::uint64_t piece = 0;  // where it begins in the file
    std::uint64_t lines_before = 0;
  };

  std::vector<term> terms_of(const std::vector<std::string>& query);
  place locate(hit& h, std::int64_t file);

  std::unique_ptr<database> db_;
  word_splitter splitter_;
};

}  // namespace fulltext
