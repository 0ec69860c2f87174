// penstock/ext/asio.hpp: penstock and Asio together. The target penstock::asio takes the standalone library, penstock::boost_asio that of Boost.
//
//   as_asio.hpp          co_await as_asio(permits.async_acquire(), asio::use_awaitable): penstock's waits, with any completion token
//   use_task.hpp         co_await timer.async_wait(use_task): Asio's operations, in a penstock::task
//   asio_scheduler.hpp   co_await asio_scheduler{io}.schedule(): an io_context where penstock's coroutines go on
//   pool_context.hpp     asio::post(pool_context, f): a worker_pool where Asio's handlers run
#pragma once

#include <penstock/ext/as_asio.hpp>
#include <penstock/ext/asio_scheduler.hpp>
#include <penstock/ext/pool_context.hpp>
#include <penstock/ext/use_task.hpp>
