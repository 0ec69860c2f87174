#include "http_server.hpp"

#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <penstock/core/errc.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/ext/boost_asio.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>

namespace api {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using tcp = net::ip::tcp;
using error_code = boost::system::error_code;
// With the executor by its type: Asio's default, any_executor, costs a few moves at each operation.
using executor = net::io_context::executor_type;
using stream = net::basic_stream_socket<tcp, executor>;
using clock_type = std::chrono::steady_clock;

constexpr auto look_every = std::chrono::milliseconds{100};
constexpr auto linger_time = std::chrono::seconds{1};
constexpr std::size_t read_size = 8 * 1024;
constexpr std::uint32_t header_limit = 8 * 1024;
constexpr std::uint64_t body_limit = 64 * 1024;

bool is_ip6(int socket) {
  ::sockaddr_storage address{};
  ::socklen_t size = sizeof address;
  return ::getsockname(socket, reinterpret_cast<::sockaddr*>(&address), &size) == 0 && address.ss_family == AF_INET6;
}

std::string_view as_view(boost::beast::string_view s) { return {s.data(), s.size()}; }

answer answer_of(std::exception_ptr failure) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const std::system_error& e) {
    if (e.code().category() == penstock::make_error_code(penstock::errc::full).category())
      return {.status = 503, .body = "{\"error\": \"too much to do\"}", .retry_after = 1};
    std::fprintf(stderr, "%s\n", e.what());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
  return {.status = 500, .body = "{\"error\": \"failed\"}"};
}

}  // namespace

struct http_server::state {
  state(net::io_context& l, service& s, server_options o)
      : loop{l}, behind{s}, options{std::move(o)}, keep_running{l.get_executor()}, look{l}, tasks{penstock::asio_scheduler{l}} {}

  void accept(std::size_t i);
  void begin(stream s);
  void look_around();
  void begin_drain();
  void stop_accepting();
  void end_if_done();
  void tell_date();

  net::io_context& loop;
  service& behind;
  const server_options options;
  net::executor_work_guard<executor> keep_running;
  net::steady_timer look;
  struct door {
    net::basic_socket_acceptor<tcp, executor> acceptor;
    bool waits = false;
  };
  std::vector<door> doors;
  clock_type::time_point now = clock_type::now();  // of the last look around
  std::optional<clock_type::time_point> close_doors_at{};
  bool drain_begun = false;
  bool draining = false;  // nothing is accepted any more
  session* first = nullptr;
  std::size_t sessions = 0;
  std::string date;  // as of the last look around

  penstock::gauge connections;
  penstock::gauge in_flight;
  penstock::basic_counter<1> accepted;
  std::array<penstock::basic_counter<1>, 6> statuses;  // by their first digit
  penstock::histogram latency;
  penstock::task_group tasks;  // the last one: it ends before what its children use
};

// One connection. In the list of all while it lives; whoever waits for something on its behalf holds it.
class http_server::session : public std::enable_shared_from_this<session> {
 public:
  session(state& s, stream socket) : server_{s}, socket_{std::move(socket)}, next_{s.first} {
    if (next_ != nullptr) next_->previous_ = this;
    server_.first = this;
    ++server_.sessions;
    server_.connections.add();
    error_code ignored;
    socket_.set_option(tcp::no_delay{true}, ignored);
    socket_.non_blocking(true, ignored);
    const auto peer = socket_.remote_endpoint(ignored);
    local_ = !ignored && peer.address().is_loopback();
    if (server_.options.client_header.empty() || !ignored) address_ = peer.address().to_string(ignored);
    new_parser();
  }
  ~session() {
    (previous_ != nullptr ? previous_->next_ : server_.first) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    --server_.sessions;
    server_.connections.sub();
    server_.end_if_done();
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  [[nodiscard]] session* next() const noexcept { return next_; }

  void read() {
    if (!socket_.is_open()) return;
    if (buffer_.size() > header_limit) {  // of a chunk's header, of which the parser has no limit
      refuse(http::error::header_limit);
      send();
      return;
    }
    socket_.async_read_some(buffer_.prepare(read_size), [self = shared_from_this()](error_code error, std::size_t n) {
      if (error) {
        self->close();
        return;
      }
      self->buffer_.commit(n);
      if (self->where_ == stage::rests) self->enter(stage::reads);
      self->step();
    });
  }

  /// Whether it has been where it is for too long.
  [[nodiscard]] bool is_late() const noexcept {
    const server_options& o = server_.options;
    switch (where_) {
      case stage::rests:
        return waited(server_.draining ? o.quiet : o.idle_time);
      case stage::reads:
      case stage::writes:
        return waited(o.request_time);
      case stage::lingers:
        return waited(linger_time);
      case stage::answers:
        break;  // how long that may take is the service's part
    }
    return false;
  }
  void close() noexcept {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  enum class stage : std::uint8_t { rests, reads, answers, writes, lingers };

  void enter(stage s) noexcept {
    where_ = s;
    since_ = server_.now;
  }
  [[nodiscard]] bool waited(std::chrono::nanoseconds time) const noexcept { return server_.now - since_ > time; }

  void new_parser() {
    parser_.emplace();
    parser_->eager(true);
    parser_->header_limit(header_limit);
    parser_->body_limit(body_limit);
    go_on_told_ = false;
  }

  // Answers what has come, sends the answers, and waits for more.
  void step() {
    if (!socket_.is_open() || writing_) return;
    while (where_ != stage::answers && !last_ && parse_one()) {
    }
    send();
  }

  // False: there is no whole request.
  bool parse_one() {
    while (buffer_.size() != 0) {
      error_code error;
      buffer_.consume(parser_->put(buffer_.data(), error));
      if (error == http::error::need_more) break;
      if (error) {
        refuse(error);
        return false;
      }
      if (parser_->is_done()) {
        dispatch();
        return true;
      }
    }
    if (parser_->is_header_done() && !std::exchange(go_on_told_, true)) tell_to_go_on();
    return false;
  }

  // Who expects that (RFC 9110, section 10.1.1) does not send the body before, or not for a while.
  void tell_to_go_on() {
    const auto& message = parser_->get();
    if (message.version() < 11 || !boost::beast::iequals(message[http::field::expect], "100-continue")) return;
    out_.append("HTTP/1.1 100 Continue\r\n\r\n");
  }

  void dispatch() {
    const auto& message = parser_->get();
    began_ = clock_type::now();
    keep_ = message.keep_alive() && !server_.draining;
    old_ = message.version() < 11;
    head_ = message.method() == http::verb::head;
    std::string_view client = address_;
    if (const std::string& name = server_.options.client_header; !name.empty()) {
      if (const auto found = message.find(name); found != message.end()) client = as_view(found->value());
    }
    penstock::trace_context caller;
    if (server_.options.traces) {
      if (const auto found = message.find("traceparent"); found != message.end())
        caller = penstock::trace_context::parse(as_view(found->value())).value_or(caller);
    }
    const penstock::trace_scope work_of{caller};
    response r = answer{.status = 500};
    try {
      r = server_.behind.handle({as_view(message.method_string()), as_view(message.target()), client, message.body(), local_});
    } catch (...) {
      r = answer_of(std::current_exception());
    }
    new_parser();
    if (auto* const known = std::get_if<answer>(&r)) {
      add(*known);
    } else {
      enter(stage::answers);
      server_.in_flight.add();
      server_.tasks.spawn(wait_for(shared_from_this(), std::get<penstock::task<answer>>(std::move(r))));
    }
  }

  static penstock::task<> wait_for(std::shared_ptr<session> self, penstock::task<answer> later) {
    answer a;
    try {
      a = co_await std::move(later);
    } catch (...) {
      a = answer_of(std::current_exception());
    }
    self->server_.in_flight.sub();
    self->add(a);
    self->step();
  }

  void refuse(error_code error) {
    keep_ = false;
    head_ = false;
    began_ = clock_type::now();
    const unsigned status = error == http::error::body_limit ? 413 : error == http::error::header_limit ? 431 : 400;
    add({.status = status, .body = "{\"error\": \"" + error.message() + "\"}"});
  }

  void add(const answer& a) {
    const std::string_view body = a.text();
    char number[24];
    const auto text_of = [&](std::uint64_t n) {
      return std::string_view{number, static_cast<std::size_t>(std::to_chars(number, number + sizeof number, n).ptr - number)};
    };
    // Beast's own serializer would write fields of a map to a chain of buffers; these are always the same.
    out_.append("HTTP/1.1 ").append(text_of(a.status)).append(" ");
    out_.append(as_view(http::obsolete_reason(static_cast<http::status>(a.status)))).append("\r\nDate: ").append(server_.date);
    out_.append("\r\nContent-Type: ").append(a.type).append("\r\nContent-Length: ").append(text_of(body.size()));
    if (a.retry_after != 0) out_.append("\r\nRetry-After: ").append(text_of(a.retry_after));
    if (!keep_) out_.append("\r\nConnection: close");
    if (keep_ && old_) out_.append("\r\nConnection: keep-alive");
    out_.append("\r\n\r\n");
    if (!head_) out_.append(body);
    last_ = !keep_;
    enter(stage::rests);
    server_.statuses[a.status / 100].add();
    server_.latency.record(clock_type::now() - began_);
  }

  void send() {
    std::size_t sent = 0;
    if (!out_.empty()) {
      error_code error;
      sent = socket_.write_some(net::buffer(out_), error);  // mostly all of it, and then nothing has to be waited for
      if (error && error != net::error::would_block) {
        close();
        return;
      }
    }
    if (sent < out_.size()) {
      if (where_ != stage::answers) enter(stage::writes);
      sending_.assign(out_, sent);
      out_.clear();
      writing_ = true;
      net::async_write(socket_, net::buffer(sending_), [self = shared_from_this()](error_code error, std::size_t) {
        self->writing_ = false;
        if (error) {
          self->close();
          return;
        }
        if (self->where_ == stage::writes) self->enter(stage::rests);
        self->step();
      });
      return;
    }
    out_.clear();
    if (where_ == stage::answers) return;
    if (last_) {
      linger();
      return;
    }
    if (where_ == stage::rests && (buffer_.size() != 0 || parser_->got_some())) enter(stage::reads);
    read();
  }

  // Closing while something unread has come would take the last answer from the client, too.
  void linger() {
    if (where_ != stage::lingers) {
      enter(stage::lingers);
      error_code ignored;
      socket_.shutdown(stream::shutdown_send, ignored);
    }
    buffer_.consume(buffer_.size());
    socket_.async_read_some(buffer_.prepare(read_size), [self = shared_from_this()](error_code error, std::size_t) {
      if (error)
        self->close();
      else
        self->linger();
    });
  }

  state& server_;
  stream socket_;
  std::string address_;
  bool local_ = false;
  boost::beast::flat_buffer buffer_{64 * 1024};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string out_;      // answers that are not on their way
  std::string sending_;  // ... that are
  bool writing_ = false;
  bool keep_ = true;   // of the request that is answered: the connection goes on
  bool old_ = false;   // HTTP/1.0
  bool head_ = false;  // HEAD
  bool last_ = false;  // the last answer was given
  bool go_on_told_ = false;
  clock_type::time_point began_{};
  stage where_ = stage::rests;
  clock_type::time_point since_ = server_.now;
  session* next_ = nullptr;
  session* previous_ = nullptr;
};

void http_server::state::accept(std::size_t i) {
  door& d = doors[i];
  if (d.waits || draining || sessions >= options.most_connections) return;
  d.waits = true;
  d.acceptor.async_accept([this, i](error_code error, stream s) {
    doors[i].waits = false;
    if (error) return;  // such as too many open files: the next look around begins again
    begin(std::move(s));
    accept(i);
  });
}

void http_server::state::begin(stream s) {
  accepted.add();
  const auto one = std::make_shared<session>(*this, std::move(s));
  one->read();
}

void http_server::state::look_around() {
  now = clock_type::now();
  tell_date();
  if (close_doors_at && now >= *close_doors_at) stop_accepting();
  for (session* s = first; s != nullptr; s = s->next()) {
    if (s->is_late()) s->close();
  }
  for (std::size_t i = 0; i < doors.size(); ++i) accept(i);
  if (draining && sessions == 0) return;
  look.expires_after(look_every);
  look.async_wait([this](error_code error) {
    if (!error) look_around();
  });
}

void http_server::state::begin_drain() {
  if (std::exchange(drain_begun, true)) return;
  behind.draining();
  close_doors_at = clock_type::now() + options.lame_duck;
  if (options.lame_duck.count() == 0) stop_accepting();
}

void http_server::state::stop_accepting() {
  if (std::exchange(draining, true)) return;
  for (door& d : doors) {
    error_code error;
    d.acceptor.non_blocking(true, error);
    while (!error) {  // who has connected already
      stream s{loop};
      d.acceptor.accept(s, error);
      if (!error) begin(std::move(s));
    }
    d.acceptor.close(error);
  }
  end_if_done();
}

void http_server::state::end_if_done() {
  if (!draining || sessions != 0) return;
  look.cancel();
  keep_running.reset();
}

void http_server::state::tell_date() {
  const std::time_t t = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&t, &parts);
  std::array<char, 40> text{};
  date.assign(text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts));
}

http_server::http_server(net::io_context& loop, service& behind, const std::vector<int>& listeners, server_options options)
    : state_{std::make_shared<state>(loop, behind, std::move(options))} {
  for (const int listener : listeners) {
    net::basic_socket_acceptor<tcp, executor> a{loop};
    a.assign(is_ip6(listener) ? tcp::v6() : tcp::v4(), listener);
    state_->doors.push_back({std::move(a)});
  }
}

http_server::~http_server() = default;

void http_server::run() {
  state_->look_around();
  state_->loop.run();
}

void http_server::drain() {
  net::post(state_->loop, [s = state_] { s->begin_drain(); });
}

void describe(const http_server& s, penstock::metric_sink& to) {
  const http_server::state& all = *s.state_;
  to.kind("http_server");
  to.gauge({"connections", "Connections that are open."}, all.connections.value());
  to.counter({"connected", "Connections that were accepted."}, all.accepted.value());
  to.gauge(penstock::metrics::in_flight, all.in_flight.value());
  constexpr std::array<std::string_view, 6> classes{"", "1xx", "2xx", "3xx", "4xx", "5xx"};
  for (std::size_t i = 2; i < classes.size(); ++i)
    to.counter({"answers", "Requests that were answered, by the class of the status."}, all.statuses[i].value(),
               {"status", classes[i]});
  to.times(penstock::metrics::run, all.latency.snapshot());
}

}  // namespace api
