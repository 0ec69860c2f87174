#include <iostream>
#include <ranges>
struct node {
  const node* left;
  const node* right;
};
