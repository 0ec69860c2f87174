// penstock/pool/detail/worker_slot.hpp: what belongs to one worker of a pool, and is looked at by the others.
//
// What a worker submits from inside lies in its own lanes, without a lock: tasks and resumptions, which it takes out in their order, and the jobs
// that a fork-join algorithm pushes, which only that algorithm takes back (the newest first). The other workers steal the oldest of each.
//
// Memory         a task from inside lies in a node. A slot makes its nodes sixteen at a time when its worker needs them, the first at construction (most
//                workers never need more), as many as its lane has room for. Each comes back to it: by its own worker, or by who stole the task,
//                through the list of returned ones. So a slot that has a node has room in its lane, too.
// Counting       `added` and `finished` only grow, and only the slot's own worker writes them: how many pieces of work it put into its lanes, and
//                how many it has finished, its own or others'. See task_queue::quiescent().
// Thread safety  the worker's own, but for the lanes' other ends, give_back() and the counts.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/work_deque.hpp>
#include <penstock/pool/detail/worker_stats.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
class worker_slot;

template <class Task, class Sync>
struct task_node {
  Task task{};
  typename Sync::template var<task_node*> next{nullptr};
  worker_slot<Task, Sync>* home = nullptr;
  nanoseconds_point since = untimed;  // task_label::since
};

template <class Task, class Sync = std_sync>
class alignas(cache_line) worker_slot {
 public:
  using node = task_node<Task, Sync>;

  /// `queue`: whose worker it is. `tasks`: how many of them may lie in its lane.
  worker_slot(const void* of_queue, std::size_t its_index, std::size_t task_capacity, std::size_t lane_capacity)
      : queue{of_queue},
        index{its_index},
        tasks{std::bit_ceil(task_capacity)},
        resumptions{std::bit_ceil(lane_capacity)},
        forks{std::bit_ceil(lane_capacity)},
        random_{its_index + 1},
        unmade_{task_capacity} {
    blocks_.reserve((task_capacity + in_a_block - 1) / in_a_block);
    if (task_capacity != 0 && !make_nodes()) throw std::bad_alloc{};
  }

  /// Moves the task into the lane, and counts it. False: there is no room.
  bool push(Task& task, nanoseconds_point since = untimed) noexcept {
    node* taken = take_node();
    if (taken == nullptr && (!make_nodes() || (taken = take_node()) == nullptr)) return false;
    taken->task = std::move(task);
    taken->since = since;
    count_added();
    tasks.push(taken);
    return true;
  }
  /// An empty node that is there and not used, or null. It goes into the lane, or back by take().
  node* take_node() noexcept {
    if (free_ == nullptr && returned_.load(std::memory_order_relaxed) != nullptr) {  // relaxed: a hint
      free_ = returned_.exchange(nullptr, std::memory_order_acquire);  // acquire: pairs with the release in give_back()
    }
    node* const taken = free_;
    if (taken != nullptr) free_ = taken->next;
    return taken;
  }

  /// Moves the task out of a node, of whatever slot, that this slot's worker has got.
  void take(node& got, Task& task) noexcept {
    task = std::move(got.task);
    if (got.home != this) return give_back(got);
    got.next = free_;
    free_ = &got;
  }
  /// For who is not the worker of its slot: the node is empty, and its slot may use it again.
  static void give_back(node& empty) noexcept {
    auto& list = empty.home->returned_;
    node* first = list.load(std::memory_order_relaxed);  // relaxed: what it points to is not looked at
    do {
      empty.next = first;
      // release: pairs with the acquire in push(). relaxed: as above
    } while (!list.compare_exchange_weak(first, &empty, std::memory_order_release, std::memory_order_relaxed));
  }

  // relaxed loads, both: the worker's own. relaxed: pushing into a lane publishes it. release: pairs with the acquire in quiescent()
  void count_added() noexcept { added.store(added.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  void count_finished() noexcept { finished.store(finished.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  /// Where to begin to look for somebody to steal from.
  std::size_t random(std::size_t n) noexcept {  // G. Marsaglia, "Xorshift RNGs" (2003)
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return static_cast<std::size_t>(random_ % n);
  }

  const void* const queue;
  const std::size_t index;
  work_deque<node, Sync> tasks;
  work_deque<work_item, Sync> resumptions;
  work_deque<work_item, Sync> forks;
  bool searches = false;              // the worker begins as a searcher
  unsigned blocked = 0;               // sections that block, one inside the other, in which the worker is
  unsigned resumptions_in_a_row = 0;  // since the last task
  unsigned picks_since_outside = 0;   // how often the worker has looked for work since it looked there
  unsigned picks_since_steal = 0;
  yield_memory yields;
  typename Sync::template atomic<std::size_t> added{0};
  typename Sync::template atomic<std::size_t> finished{0};
  std::size_t taken_along = 0;  // of all that were pushed into `tasks`, those that came from outside; guarded by the queue's lock
  worker_record<Sync> record;

 private:
  static constexpr std::size_t in_a_block = 16;

  // False: all are made, or there is no memory, and what comes goes elsewhere.
  bool make_nodes() noexcept {
    const std::size_t n = unmade_ < in_a_block ? unmade_ : in_a_block;
    if (n == 0) return false;
    std::unique_ptr<node[]> block{new (std::nothrow) node[n]};
    if (block == nullptr) return false;
    for (std::size_t i = n; i-- > 0;) {
      block[i].home = this;
      block[i].next = free_;
      free_ = &block[i];
    }
    blocks_.push_back(std::move(block));  // has room
    unmade_ -= n;
    return true;
  }

  unsigned long long random_;
  std::size_t unmade_;  // nodes that may still be made
  std::vector<std::unique_ptr<node[]>> blocks_;
  node* free_ = nullptr;
  alignas(cache_line) typename Sync::template atomic<node*> returned_{nullptr};
};

}  // namespace penstock::inline v0_1::detail
