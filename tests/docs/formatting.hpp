using namespace penstock;
worker_pool pool;
registry all;
registry_snapshot before;
result<double> quote(const char*);
