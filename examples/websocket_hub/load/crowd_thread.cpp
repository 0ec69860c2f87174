#include "crowd_thread.hpp"

#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace crowd {

namespace {

namespace net = boost::asio;
namespace ws = boost::beast::websocket;
using error_code = boost::system::error_code;

constexpr int attempts = 5;
constexpr auto pause = std::chrono::milliseconds{200};  // before the second attempt; n times that before the next ones
constexpr int receive_buffer = 4096;                    // of who does not read

}  // namespace

class crowd_thread::client : public std::enable_shared_from_this<client> {
 public:
  client(crowd_thread& home, group& g, std::size_t size) : home_{home}, group_{g}, text_(size, '\0') { renew(); }
  void renew() { stream_.emplace(home_.context_); }
  [[nodiscard]] hub::websocket& stream() { return *stream_; }

  void read() {
    stream_->async_read_some(net::buffer(text_), [self = shared_from_this()](error_code error, std::size_t size) {
      if (error) {
        self->ended();
        return;
      }
      self->received(size);
    });
  }
  /// Reads nothing, and notices a reset.
  void watch() {
    stream_->next_layer().async_wait(hub::tcp_socket::wait_error, [self = shared_from_this()](error_code) {
      self->home_.tally_.dropped.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
      self->close();
    });
  }
  void write(const std::string& text) {
    stream_->async_write(net::buffer(text), [self = shared_from_this()](error_code error, std::size_t) {
      if (error) std::fprintf(stderr, "a message could not be sent: %s\n", error.message().c_str());
    });
  }

  void close() {
    error_code ignored;
    stream_->next_layer().close(ignored);
  }

 private:
  void received(std::size_t size) {
    if (begins_) beginning_.assign(text_.data(), std::min<std::size_t>(size, 24));
    begins_ = stream_->is_message_done();
    if (begins_) home_.measurement_.came(group_, beginning_);
    read();
  }
  void ended() {
    home_.tally_.lost.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
    group_.readers.fetch_sub(1, std::memory_order_acq_rel);
    home_.measurement_.look();
    close();
  }
  crowd_thread& home_;
  group& group_;
  std::optional<hub::websocket> stream_;
  std::string text_;
  std::string beginning_;  // of the message that comes
  bool begins_ = true;     // ... with what comes next
};

crowd_thread::crowd_thread(const options& o, measurement& m, tally& t, penstock::semaphore& connecting)
    : options_{o}, measurement_{m}, tally_{t}, connecting_{connecting} {
  const net::steady_timer makes_what_wakes{context_};  // before the thread takes its own table
}

// On its thread, whose descriptors they are.
crowd_thread::~crowd_thread() {
  net::post(context_, [this] {
    for (const auto& c : clients_) c->close();
    clients_.clear();
    keep_running_.reset();
  });
}

void crowd_thread::start(bool own_table) {
  running_ = std::jthread{[this, own_table] {
    if (own_table && ::unshare(CLONE_FILES) != 0) {
      std::perror("unshare");
      std::exit(1);
    }
    context_.run();
  }};
}

void crowd_thread::connect(std::size_t first, std::size_t step, std::size_t end, bool slow, penstock::wait_group& done) {
  tasks_.spawn(connect_all(first, step, end, slow, done));
}

void crowd_thread::say(std::string text) {
  net::post(context_, [this, t = std::move(text)]() mutable {
    saying_ = std::move(t);
    clients_.front()->write(saying_);
  });
}

penstock::task<> crowd_thread::connect_all(std::size_t first, std::size_t step, std::size_t end, bool slow,
                                           penstock::wait_group& done) {
  {
    penstock::task_group all{here_};
    for (std::size_t i = first; i < end; i += step) {
      auto turn = co_await connecting_.async_acquire_permit();
      all.spawn(connect_one(i, slow, *std::move(turn)));
    }
    co_await all.join();
  }
  done.done();
}

penstock::task<> crowd_thread::connect_one(std::size_t number, bool slow, penstock::semaphore::permit turn) {
  group& g = measurement_.groups[number % options_.urls.size()];
  const auto c = std::make_shared<client>(*this, g, slow ? 0 : options_.size);
  penstock::result<void> connected = penstock::errc::closed;
  for (int i = 1; i <= attempts; ++i) {
    connected = co_await try_to_connect(*c, number, slow);
    if (connected || i == attempts) break;
    c->renew();
    net::steady_timer timer{context_, pause * i};
    static_cast<void>(co_await timer.async_wait(penstock::use_task));
  }
  turn.release();
  if (!connected) {
    if (tally_.failed.fetch_add(1, std::memory_order_relaxed) == 0)  // relaxed: a statistic
      std::fprintf(stderr, "connecting: %s\n", connected.error().message().c_str());
    co_return;
  }
  clients_.push_back(c);
  if (slow) {
    tally_.slow.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
    c->watch();
  } else {
    g.readers.fetch_add(1, std::memory_order_acq_rel);
    c->read();
  }
}

penstock::task<penstock::result<void>> crowd_thread::try_to_connect(client& c, std::size_t number, bool slow) {
  const url& to = options_.urls[number % options_.urls.size()];
  hub::tcp_socket& socket = c.stream().next_layer();
  error_code error;
  socket.open(net::ip::tcp::v4(), error);
  if (error) co_return std::error_code{error};
  if (slow) socket.set_option(net::socket_base::receive_buffer_size{receive_buffer}, error);
  if (options_.addresses != 0) {
    // Without a port yet: that is found when the other end is known, so that two connections to different ends may have the same.
    const int on = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    const auto last = static_cast<std::uint32_t>(number / options_.urls.size() % options_.addresses);
    socket.bind({net::ip::address_v4{net::ip::address_v4::loopback().to_uint() + last}, 0}, error);
    if (error) co_return std::error_code{error};
  }
  socket.set_option(net::ip::tcp::no_delay{true}, error);
  const net::ip::tcp::endpoint end{net::ip::make_address_v4(to.host), to.port};
  const auto connected = co_await socket.async_connect(end, penstock::use_task);
  if (!connected) co_return connected;
  c.stream().set_option(ws::stream_base::timeout{
      .handshake_timeout = std::chrono::seconds{30}, .idle_timeout = ws::stream_base::none(), .keep_alive_pings = false});
  co_return co_await c.stream().async_handshake(to.host + ":" + std::to_string(to.port), to.path, penstock::use_task);
}

}  // namespace crowd
