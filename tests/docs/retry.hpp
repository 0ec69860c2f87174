using namespace penstock;
struct reply {};
struct row {};
struct backend {};
int server, id;
std::string query;
struct asker {
  reply operator()(int, const std::string&) const;
  reply operator()() const;
};
asker ask;
penstock::retry_budget budget{{}};
penstock::circuit_breaker database{{}};
task<reply> ask_async(int, const std::string&);
row find_row(int);
task<row> load(int);
