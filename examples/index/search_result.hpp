// What a search answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace fulltext
