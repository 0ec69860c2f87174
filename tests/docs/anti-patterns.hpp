using namespace penstock;
struct image {};
struct page {};
struct connection {};
struct author {};
struct post {
  int author;
};
struct database {
  std::vector<author> authors(std::span<const int>);
};
struct cache_type {};
struct library {
  void wait();
};
image picture;
database& db = *new database;
cache_type cache;
library old_library;
std::vector<post> posts;
std::vector<std::string> urls;
std::map<std::string, int> balance;
std::string from, to;
int amount;
std::mutex a, b;
std::stop_token token;
std::chrono::steady_clock::time_point intended_start;
worker_pool& pool = *new worker_pool;
resource_pool<connection>& connections = *new resource_pool<connection>{[] { return connection{}; }};
image thumbnail(const image&);
task<page> fetch(std::string);
int ask();
int busy(std::error_code);
void show(const post&, const result<author>&);
task<void> refresh(cache_type&);
template <class Value>
void report(Value);
