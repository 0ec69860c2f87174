struct row {};
struct database {
  void insert(std::span<const row>);
};
database& db = *new database;
row r;
penstock::worker_pool& pool = *new penstock::worker_pool;
