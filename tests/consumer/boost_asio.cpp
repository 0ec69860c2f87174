#include <boost/asio/io_context.hpp>
#include <penstock/ext/boost_asio.hpp>

#include "asio.hpp"

bool with_boost_asio();

bool with_boost_asio() { return one_permit<boost::asio::io_context, boost::system::error_code>(); }
