// penstock/pool/detail/strand_core.hpp: work in line, one thread at a time that runs it, and a turn that travels to the context when nobody does.
//
// Whoever has the *role* takes pieces from the line and runs them; nobody else does. The role is taken by the *turn*, a work_item of which at most
// one is under way to the context, or claimed by a thread that waits for room or for the end, when the turn may be waiting for that very
// thread. A turn that comes and finds the role taken, or nothing to do, goes home: who gives the role up sends another one if there is work.
//
// Fields      all guarded by lock_, but for owners_.
// Invariants  there is work, and nobody has the role ⇒ the turn is under way. posts_ == capacity_ if anybody waits for room: a place that
//             becomes free goes to the head of that line. Nobody waits for the end if there is no work and nobody has the role.
// Exclusion   the role changes hands under lock_, which orders what one holder did before what the next one does.
// Lifetime    counted: the strand is an owner, and so is the turn from when it is sent to when it is home; so a turn that was overtaken by a
//             claim may come home after the strand has gone. Who added work touches nothing after unlocking, unless it has to send
//             the turn, which then keeps the object alive.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/strand_stats.hpp>

namespace penstock::inline v0_1::detail {

/// `Derived` has `void run_piece(work_item&) noexcept`, which runs one piece of work on the thread that has the role, and says how many pieces a
/// turn runs before it stands in the context's line again: `pieces_a_turn`. Posts are told from resumptions, which
/// count against no capacity, by their `run` function, which is the one given to the constructor.
template <class Derived, class Sync, class Scheduler>
class strand_core {
 public:
  using sync = Sync;

  /// Born with one owner.
  strand_core(Scheduler where, std::size_t capacity, work_item::run_function post)
      : where_{std::move(where)}, capacity_{checked(capacity)}, post_{post}, turn_{*this} {}
  strand_core(const strand_core&) = delete;
  strand_core& operator=(const strand_core&) = delete;

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete static_cast<Derived*>(this);
  }

  [[nodiscard]] const Scheduler& where() const noexcept { return where_; }
  [[nodiscard]] work_item::run_function post_function() const noexcept { return post_; }

  // --- for those who bring work

  /// Waits for room with a post.
  struct room_node : plain_node<Sync> {
    explicit room_node(work_item& p) noexcept : post{&p} {}
    work_item* post;
    bool sends_turn = false;  // it went in without a hand-over, and the turn is to be sent
  };
  struct drained_node : plain_node<Sync> {};

  /// Never refused, not even by close().
  void push(work_item& item) noexcept {
    bool sends;
    {
      std::scoped_lock guard{lock_};
      items_.push_back(item);
      sends = begin_turn();
    }
    if (sends) send_turn();
  }

  /// errc::full or errc::closed if it cannot go in now.
  result<void> try_push_post(work_item& post) noexcept {
    room_node n{post};
    if (!try_pass(n)) return errc::full;
    sent(n);
    return to_result(n.how);
  }
  /// After a wait with a room_node.
  void sent(const room_node& n) noexcept {
    if (n.sends_turn) send_turn();
  }

  /// No post goes in any more; those who wait for room get errc::closed. Idempotent.
  void close() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
      room_.win_all(outcome::closed, won);
    }
    won.complete_all();
  }

  [[gnu::noinline]] void count_refusal(std::error_code why) noexcept {
    std::scoped_lock guard{lock_};
    ++(why == errc::full        ? refused_.full
       : why == errc::timeout   ? refused_.timeout
       : why == errc::cancelled ? refused_.cancelled
       : why == errc::deadlock  ? refused_.deadlock
                                : refused_.closed);
  }

  // --- for who runs it

  /// The post that runs has thrown; or it was dropped: its turn has come, and it does not begin. Inside of it, once.
  void count_failed() noexcept { end_as(failed_); }
  void count_dropped() noexcept { end_as(dropped_); }

  /// For a thread that waits for something that the work here brings about, while the turn may be waiting for this thread: if nobody has the
  /// role, takes it and runs piece after piece until done() or there is none. False: somebody has the role, or there is nothing to run.
  template <class Done>
  bool help_until(Done&& done) noexcept {
    if (!claim()) return false;
    while (work_item* const item = next()) {
      derived().run_piece(*item);
      if (done()) {
        release();
        break;
      }
    }
    return true;
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t queued() const noexcept {
    std::scoped_lock guard{lock_};
    return posts_;
  }
  [[nodiscard]] std::size_t room_waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return room_.size();
  }
  [[nodiscard]] strand_stats stats() const noexcept {
    std::scoped_lock guard{lock_};
    strand_stats s{.queued = posts_,
                   .capacity = capacity_,
                   .room_waiters = room_.size(),
                   .running = post_runs_ ? std::size_t{1} : 0,
                   .accepted = accepted_,
                   .failed = failed_,
                   .dropped = dropped_,
                   .refused = refused_};
    s.completed = s.accepted - s.queued - s.running - s.failed - s.dropped;
    return s;
  }

  // --- the hooks of wait_operation

  typename Sync::mutex& wait_lock() noexcept { return lock_; }

  bool try_pass(room_node& n) noexcept {
    std::scoped_lock guard{lock_};
    return passes(n);
  }
  step try_or_link(room_node& n, link_at where, wait_list<Sync>&) noexcept {
    if (passes(n)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    room_.push_back(n);
    return step::linked;
  }

  bool try_pass(drained_node& n) noexcept {
    std::scoped_lock guard{lock_};
    return passes(n);
  }
  step try_or_link(drained_node& n, link_at where, wait_list<Sync>&) noexcept {
    if (passes(n)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    drained_.push_back(n);
    return step::linked;
  }

  void unlinked(wait_node<Sync>&, wait_list<Sync>&) noexcept {}  // nothing is owed: whoever frees a place looks at the line then

 protected:
  ~strand_core() {
    assert(items_.empty() && room_.empty() && drained_.empty() && "a strand was destroyed while somebody waits in it");
  }

 private:
  static std::size_t checked(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument{"penstock::strand: capacity is 0"};
    return capacity;
  }
  struct turn : work_item {
    explicit turn(strand_core& c) noexcept
        : work_item{nullptr, [](work_item& self) noexcept { static_cast<turn&>(self).of.take_turn(); }}, of{c} {}
    strand_core& of;
  };

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  // The turn has come to a thread of the context.
  void take_turn() noexcept {
    if (come_home()) {
      for (unsigned n = 0;; ++n) {
        if (n == Derived::pieces_a_turn) {
          release();  // others of the context want to run, too
          break;
        }
        work_item* const item = next();
        if (item == nullptr) break;
        derived().run_piece(*item);
      }
    }
    drop_owner();  // the last touch
  }

  // The turn is not under way any more. True: it has the role.
  bool come_home() noexcept {
    std::scoped_lock guard{lock_};
    turn_sent_ = false;
    return take_role();
  }
  bool claim() noexcept {
    std::scoped_lock guard{lock_};
    return take_role();
  }

  // The next piece; null: there is none, and the role is given up.
  work_item* next() noexcept {
    wait_list<Sync> won;
    work_item* item;
    {
      std::scoped_lock guard{lock_};
      item = items_.pop_front();
      if (item == nullptr) {
        post_runs_ = false;
        running_ = false;
        drained_.win_all(outcome::granted, won);
      } else if (item->run == post_) {
        post_runs_ = true;
        free_place(won);
      } else {
        post_runs_ = false;
      }
    }
    won.complete_all();
    return item;
  }

  // Gives the role up before the end.
  void release() noexcept {
    wait_list<Sync> won;
    bool sends;
    {
      std::scoped_lock guard{lock_};
      post_runs_ = false;
      running_ = false;
      sends = begin_turn();
      if (items_.empty()) drained_.win_all(outcome::granted, won);
    }
    won.complete_all();
    if (sends) send_turn();
  }

  void end_as(typename Sync::template var<std::uint64_t>& count) noexcept {
    std::scoped_lock guard{lock_};
    count = count + 1;
    post_runs_ = false;
  }

  void send_turn() noexcept {
    const Scheduler to = where_;  // a copy: once the turn is handed over, *this may be gone
    to.execute(turn_);
  }

  // All below: with lock_ held.

  bool take_role() noexcept {
    if (running_ || items_.empty()) return false;
    return running_ = true;
  }

  // True: the caller is to send the turn when it has unlocked.
  bool begin_turn() noexcept {
    if (running_ || turn_sent_ || items_.empty()) return false;
    add_owner();  // the turn
    return turn_sent_ = true;
  }

  bool passes(room_node& n) noexcept {
    if (closed_) {
      n.how = outcome::closed;
    } else if (posts_ < capacity_) {
      insert(*n.post);
      n.sends_turn = begin_turn();
      n.how = outcome::granted;
    } else {
      return false;
    }
    return true;
  }
  bool passes(drained_node& n) noexcept {
    if (running_ || !items_.empty()) return false;
    n.how = outcome::granted;
    return true;
  }

  void insert(work_item& post) noexcept {
    ++accepted_;
    ++posts_;
    items_.push_back(post);
  }
  void free_place(wait_list<Sync>& won) noexcept {
    --posts_;
    if (auto* const waiting = static_cast<room_node*>(room_.front()); waiting != nullptr) {
      insert(*waiting->post);  // the place is handed over: nobody overtakes those who wait for room
      room_.win(*waiting, outcome::granted, won);
    }
  }

  const Scheduler where_;
  const std::size_t capacity_;
  const work_item::run_function post_;
  turn turn_;
  mutable typename Sync::mutex lock_;
  work_list items_;
  typename Sync::template var<std::size_t> posts_{0};       // among items_
  typename Sync::template var<std::uint64_t> accepted_{0};  // posts, as the next two
  typename Sync::template var<std::uint64_t> failed_{0};
  typename Sync::template var<std::uint64_t> dropped_{0};
  typename Sync::template var<bool> post_runs_{false};  // the piece that runs is a post, and it is not known how it ends
  typename Sync::template var<bool> running_{false};    // somebody has the role
  typename Sync::template var<bool> turn_sent_{false};
  typename Sync::template var<bool> closed_{false};
  wait_queue<Sync> room_;
  wait_queue<Sync> drained_;
  strand_refusals refused_;
  typename Sync::template atomic<std::uint32_t> owners_{1};
};

}  // namespace penstock::inline v0_1::detail
