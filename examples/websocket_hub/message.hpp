// What is published: one copy of it in memory, however many connections it goes to.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace hub {

struct message {
  std::string body;
  std::chrono::steady_clock::time_point came;
};

using shared_message = std::shared_ptr<const message>;

inline shared_message make_message(std::string body) {
  return std::make_shared<const message>(message{std::move(body), std::chrono::steady_clock::now()});
}

}  // namespace hub
