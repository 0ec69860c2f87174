#include <filesystem>
using namespace penstock;
using std::filesystem::path;
struct page {};
struct reply {};
struct replica_set {
  int next();
};
struct work {};
struct asker {
  task<reply> operator()(int, std::string) const;
  task<reply> operator()() const;
};
asker ask;
worker_pool& pool = *new worker_pool;
semaphore permits{1};
task_group& group = *new task_group;
penstock::spawned<int>& spawned_before();
penstock::spawned<int>& spawned = spawned_before();
manual_clock clock;
std::vector<std::string> urls;
std::vector<path> files;
replica_set replicas;
channel<work>& queue = *new channel<work>{1};
std::string query;
int id;
task<page> fetch(std::string);
task<page> load(int);
std::uint32_t checksum(const path&);
bool enough(const page&);
int f();
task<void> consume(channel<work>&);
void log(std::size_t, std::exception_ptr, std::chrono::nanoseconds);
