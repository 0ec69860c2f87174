// penstock/job/job_flow.hpp: a job and those that it waits for, to be added in one step.
//
//   penstock::job_flow<work> film{.payload = join, .options = {.name = "join"}, .children = {{.payload = cut(1)}, {.payload = cut(2), .options = {.attempts = 3}}}};
//   auto ids = queue.add_flow(std::move(film)).value();       // of `join`, and of the cuts
//
// The children are run first, in no order among each other but that of the queue; then the parent, whose handler finds what they gave in job::children().
// enqueue_options::on_failure of a child says what becomes of its parent if it fails for good. All are jobs of one store.
//
// Thread safety  a value. Destruction  recurses: a chain of ten thousands is better added with job_queue::try_add_entries() and job_entry::parent.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <penstock/job/enqueue_options.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

namespace detail {
// In place of {}: g++ 12 fails on an initialiser of a vector of what is not complete.
struct no_children {
  template <class Flow>
  operator std::vector<Flow>() const noexcept {
    return {};
  }
};
}  // namespace detail

template <class Payload>
struct job_flow {
  Payload payload = {};
  enqueue_options options = {};
  std::vector<job_flow> children = detail::no_children{};
};

namespace detail {

/// Parents before their children, and else in order: each job, then what is below it. Refers to the flow. Throws std::bad_alloc.
template <class Payload>
[[nodiscard]] std::vector<job_entry<Payload>> entries_of(job_flow<Payload>& top) {
  struct place {
    job_flow<Payload>* flow;
    std::size_t parent;
  };
  std::vector<job_entry<Payload>> entries;
  std::vector<place> open{{&top, job_entry<Payload>::no_entry}};
  while (!open.empty()) {
    const place at = open.back();
    open.pop_back();
    const std::size_t mine = entries.size();
    entries.push_back({.payload = &at.flow->payload, .options = &at.flow->options, .parent = at.parent});
    for (std::size_t i = at.flow->children.size(); i-- > 0;) open.push_back({&at.flow->children[i], mine});
  }
  return entries;
}

}  // namespace detail

}  // namespace penstock::inline v0_1
