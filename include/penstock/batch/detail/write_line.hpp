// penstock/batch/detail/write_line.hpp: items that come together into batches, and who waits: for room, for a batch to write, for the end.
//
// Adders put their items into the youngest batch, the *open* one. A batch that is full is *sealed*; so is the open one when it is taken or
// asked for. *Writers* (as many as batches may be in flight) stand in line for a batch, take the oldest that is due, write it, and finish it.
//
// Due          a batch is due when it is sealed, when nothing is gained by waiting (no max_delay, somebody waits for room, closed), or at its time.
//              The time is watched by one writer, who has the role of *lingering*: it waits with a deadline. Adders do not touch timers: the first
//              item of a batch that is not due wakes a writer to linger; when its deadline passes it looks, and lingers anew if the time has moved.
// Invariants   when the lock is free: no writer stands in line while more batches are due, without a look at the clock, than writers are coming;
//              nobody waits for room that there is, or for an end that has come. If a batch waits and a writer is free, some writer has the role,
//              or is on its way to it.
//              Items that were added and are not over: held_; those over: acknowledged_ + failed_. Together: added_.
// Hand-over    whoever makes room puts the items of the first in line in; nobody overtakes. For a batch that becomes due a writer in line is sent,
//              and takes what is there when it arrives: what comes meanwhile travels with it.
// Lock         lock_ guards everything. A user's item is moved under it, but neither made nor destroyed.
// Memory       batches that are over are kept for reuse, a few (`spare_limit`).
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>

#include <penstock/batch/detail/write_batch.hpp>
#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/node_list.hpp>
#include <penstock/core/detail/observers.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/observe/detail/event_timing.hpp>

namespace penstock::inline v0_1::detail {

struct write_limits {
  std::size_t max_items;
  std::size_t max_bytes;
  std::size_t capacity;
  std::size_t capacity_bytes;
  std::int64_t max_delay;  // 0: a batch is due as soon as a writer is free
  std::int64_t max_idle;
  std::size_t max_in_flight;
};

/// By which clock it is noted when items come, and of which.
struct arrival_times {
  any_clock clock;
  event_timing timing;
};

template <class Item, class Sync = std_sync>
class write_line {
 public:
  using sync = Sync;
  static constexpr const char* known_as = "accumulator";
  using batch = write_batch<Item>;
  enum class refusal : std::uint8_t { closed, full, timeout, cancelled, deadlock, no_memory };

  /// Waits for room with an item, which is moved from if, and only if, it went in; then the batch owns the ticket.
  struct room_node : wait_node<Sync> {
    room_node(write_line* l, Item* i, write_ticket t, std::size_t b) noexcept : entered{l}, item{i}, ticket{t}, bytes{b} {}
    /// Throws std::bad_alloc if there was no memory for the item.
    result<void> take_result(outcome decided) {
      if (decided == outcome::granted) return {};
      entered->count_refused(caught != nullptr ? refusal::no_memory : refusal_of(decided));
      if (caught != nullptr) std::rethrow_exception(std::move(caught));
      return to_result(decided);
    }

    write_line* entered;
    Item* item;
    write_ticket ticket;
    std::size_t bytes;
    std::exception_ptr caught;  // there was no memory; the outcome is `rejected`
    bool traced = false;        // the context is there: it may be let in by another thread
    carried_trace trace;
  };

  /// What a writer brings to the line, and takes from it.
  struct turn {
    batch* taken = nullptr;
    nanoseconds_point until = never;  // wait for a batch until then, and come back
    bool lingers = false;             // has the role
    bool comes = false;               // was sent for a batch
  };
  struct work_node : wait_node<Sync> {
    static constexpr bool is_idle = true;  // a writer without a batch, for who observes waits
    explicit work_node(turn* t) noexcept : its{t} {}
    /// granted: a batch, or come back with the deadline that the turn says. timeout: come back. closed: there will be none.
    static outcome take_result(outcome decided) noexcept { return decided; }
    turn* its;
  };

  /// Waits until the batches up to a number are over.
  struct end_node : plain_node<Sync> {
    explicit end_node(std::uint64_t n) noexcept : number{n} {}
    std::uint64_t number;
  };

  /// `timers`: may be null if no time matters. `arrivals`: how batches say when items came; null: they do not.
  write_line(const write_limits& limits, basic_timer_queue<Sync>* timers, const arrival_times* arrivals = nullptr) noexcept
      : limits_{limits}, timers_{timers}, arrivals_{arrivals} {}
  write_line(const write_line&) = delete;
  write_line& operator=(const write_line&) = delete;
  ~write_line() {
    assert(room_.empty() && ends_.empty() && "an accumulator was destroyed while somebody waits for it");
    assert(waiting_.empty() && in_flight_.empty());
    while (batch* const b = spare_.pop_front()) delete b;
  }

  /// What was added so far is due. The number that the last batch of it has.
  std::uint64_t flush() noexcept {
    wait_list<Sync> won;
    std::uint64_t newest = 0;
    {
      std::scoped_lock guard{lock_};
      open_ = nullptr;
      newest = numbered_;
      serve_writers(won);
    }
    won.complete_all();
    return newest;
  }

  /// Nothing more goes in, and what is inside is due. Idempotent.
  void close() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      closed_.store(true, std::memory_order_relaxed);  // relaxed: lock_ orders it; without the lock it is a hint
      open_ = nullptr;
      room_.win_all(outcome::closed, won);
      serve_writers(won);
    }
    won.complete_all();
  }

  /// By the writer that took it: the batch is over, everybody told, its items gone; so many of them were written.
  void finish(batch& b, std::size_t written, unsigned attempts) noexcept {
    wait_list<Sync> won;
    std::unique_ptr<batch> surplus;
    {
      std::scoped_lock guard{lock_};
      in_flight_.remove(b);
      set_held(held() - b.added);
      held_bytes_ = held_bytes_ - b.bytes;
      acknowledged_ = acknowledged_ + written;
      failed_ = failed_ + (b.added - written);
      batches_ = batches_ + 1;
      attempts_ = attempts_ + attempts;
      if (spare_.size() < limits_.max_in_flight + spare_limit) {
        spare_.push_back(b);
      } else {
        surplus.reset(&b);
      }
      admit(won);
      serve_writers(won);
      serve_ends(won);
    }
    won.complete_all();
  }

  void count_refused(refusal why) noexcept {
    std::scoped_lock guard{lock_};
    ++refused_[static_cast<std::size_t>(why)];
  }

  template <class Stats>
  void snapshot(Stats& s) const noexcept {
    std::scoped_lock guard{lock_};
    s.added = added_;
    s.acknowledged = acknowledged_;
    s.failed = failed_;
    const auto refused = [this](refusal why) { return refused_[static_cast<std::size_t>(why)]; };
    s.refused = {refused(refusal::closed),    refused(refusal::full),     refused(refusal::timeout),
                 refused(refusal::cancelled), refused(refusal::deadlock), refused(refusal::no_memory)};
    s.batches = batches_;
    s.attempts = attempts_;
    s.held = held();
    s.queued = held();
    for (const batch* b = in_flight_.front(); b != nullptr; b = b->after) s.queued -= b->added;
    s.held_bytes = held_bytes_;
    s.in_flight = in_flight_.size();
    s.waiting = room_.size();
  }
  // relaxed: a hint, out of date at once
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_relaxed); }

  // --- the hooks of wait_operation

  polled_mutex<Sync>& wait_lock() noexcept { return lock_; }

  bool try_pass(room_node& n) noexcept {
    // relaxed: a hint. Whoever sees too little looks again under the lock before it sleeps.
    if (held() >= limits_.capacity && !closed()) return false;
    wait_list<Sync> won;
    bool passed = false;
    {
      std::scoped_lock guard{lock_};
      passed = enter_if_first(n, won);
    }
    won.complete_all();
    return passed;
  }
  step try_or_link(room_node& n, link_at where, wait_list<Sync>& won) noexcept {
    if (enter_if_first(n, won)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    if (observers::trace()) {
      n.trace.capture();
      n.traced = true;
    }
    room_.push_back(n);
    serve_writers(won);  // somebody waits for room: what is there is due
    return step::linked;
  }
  void unlinked(room_node&, wait_list<Sync>& won) noexcept {  // a heavy item may have kept lighter ones out
    admit(won);
    serve_writers(won);
  }

  bool try_pass(work_node& n) noexcept {
    wait_list<Sync> won;
    bool passed = false;
    {
      std::scoped_lock guard{lock_};
      passed = take_or_linger(n, won);
    }
    won.complete_all();
    return passed;
  }
  step try_or_link(work_node& n, link_at where, wait_list<Sync>& won) noexcept {
    if (take_or_linger(n, won)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    if (n.its->lingers) lingering_ = &n;
    writers_.push_back(n);
    return step::linked;
  }
  void unlinked(work_node& n, wait_list<Sync>&) noexcept {  // it comes back, and has the role until then
    if (lingering_ == &n) lingering_ = nullptr;
  }

  bool try_pass(end_node& n) noexcept {
    // acquire: pairs with the release in serve_ends(). The writers, and the line with them, outlive every wait for an end.
    if (over_.load(std::memory_order_acquire) < n.number) return false;
    n.how = outcome::granted;
    return true;
  }
  step try_or_link(end_node& n, link_at where, wait_list<Sync>&) noexcept {
    if (over_.load(std::memory_order_relaxed) >= n.number) {  // relaxed: changes under lock_
      n.how = outcome::granted;
      return step::passed;
    }
    if (where == link_at::nowhere) return step::refused;
    wait_node<Sync>* behind = ends_.front();  // who flushed first may come here later
    while (behind != nullptr && static_cast<end_node*>(behind)->number <= n.number) behind = behind->next;
    ends_.insert(n, behind);
    return step::linked;
  }
  void unlinked(end_node&, wait_list<Sync>&) noexcept {}

 private:
  static constexpr std::size_t spare_limit = 2;

  [[nodiscard]] static refusal refusal_of(outcome how) noexcept {
    return how == outcome::closed ? refusal::closed : how == outcome::timeout ? refusal::timeout : refusal::cancelled;
  }

  // relaxed, both: changes under lock_
  [[nodiscard]] std::size_t held() const noexcept { return held_.load(std::memory_order_relaxed); }
  void set_held(std::size_t n) noexcept { held_.store(n, std::memory_order_relaxed); }

  // All of these with lock_ held.

  [[nodiscard]] bool fits(std::size_t bytes) const noexcept {
    return held() < limits_.capacity && bytes <= limits_.capacity_bytes - held_bytes_;
  }

  // True: decided.
  bool enter_if_first(room_node& n, wait_list<Sync>& won) noexcept;

  // There is room.
  void enter(room_node& n) noexcept;

  // A batch that the item fits into; the open one, if that has room.
  batch& batch_for(std::size_t bytes);
  // Of what batch_for() has opened for an item that did not come.
  void drop_empty() noexcept;

  void admit(wait_list<Sync>& won) noexcept;

  [[nodiscard]] bool due_now(const batch& b) const noexcept {
    return &b != open_ || limits_.max_delay == 0 || closed() || !room_.empty();
  }
  [[nodiscard]] nanoseconds_point due_at(const batch& b) const noexcept {
    const nanoseconds_point by_age = saturating_add(b.first_at, limits_.max_delay);
    return limits_.max_idle == never ? by_age : std::min(by_age, saturating_add(last_at_, limits_.max_idle));
  }

  // True: the writer goes, with a batch or with the deadline to come back with, or because there is nothing more to write.
  bool take_or_linger(work_node& n, wait_list<Sync>& won) noexcept;

  void give(batch& b, work_node& n) noexcept;
  void send_to_linger(work_node& n, nanoseconds_point until) noexcept;
  void drop_role(work_node& n) noexcept;

  // Sends those in line for what is due, or to watch the time. They take what is there when they arrive, not what was there when they were sent.
  void serve_writers(wait_list<Sync>& won) noexcept;
  // Those that are due without a look at the clock.
  [[nodiscard]] std::size_t due_batches() const noexcept {
    return waiting_.size() - (open_ != nullptr && !due_now(*open_) ? 1 : 0);
  }

  void serve_ends(wait_list<Sync>& won) noexcept;

  const write_limits limits_;
  basic_timer_queue<Sync>* const timers_;
  const arrival_times* const arrivals_;
  mutable polled_mutex<Sync> lock_;
  wait_queue<Sync> room_;
  wait_queue<Sync> writers_;
  wait_queue<Sync> ends_;
  node_list<batch> waiting_;                            // in the order of their numbers
  node_list<batch> in_flight_;                          // as well
  node_list<batch> spare_;                              // empty
  batch* open_ = nullptr;                               // the last of waiting_, if it takes more
  work_node* lingering_ = nullptr;                      // in line, with the role
  typename Sync::template var<std::size_t> coming_{0};  // writers on their way to the line for a batch
  typename Sync::template var<bool> lingers_{false};    // some writer has the role
  typename Sync::template atomic<bool> closed_{false};
  typename Sync::template atomic<std::size_t> held_{0};
  typename Sync::template atomic<std::uint64_t> over_{0};  // every batch up to this number is over
  typename Sync::template var<std::size_t> held_bytes_{0};
  typename Sync::template var<std::uint64_t> numbered_{0};
  typename Sync::template var<nanoseconds_point> last_at_{0};
  typename Sync::template var<std::uint64_t> added_{0};
  typename Sync::template var<std::uint64_t> acknowledged_{0};
  typename Sync::template var<std::uint64_t> failed_{0};
  std::array<std::uint64_t, 6> refused_{};  // by refusal; guarded by lock_
  typename Sync::template var<std::uint64_t> batches_{0};
  typename Sync::template var<std::uint64_t> attempts_{0};
};

}  // namespace penstock::inline v0_1::detail

#include <penstock/batch/detail/write_room.hpp>
#include <penstock/batch/detail/write_turns.hpp>
