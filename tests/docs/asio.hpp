#include <asio.hpp>
#include <future>
#include <penstock/ext/asio.hpp>
using asio::ip::tcp;
using penstock::as_asio;
struct document {};
struct order {};
document page;
asio::io_context io;
tcp::socket client{io};
penstock::limiter& requests = *new penstock::limiter{{}};
penstock::channel<order>& orders = *new penstock::channel<order>{1};
penstock::event started;
std::string render(const document&);
