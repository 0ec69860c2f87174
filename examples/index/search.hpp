// Answers which files have all of some words, best first, and on which lines.
//
// Shards  are searched in parallel, in three steps: how often each word is there, summed over all shards; which files are the best ones, by these sums, of
//         each shard, and of all; and the lines of those. So the answer is the same, to the last digit of the scores, however the index is divided.
// States  the locks of the shards are taken in their order and kept to the end, so that no file is missed or seen twice while a reshard moves it.
#pragma once

#include <penstock/pool/worker_pool.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "search_result.hpp"
#include "search_shard.hpp"
#include "text.hpp"

namespace fulltext {

/// One thread at a time.
class searcher {
 public:
  /// `pool` is asked for when there are several shards: its threads help, one of which may be the caller's. Throws std::runtime_error unless there is an
  /// index of this version.
  searcher(const std::string& path, std::function<penstock::worker_pool&()> pool);

  /// Searches for files with all words of the query, wherever in the file they are; a * after a word stands for any ending. Files
  /// rank by the sum of BM25 (Robertson and Zaragoza 2009) over the words, each with the best piece of the file and a line
  /// counted once.
  [[nodiscard]] search_result search(const std::vector<std::string>& query, std::size_t limit);

 private:
  std::vector<search_term> terms_of(const std::vector<std::string>& query);
  void open_shards(std::size_t number);
  // f(number of a shard) for all of them.
  template <class F>
  auto in_all_shards(F f) -> std::vector<decltype(f(0))>;

  const std::string path_;
  const std::function<penstock::worker_pool&()> pool_;
  std::vector<std::unique_ptr<search_shard>> shards_;
  word_splitter splitter_;
};

}  // namespace fulltext
