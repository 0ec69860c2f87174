// Answers the queries of many who ask at the same time.
//
// Connections  a pool of them: each is opened when it is needed first, and serves one query at a time. Over the shards of the index it is searched in
//              parallel, by the threads that are free.
// Batches      queries gather while all connections are busy, and equal ones are answered once. With one connection the thread that asks searches: for
//              a single query, starting another one would be a tenth of the work.
#pragma once

#include <penstock/batch/batcher.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/shared_future.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "search.hpp"

namespace fulltext {

class search_service {
 public:
  /// Finds the `limit` best for each query, over as many connections as that at the most.
  search_service(std::string database, std::size_t limit, std::size_t connections);

  /// For searcher::search(). Whoever waits for the answer gets what opening the index or the search threw. Any thread.
  [[nodiscard]] penstock::shared_future<search_result> ask(const std::vector<std::string>& words) { return answers_.load(words); }

  /// How many searches were made for the queries so far.
  [[nodiscard]] std::size_t searches() const { return static_cast<std::size_t>(answers_.stats().keys); }

 private:
  struct words_hash {
    std::size_t operator()(const std::vector<std::string>& words) const noexcept;
  };

  penstock::worker_pool& pool(std::size_t connections);
  std::vector<search_result> answer(std::span<const std::vector<std::string>> queries);

  const std::size_t limit_;
  penstock::resource_pool<std::unique_ptr<searcher>> connections_;
  std::once_flag started_;
  std::optional<penstock::worker_pool> pool_;  // with several connections, or shards
  penstock::batcher<std::vector<std::string>, search_result, words_hash> answers_;
};

}  // namespace fulltext
