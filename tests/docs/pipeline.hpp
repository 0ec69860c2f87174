#include <iostream>
struct entry {};
struct database_type {
  void insert(const std::vector<entry>&);
};
struct quote {};
database_type database;
std::stop_token token;
penstock::broadcast<quote>& quotes = *new penstock::broadcast<quote>{1};
auto mine = quotes.subscribe();
bool is_error(const std::string&);
std::vector<entry> parse_all(const std::vector<std::string>&);
