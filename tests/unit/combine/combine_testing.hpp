// What the tests of the combinators share: children that end when they are told to, and an account of how they ended.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

namespace combine_test {

struct child_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Gates by number, and what the children behind them did. On one thread.
struct scene {
  explicit scene(std::size_t children) : gates(children) {}

  void open(std::size_t i) { gates[i].set(); }

  std::deque<penstock::event> gates;
  std::vector<std::size_t> begun;      // in this order
  std::vector<std::size_t> cancelled;  // in this order
  std::size_t under_way = 0;
  std::size_t most_under_way = 0;
};

/// Counts itself as under way from the child's beginning until its frame is destroyed.
struct under_way {
  under_way(scene& s, std::size_t i) : at{&s} {
    s.begun.push_back(i);
    s.most_under_way = std::max(s.most_under_way, ++s.under_way);
  }
  under_way(const under_way&) = delete;
  under_way& operator=(const under_way&) = delete;
  ~under_way() { --at->under_way; }
  scene* at;
};

/// Gives its number times ten once its gate opens. Told to stop, it throws errc::cancelled.
inline penstock::task<int> number(scene& s, std::size_t i) {
  const under_way here{s, i};
  const penstock::result<void> r = co_await s.gates[i].async_wait();
  if (!r) {
    s.cancelled.push_back(i);
    throw std::system_error{r.error()};
  }
  co_return static_cast<int>(i) * 10;
}

/// The same as a result.
inline penstock::task<penstock::result<int>> number_or_error(scene& s, std::size_t i) {
  const under_way here{s, i};
  const penstock::result<void> r = co_await s.gates[i].async_wait();
  if (!r) {
    s.cancelled.push_back(i);
    co_return r.error();
  }
  co_return static_cast<int>(i) * 10;
}

/// Throws once its gate opens, or when it is told to stop.
inline penstock::task<int> failure(scene& s, std::size_t i) {
  const under_way here{s, i};
  static_cast<void>(co_await s.gates[i].async_wait());
  throw child_error{"child " + std::to_string(i)};
}

/// Gives an error code once its gate opens.
inline penstock::task<penstock::result<int>> error(scene& s, std::size_t i, penstock::errc e) {
  const under_way here{s, i};
  static_cast<void>(co_await s.gates[i].async_wait());
  co_return e;
}

/// Does not listen when told to stop.
inline penstock::task<int> stubborn(scene& s, std::size_t i) {
  const under_way here{s, i};
  static_cast<void>(co_await (s.gates[i].async_wait() | penstock::with_stop({})));
  co_return static_cast<int>(i) * 10;
}

inline penstock::task<> nothing(scene& s, std::size_t i) {
  const under_way here{s, i};
  const penstock::result<void> r = co_await s.gates[i].async_wait();
  if (!r) throw std::system_error{r.error()};
}

inline penstock::task<int> give(int value) { co_return value; }
inline penstock::task<int> give_or_throw(int value) {
  if (value < 0) throw child_error{std::to_string(value)};
  co_return value;
}

template <class Child>
auto each(scene& s, Child child) {
  std::vector<decltype(child(s, std::size_t{}))> all;
  for (std::size_t i = 0; i < s.gates.size(); ++i) all.push_back(child(s, i));
  return all;
}

/// The failures that awaiting it ends with: the indices of the children; {-1} if it does not fail with a combined_error.
template <class F>
std::vector<int> failures_of(F f) {
  std::vector<int> indices;
  try {
    static_cast<void>(f());
    return {-1};
  } catch (const penstock::combined_error& e) {
    for (const auto& failure : e.failures()) indices.push_back(static_cast<int>(failure.index));
  } catch (...) {
    return {-1};
  }
  return indices;
}

/// The code of the std::system_error that it throws; none if it throws nothing or something else.
template <class F>
std::error_code code_of(F f) {
  try {
    static_cast<void>(f());
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    return {};
  }
  return {};
}

}  // namespace combine_test
