// penstock/ext/detail/redis_socket.hpp: a stream socket whose every wait has a deadline and can be ended by another thread.
//
// Writing to a lost connection is an error here and no SIGPIPE. Looking up a host's name is the system's affair: it has no deadline and is not
// interrupted.
//
// Thread safety  interrupt() and allow() may be called at any time; everything else belongs to one thread.
#pragma once

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <penstock/core/clock.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_errc.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// So long from now; a time that is longer than the clock can tell is for ever.
[[nodiscard]] inline std::chrono::steady_clock::time_point steady_after(std::chrono::nanoseconds d) noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::steady_clock::time_point{std::chrono::nanoseconds{saturating_add(now.count(), d.count())}};
}

template <class Sync = std_sync>
class basic_redis_socket {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  basic_redis_socket() = default;
  basic_redis_socket(const basic_redis_socket&) = delete;
  basic_redis_socket& operator=(const basic_redis_socket&) = delete;
  ~basic_redis_socket() { close(); }

  /// The errors here are redis_errc::timeout, redis_errc::connection_lost and errc::cancelled; why() says more.
  result<void> open_unix(const std::string& path, time_point until) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return lost("connect", ENAMETOOLONG);
    path.copy(address.sun_path, path.size());
    return open(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address, until);
  }
  /// Tries the addresses of the host one after the other.
  result<void> open_tcp(const std::string& host, std::uint16_t port, time_point until) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); failed != 0) {
      why_ = "cannot look up " + host + ": " + ::gai_strerror(failed);
      return redis_errc::connection_lost;
    }
    const std::unique_ptr<addrinfo, decltype([](addrinfo* a) { ::freeaddrinfo(a); })> addresses{found};
    result<void> opened = redis_errc::connection_lost;
    for (const addrinfo* a = found; a != nullptr && !opened && opened.error() != errc::cancelled; a = a->ai_next) {
      opened = open(a->ai_family, a->ai_addr, a->ai_addrlen, until);
    }
    return opened;
  }

  void close() noexcept {
    std::scoped_lock guard{lock_};
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

  /// Whether the other side has closed it, or has sent what nobody asked for: then it is of no use for a question.
  [[nodiscard]] bool is_quiet() const noexcept {
    char next = 0;
    return ::recv(fd_, &next, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  }

  result<void> send(std::string_view bytes, time_point until) {
    while (!bytes.empty()) {
      if (interrupted_.is_set()) return errc::cancelled;
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (auto waited = wait_for(POLLOUT, until); !waited) return waited;
      } else if (errno != EINTR) {
        return lost("send", errno);
      }
    }
    return {};
  }

  /// Waits until there is something; how many bytes it was.
  result<std::size_t> receive(char* into, std::size_t room, time_point until) {
    for (;;) {
      if (auto waited = wait_for(POLLIN, until); !waited) return waited.error();
      const ssize_t got = ::recv(fd_, into, room, MSG_DONTWAIT);
      if (got > 0) return static_cast<std::size_t>(got);
      if (interrupted_.is_set()) return errc::cancelled;
      if (got == 0) {
        why_ = "the server closed the connection";
        return redis_errc::connection_lost;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return lost("receive", errno).error();
    }
  }

  /// Ends what waits here now, and all that would wait later, with errc::cancelled.
  void interrupt() noexcept {
    interrupted_.set();
    std::scoped_lock guard{lock_};  // so that it is not closed, and its number given to somebody else, meanwhile
    if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
  }
  void allow() noexcept { interrupted_.reset(); }
  /// Set while it is interrupted.
  [[nodiscard]] basic_event<Sync>& interrupted() noexcept { return interrupted_; }

  /// The last error in words.
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  result<void> open(int family, const sockaddr* address, socklen_t size, time_point until) {
    const int fd = ::socket(family, SOCK_STREAM, 0);
    if (fd < 0) return lost("socket", errno);
    {
      std::scoped_lock guard{lock_};
      fd_ = fd;
    }
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    const int on = 1;
    if (family != AF_UNIX) {
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    auto connected = connect(address, size, until);
    if (!connected) close();
    return connected;
  }

  result<void> connect(const sockaddr* address, socklen_t size, time_point until) {
    // After fd_ is known to interrupt(): one that came before is seen here, a later one shuts the socket.
    if (interrupted_.is_set()) return errc::cancelled;
    if (::connect(fd_, address, size) != 0) {
      if (errno != EINPROGRESS && errno != EINTR) return lost("connect", errno);
      if (auto waited = wait_for(POLLOUT, until); !waited) return waited;
      int error = 0;
      socklen_t length = sizeof error;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
      if (interrupted_.is_set()) return errc::cancelled;
      if (error != 0) return lost("connect", error);
    }
    if (interrupted_.is_set()) return errc::cancelled;
    return {};
  }

  result<void> wait_for(short what, time_point until) {
    for (;;) {
      if (interrupted_.is_set()) return errc::cancelled;
      pollfd p{fd_, what, 0};
      const int ready = ::poll(&p, 1, milliseconds_until(until));
      if (ready > 0) return {};
      if (ready < 0 && errno != EINTR) return lost("poll", errno);
      if (ready == 0 && std::chrono::steady_clock::now() >= until) {
        why_ = "no answer in time";
        return redis_errc::timeout;
      }
    }
  }
  // Rounded up, so that it does not spin through the last millisecond.
  static int milliseconds_until(time_point until) noexcept {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
  }

  result<void> lost(const char* what, int error) {
    why_ = std::string{what} + ": " + std::generic_category().message(error);
    return redis_errc::connection_lost;
  }

  std::mutex lock_;  // of changes of fd_, against interrupt()
  int fd_ = -1;
  basic_event<Sync> interrupted_;
  std::string why_;
};

}  // namespace penstock::inline v0_1::detail
