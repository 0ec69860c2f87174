#include <penstock/ext/reuse_port.hpp>
#include <penstock/ext/supervisor.hpp>
struct http_server {
  explicit http_server(int);
  bool drain(std::chrono::nanoseconds);
};
