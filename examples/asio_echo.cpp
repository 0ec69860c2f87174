// A server on Asio that cannot be overrun: a semaphore for its connections, a limiter for requests, and a pool for what computes, so that the one thread of
// the io_context never does. Its coroutines are Asio's, and await penstock's waits with use_awaitable; the clients are penstock's, and await Asio's operations
// with use_task. It answers each line in capitals.
#include <algorithm>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include <penstock/core/task_group.hpp>
#include <penstock/ext/asio.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/sync/semaphore.hpp>

namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;
using penstock::as_asio;
using penstock::use_task;

constexpr int clients = 20;
constexpr int lines = 25;
constexpr int places_for_clients = 4;
constexpr int requests_at_a_time = 2;

struct server {
  penstock::worker_pool pool{{.threads = 2, .queue_capacity = 64}};
  penstock::semaphore places{places_for_clients};
  penstock::limiter requests{{.max_concurrent = requests_at_a_time}};
  asio::io_context io;  // behind what its coroutines hold, so it goes first
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  std::atomic<int> computing{0};
  std::atomic<int> most_computing{0};
  int connected = 0;  // the io_context's thread only
  int most_connected = 0;
  int answered = 0;
};

std::string in_capitals(server& s, std::string line) {
  const int now = ++s.computing;
  for (int most = s.most_computing; now > most && !s.most_computing.compare_exchange_weak(most, now);) {
  }
  std::transform(line.begin(), line.end(), line.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  --s.computing;
  return line;
}

asio::awaitable<void> converse(server& s, tcp::socket client, [[maybe_unused]] penstock::semaphore::permit place) {
  s.most_connected = std::max(s.most_connected, ++s.connected);
  std::string received;
  try {
    for (;;) {
      const std::size_t end =
          co_await asio::async_read_until(client, asio::dynamic_buffer(received, 4096), '\n', asio::use_awaitable);
      auto turn = co_await as_asio(s.requests.async_acquire_permit(), asio::use_awaitable);
      auto computed = s.pool.submit([&s, line = received.substr(0, end)] { return in_capitals(s, line); });
      const std::string answer = co_await as_asio(std::move(computed), asio::use_awaitable);
      turn.release();
      received.erase(0, end);
      co_await asio::async_write(client, asio::buffer(answer), asio::use_awaitable);
      ++s.answered;
    }
  } catch (const std::system_error& e) {
    if (e.code() != asio::error::eof) std::fprintf(stderr, "a connection failed: %s\n", e.what());
  }
  --s.connected;
}

// Accepts no one for whom there is no place: they wait in the kernel's line.
asio::awaitable<void> accept(server& s) {
  try {
    for (;;) {
      auto place = co_await as_asio(s.places.async_acquire_permit(), asio::use_awaitable);
      tcp::socket client = co_await s.acceptor.async_accept(asio::use_awaitable);
      asio::co_spawn(s.io, converse(s, std::move(client), std::move(place)), asio::detached);
    }
  } catch (const std::system_error& e) {
    if (e.code() != asio::error::operation_aborted) std::fprintf(stderr, "accepting failed: %s\n", e.what());
  }
}

penstock::task<> talk(server& s, int me, int& good) {
  tcp::socket socket{s.io};
  const tcp::endpoint to = s.acceptor.local_endpoint();
  auto connected = co_await (socket.async_connect(to, use_task) | penstock::with_timeout(10s));
  if (!connected) co_return;
  std::string received;
  for (int i = 0; i < lines; ++i) {
    const std::string line = "client " + std::to_string(me) + " line " + std::to_string(i) + "\n";
    auto sent = co_await asio::async_write(socket, asio::buffer(line), use_task);
    if (!sent) co_return;
    auto got =
        co_await (asio::async_read_until(socket, asio::dynamic_buffer(received), '\n', use_task) | penstock::with_timeout(10s));
    if (!got) co_return;
    if (received.substr(0, *got) == "CLIENT " + std::to_string(me) + " LINE " + std::to_string(i) + "\n") ++good;
    received.erase(0, *got);
  }
}

penstock::task<> all_clients(server& s, penstock::asio_scheduler<asio::io_context> here, int& good) {
  penstock::task_group group{here};
  for (int c = 0; c < clients; ++c) group.spawn(talk(s, c, good));
  co_await group.join();
}

void expect(bool holds, const char* what) {
  std::printf("%-7s %s\n", holds ? "ok" : "NOT OK", what);
  if (!holds) std::exit(1);
}

}  // namespace

int main() {
  server s;
  const penstock::asio_scheduler here{s.io};
  asio::co_spawn(s.io, accept(s), asio::detached);
  int good = 0;
  as_asio(s.io, all_clients(s, here, good) | penstock::via(here), [&](std::exception_ptr) {
    s.acceptor.close();
    s.places.close();  // whichever of the two the acceptor waits for
  });
  s.io.run();  // until there is no work

  std::printf("%d answers for %d clients, at most %d at a time, computed by at most %d\n", s.answered, clients, s.most_connected,
              s.most_computing.load());
  expect(good == clients * lines, "every line came back in capitals");
  expect(s.answered == good, "and none was answered twice");
  expect(s.most_connected <= places_for_clients, "no more clients at a time than there are places");
  expect(s.most_computing <= requests_at_a_time, "no more requests at a time than the limiter lets through");
  return 0;
}
