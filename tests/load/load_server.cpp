// A web server on one thread for the tests of penstock-load: prints its port, and serves until it is killed.
//
//   /fast                              at once
//   /work?us=2000                      by one server that takes exactly so long for each and keeps a line (the D/1 of M/D/1)
//   /stall?us=1000&after=2000&for=500  the same, but that from so many ms after the first of these on it does nothing for so many ms
//   /every?n=10                        each tenth is a 503
//   /chunked?n=3  /size?n=100000  /close  /until_close  /echo  /notes      forms of answers
//   /silent  /cut  /garbage            no answer, half of one, and something else
//
// The line of /work and /stall is kept in virtual time: what this program itself is late does not add up.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;

struct client {
  int socket = -1;
  std::string in;
  std::string out;
  bool ends = false;  // after what is in `out`
};

struct waiting {
  time_point due;
  std::uint64_t id;
};

std::string answer(std::string_view status, std::string_view body, std::string_view fields = "") {
  return "HTTP/1.1 " + std::string{status} + "\r\n" + std::string{fields} + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string{body};
}

class server {
 public:
  server() : epoll_{::epoll_create1(EPOLL_CLOEXEC)}, listener_{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)} {
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    ::sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::socklen_t size = sizeof here;
    if (::bind(listener_, reinterpret_cast<::sockaddr*>(&here), size) != 0 || ::listen(listener_, 4096) != 0 ||
        ::getsockname(listener_, reinterpret_cast<::sockaddr*>(&here), &size) != 0) {
      std::perror("load_server");
      std::exit(2);
    }
    ::epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
    std::printf("%d\n", ntohs(here.sin_port));
    std::fflush(stdout);
  }

  [[noreturn]] void run() {
    for (;;) {
      ::timespec rest{3600, 0};
      if (!line_.empty()) {
        const auto left = std::max<std::chrono::nanoseconds>(line_.front().due - clock_type::now(), 0ns);
        rest = {static_cast<::time_t>(left / 1s), static_cast<long>((left % 1s).count())};
      }
      std::array<::epoll_event, 128> events;
      const int n = ::epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &rest, nullptr);
      for (int i = 0; i < n; ++i) {
        if (events[static_cast<std::size_t>(i)].data.u64 == 0)
          accept_all();
        else
          serve(events[static_cast<std::size_t>(i)].data.u64);
      }
      while (!line_.empty() && line_.front().due <= clock_type::now()) {
        const std::uint64_t id = line_.front().id;
        line_.pop_front();
        if (clients_.contains(id)) say(id, fast_);
      }
    }
  }

 private:
  void accept_all() {
    for (int socket; (socket = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      const int on = 1;
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::uint64_t id = ++last_id_;
      clients_[id] = std::make_unique<client>();
      clients_[id]->socket = socket;
      ::epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = id}};
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
    }
  }

  void drop(std::uint64_t id) {
    ::close(clients_[id]->socket);
    clients_.erase(id);
  }

  void serve(std::uint64_t id) {
    const auto found = clients_.find(id);
    if (found == clients_.end()) return;
    client& c = *found->second;
    flush(c);
    std::array<char, 65536> buffer;
    for (;;) {
      const ::ssize_t n = ::recv(c.socket, buffer.data(), buffer.size(), 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return drop(id);
      if (n < 0) break;
      c.in.append(buffer.data(), static_cast<std::size_t>(n));
      if (static_cast<std::size_t>(n) < buffer.size()) break;
    }
    for (std::size_t end; (end = c.in.find("\r\n\r\n")) != std::string::npos;) {
      std::size_t length = 0;
      if (const std::size_t at = c.in.find("Content-Length: "); at < end)
        length = std::strtoul(c.in.c_str() + at + 16, nullptr, 10);
      if (c.in.size() < end + 4 + length) break;
      const std::string head = c.in.substr(0, end);
      const std::string body = c.in.substr(end + 4, length);
      c.in.erase(0, end + 4 + length);
      respond(id, head, body);
      if (!clients_.contains(id)) return;
    }
    if (c.ends && c.out.empty()) drop(id);
  }

  void respond(std::uint64_t id, std::string_view head, std::string_view body) {
    std::string_view path = head.substr(head.find(' ') + 1);
    path = path.substr(0, path.find(' '));
    const auto is = [path](std::string_view name) { return path.substr(0, path.find('?')) == name; };
    const auto number = [path](std::string_view name, std::size_t otherwise) {
      const std::size_t at = path.find(std::string{name} + "=");
      if (at != std::string_view::npos) std::from_chars(path.data() + at + name.size() + 1, path.data() + path.size(), otherwise);
      return otherwise;
    };
    client& c = *clients_[id];
    if (is("/fast")) {
      say(id, fast_);
    } else if (is("/work") || is("/stall")) {
      time_point begin = std::max(clock_type::now(), free_at_);
      if (is("/stall")) {
        if (!first_stall_) first_stall_ = begin;
        const time_point from = *first_stall_ + std::chrono::milliseconds{number("after", 0)};
        const time_point to = from + std::chrono::milliseconds{number("for", 0)};
        if (begin >= from && begin < to) begin = to;
      }
      free_at_ = begin + std::chrono::microseconds{number("us", 1000)};
      line_.push_back({free_at_, id});
    } else if (is("/every")) {
      say(id, ++asked_[std::string{path}] % number("n", 10) == 0
                  ? answer("503 Service Unavailable", "later\n", "Retry-After: 1\r\n")
                  : fast_);
    } else if (is("/chunked")) {
      std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      for (std::size_t i = number("n", 3); i > 0; --i) text += "A;x=y\r\n0123456789\r\n";
      say(id, text + "0\r\nDigest: none\r\n\r\n");
    } else if (is("/size")) {
      say(id, answer("200 OK", std::string(number("n", 100'000), 'x')));
    } else if (is("/close")) {
      c.ends = true;
      say(id, answer("200 OK", "bye\n", "Connection: close\r\n"));
    } else if (is("/until_close")) {
      c.ends = true;
      say(id, "HTTP/1.0 200 OK\r\n\r\nas long as it is");
    } else if (is("/echo")) {
      say(id, answer("200 OK", body));
    } else if (is("/notes")) {
      say(id, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    } else if (is("/cut")) {
      c.ends = true;
      say(id, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    } else if (is("/garbage")) {
      c.ends = true;
      say(id, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
    } else if (!is("/silent")) {
      say(id, answer("404 Not Found", "no\n"));
    }
  }

  void say(std::uint64_t id, std::string_view text) {
    client& c = *clients_[id];
    c.out += text;
    flush(c);
  }
  void flush(client& c) {
    while (!c.out.empty()) {
      const ::ssize_t n = ::send(c.socket, c.out.data(), c.out.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      c.out.erase(0, static_cast<std::size_t>(n));
    }
  }

  int epoll_;
  int listener_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<std::uint64_t, std::unique_ptr<client>> clients_;
  std::deque<waiting> line_;
  time_point free_at_ = clock_type::now();
  std::optional<time_point> first_stall_;
  std::unordered_map<std::string, std::size_t> asked_;  // for /every, by all of the path
  const std::string fast_ = answer("200 OK", "hello, world\n", "Content-Type: text/plain\r\n");
};

}  // namespace

int main() { server{}.run(); }
