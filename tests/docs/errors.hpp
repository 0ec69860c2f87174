struct user {
  int id;
};
struct document {
  std::size_t size() const;
};
struct request {};
penstock::semaphore connections{8};
penstock::wait_limits limits;
penstock::channel<request>& requests = *new penstock::channel<request>{1};
penstock::channel<int>& numbers = *new penstock::channel<int>{1};
std::vector<int> batch;
request r;
std::string path;
void use(penstock::semaphore::permit&);
void busy();
template <class... Parts>
void log(const Parts&...);
penstock::result<std::string> read_file(const std::string&);
penstock::result<document> parse(const std::string&);
