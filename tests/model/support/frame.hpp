// tests/model/support/frame.hpp: what a coroutine's frame is to a wait, without the coroutine.
#pragma once

#include "model_sync.hpp"

#include <penstock/core/detail/async_wait.hpp>

namespace model {

using deadline = penstock::detail::basic_deadline<model_sync>;
using penstock::detail::outcome;
using penstock::detail::work_item;

// The context of a scheduler: one thread that runs items until it is told that no more will come.
class mailbox {
 public:
  void execute(work_item& item) noexcept {
    {
      std::scoped_lock guard{lock_};
      items_.push_back(item);
    }
    signal();
  }
  void close() noexcept {
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
    }
    signal();
  }
  void run() noexcept {
    for (;;) {
      const std::uint32_t seen = signal_.load(std::memory_order_acquire);
      work_item* item = nullptr;
      bool closed = false;
      {
        std::scoped_lock guard{lock_};
        item = items_.pop_front();
        closed = closed_;
      }
      if (item != nullptr) {
        item->run(
            *item);  // not (*item)(): the trampoline in there belongs to the one real thread, which all of the model's share
      } else if (closed) {
        return;
      } else {
        model_sync::futex_wait(signal_, seen, never);
      }
    }
  }

 private:
  void signal() {
    signal_.fetch_add(1, std::memory_order_release);
    model_sync::futex_wake(&signal_);
  }

  mutex lock_;
  penstock::detail::work_list items_;  // guarded by lock_
  var<bool> closed_{false};
  atomic<std::uint32_t> signal_{0};
};

struct scheduler {
  mailbox* to = nullptr;  // null: right here
  void execute(work_item& item) const noexcept {
    if (to != nullptr) {
      to->execute(item);
    } else {
      item.run(item);
    }
  }
};

// A frame that waits. `Test::ended(how)` is called when it is gone.
template <class Owner, class Node, class Test>
class frame : public penstock::detail::completion_wait<Owner, Node, scheduler> {
 public:
  using base = penstock::detail::completion_wait<Owner, Node, scheduler>;

  template <class... Arguments>
  static void begin(Test& test, const stop_token& stop, const deadline& limit, scheduler where, Owner& owner,
                    Arguments... arguments) {
    auto* const f = new frame{test, owner, arguments...};
    if (f->start(stop, limit, where, [](base& b) noexcept { end(static_cast<frame&>(b)); })) end(*f);
  }

 private:
  template <class... Arguments>
  explicit frame(Test& test, Owner& owner, Arguments... arguments) : base{owner, arguments...}, test_{test} {}
  static void end(frame& f) noexcept {
    f.finish();
    const outcome how = f.how;
    Test& test = f.test_;
    delete &f;
    test.ended(how);
  }

  Test& test_;
};

}  // namespace model
