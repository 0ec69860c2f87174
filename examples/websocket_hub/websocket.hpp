// The WebSocket stream of the hub and of what puts load on it: Boost.Beast's.
#pragma once

#include <penstock/ext/boost_asio.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/websocket/stream.hpp>

namespace hub {

// With the executor by its type, as any_io_executor costs memory and a few moves at each operation; and without compression.
using tcp_socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
using websocket = boost::beast::websocket::stream<tcp_socket, false>;

}  // namespace hub
