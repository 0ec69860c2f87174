struct strict_service {
  const penstock::worker_pool& pool() const;
};
strict_service& strict = *new strict_service;
penstock::worker_pool& pool = *new penstock::worker_pool;
void stop_listening();
