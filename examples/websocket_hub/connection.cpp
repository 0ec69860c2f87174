#include "connection.hpp"

#include <sys/socket.h>

#include <chrono>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
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
using response = http::response<http::string_body>;

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

}  // namespace

connection::connection(hub_thread& home, tcp_socket socket) : home_{home}, stream_{std::move(socket)}, next_{home.first_} {
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
  boost::beast::flat_buffer buffer{header_limit + self->home_.options_.largest};
  http::request_parser<http::string_body> parser;
  parser.header_limit(header_limit);
  parser.body_limit(self->home_.options_.largest);
  const auto came = co_await http::async_read(socket, buffer, parser, penstock::use_task);
  if (!came) {
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
    const auto done = co_await all.publish(make_message(std::move(asked.body())));
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
  static_cast<void>(co_await http::async_write(socket, answer, penstock::use_task));
  error_code ignored;
  socket.shutdown(tcp_socket::shutdown_both, ignored);
  socket.close(ignored);
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
  auto next = mine_->try_pop();
  if (!next && next.error() == penstock::errc::lagged) {
    home_.all_.lost.add(mine_->lost());
    next = mine_->try_pop();
  }
  if (next) {
    sending_ = *std::move(next);
    stream_.text(sending_->is_text);
    stream_.async_write(net::buffer(sending_->body),
                        [self = shared_from_this()](error_code error, std::size_t) { self->sent(error); });
  } else if (next.error() == penstock::errc::disconnected) {
    home_.all_.too_slow.add();
    close(ws::close_code::policy_error);
  } else if (next.error() == penstock::errc::closed) {
    close(ws::close_code::going_away);
  }
}

void connection::sent(error_code error) {
  const shared_message m = std::move(sending_);
  sending_ = nullptr;
  if (error) {
    if (!closing_) cut();
    return;
  }
  exchange& all = home_.all_;
  all.delivered.add();
  all.delivered_bytes.add(m->body.size());
  all.delivery.record(std::chrono::steady_clock::now() - m->came);
  if (!closing_) deliver();
}

void connection::close(ws::close_code why) {
  closing_ = true;
  stream_.async_close(ws::close_reason{why}, [self = shared_from_this()](error_code) { self->cut(); });
}

void connection::cut() noexcept {
  closing_ = true;
  tcp_socket& socket = stream_.next_layer();
  if (!socket.is_open()) return;
  error_code ignored;
  if (sending_) socket.set_option(net::socket_base::linger{true, 0}, ignored);
  socket.close(ignored);
}

}  // namespace hub
