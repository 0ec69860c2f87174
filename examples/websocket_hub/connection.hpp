// One WebSocket connection (Boost.Beast), on one thread of the hub.
//
// While nothing happens it holds the stream, of which Beast's buffer for frames is the greater part, a read that waits, and its place in the thread's broadcast: a number.
// A message that is on its way is shared with all others, and goes out by one call of the system, without Beast (frame_socket.hpp), where the kernel takes it at once.
//
// Slow readers   A write that has not ended means that the peer does not take what was sent. Meanwhile its place in the broadcast stays; when it is
//                further behind than the broadcast keeps messages, it is cut off (slow_subscriber::disconnect) or has lost some (lose_oldest). Nobody waits for it.
// Lifetime       whatever waits for the socket holds the connection. A socket that is closed ends all of that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <penstock/channel/broadcast.hpp>
#include <penstock/core/task.hpp>

#include "frame_socket.hpp"
#include "message.hpp"

namespace hub {

class hub_thread;

class connection : public std::enable_shared_from_this<connection> {
 public:
  connection(hub_thread& home, tcp_socket socket);
  ~connection();
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  [[nodiscard]] connection* next() const noexcept { return next_; }
  [[nodiscard]] bool is_open() const noexcept { return open_; }

  /// Reads a request: an upgrade, after which the connection is open, or one over plain HTTP, which is answered.
  static penstock::task<> greet(std::shared_ptr<connection> self);

  /// The thread's broadcast has something new, or has been closed.
  void look();
  /// Ends at once, by a reset: what the kernel keeps for a peer that does not read would stay for minutes otherwise.
  void cut() noexcept;

 private:
  void open();
  void read();
  void received(std::size_t size);
  static penstock::task<> publish_in_turn(std::shared_ptr<connection> self, shared_message m);
  void deliver();
  void go_on();
  void sent();
  void close(boost::beast::websocket::close_code why);

  // What a delivery looks at lies side by side: with many connections each line of the cache comes from memory.
  hub_thread& home_;
  hub_stream stream_;
  connection* next_ = nullptr;  // in the list of the thread's
  bool open_ = false;
  bool closing_ = false;
  bool begun_ = false;      // a part of what is sent may have gone out
  shared_message sending_;  // what has not gone out yet
  std::optional<penstock::subscription<shared_message>> mine_;
  connection* previous_ = nullptr;
  std::string incoming_;  // what has come of a message
  std::array<char, 128> part_;
  friend hub_thread;
};

}  // namespace hub
