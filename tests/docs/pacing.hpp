using penstock::future;
using penstock::result;
struct page {};
struct receipt {};
struct document {};
struct reply {
  bool overloaded() const;
};
struct request_type {
  const std::string& user() const;
};
struct service {
  reply ask(std::string_view);
};
struct document_store {
  receipt write(const document&);
};
struct queued {
  std::chrono::steady_clock::time_point queued_at;
  void refuse();
};
std::stop_token token;
request_type request;
service backend;
document_store store;
document d;
std::string query, url;
std::vector<std::byte> bytes;
penstock::token_bucket calls{penstock::rate{100, 1s}, 20};
penstock::approximate_sliding_window hits{100, 1min};
std::chrono::steady_clock clock;
penstock::worker_pool& pool = *new penstock::worker_pool;
penstock::channel<queued>& queue = *new penstock::channel<queued>{1};
void send(const request_type&);
int too_many_requests(std::chrono::nanoseconds);
template <class... Parts>
void log(const Parts&...);
page get(const std::string&);
penstock::task<page> async_get(const std::string&);
void refuse();
void run(const queued&);
