struct row_type {};
struct connection {
  explicit connection(std::string);
  bool ping();
  bool insert(const row_type&);
};
row_type row;
penstock::worker_pool& workers = *new penstock::worker_pool;
void log(const std::error_code&);
