struct user {};
struct database {
  std::vector<user> users(std::span<const int>);
};
database& db = *new database;
std::vector<int> ids;
penstock::worker_pool& pool = *new penstock::worker_pool;
