#include <asio/any_io_executor.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/defer.hpp>
#include <asio/detached.hpp>
#include <asio/dispatch.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#if __has_include(<asio/deferred.hpp>)
#include <asio/deferred.hpp>
#else
#include <asio/experimental/deferred.hpp>
#endif
#include <penstock/ext/asio.hpp>

#define PENSTOCK_TEST_ASIO_SLOTS 1
#include "asio_cases.hpp"

TEST_CASE("asio: a deferred wait begins when it is given another token, and not before", "[asio]") {
#if __has_include(<asio/deferred.hpp>)
  constexpr auto deferred = asio::deferred;
#else
  constexpr auto deferred = asio::experimental::deferred;
#endif
  asio::io_context io;
  penstock::semaphore s{1};
  auto later = penstock::as_asio(io, s.async_acquire(), deferred);
  io.run();
  CHECK(s.available() == 1);
  io.restart();
  int acquired = 0;
  std::move(later)([&](asio::error_code e) { acquired += e ? 0 : 1; });
  CHECK(acquired == 0);
  io.run();
  CHECK(acquired == 1);
  CHECK(s.available() == 0);
}
