#include <fstream>
using namespace penstock;
struct image {};
struct request_type {};
struct cache_type {};
image picture;
image frame;
cache_type cache;
request_type request;
std::ofstream file;
std::string line;
std::stop_token token;
int late;
image scale(const image&);
void refresh(cache_type&);
penstock::task<image> render(const request_type&);
void show(const image&);
void task();
template <class... Parts>
void report(const Parts&...);
template <class... Parts>
void warn(const Parts&...);
worker_pool& pool = *new worker_pool;
