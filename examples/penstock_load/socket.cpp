#include "socket.hpp"

#include <netdb.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace load {

address find_server(const url& u) {
  ::addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  ::addrinfo* found = nullptr;
  const std::string host = u.host.starts_with('[') && u.host.ends_with(']') ? u.host.substr(1, u.host.size() - 2) : u.host;
  if (const int error = ::getaddrinfo(host.c_str(), u.port.c_str(), &hints, &found); error != 0)
    throw std::runtime_error{u.host + ": " + ::gai_strerror(error)};
  const std::unique_ptr<::addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
  int reason = 0;
  for (const ::addrinfo* a = found; a != nullptr; a = a->ai_next) {
    const descriptor probe{::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!probe.is_open() || ::connect(probe.get(), a->ai_addr, a->ai_addrlen) != 0) {
      reason = errno;
      continue;
    }
    address result{.length = a->ai_addrlen};
    std::memcpy(&result.storage, a->ai_addr, a->ai_addrlen);
    return result;
  }
  throw std::runtime_error{"cannot connect to " + u.host + ":" + u.port + ": " + std::strerror(reason)};
}

void raise_descriptor_limit() noexcept {
  ::rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace load
