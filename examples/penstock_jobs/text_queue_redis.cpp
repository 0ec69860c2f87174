// Only where penstock::redis is.
#include <memory>
#include <string>
#include <utility>

#include <penstock/ext/redis_store.hpp>

#include "text_queue_on.hpp"

namespace jobs {

std::unique_ptr<text_queue> queue_on_server(std::string host, int port, std::string name) {
  return std::make_unique<queue_on<penstock::redis_store<std::string>>>(
      penstock::redis_options{.host = std::move(host), .port = static_cast<std::uint16_t>(port)},
      penstock::redis_store_options{.queue = std::move(name)});
}

}  // namespace jobs
