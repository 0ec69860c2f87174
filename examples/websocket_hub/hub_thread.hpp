// A thread of the hub: an io_context, a listening socket, the connections that the kernel gave to it, and the way of messages to them.
//
// Fan-out   One task waits for messages (a subscription of exchange::arrivals), puts each into the thread's own broadcast, whose subscribers are the
//           connections, and visits them all: one that is idle begins to write; one that writes still goes on by itself when it can. Between some and the next
//           the loop does what else is due, so a message to many does not keep the thread from the rest.
// Drain     It stops accepting. When the broadcast is closed each connection sends what it is behind, then a close frame, and waits for the peer's. After
//           options::drain what is left is cut.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

#include <penstock/ext/boost_asio.hpp>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>

#include <penstock/core/task_group.hpp>
#include <penstock/ext/reuse_port.hpp>
#include <penstock/observe/registry.hpp>

#include "connection.hpp"
#include "exchange.hpp"
#include "options.hpp"

namespace hub {

class hub_thread {
 public:
  /// All outlive it. Makes what other threads wake it by, but no connections yet.
  hub_thread(exchange& all, const penstock::registry& seen, const options& o);
  ~hub_thread();
  hub_thread(const hub_thread&) = delete;
  hub_thread& operator=(const hub_thread&) = delete;

  /// Listens; on the thread that is going to run it. Throws std::system_error.
  void listen(const penstock::reuse_port& port);
  /// Serves on this thread, until a drain has ended.
  void run();
  /// Begins to end. Any thread; exchange::arrivals is to be closed besides.
  void drain();

 private:
  friend connection;

  void accept();
  void begin(tcp_socket s);
  void look_around();
  void begin_drain();
  [[nodiscard]] bool is_done() const noexcept { return draining_ && count_ == 0 && fanned_out_; }
  void end_if_done();
  penstock::task<> fan_out();
  penstock::task<> visit_all();

  exchange& all_;
  const penstock::registry& seen_;
  const options& options_;
  boost::asio::io_context context_{1};  // one thread runs it
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_running_{context_.get_executor()};
  penstock::asio_scheduler<boost::asio::io_context> here_{context_};
  boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, boost::asio::io_context::executor_type> door_{context_};
  bool accepts_ = false;
  boost::asio::steady_timer look_{context_};
  bool draining_ = false;
  bool fanned_out_ = false;  // no message comes any more
  std::chrono::steady_clock::time_point cut_at_{};
  std::deque<std::pair<std::chrono::steady_clock::time_point, std::weak_ptr<connection>>> young_;  // may not be open yet

  penstock::subscription<shared_message> arrivals_;
  penstock::broadcast<shared_message> outgoing_;
  connection* first_ = nullptr;
  connection* visited_next_ = nullptr;
  std::size_t count_ = 0;
  penstock::task_group tasks_{here_};  // the last one: it ends before what its children use
};

}  // namespace hub
