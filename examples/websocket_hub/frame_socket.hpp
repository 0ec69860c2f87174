// The socket below Beast's stream, to which whole frames can be sent without Beast.
//
// A message goes to all connections as the same bytes, and almost always the kernel takes them at once: then it needs no operation of Beast's and Asio's, with its
// handler and its turn in the loop, which cost more than all else of the hub's own. Beast reads, and writes what is no message: the handshake, pongs, pings, closes.
//
// Order     Both write to one stream of bytes, so neither begins while the other is within a frame. send() takes nothing while Beast writes; of what send() has begun,
//           Beast's next write sends the rest first.
// Threads   one.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include "websocket.hpp"

namespace hub {

class frame_socket : public tcp_socket {
 public:
  explicit frame_socket(tcp_socket s) : tcp_socket{std::move(s)} {}

  /// Whether a frame may begin: none is on its way, and Beast is not writing.
  [[nodiscard]] bool is_free() const noexcept { return !beast_writes_ && rest_.empty(); }
  /// Begins a frame, when is_free(): sends what the kernel takes now, of a socket that does not block. Its bytes stay where they are until the frame is through.
  void begin(std::string_view frame, boost::system::error_code& error) {
    rest_ = frame;
    go_on(error);
  }
  /// Sends more of it, if there is more.
  void go_on(boost::system::error_code& error) {
    error = {};
    while (!rest_.empty() && !error)
      rest_.remove_prefix(tcp_socket::send(boost::asio::buffer(rest_.data(), rest_.size()), 0, error));
    if (error == boost::asio::error::would_block) error = {};
  }
  [[nodiscard]] bool is_through() const noexcept { return rest_.empty(); }

  /// Beast's way to write.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& what, Token&& token) {
    return boost::asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
        write_operation<Buffers>{*this, there_, what}, token, *this);
  }

 private:
  template <class Buffers>
  struct write_operation {
    frame_socket& socket;
    std::weak_ptr<const void> there;  // Beast's pings do not keep the connection, which may be gone when they end
    Buffers what;
    bool last = false;

    template <class Self>
    void operator()(Self& self, boost::system::error_code error = {}, std::size_t size = 0) {
      if (there.expired()) return self.complete(boost::asio::error::operation_aborted, 0);
      // When it is over another frame may begin, unless Beast has more of its own: then it goes on at once, within complete().
      socket.beast_writes_ = !last && !error;
      if (!socket.beast_writes_) return self.complete(error, size);
      socket.go_on(error);
      if (!socket.is_through() && !error) return socket.async_wait(wait_write, std::move(self));
      // After an error nothing may follow what has been sent of the frame, even if the socket would take it: the write fails as the socket is closed, and not
      // before this returns.
      boost::system::error_code ignored;
      if (error) socket.close(ignored);
      last = true;
      tcp_socket& plain = socket;
      const Buffers now = what;  // moving self takes *this
      plain.async_write_some(now, std::move(self));
    }
  };

  std::string_view rest_;  // of the frame that was begun
  bool beast_writes_ = false;
  std::shared_ptr<const void> there_ = std::make_shared<char>();
};

inline void teardown(boost::beast::role_type role, frame_socket& socket, boost::beast::error_code& error) {
  boost::beast::websocket::teardown(role, static_cast<tcp_socket&>(socket), error);
}
template <class Handler>
void async_teardown(boost::beast::role_type role, frame_socket& socket, Handler&& handler) {
  boost::beast::websocket::async_teardown(role, static_cast<tcp_socket&>(socket), std::forward<Handler>(handler));
}

using hub_stream = boost::beast::websocket::stream<frame_socket, false>;

}  // namespace hub
