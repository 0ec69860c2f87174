// An HTTP/1.1 server on one thread (Boost.Beast), which can be told to end in order.
//
// Drain      It stops accepting, once it has taken what has connected already. Connections go on until the answer to their next request, which says
//            "Connection: close", or until nothing has come for a while. So no request that reached this process is lost; a client whose
//            connection has rested longer than that and sends just when it is closed has to try again, as HTTP has it (RFC 9112, section 9.3.1).
// Timeouts   of who does not end a request, does not take its answer, or rests for too long.
// Bounds     of a header, of a body, of the number of connections.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include <penstock/observe/metric_sink.hpp>

#include "http.hpp"

namespace api {

struct server_options {
  std::chrono::nanoseconds lame_duck{0};                            ///< accepts for so long while it says that it ends
  std::chrono::nanoseconds quiet = std::chrono::milliseconds{500};  ///< while draining: rests for so long, and is closed
  std::chrono::nanoseconds request_time = std::chrono::seconds{10};
  std::chrono::nanoseconds idle_time = std::chrono::seconds{60};
  std::size_t most_connections = 20'000;
  std::string client_header = {};  ///< has the name of the client; without it, and by default, that is its address
  bool traces = false;             ///< a request's work has the context of its `traceparent` (penstock/core/trace_context.hpp)
};

class http_server {
 public:
  /// Takes the listening sockets, which do not block.
  http_server(boost::asio::io_context& loop, service& behind, const std::vector<int>& listeners, server_options options = {});
  ~http_server();

  /// Serves on this thread, until a drain has ended.
  void run();
  /// Begins to end. Any thread.
  void drain();

  friend void describe(const http_server& s, penstock::metric_sink& to);

 private:
  class session;
  struct state;
  std::shared_ptr<state> state_;
};

}  // namespace api
