// penstock/core/detail/work_item.hpp: a resumption on its way, and the trampoline that runs it when there is no scheduler.
//
// A work_item lies in the frame of what it resumes, so scheduling one allocates nothing, fails never and counts against no
// capacity. trampoline::execute() runs an item on the calling thread; an item that comes while another one runs on this thread
// waits in a list until that one returns. So a chain of resumptions, each caused by the last, needs the stack of one (race 16). A
// thread that blocks until a coroutine ends runs what is queued first.
//
// A coroutine that suspends inside a trace_scope of its own leaves that context on the thread. Whoever resumed it puts the thread's own one back.
#pragma once

#include <penstock/core/trace_context.hpp>

namespace penstock::inline v0_1::detail {

struct work_item {
  using run_function = void (*)(work_item&) noexcept;

  /// Runs the item, and what it causes to be run inline, on this thread; the item may be gone afterwards.
  void operator()() noexcept;

  work_item* next = nullptr;
  run_function run = nullptr;
};

/// An intrusive FIFO of work items. Not thread-safe.
class work_list {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  void push_back(work_item& item) noexcept {
    item.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &item;
    last_ = &item;
  }

  /// The oldest item, or null.
  work_item* pop_front() noexcept {
    work_item* const item = first_;
    if (item != nullptr) {
      first_ = item->next;
      if (first_ == nullptr) last_ = nullptr;
    }
    return item;
  }

 private:
  work_item* first_ = nullptr;
  work_item* last_ = nullptr;
};

/// While one lives, resumptions on this thread queue up behind what runs now; it runs them before it ends. One inside another (an
/// item runs an executor by hand) has a queue of its own, so what it runs is complete when it ends.
class trampoline {
 public:
  trampoline() noexcept : outer_{current_}, trace_{trace_of_this_thread} { current_ = &list_; }
  trampoline(const trampoline&) = delete;
  trampoline& operator=(const trampoline&) = delete;
  ~trampoline() {
    trace_of_this_thread = trace_;
    while (work_item* const item = list_.pop_front()) {
      item->run(*item);
      trace_of_this_thread = trace_;
    }
    current_ = outer_;
  }

  static void execute(work_item& item) noexcept {
    if (current_ != nullptr) {
      current_->push_back(item);
    } else {
      item();
    }
  }

  /// For who is about to block this thread until a coroutine has ended: that one may be queued behind the caller. What runs here then runs
  /// *inside* the caller, so it has a trampoline of its own. False: nothing is.
  static bool run_one() noexcept {
    work_item* const item = current_ != nullptr ? current_->pop_front() : nullptr;
    if (item == nullptr) return false;
    (*item)();
    return true;
  }

  /// Tells the pieces of work apart that run on this thread one inside the other; null if none does.
  static const void* innermost() noexcept { return current_; }

 private:
  static inline thread_local work_list* current_ = nullptr;
  work_list list_;
  work_list* const outer_;
  const trace_context trace_;
};

inline void work_item::operator()() noexcept {
  trampoline here;
  run(*this);
}

}  // namespace penstock::inline v0_1::detail
