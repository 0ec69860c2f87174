#include "hub_thread.hpp"

#include <sys/socket.h>

#include <memory>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>

namespace hub {

namespace {

namespace net = boost::asio;
using error_code = boost::system::error_code;
using clock_type = std::chrono::steady_clock;

constexpr auto look_every = std::chrono::milliseconds{250};
constexpr auto greeting_time = std::chrono::seconds{10};
constexpr std::size_t visited_at_once = 256;

}  // namespace

hub_thread::hub_thread(exchange& all, const penstock::registry& seen, const options& o)
    : all_{all}, seen_{seen}, options_{o}, arrivals_{all.arrivals.subscribe()}, outgoing_{o.behind, {.when_slow = o.when_slow}} {}

hub_thread::~hub_thread() = default;

void hub_thread::listen(const penstock::reuse_port& port) {
  const int listener = port.listen();
  ::sockaddr_storage address{};
  ::socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<::sockaddr*>(&address), &size);
  door_.assign(address.ss_family == AF_INET6 ? net::ip::tcp::v6() : net::ip::tcp::v4(), listener);
  // Connections have these from it.
  door_.set_option(net::ip::tcp::no_delay{true});
  if (options_.send_buffer != 0) door_.set_option(net::socket_base::send_buffer_size{static_cast<int>(options_.send_buffer)});
}

void hub_thread::run() {
  tasks_.spawn(fan_out());
  look_around();
  context_.run();
}

void hub_thread::drain() {
  net::post(context_, [this] { begin_drain(); });
}

void hub_thread::accept() {
  if (accepts_ || draining_) return;
  accepts_ = true;
  door_.async_accept([this](error_code error, tcp_socket s) {
    accepts_ = false;
    if (error || draining_) return;  // such as too many open files: the next look around begins again
    begin(std::move(s));
    accept();
  });
}

void hub_thread::begin(tcp_socket s) {
  const auto one = std::make_shared<connection>(*this, std::move(s));
  young_.emplace_back(clock_type::now() + greeting_time, one);
  tasks_.spawn(connection::greet(one));
}

void hub_thread::look_around() {
  const auto now = clock_type::now();
  while (!young_.empty() && (draining_ || young_.front().first <= now)) {
    const auto one = young_.front().second.lock();
    young_.pop_front();
    if (one && !one->is_open()) one->cut();
  }
  if (draining_ && now >= cut_at_) {
    for (connection* c = first_; c != nullptr; c = c->next()) c->cut();
  }
  accept();
  if (is_done()) return;  // this one was due already when it was to be the last
  look_.expires_after(look_every);
  look_.async_wait([this](error_code error) {
    if (!error) look_around();
  });
}

void hub_thread::begin_drain() {
  if (std::exchange(draining_, true)) return;
  cut_at_ = clock_type::now() + options_.drain;
  error_code ignored;
  door_.close(ignored);
  end_if_done();
}

// When the last connection goes and when the fan-out has ended, whichever comes last.
void hub_thread::end_if_done() {
  if (!is_done()) return;
  look_.cancel();
  keep_running_.reset();
}

penstock::task<> hub_thread::fan_out() {
  for (;;) {
    auto next = co_await arrivals_.async_pop();
    if (!next) break;
    static_cast<void>(outgoing_.try_publish(*std::move(next)));  // a broadcast that waits for nobody has room
    co_await visit_all();
  }
  outgoing_.close();
  co_await visit_all();
  fanned_out_ = true;
  end_if_done();
}

penstock::task<> hub_thread::visit_all() {
  visited_next_ = first_;
  while (visited_next_ != nullptr) {
    for (std::size_t i = 0; i < visited_at_once && visited_next_ != nullptr; ++i) {
      connection& c = *visited_next_;
      visited_next_ = c.next();
      c.look();
    }
    co_await here_.schedule();
  }
}

}  // namespace hub
