// penstock/ext/stdexec.hpp: penstock and stdexec, the implementation of std::execution that other libraries and programs use today, together. The target
// penstock::stdexec takes it.
//
//   auto [first] = *stdexec::sync_wait(orders.async_pop());                                          // every async_…() of penstock's, tasks, futures: senders
//   auto rest = as_sender(orders.async_pop()) | stdexec::then([](order o) { … });                    // with errors in their own channel: as_sender.hpp
//   auto page = stdexec::starts_on(pool.get_scheduler(), stdexec::just() | stdexec::then(render));   // a worker_pool, or any scheduler of penstock's
//   int sum = co_await penstock::from_sender(stdexec::when_all(load(1), load(2)) | stdexec::then(std::plus<>{}));   // stdexec's in a task: from_sender.hpp
//
// What completes where and how, and how stop requests come through, is in execution.hpp. A source that connects senders of penstock's with stdexec's receivers
// includes this header. beman_execution.hpp and std_execution.hpp are the same for two other implementations; a program takes one of the three.
#pragma once

#include <penstock/ext/as_sender.hpp>
#include <penstock/ext/detail/execution_library.hpp>
#include <penstock/ext/execution.hpp>
#include <penstock/ext/from_sender.hpp>
