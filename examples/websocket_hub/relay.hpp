// What joins several hubs: each tells the others what is published there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <penstock/observe/metric_sink.hpp>

#include "message.hpp"

namespace hub {

class relay {
 public:
  virtual ~relay() = default;
  /// Does not wait. Called by any thread.
  virtual void tell_others(const shared_message& m) = 0;
  /// From now on `deliver`, which may wait, gets what the others tell, on a thread of the relay's, until stop().
  virtual void start(std::function<void(shared_message)> deliver) = 0;
  /// What others have not been told yet they are not told any more. When this returns `deliver` is not called again.
  virtual void stop() noexcept = 0;
  virtual void describe_to(penstock::metric_sink& to) const = 0;
  friend void describe(const relay& r, penstock::metric_sink& to) { r.describe_to(to); }
};

/// Over a channel of a Redis server at host:port. Not there where this program is built without hiredis. Throws std::invalid_argument.
[[nodiscard]] std::unique_ptr<relay> make_redis_relay(const std::string& server, const std::string& channel);

}  // namespace hub
