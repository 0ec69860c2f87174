#include <penstock/ext/redis_connection.hpp>
#include <penstock/ext/redis_token_bucket.hpp>
using penstock::deadline;
using penstock::with_timeout;
struct request_type {};
struct problem_type {};
struct solution_type {};
struct storage_type {
  void write(const solution_type&, std::uint64_t fence);
};
std::string secret, picture;
std::map<std::string, std::string> rows;
std::stop_token token;
request_type request;
problem_type problem;
solution_type solution;
storage_type storage;
penstock::redis_options options;
penstock::redis_connection& redis = *new penstock::redis_connection{options};
penstock::worker_pool& pool = *new penstock::worker_pool;
void send(const request_type&);
int too_many_requests(const penstock::result<std::chrono::nanoseconds>&);
penstock::redis_token_bucket calls{options, "limits", penstock::rate{100, 1s}, 20};
void solve(const problem_type&, std::stop_token);
template <class... Parts>
void log(const Parts&...);
template <class Value>
void show(const Value&);
