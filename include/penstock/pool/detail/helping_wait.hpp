// penstock/pool/detail/helping_wait.hpp: a worker waits for the end of a coroutine, and runs the queue's resumptions meanwhile.
//
// The coroutine may need this worker in order to go on. So the worker stands in two lines, without a claim between them: its node in the line of
// `end` does not wake it, but interrupts its wait in the line of helpers, as a stop request or a timer would (wait_operation.hpp).
//
// Lost wakes   none: a resumption is handed over under the queue's lock, and an end that comes while the worker runs one leaves a note that its
//              next linking looks at under that lock.
// Lifetime     telling the end is interrupt() and nothing after it: its last touch is the note, under the queue's lock, or the unparking of the
//              helper, and run() returns only after the one or the other (race 3).
#pragma once

#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/wait_mark.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

template <class Queue>
class helping_wait : private wait_operation<Queue, typename Queue::helper_node> {
  using operation = wait_operation<Queue, typename Queue::helper_node>;

 public:
  using sync = typename Queue::sync;
  using one_shot = basic_one_shot<sync>;

  /// `waiting`: the slot of the worker that waits.
  helping_wait(Queue& q, typename Queue::slot& waiting, one_shot& end) noexcept : operation{q, waiting}, end_{end, *this} {
    this->complete = [](wait_node<sync>& node) noexcept { static_cast<helping_wait&>(node).parker_.unpark(); };
  }

  /// Blocks until `end` is set; calls run(work_item&) with each resumption that comes before.
  template <class Run>
  void run(Run run) noexcept {
    poll();
    if (end_.has_come()) return;
    wait_mark<sync> observed;  // ends with this call
    observed.begin_thread(&end_.awaited(), kind_of_wait<one_shot, plain_node<sync>>, never);
    for (;;) {
      const bool fed = !this->advance(link_at::back);
      if (fed) {
        parker_.park();
        parker_.reset();
      }
      if (this->how != outcome::granted) break;
      if (fed) this->owner().call_for_help();
      run(*this->found);
      this->finished();
      poll();
    }
  }

 private:
  class watch : private wait_operation<one_shot, plain_node<sync>> {
   public:
    watch(one_shot& end, helping_wait& helper) noexcept : wait_operation<one_shot, plain_node<sync>>{end}, helper_{&helper} {}

    /// False: the helper's wait will be interrupted when it comes.
    bool has_come() noexcept {
      if (this->owner().try_pass(*this)) return true;
      this->complete = [](wait_node<sync>& node) noexcept {
        static_cast<watch&>(node).helper_->interrupt(outcome::closed);  // the last touch
      };
      return this->advance(link_at::back);
    }
    [[nodiscard]] const one_shot& awaited() const noexcept { return this->owner(); }
    [[nodiscard]] bool looks_set() const noexcept { return this->owner().is_set(); }

   private:
    helping_wait* helper_;
  };

  // A little while, until there seems to be something to do.
  void poll() noexcept {
    for (polling<sync> poll; poll.again();) {
      if (end_.looks_set() || this->owner().may_help()) return;
    }
  }

  watch end_;
  basic_parker<sync> parker_;
};

}  // namespace penstock::inline v0_1::detail
