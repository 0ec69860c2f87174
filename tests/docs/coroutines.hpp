struct page {};
struct event_loop {
  void post(penstock::work_item&);
};
penstock::semaphore connections{8};
penstock::worker_pool& pool = *new penstock::worker_pool;
penstock::channel<int>& queue = *new penstock::channel<int>{1};
penstock::deadline until;
std::string url;
penstock::task<page> download(std::string);
penstock::task<> store(penstock::task<page>);
penstock::task<> rollback();
penstock::task<> farewell();
std::vector<std::string> front_page();
