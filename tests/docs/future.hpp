struct config {
  int port;
};
penstock::future<int> f;
penstock::future<int> other;
penstock::shared_future<config> settings;
penstock::worker_pool& pool = *new penstock::worker_pool;
config load();
