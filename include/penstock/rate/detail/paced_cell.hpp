// penstock/rate/detail/paced_cell.hpp: what paced_core.hpp keeps of a call, and of one sequence of calls. Guarded by the core's lock.
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/rate/detail/call_pace.hpp>

namespace penstock::inline v0_1::detail {

template <class Node, class Sync>
struct paced_cell;

/// A call. `Node` derives from it and has add_owner() and drop_owner(); it is born with one owner, who calls.
template <class Node, class Sync>
struct paced_node : work_item {
  typename Sync::template var<paced_cell<Node, Sync>*> of{nullptr};
  typename Sync::template var<Node*> latest{nullptr};     // of those that wait with this one: the one with the arguments; owned
  typename Sync::template var<Node*> following{nullptr};  // in the list of those that were sent, or are given up
  typename Sync::template var<Node*> next_dropped{nullptr};
  typename Sync::template var<Node*> later{nullptr};  // in the core's line of those whose outcome is open
  typename Sync::template var<Node*> earlier{nullptr};
  typename Sync::template var<std::uint64_t> number{0};  // its place in that line
  typename Sync::template var<bool> wanted{false};       // somebody looks at its outcome
};

template <class Node, class Sync>
struct paced_cell : timer_entry<Sync> {
  template <class T>
  using var = typename Sync::template var<T>;

  void* core = nullptr;
  call_pace<Sync> pace;
  var<Node*> waiting{nullptr};            // the first of the calls that wait for a run; owned
  var<bool> urgent{false};                // they are due
  var<bool> asked{false};                 // because the user said so
  var<nanoseconds_point> seen{0};         // the time when it was looked at last
  var<Node*> sent{nullptr};               // those on their way that have not begun
  var<Node*> last{nullptr};               // the one sent last; owned
  var<std::size_t> out{0};                // sent and not home
  var<nanoseconds_point> wanted{never};   // when the timer should fire
  var<nanoseconds_point> set_for{never};  // when it does
  var<bool> setting{false};               // somebody has the role
  var<bool> fired{false};                 // it did while it was being set
  var<paced_cell*> next_to_set{nullptr};

  [[nodiscard]] bool idle() const noexcept { return waiting == nullptr && out == 0 && !pace.open(); }
  [[nodiscard]] bool untimed() const noexcept { return !setting && set_for == never; }
};

}  // namespace penstock::inline v0_1::detail
