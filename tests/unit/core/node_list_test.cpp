#include <penstock/core/detail/node_list.hpp>

#include <vector>

#include "../../support/catch.hpp"

namespace {

struct node {
  int number = 0;
  node* before = nullptr;
  node* after = nullptr;
};
using list = penstock::detail::node_list<node>;

std::vector<int> forwards(const list& l) {
  std::vector<int> all;
  for (const node* n = l.front(); n != nullptr; n = n->after) all.push_back(n->number);
  return all;
}
std::vector<int> backwards(const list& l) {
  std::vector<int> all;
  for (const node* n = l.back(); n != nullptr; n = n->before) all.push_back(n->number);
  return all;
}

}  // namespace

TEST_CASE("node_list: joined at both ends, and left at both ends and in the middle", "[node_list]") {
  node a{1}, b{2}, c{3}, d{4};
  list l;
  CHECK(l.empty());
  CHECK(l.pop_front() == nullptr);
  l.push_front(b);
  l.push_back(c);
  l.push_back(d);
  l.push_front(a);
  CHECK(l.size() == 4);
  CHECK(forwards(l) == std::vector{1, 2, 3, 4});
  CHECK(backwards(l) == std::vector{4, 3, 2, 1});
  l.remove(b);
  CHECK(forwards(l) == std::vector{1, 3, 4});
  CHECK(backwards(l) == std::vector{4, 3, 1});
  l.remove(d);
  CHECK(l.pop_front() == &a);
  CHECK(forwards(l) == std::vector{3});
  CHECK(backwards(l) == std::vector{3});
  CHECK(l.size() == 1);
  l.remove(c);
  CHECK(l.empty());
  CHECK(l.back() == nullptr);
  CHECK(l.size() == 0);
}

TEST_CASE("node_list: one takes over all of another, behind its own", "[node_list]") {
  node a{1}, b{2}, c{3};
  list l;
  list other;
  l.push_back(a);
  other.push_back(b);
  other.push_back(c);
  l.append(other);
  CHECK(other.empty());
  CHECK(other.size() == 0);
  CHECK(forwards(l) == std::vector{1, 2, 3});
  CHECK(l.size() == 3);
}
