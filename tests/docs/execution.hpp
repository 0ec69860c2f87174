struct order {};
int ship(const order&);
int render();
int load(int);
inline int table[100];
penstock::channel<order>& orders = *new penstock::channel<order>{1};
penstock::worker_pool& pool = *new penstock::worker_pool{{.threads = 1}};
