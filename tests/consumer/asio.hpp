// Waits for one permit on an io_context; true if it came. For each Asio's file, which includes that library before.
#pragma once

#include <penstock/sync/semaphore.hpp>

template <class Context, class Error>
bool one_permit() {
  penstock::semaphore s{0};
  Context io;
  bool came = false;
  penstock::as_asio(io, s.async_acquire(), [&came](Error e) { came = !e; });
  s.release();
  io.run();
  return came;
}
