using namespace penstock;
struct page {};
struct user {};
struct mail {};
struct database {
  std::vector<user> users(std::span<const int>);
};
database& db = *new database;
mail welcome;
worker_pool& pool = *new worker_pool;
std::vector<std::string> urls;
task<page> fetch(std::string);
void send(const mail&);
