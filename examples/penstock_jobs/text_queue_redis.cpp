// Only where penstock::redis is, and nlohmann's JSON.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <penstock/ext/redis_store.hpp>

#include "text_queue_on.hpp"

namespace jobs {

struct as_json_strings {
  static std::string payload_of(const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
      throw std::invalid_argument{"a text is no UTF-8; on Redis texts have to be, as workers in Node read them as JSON"};
    }
  }
  static std::string text_of(const std::string& payload) {
    const auto value = nlohmann::json::parse(payload, nullptr, false);
    return value.is_string() ? value.get<std::string>() : payload;
  }
};

std::unique_ptr<text_queue> queue_on_server(std::string host, int port, std::string name) {
  return std::make_unique<queue_on<penstock::redis_store<std::string>, as_json_strings>>(
      penstock::redis_options{.host = std::move(host), .port = static_cast<std::uint16_t>(port)},
      penstock::redis_store_options{.queue = std::move(name)});
}

}  // namespace jobs
