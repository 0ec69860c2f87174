std::vector<std::string> urls;
penstock::worker_pool& pool = *new penstock::worker_pool;
void serve();
void fetch(const std::string&);
