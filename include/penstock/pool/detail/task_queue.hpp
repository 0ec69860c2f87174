// penstock/pool/detail/task_queue.hpp: what lies between those who submit to a worker pool and its workers.
//
// Two lines of work: submitted tasks, bounded, and resumptions of coroutines, an intrusive list that counts against no capacity and is
// never refused. Everything is guarded by one lock. A worker that finds nothing polls for a while (a *searcher*), then stands in the line of
// idle workers and sleeps. Work is handed to the head of that line directly, but only while nobody searches: whoever searches finds the work
// without the price of a wake, and calls for help if there is more. So a stream of small tasks wakes nobody, and a burst wakes as many as
// it needs, one after the other. A worker that blocks until a coroutine ends stands in a line of its own, as a *helper*: it is handed resumptions,
// for the coroutine may be among them, but no tasks, and only when nobody is idle or searches.
//
// Fields      all guarded by lock_; ready_, full_ and searching_ are written under it or by a searcher and read by anyone as hints.
// Lost work   a searcher that gives up stops counting as one and *then* looks under the lock; whoever adds work adds it under the lock and
//             *then* looks whether anybody searches. So one of the two sees the other.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

enum class at_close : unsigned char { run, drop };

/// One piece of work: a task or a resumption.
template <class Task>
struct work {
  Task task{};
  work_item* resumption = nullptr;

  void operator()() {
    if (resumption != nullptr) {
      (*resumption)();
    } else {
      task();
    }
  }
};

template <class Task, class Sync = std_sync>
class task_queue {
 public:
  using sync = Sync;

  /// `workers`: how many threads will call next() until it says false.
  task_queue(std::size_t capacity, std::size_t workers)
      : capacity_{checked(capacity)}, ring_{std::make_unique<Task[]>(capacity)}, workers_{workers} {}
  ~task_queue() {
    assert((abandoned_ || (idle_.empty() && helpers_.empty() && room_.empty() && drained_.empty())) &&
           "a task queue was destroyed while somebody waits in it");
  }

  // --- for those who submit

  /// Waits for room with a task; the task is moved from if, and only if, it went in.
  struct room_node : plain_node<Sync> {
    explicit room_node(Task& t) noexcept : task{&t} {}
    Task* task;
  };

  /// errc::full or errc::closed if it cannot go in now; then the task is untouched.
  result<void> try_push(Task& task) noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      if (closed_) return errc::closed;
      if (size_ == capacity_) return errc::full;
      insert(task);
      feed_idle(won);
    }
    won.complete_all();
    return {};
  }

  /// A task that did not go in is to be run by who submitted it. It counts as a piece of work until finish_here(). errc::closed: it is not to be run.
  result<void> begin_here() noexcept {
    std::scoped_lock guard{lock_};
    if (closed_) return errc::closed;
    ++outstanding_;
    return {};
  }
  void finish_here() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      finish(1, won);
    }
    won.complete_all();  // nothing of *this is touched any more: who waited for the end may destroy it
  }

  /// Not refused by close(). False: the last worker has ended, and the caller has to run it.
  bool push(work_item& item) noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      if (workers_ == 0) return false;
      resumptions_.push_back(item);
      ++outstanding_;
      ready_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a hint
      feed_idle(won);
    }
    won.complete_all();
    return true;
  }

  // --- for workers

  struct worker_node : wait_node<Sync> {
    work<Task> found;
  };

  /// Waits for work. `worked`: the worker has finished the piece that it got last. False: closed, nothing is left, and this worker ends.
  bool next(work<Task>& found, bool worked) noexcept {
    found = {};  // destroys the last task, without the lock
    if (take(found, worked ? 1 : 0, false)) return true;
    searching_.fetch_add(1, std::memory_order_seq_cst);  // seq_cst: see feed_idle()
    for (polling<Sync> poll; poll.again();) {
      if (ready_.load(std::memory_order_relaxed) != 0 && take(found, 0, true)) return true;  // relaxed: a hint
    }
    searching_.fetch_sub(1, std::memory_order_seq_cst);
    blocking_wait<task_queue, worker_node> wait{*this};
    if (wait.run_without_polling() != outcome::granted) return false;
    found = std::move(wait.found);
    call_for_help();
    return true;
  }

  /// A worker that waits for the end of a coroutine (helping_wait.hpp) and runs resumptions meanwhile, if nobody else would. Its outcome is
  /// granted, with a resumption, or what it was interrupted with.
  struct helper_node : wait_node<Sync> {
    work_item* found = nullptr;
    std::size_t worked = 0;  // pieces that it has finished since it was in line last
  };

  /// Whether there seems to be something for a helper.
  [[nodiscard]] bool may_help() const noexcept {
    // relaxed: hints
    return ready_.load(std::memory_order_relaxed) != 0 && searching_.load(std::memory_order_relaxed) == 0;
  }

  /// For a worker that was handed a piece: if there is more work, and nobody looks for it, wakes the next one. Who handed it over woke nobody
  /// else, and the worker may be busy with its own for as long as it likes.
  void call_for_help() noexcept {
    // relaxed: what we are responsible for was there when we got our piece
    if (ready_.load(std::memory_order_relaxed) == 0) return;
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      feed_idle(won);
    }
    won.complete_all();
  }

  // --- for the owner

  /// Waits until nothing is queued and nothing runs, nor anything that begin_here() announced.
  struct drained_node : plain_node<Sync> {};

  /// Nothing is submitted any more; what is queued will be run, or, if it is to be dropped, is left to drop_one(). Those who wait for room
  /// get errc::closed. Idempotent.
  void close(at_close what_is_queued = at_close::run) noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      dropping_ = dropping_ || what_is_queued == at_close::drop;
      room_.win_all(outcome::closed, won);
      if (outstanding_ == 0) end_idle(won);
    }
    won.complete_all();
  }

  /// In a forked child, before destruction: who waits here stayed with the parent. Takes no lock, for a thread of the parent may hold it.
  void abandon() noexcept { abandoned_ = true; }

  /// Drops one task that was not begun: destroys it without the lock, and only then counts it as done. False: there is none.
  bool drop_one() noexcept {
    wait_list<Sync> won;
    {
      Task dropped{};
      std::unique_lock guard{lock_};
      if (size_ == 0) return false;
      dropped = pop_task(won);
      guard.unlock();
    }
    won.complete_all();
    finish_here();
    return true;
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t queued() const noexcept {
    std::scoped_lock guard{lock_};
    return size_;
  }
  /// Queued and running, tasks and resumptions.
  [[nodiscard]] std::size_t outstanding() const noexcept {
    std::scoped_lock guard{lock_};
    return outstanding_;
  }
  [[nodiscard]] std::size_t idle() const noexcept {
    std::scoped_lock guard{lock_};
    return idle_.size();
  }
  /// Who stand in line for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return room_.size();
  }

  // --- the hooks of wait_operation

  typename Sync::mutex& wait_lock() noexcept { return lock_; }

  bool try_pass(room_node& n) noexcept {
    // relaxed: a hint, so that those who poll leave the lock to the workers
    if (full_.load(std::memory_order_relaxed)) return false;
    const result<void> pushed = try_push(*n.task);
    if (!pushed && pushed.error() == errc::full) return false;
    n.how = pushed ? outcome::granted : outcome::closed;
    return true;
  }
  step try_or_link(room_node& n, link_at where, wait_list<Sync>& won) noexcept {
    if (closed_) {
      n.how = outcome::closed;
    } else if (size_ < capacity_) {
      insert(*n.task);
      feed_idle(won);
      n.how = outcome::granted;
    } else {
      if (where == link_at::nowhere) return step::refused;
      room_.push_back(n);
      return step::linked;
    }
    return step::passed;
  }

  bool try_pass(worker_node&) noexcept { return false; }
  step try_or_link(worker_node& n, link_at, wait_list<Sync>& won) noexcept {
    if (pick(n.found, won)) {
      n.how = outcome::granted;
      return step::passed;
    }
    // While a task runs, it may wait for a coroutine that comes back here: the others stay until nothing runs.
    if (closed_ && outstanding_ == 0) {
      --workers_;  // under the lock under which it looked in vain: no resumption can slip in behind the last one
      n.how = outcome::closed;
      return step::passed;
    }
    idle_.push_back(n);
    return step::linked;
  }

  bool try_pass(helper_node&) noexcept { return false; }
  step try_or_link(helper_node& n, link_at where, wait_list<Sync>& won) noexcept {
    finish(std::exchange(n.worked, 0), won);
    if (where == link_at::nowhere) return step::refused;  // what it waits for has come
    // While somebody searches, a resumption is his: what runs here keeps the wait from ending. seq_cst: as in feed_idle()
    n.found = searching_.load(std::memory_order_seq_cst) == 0 ? pop_resumption() : nullptr;
    if (n.found == nullptr) {
      helpers_.push_back(n);
      return step::linked;
    }
    feed_idle(won);
    n.how = outcome::granted;
    return step::passed;
  }

  bool try_pass(drained_node& n) noexcept {
    if (ready_.load(std::memory_order_relaxed) != 0) return false;  // relaxed: a hint, which spares the workers' lock
    if (outstanding() != 0) return false;
    n.how = outcome::granted;
    return true;
  }
  step try_or_link(drained_node& n, link_at where, wait_list<Sync>&) noexcept {
    if (outstanding_ == 0) {
      n.how = outcome::granted;
      return step::passed;
    }
    if (where == link_at::nowhere) return step::refused;
    drained_.push_back(n);
    return step::linked;
  }

  void unlinked(wait_node<Sync>&, wait_list<Sync>&) noexcept {}  // nothing is owed: whoever frees a place looks at the line then

 private:
  static std::size_t checked(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument{"penstock::worker_pool: queue_capacity is 0"};
    return capacity;
  }

  // All below: with lock_ held.

  void insert(Task& task) noexcept {
    const std::size_t at = first_ + size_;
    ring_[at < capacity_ ? at : at - capacity_] = std::move(task);
    ++size_;
    ++outstanding_;
    full_.store(size_ == capacity_, std::memory_order_relaxed);  // relaxed: a hint
    ready_.fetch_add(1, std::memory_order_relaxed);              // relaxed: a hint
  }

  Task pop_task(wait_list<Sync>& won) noexcept {
    Task task = std::move(ring_[first_]);
    first_ = first_ + 1 < capacity_ ? first_ + 1 : 0;
    --size_;
    full_.store(false, std::memory_order_relaxed);   // relaxed: a hint
    ready_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: a hint
    if (auto* const waiting = static_cast<room_node*>(room_.front()); waiting != nullptr) {
      insert(*waiting->task);  // the place is handed over: nobody overtakes those who wait for room
      room_.win(*waiting, outcome::granted, won);
    }
    return task;
  }

  // Resumptions first: they are work that was begun, and finishing it frees what it holds. But not without end: every 16th pick is a task.
  bool pick(work<Task>& found, wait_list<Sync>& won) noexcept {
    const bool task_turn = size_ > 0 && !dropping_ && (resumptions_.empty() || ++resumptions_in_a_row_ >= 16);
    if (task_turn) {
      resumptions_in_a_row_ = 0;
      found.task = pop_task(won);
      return true;
    }
    found.resumption = pop_resumption();
    return found.resumption != nullptr;
  }

  work_item* pop_resumption() noexcept {
    work_item* const item = resumptions_.pop_front();
    if (item != nullptr) ready_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: a hint
    return item;
  }

  // Hands work to an idle worker, or a resumption to a helper if none is idle, unless somebody searches. seq_cst: the load comes after the work
  // was added under the lock that we hold; a searcher stops counting before it takes the lock for its last look.
  void feed_idle(wait_list<Sync>& won) noexcept {
    if ((idle_.empty() && helpers_.empty()) || searching_.load(std::memory_order_seq_cst) != 0) return;
    if (!idle_.empty()) {
      auto* const worker = static_cast<worker_node*>(idle_.front());
      if (pick(worker->found, won)) idle_.win(*worker, outcome::granted, won);
    } else if (auto* const helper = static_cast<helper_node*>(helpers_.front()); !resumptions_.empty()) {
      helper->found = pop_resumption();
      helpers_.win(*helper, outcome::granted, won);
    }
  }

  void finish(std::size_t n, wait_list<Sync>& won) noexcept {
    outstanding_ -= n;
    if (n == 0 || outstanding_ != 0) return;
    drained_.win_all(outcome::granted, won);
    if (closed_) end_idle(won);
  }

  void end_idle(wait_list<Sync>& won) noexcept {
    workers_ -= idle_.size();
    idle_.win_all(outcome::closed, won);
  }

  bool take(work<Task>& found, std::size_t finished, bool searcher) noexcept {
    wait_list<Sync> won;
    bool got;
    {
      std::scoped_lock guard{lock_};
      finish(finished, won);
      got = pick(found, won);
      if (got) {
        if (searcher) searching_.fetch_sub(1, std::memory_order_seq_cst);
        if (size_ > 0 || !resumptions_.empty()) feed_idle(won);  // there is more: call the next one
      }
    }
    won.complete_all();
    return got;
  }

  const std::size_t capacity_;
  const std::unique_ptr<Task[]> ring_;
  mutable typename Sync::mutex lock_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  work_list resumptions_;
  unsigned resumptions_in_a_row_ = 0;
  std::size_t outstanding_ = 0;
  bool closed_ = false;
  bool dropping_ = false;  // no task begins any more
  bool abandoned_ = false;
  std::size_t workers_;  // that have not ended
  wait_queue<Sync> idle_;
  wait_queue<Sync> room_;
  wait_queue<Sync> drained_;
  wait_queue<Sync> helpers_;
  alignas(cache_line) typename Sync::template atomic<std::size_t> ready_{0};
  typename Sync::template atomic<unsigned> searching_{0};
  typename Sync::template atomic<bool> full_{false};
};

}  // namespace penstock::inline v0_1::detail
