#include "connection.hpp"

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <string_view>
#include <system_error>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include <penstock/observe/prometheus_text.hpp>

#include "hub_thread.hpp"

namespace hub {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
namespace ws = boost::beast::websocket;
using error_code = boost::system::error_code;
using request = http::request<http::string_body>;
using request_parser = http::request_parser<http::string_body>;
using response = http::response<http::string_body>;

constexpr std::size_t read_size = 8 * 1024;
constexpr std::uint32_t header_limit = 8 * 1024;
constexpr auto handshake_time = std::chrono::seconds{10};

response answer_of(const request& r, http::status status, std::string body) {
  response a{status, r.version()};
  a.set(http::field::content_type, "text/plain; version=0.0.4");
  a.keep_alive(false);
  a.body() = std::move(body);
  a.prepare_payload();
  return a;
}

http::status refusal_of(error_code why) {
  return why == http::error::body_limit     ? http::status::payload_too_large
         : why == http::error::header_limit ? http::status::request_header_fields_too_large
                                            : http::status::bad_request;
}

// Reads a request, and takes no more from the socket than belongs to it: frames may come with an upgrade, and Beast's stream reads those from the socket.
// What has come is looked at first, therefore, and taken when it is known how far the request goes. Gives the status to refuse it with, if it is not ok, or an
// error of the socket's.
penstock::task<penstock::result<http::status>> take_request(tcp_socket& socket, request_parser& parser) {
  error_code error;
  socket.non_blocking(true, error);
  parser.eager(true);
  boost::beast::flat_buffer buffer{header_limit + read_size};
  bool go_on_said = false;
  for (;;) {
    const auto came = co_await socket.async_wait(tcp_socket::wait_read, penstock::use_task);
    if (!came) co_return came.error();
    if (buffer.max_size() - buffer.size() < read_size)
      co_return refusal_of(http::error::header_limit);  // a chunk's, which has none
    const std::size_t before = buffer.size();
    const auto place = buffer.prepare(read_size);
    const std::size_t n = socket.receive(place, tcp_socket::message_peek, error);
    if (error == net::error::would_block) continue;
    if (error) co_return std::error_code{error};
    buffer.commit(n);
    const std::size_t used = parser.put(buffer.data(), error);
    if (error && error != http::error::need_more) co_return refusal_of(error);
    const std::size_t ours = parser.is_done() ? used - before : n;
    error_code taken;
    socket.receive(net::buffer(place, ours), 0, taken);
    if (taken) co_return std::error_code{taken};
    if (parser.is_done()) co_return http::status::ok;
    buffer.consume(used);
    if (!go_on_said && parser.is_header_done()) {
      go_on_said = true;
      const request& r = parser.get();
      if (r.version() < 11 || buffer.size() != 0 || !boost::beast::iequals(r[http::field::expect], "100-continue")) continue;
      static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      const auto told = co_await net::async_write(socket, net::buffer(go_on), penstock::use_task);
      if (!told) co_return told.error();
    }
  }
}

// Closing while something has come that was not read would take the answer from the client, too. What it still sends is thrown away, until it closes.
// To HEAD only the header goes, as GET would have it (RFC 9110, 9.3.2).
penstock::task<> say_last(tcp_socket& socket, response last, bool header_alone) {
  error_code ignored;
  if (header_alone) {
    http::response<http::empty_body> header{std::move(last.base())};
    if (!co_await http::async_write(socket, header, penstock::use_task)) co_return;
  } else if (!co_await http::async_write(socket, last, penstock::use_task)) {
    co_return;
  }
  socket.shutdown(tcp_socket::shutdown_send, ignored);
  std::array<char, 4096> thrown_away;
  while (co_await socket.async_read_some(net::buffer(thrown_away), penstock::use_task)) {
  }
}

}  // namespace

connection::connection(hub_thread& home, tcp_socket socket)
    : home_{home}, stream_{frame_socket{std::move(socket)}}, next_{home.first_} {
  if (next_ != nullptr) next_->previous_ = this;
  home_.first_ = this;
  ++home_.count_;
}

connection::~connection() {
  if (home_.visited_next_ == this) home_.visited_next_ = next_;
  (previous_ != nullptr ? previous_->next_ : home_.first_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  --home_.count_;
  if (is_open()) home_.all_.connections.sub();
  home_.end_if_done();
}

penstock::task<> connection::greet(std::shared_ptr<connection> self) {
  exchange& all = self->home_.all_;
  tcp_socket& socket = self->stream_.next_layer();
  request_parser parser;
  parser.header_limit(header_limit);
  parser.body_limit(self->home_.options_.largest);
  const auto came = co_await take_request(socket, parser);
  if (!came || *came != http::status::ok) {
    if (came) co_await say_last(socket, answer_of(parser.get(), *came, ""), false);
    self->cut();
    co_return;
  }
  request asked = parser.release();
  if (ws::is_upgrade(asked)) {
    const std::chrono::nanoseconds idle = self->home_.options_.idle;
    self->stream_.set_option(ws::stream_base::timeout{
        .handshake_timeout = handshake_time,  // of a close, too
        .idle_timeout = idle.count() > 0 ? std::chrono::duration_cast<ws::stream_base::duration>(idle) : ws::stream_base::none(),
        .keep_alive_pings = idle.count() > 0});
    // Before the answer: who has that is told whatever is published from then on.
    self->mine_.emplace(self->home_.outgoing_.subscribe());
    const auto accepted = co_await self->stream_.async_accept(asked, penstock::use_task);
    if (accepted)
      self->open();
    else
      self->cut();
    co_return;
  }
  response answer;
  const std::string_view target{asked.target().data(), asked.target().size()};
  if (target == "/publish" && asked.method() == http::verb::post) {
    const auto done = co_await all.publish(make_message(asked.body()));
    answer =
        done ? answer_of(asked, http::status::accepted, "") : answer_of(asked, http::status::service_unavailable, "it ends\n");
  } else if (target == "/metrics") {
    answer = answer_of(asked, http::status::ok, penstock::to_prometheus_text(self->home_.seen_.snapshot()));
  } else if (target == "/healthz") {
    answer = self->home_.draining_ ? answer_of(asked, http::status::service_unavailable, "it ends\n")
                                   : answer_of(asked, http::status::ok, "ok\n");
  } else {
    answer = answer_of(asked, http::status::not_found, "");
  }
  co_await say_last(socket, std::move(answer), asked.method() == http::verb::head);
  self->cut();
}

void connection::open() {
  stream_.auto_fragment(false);  // or it would have a buffer for fragments
  stream_.read_message_max(home_.options_.largest);
  home_.all_.opened.add();
  home_.all_.connections.add();
  open_ = true;
  read();
  deliver();  // what has come meanwhile; and a broadcast that has been closed says so
}

void connection::read() {
  stream_.async_read_some(net::buffer(part_), [self = shared_from_this()](error_code error, std::size_t size) {
    if (!error)
      self->received(size);
    else if (!self->closing_)
      self->cut();
  });
}

void connection::received(std::size_t size) {
  incoming_.append(part_.data(), size);
  if (stream_.is_message_done()) {
    shared_message m = make_message(std::exchange(incoming_, {}));
    const auto done = home_.all_.try_publish(m);
    if (!done && done.error() == penstock::errc::full) {
      home_.tasks_.spawn(publish_in_turn(shared_from_this(), std::move(m)));  // and what it sends meanwhile waits in the kernel
      return;
    }
  }
  read();
}

penstock::task<> connection::publish_in_turn(std::shared_ptr<connection> self, shared_message m) {
  static_cast<void>(co_await self->home_.all_.publish(std::move(m)));
  if (self->stream_.next_layer().is_open()) self->read();
}

void connection::look() {
  if (!is_open() || closing_) return;
  if (!sending_) {
    deliver();
  } else if (home_.options_.when_slow == penstock::slow_subscriber::disconnect && mine_->size() > home_.outgoing_.capacity()) {
    home_.all_.too_slow.add();
    cut();
  }
}

void connection::deliver() {
  while (!sending_ && !closing_ && stream_.is_open()) {  // else Beast has answered a close, and reading ends
    auto next = mine_->try_pop();
    if (!next && next.error() == penstock::errc::lagged) {
      home_.all_.lost.add(mine_->lost());
      next = mine_->try_pop();
    }
    if (next) {
      sending_ = *std::move(next);
      begun_ = false;
      go_on();
    } else if (next.error() == penstock::errc::disconnected) {
      home_.all_.too_slow.add();
      close(ws::close_code::policy_error);
    } else if (next.error() == penstock::errc::closed) {
      close(ws::close_code::going_away);
    } else {
      return;
    }
  }
}

// Sends what the kernel takes of the message. Where it does not take all, this is called again when there is room.
void connection::go_on() {
  frame_socket& socket = stream_.next_layer();
  error_code error;
  if (begun_) {
    socket.go_on(error);
  } else if (!stream_.is_open()) {
    sending_ = nullptr;
    return;
  } else if (socket.is_free()) {
    begun_ = true;
    socket.begin(sending_->frame, error);
  }
  if (error) {
    cut();
  } else if (begun_ && socket.is_through()) {
    sent();
  } else {
    socket.async_wait(tcp_socket::wait_write, [self = shared_from_this()](error_code failed) {
      if (failed) return self->cut();
      self->go_on();
      self->deliver();
    });
  }
}

void connection::sent() {
  const shared_message m = std::move(sending_);
  exchange& all = home_.all_;
  all.delivered.add();
  all.delivered_bytes.add(m->body().size());
  all.delivery.record(std::chrono::steady_clock::now() - m->came);
}

void connection::close(ws::close_code why) {
  closing_ = true;
  stream_.async_close(ws::close_reason{why}, [self = shared_from_this()](error_code) { self->cut(); });
}

void connection::cut() noexcept {
  closing_ = true;
  frame_socket& socket = stream_.next_layer();
  if (!socket.is_open()) return;
  error_code ignored;
  // Beast may have sent the rest of it, and a close, before our wait was told of the room.
  const bool all_sent = !sending_ || (begun_ && socket.is_through());
  if (!all_sent) socket.set_option(net::socket_base::linger{true, 0}, ignored);
  socket.close(ignored);
}

}  // namespace hub
