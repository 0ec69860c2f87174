#include <asio/io_context.hpp>
#include <penstock/ext/asio.hpp>

#include "asio.hpp"

bool with_asio();

bool with_asio() { return one_permit<asio::io_context, asio::error_code>(); }
