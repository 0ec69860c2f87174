#include "search_service.hpp"

#include <penstock/pool/sizing.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <utility>

namespace fulltext {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t most_in_a_batch = 8;  // they are searched for one after the other

}  // namespace

search_service::search_service(std::string database, std::size_t limit, std::size_t connections)
    : limit_{limit},
      connections_{
          [this, connections, path = std::move(database)] {
            return std::make_unique<searcher>(path,
                                              [this, connections]() -> penstock::worker_pool& { return pool(connections); });
          },
          // A file's connections do not age: no timer.
          {.max_size = connections, .idle_timeout = 0s, .max_lifetime = 0s, .max_connecting = connections, .fail_fast = true}},
      answers_{connections == 1 ? penstock::any_scheduler{} : pool(connections).get_scheduler(),
               [this](std::span<const std::vector<std::string>> queries) { return answer(queries); },
               {.max_batch_size = most_in_a_batch, .max_in_flight_batches = connections}} {}

penstock::worker_pool& search_service::pool(std::size_t connections) {
  std::call_once(started_, [&] {
    pool_.emplace(
        penstock::worker_pool_options{.threads = std::max(connections, penstock::sizing::cpu_bound()), .name = "search"});
  });
  return *pool_;
}

std::vector<search_result> search_service::answer(std::span<const std::vector<std::string>> queries) {
  const auto connection = connections_.acquire();
  if (!connection) {
    if (const std::exception_ptr why = connections_.last_connect_error()) std::rethrow_exception(why);
    connection.value();  // throws its error
  }
  std::vector<search_result> results;
  results.reserve(queries.size());
  for (const std::vector<std::string>& words : queries) results.push_back((**connection)->search(words, limit_));
  return results;
}

std::size_t search_service::words_hash::operator()(const std::vector<std::string>& words) const noexcept {
  std::size_t all = words.size();
  for (const std::string& word : words) all = all * 1'000'003 + std::hash<std::string>{}(word);
  return all;
}

}  // namespace fulltext
