// What a service and the server that it is behind say to each other.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include <penstock/core/task.hpp>

namespace api {

struct request {
  std::string_view method;
  std::string_view target;
  std::string_view client;  ///< who asks
  std::string_view body;
  bool local = false;  ///< over a connection from this machine
};

struct answer {
  unsigned status = 200;
  std::string body = {};
  std::string_view type = "application/json";
  unsigned retry_after = 0;                             ///< seconds; 0: nothing is said of it
  std::shared_ptr<const std::string> shared_body = {};  ///< instead of `body`: a text of which there is one for many answers

  [[nodiscard]] std::string_view text() const noexcept { return shared_body != nullptr ? *shared_body : body; }
};

/// Known at once, or later.
using response = std::variant<answer, penstock::task<answer>>;

class service {
 public:
  /// Called on the server's thread, where the task is run, too. The request's text is gone when this returns.
  virtual response handle(const request& r) = 0;
  /// Some more that the server knows; no answer to a request.
  virtual void draining() noexcept = 0;

 protected:
  ~service() = default;
};

}  // namespace api
