// penstock/job/detail/job_group_record.hpp: the lines that the waiting jobs of one group stand in, and what is known of the group besides. Guarded by the
// store's lock.
#pragma once

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/node_list.hpp>
#include <penstock/job/detail/job_node.hpp>
#include <penstock/job/job_group.hpp>

namespace penstock::inline v0_1::detail {

/// Waiting jobs: those of priority 0 in a list, the others in a heap.
template <class Node>
struct job_line {
  node_list<Node> first;
  job_heap<Node> others;  // by priority, then in order

  [[nodiscard]] bool empty() const noexcept { return first.empty() && others.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return first.size() + others.size(); }
  [[nodiscard]] Node* front() const noexcept { return !first.empty() ? first.front() : others.top().node; }
  /// Precondition: it is not empty.
  Node* pop() noexcept {
    Node* const n = front();
    first.empty() ? others.erase(*n) : first.remove(*n);
    return n;
  }
  void push(Node& n, bool before_others, std::uint64_t order) noexcept {
    if (n.priority != 0) {
      others.push(n.priority, order, n);
    } else if (before_others) {
      first.push_front(n);
    } else {
      first.push_back(n);
    }
  }
  void erase(Node& n) noexcept { n.priority != 0 ? others.erase(n) : first.remove(n); }
  void append_to(std::vector<Node*>& all) const {
    for (Node* n = first.front(); n != nullptr; n = n->after) all.push_back(n);
    auto sorted = others.entries();
    std::sort(sorted.begin(), sorted.end());
    for (const auto& e : sorted) all.push_back(e.node);
  }
};

/// The times of the latest starts, oldest first.
template <class Time = job_time>
class basic_start_log {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return times_.size(); }
  /// Precondition: i < size().
  [[nodiscard]] job_time operator[](std::size_t i) const noexcept { return times_[(first_ + i) % times_.size()]; }
  [[nodiscard]] job_time back() const noexcept { return (*this)[size_ - 1]; }
  void clear() noexcept { size_ = 0; }
  /// So that the first one has room. Throws std::bad_alloc.
  void reserve_one() {
    if (times_.empty()) times_.resize(1);
  }
  /// Whether one more has room; it is made, up to `most`. Without memory for it the answer is no: the group is slower then, and never faster.
  [[nodiscard]] bool room(std::size_t most) noexcept {
    if (size_ >= most) return false;
    if (size_ < times_.size()) return true;
    try {
      std::vector<Time> more(std::min(most, 2 * times_.size()));
      for (std::size_t i = 0; i < size_; ++i) more[i] = (*this)[i];
      times_.swap(more);
      first_ = 0;
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  /// Precondition: room().
  void push(job_time t) noexcept {
    times_[(first_ + size_) % times_.size()] = t;
    ++size_;
  }
  /// Those that a start at `now` need not mind.
  void drop(job_time now, std::chrono::nanoseconds length) noexcept {
    for (; size_ != 0 && saturating_add((*this)[0].count(), length.count()) <= now.count(); --size_) {
      first_ = (first_ + 1) % times_.size();
    }
  }

 private:
  std::vector<Time> times_;  // a ring
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};
using start_log = basic_start_log<>;

/// A virtual time: how many turns a group of weight 1 has had. Fixed point, and wide enough never to wrap.
struct turn_time {
  static constexpr int bits = 40;
  std::int64_t whole = 0;
  std::uint64_t part = 0;  // in 2^-bits

  [[nodiscard]] turn_time after(std::uint64_t weight) const noexcept {  // one turn of that weight later
    const std::uint64_t sum = part + (std::uint64_t{1} << bits) / weight;
    return {whole + static_cast<std::int64_t>(sum >> bits), sum & ((std::uint64_t{1} << bits) - 1)};
  }
  friend auto operator<=>(const turn_time&, const turn_time&) = default;
};

template <class Node>
struct job_group {
  enum class at : std::uint8_t { nowhere, coming, eligible, resting, leaving };

  [[nodiscard]] bool paced() const noexcept { return rule.max != job_group_rule::unlimited; }

  job_line<Node> line;
  job_text name;
  job_group_rule rule;
  bool own_rule = false;        // it was given by name: it is kept
  at in = at::nowhere;          // the heap that it is in (job_groups)
  std::uint32_t place = 0;      // and where there
  std::size_t members = 0;      // known jobs, in whatever state
  std::size_t prioritized = 0;  // of these, those of priority 1 and up: `line.others` has room for so many
  std::size_t active = 0;
  turn_time start;  // of its next turn
  basic_start_log<dependent<job_time, Node>> starts;
  std::size_t coming_prioritized = 0;  // of one that is about to be added
};

/// The groups of jobs that are about to be added: made without the lock.
template <class Node>
using new_job_groups = std::unordered_map<std::string_view, job_group<Node>>;

/// One of that name. Throws std::bad_alloc.
template <class Node>
job_group<Node>& prepare_group(new_job_groups<Node>& fresh, std::string_view name) {
  if (const auto at = fresh.find(name); at != fresh.end()) return at->second;
  job_text text = std::make_shared<const std::string>(name);
  job_group<Node>& g = fresh[*text];
  g.name = std::move(text);
  return g;
}

}  // namespace penstock::inline v0_1::detail
