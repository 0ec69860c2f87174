// penstock/core/detail/wait_operation.hpp: one wait, from the first look to its outcome, whoever waits.
//
// A primitive (the *owner*) says what its waiters wait for through a few hooks; every way of waiting (a thread, a coroutine, an adapter)
// is made of them here and in blocking_wait.hpp and async_wait.hpp. `Node` derives from wait_node and carries what the wait asks for
// and what it gets.
//
//   lock&  wait_lock() noexcept                              the owner's lock
//   bool   try_pass(Node&) noexcept                          one look without waiting; true: decided, `how` is written. Takes no lock
//                                                            while there is nothing to be had
//   step   try_or_link(Node&, link_at, wait_list& won)       with the lock held: decides, links the node in a queue, refuses, or asks
//                                                            for another try_pass. On its way it may win other waiters.
//   void   unlinked(Node&, wait_list& won) noexcept          with the lock held: the node left the line without being served. What the
//                                                            owner owes to those behind it is paid now (hazard 2)
//   only of owners that wake without handing over:
//   bool   ready(const Node&) noexcept                       without the lock: whether looking is worth it
//   void   gave_up(Node&, wait_list& won) noexcept           with the lock held: a woken node ends with nothing. Pass the wake on.
//   only of owners whose line gathers what newcomers would take away bit by bit:
//   bool   better_in_line(const Node&) noexcept              for who polls, before it yields: whether to stand in line at once
//   only of owners whose try_pass() disturbs the other side:
//   bool   worth_a_look(const Node&) noexcept                for who polls: a cheaper hint. If it says no though there is something, that is
//                                                            found before the waiter sleeps
//
// States      init: not linked, nobody else knows of it. armed: linked; the lock decides who ends it. done: `how` is final.
// Cancelling  interrupt() is what a stop request or a timer calls. It decides under the owner's lock: a linked node is unlinked and
//             completed (it won), otherwise it leaves a note that linking looks at, under the same lock (race 7). A grant that was
//             committed before stays a grant (race 9).
// Lifetime    a wait that has begun ends before it is destroyed: request stop and let the coroutine go on. So the frame of a coroutine that
//             waits must not be destroyed; spawn(), task_group and sync_wait() see to that.
// Priority    what can be had at once is taken even when the deadline has passed or stop is requested meanwhile; a stop that was requested
//             before the call begins gets nothing.
#pragma once

#include <cassert>
#include <mutex>

#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

enum class step : std::uint8_t {
  passed,      ///< decided: `how` is written
  linked,      ///< in a queue: another party will complete the node
  look_again,  ///< something changed while the lock was taken: try_pass once more
  refused,     ///< link_at::nowhere, and nothing to be had
};

enum class link_at : std::uint8_t {
  back,     ///< a newcomer
  front,    ///< one that was woken and looked in vain keeps its place
  nowhere,  ///< only look
};

template <class Owner, class Node>
class wait_operation : public Node {
 public:
  using sync = typename Owner::sync;

  template <class... Arguments>
  explicit wait_operation(Owner& owner, Arguments&&... arguments)
      : Node{static_cast<Arguments&&>(arguments)...}, owner_{&owner} {}

  /// Not while it is in line: its owner, and whoever ends it, would touch what is gone. Debug builds report that.
  ~wait_operation() { assert(!this->linked() && "a coroutine that waits was destroyed, or what it waits with"); }

  /// Ends the wait from outside, if it is still to be won. Any thread, until the operation is over; never under the owner's lock.
  void interrupt(outcome why) noexcept {
    wait_list<sync> won;
    bool mine = false;
    {
      std::scoped_lock guard{owner_->wait_lock()};
      if (this->linked()) {
        leave_line(why, won);
        mine = true;
      } else if (interrupted_ == outcome::pending) {
        interrupted_ = why;  // seen when it is to be linked; without effect if an outcome was decided already
      }
    }
    won.complete_all();
    if (mine) this->complete(*this);  // the last touch: the operation may be gone (races 3 and 8)
  }

 protected:
  /// Looks under the lock and links the node if it has to wait. False: linked, and *this may be gone already (race 4). True: `how`
  /// tells the outcome, or is unchanged after a vain look with link_at::nowhere.
  bool advance(link_at where) noexcept {
    for (;;) {
      wait_list<sync> won;
      step s;
      {
        std::scoped_lock guard{owner_->wait_lock()};
        const bool interrupted = interrupted_ != outcome::pending;
        s = owner_->try_or_link(static_cast<Node&>(*this), interrupted ? link_at::nowhere : where, won);
        if (s == step::linked) this->how = outcome::pending;
        if (s == step::refused && interrupted) {
          if (this->how == outcome::woken) give_up(won);  // race 12: the wake is for somebody
          this->how = static_cast<outcome>(interrupted_);
        }
      }
      won.complete_all();
      if (s == step::linked) return false;  // nothing of *this is touched any more
      if (s == step::passed || s == step::refused) return true;
      if (owner_->try_pass(*this)) return true;
    }
  }

  /// The waiter itself gives up at its deadline. False: somebody else won the node and is about to complete it.
  bool withdraw(outcome why) noexcept {
    wait_list<sync> won;
    bool mine = false;
    {
      std::scoped_lock guard{owner_->wait_lock()};
      if (this->linked()) {
        leave_line(why, won);
        mine = true;
      }
    }
    won.complete_all();
    return mine;
  }

  Owner& owner() const noexcept { return *owner_; }

 private:
  void leave_line(outcome why, wait_list<sync>& won) noexcept {
    wait_queue<sync>* const line = this->queue;
    line->unlink(*this);
    this->how = why;
    owner_->unlinked(static_cast<Node&>(*this), won);
  }

  void give_up(wait_list<sync>& won) noexcept {
    if constexpr (requires { owner_->gave_up(static_cast<Node&>(*this), won); }) {
      owner_->gave_up(static_cast<Node&>(*this), won);
    }
  }

  Owner* owner_;
  typename sync::template var<outcome> interrupted_{outcome::pending};  // guarded by the owner's lock
};

}  // namespace penstock::inline v0_1::detail
