#include "text_queue.hpp"

#include <memory>
#include <string>

#include <penstock/ext/sqlite_store.hpp>

#include "text_queue_on.hpp"

namespace jobs {

std::unique_ptr<text_queue> queue_in_memory() {
  return std::make_unique<queue_on<penstock::memory_store<std::string>>>(
      penstock::memory_store_options{.keep_completed = {.count = kept_completed}});
}

std::unique_ptr<text_queue> queue_in_file(const std::string& path, bool durable) {
  return std::make_unique<queue_on<penstock::sqlite_store<std::string>>>(
      path, penstock::sqlite_store_options{
                .durability = durable ? penstock::sqlite_durability::full : penstock::sqlite_durability::normal,
                .keep_completed = {.count = kept_completed}});
}

}  // namespace jobs
