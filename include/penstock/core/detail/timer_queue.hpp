// penstock/core/detail/timer_queue.hpp: pending timers, in order of their time; the heart of timer_service and of manual_clock.
//
// A timer_entry lies beside the wait node that it limits, so arming a timer allocates nothing. The entries form a pairing heap
// (Fredman, Sedgewick, Sleator, Tarjan 1986): adding is O(1), removing and taking the earliest O(log n) amortised; a million pending
// timers cost what their frames cost.
//
// Removal is synchronous (race 14): when remove() returns, the entry's function does not run and will not run. If it runs on another
// thread just now, remove() waits for it; if it runs on this very thread (the function completes the operation that owns the entry, which
// removes it on its way out), remove() returns at once, and the firing loop touches the entry no more.
//
// Fields      everything is guarded by lock_, but for the entry's `fire`, which is written before it is added.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct timer_entry {
  using fire_function = void (*)(timer_entry&) noexcept;

  timer_entry() = default;
  timer_entry(const timer_entry&) = delete;
  timer_entry& operator=(const timer_entry&) = delete;

  fire_function fire = nullptr;
  typename Sync::template var<nanoseconds_point> when{0};
  typename Sync::template var<std::uint64_t> order{0};
  typename Sync::template var<timer_entry*> child{nullptr};    // the first of the entries below this one
  typename Sync::template var<timer_entry*> sibling{nullptr};  // the next of the entries below the same one
  typename Sync::template var<timer_entry*> before{nullptr};   // the sibling before this one, or its parent if it is the first
  typename Sync::template var<bool> pending{false};
};

/// The timers that the calling thread fires and nobody else, if it is a timer_service's; else null. What blocks it until one of them
/// fires waits for ever.
inline thread_local const void* timers_of_this_thread = nullptr;

/// A clock's pending timers. `now()` and who fires them are the derived class's part.
template <class Sync>
class basic_timer_queue {
 public:
  using entry = timer_entry<Sync>;

  basic_timer_queue() = default;
  basic_timer_queue(const basic_timer_queue&) = delete;
  basic_timer_queue& operator=(const basic_timer_queue&) = delete;

  /// This clock's time, in nanoseconds since its epoch.
  [[nodiscard]] virtual nanoseconds_point now() const noexcept = 0;

  /// Calls `e.fire(e)` once this clock has reached `when`, on the thread that moves the clock or on this one when it has already.
  /// Throws what starting a thread throws.
  virtual void add(entry& e, nanoseconds_point when) = 0;

  /// Afterwards the entry is not pending and does not run. True: it will never have run since it was added.
  bool remove(entry& e) noexcept {
    remover self;
    {
      std::scoped_lock guard{lock_};
      if (e.pending) {
        take_out(e);
        return true;
      }
      firing* run = firing_;
      while (run != nullptr && run->what != &e) run = run->next;
      if (run == nullptr) return false;
      if (run->thread == Sync::this_thread()) {
        run->what = nullptr;  // the entry may be gone when its function returns, and another one may come to lie at its address
        return false;
      }
      self.next = run->removers;
      run->removers = &self;
    }
    self.parker.park();
    return false;
  }

  /// Takes the entry out if it is pending, and never waits. False: it has been fired, and its function runs, will run or has run.
  bool try_remove(entry& e) noexcept {
    std::scoped_lock guard{lock_};
    if (!e.pending) return false;
    take_out(e);
    return true;
  }

 protected:
  ~basic_timer_queue() = default;

  /// Adds without firing. True: it is now the earliest, and whoever sleeps until the earliest must look again.
  bool insert(entry& e, nanoseconds_point when) noexcept {
    std::scoped_lock guard{lock_};
    assert(!e.pending && "a timer was added that is pending");
    e.when = when;
    e.order = added_;
    added_ = added_ + 1;
    e.child = nullptr;
    e.sibling = nullptr;
    e.before = nullptr;
    e.pending = true;
    root_ = root_ == nullptr ? &e : meld(root_, &e);
    return root_ == &e;
  }

  /// When the earliest entry is due; `never` if none is pending.
  [[nodiscard]] nanoseconds_point earliest() noexcept {
    std::scoped_lock guard{lock_};
    return root_ == nullptr ? never : root_->when;
  }

  /// Fires the entries that are due at `now`, the earliest first, those that are added meanwhile too, but no more than `most`; says how many.
  /// Several threads may fire at a time, and an entry's function may come back here.
  std::size_t fire_due(nanoseconds_point now, std::size_t most) noexcept {
    firing self;
    for (std::size_t fired = 0;; ++fired) {
      remover* waiting = nullptr;
      bool another = false;
      {
        std::scoped_lock guard{lock_};
        waiting = self.removers;  // of the one that was fired last
        self.removers = nullptr;
        another = fired < most && root_ != nullptr && root_->when <= now;
        if (another) {
          if (fired == 0) begin_firing(self);
          self.what = root_;
          take_out(*self.what);
        } else if (fired != 0) {
          end_firing(self);
        }
      }
      while (waiting != nullptr) {
        remover* const next = waiting->next;  // read first: the remover's frame may be gone after unpark()
        waiting->parker.unpark();
        waiting = next;
      }
      if (!another) return fired;
      self.what->fire(*self.what);  // without the lock: it takes the lock of a primitive, and may run the code of a user
    }
  }
  /// The same for one entry. False: none is due.
  bool fire_next(nanoseconds_point now) noexcept { return fire_due(now, 1) != 0; }

 private:
  struct remover {
    typename Sync::template var<remover*> next{nullptr};
    basic_parker<Sync> parker;
  };
  // A thread that fires, in its own frame: the entry whose function runs now, or was the last to run.
  struct firing {
    typename Sync::template var<entry*> what{nullptr};
    typename Sync::thread_id thread{};
    typename Sync::template var<firing*> next{nullptr};
    typename Sync::template var<remover*> removers{nullptr};
  };

  void begin_firing(firing& self) noexcept {
    self.thread = Sync::this_thread();
    self.next = firing_;
    firing_ = &self;
  }
  void end_firing(firing& self) noexcept {
    firing* run = firing_;
    if (run == &self) {
      firing_ = self.next;
    } else {
      while (run->next != &self) run = run->next;
      run->next = self.next;
    }
  }

  // Makes the later of two roots a child of the earlier one. Entries with equal times fire in the order in which they were added.
  static entry* meld(entry* parent, entry* child) noexcept {
    if (child->when < parent->when || (child->when == parent->when && child->order < parent->order)) std::swap(parent, child);
    entry* const below = parent->child;
    child->before = parent;
    child->sibling = below;
    if (below != nullptr) below->before = child;
    parent->child = child;
    return parent;
  }

  // Pairs the siblings from left to right, then joins the pairs from right to left; both passes are loops, for a heap of a million
  // entries may have a million children.
  static entry* meld_siblings(entry* first) noexcept {
    entry* pairs = nullptr;  // a stack of pairs, linked by `sibling`
    while (first != nullptr) {
      entry* const a = first;
      entry* const b = a->sibling;
      first = b != nullptr ? static_cast<entry*>(b->sibling) : nullptr;
      a->sibling = nullptr;
      a->before = nullptr;
      entry* pair = a;
      if (b != nullptr) {
        b->sibling = nullptr;
        b->before = nullptr;
        pair = meld(a, b);
      }
      pair->sibling = pairs;
      pairs = pair;
    }
    entry* root = nullptr;
    while (pairs != nullptr) {
      entry* const pair = pairs;
      pairs = pair->sibling;
      pair->sibling = nullptr;
      root = root == nullptr ? pair : meld(pair, root);
    }
    return root;
  }

  void take_out(entry& e) noexcept {
    entry* const below = meld_siblings(e.child);
    e.child = nullptr;
    if (root_ == &e) {
      root_ = below;
    } else {
      entry* const before = e.before;
      entry* const after = e.sibling;
      (before->child == &e ? before->child : before->sibling) = after;
      if (after != nullptr) after->before = before;
      if (below != nullptr) root_ = meld(root_, below);
    }
    e.sibling = nullptr;
    e.before = nullptr;
    e.pending = false;
  }

  typename Sync::mutex lock_;
  typename Sync::template var<entry*> root_{nullptr};
  typename Sync::template var<firing*> firing_{nullptr};
  typename Sync::template var<std::uint64_t> added_{0};
};

/// Arms a timer that interrupts a wait, for as long as this object lives.
template <class Operation>
class armed_timer : public timer_entry<typename Operation::sync> {
 public:
  using sync = typename Operation::sync;

  armed_timer(basic_timer_queue<sync>& queue, nanoseconds_point at, Operation& operation) : queue_{queue}, operation_{operation} {
    this->fire = [](timer_entry<sync>& self) noexcept {
      static_cast<armed_timer&>(self).operation_.interrupt(outcome::timeout);  // the last touch: *this may be gone
    };
    queue_.add(*this, at);
  }
  ~armed_timer() { queue_.remove(*this); }

 private:
  basic_timer_queue<sync>& queue_;
  Operation& operation_;
};

}  // namespace penstock::inline v0_1::detail
