// penstock/ext/reuse_port.hpp: one TCP port for several processes.
//
//   penstock::reuse_port port{"127.0.0.1", 8080};     // in the supervisor: the number is taken, and its errors are seen at once
//   int listener = port.listen();                     // in each worker: a socket of its own, to which the kernel gives its share of the connections
//
// SO_REUSEPORT (Linux 3.9, BSDs): the kernel divides new connections among the sockets that listen. A worker that ends must take what has been given
// to it already: stop polling its listener, accept until there is none (EAGAIN), then close it. A connection that comes in between is reset, unless
// net.ipv4.tcp_migrate_req is 1 (Linux 5.14). A listener that the supervisor opens once, and that all workers inherit by fork(), has no such gap, and
// divides worse.
//
// Thread safety  none is needed: it does not change.
#pragma once

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <penstock/ext/detail/signal_pipe.hpp>

namespace penstock::inline v0_1 {

class reuse_port {
 public:
  /// Takes the port of this IPv4 or IPv6 address without listening there; 0: one that is free. Throws std::invalid_argument if it is no address, and
  /// std::system_error.
  reuse_port(const std::string& ip, std::uint16_t number) : address_{address_of(ip, number)}, held_{bound()} {
    ::socklen_t size = sizeof address_;
    if (::getsockname(held_.get(), reinterpret_cast<::sockaddr*>(&address_), &size) != 0) fail("getsockname");
  }

  [[nodiscard]] std::uint16_t number() const noexcept {
    return ntohs(address_.ss_family == AF_INET6 ? reinterpret_cast<const ::sockaddr_in6&>(address_).sin6_port
                                                : reinterpret_cast<const ::sockaddr_in&>(address_).sin_port);
  }

  /// A new socket that listens, does not block and is closed on exec; the caller closes it. `waiting`: how many connections may wait to be accepted.
  /// Throws std::system_error.
  [[nodiscard]] int listen(int waiting = SOMAXCONN) const {
    const detail::file_descriptor s = bound();
    if (::listen(s.get(), waiting) != 0) fail("listen");
    const int kept = ::fcntl(s.get(), F_DUPFD_CLOEXEC, 0);
    if (kept < 0) fail("fcntl");
    ::fcntl(kept, F_SETFL, O_NONBLOCK);
    return kept;
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw std::system_error{errno, std::generic_category(), std::string{"penstock::reuse_port: "} + what};
  }
  static ::sockaddr_storage address_of(const std::string& ip, std::uint16_t number) {
    ::sockaddr_storage storage{};
    auto& four = reinterpret_cast<::sockaddr_in&>(storage);
    auto& six = reinterpret_cast<::sockaddr_in6&>(storage);
    if (::inet_pton(AF_INET, ip.c_str(), &four.sin_addr) == 1) {
      four.sin_family = AF_INET;
      four.sin_port = htons(number);
    } else if (::inet_pton(AF_INET6, ip.c_str(), &six.sin6_addr) == 1) {
      six.sin6_family = AF_INET6;
      six.sin6_port = htons(number);
    } else {
      throw std::invalid_argument{"penstock::reuse_port: " + ip + " is no IP address"};
    }
    return storage;
  }
  [[nodiscard]] detail::file_descriptor bound() const {
    detail::file_descriptor s{::socket(address_.ss_family, SOCK_STREAM, 0)};
    if (s.get() < 0) fail("socket");
    ::fcntl(s.get(), F_SETFD, FD_CLOEXEC);
    const int on = 1;
    ::setsockopt(s.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::setsockopt(s.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) fail("SO_REUSEPORT");
    const ::socklen_t size = address_.ss_family == AF_INET6 ? sizeof(::sockaddr_in6) : sizeof(::sockaddr_in);
    if (::bind(s.get(), reinterpret_cast<const ::sockaddr*>(&address_), size) != 0) fail("bind");
    return s;
  }

  ::sockaddr_storage address_;
  detail::file_descriptor held_;  // so that nobody else gets it; it takes no connections, for it does not listen
};

}  // namespace penstock::inline v0_1
