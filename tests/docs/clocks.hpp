penstock::semaphore connections{8};
struct service {
  int ask(const std::string&, const penstock::wait_limits&);
};
service backend;
std::string query;
