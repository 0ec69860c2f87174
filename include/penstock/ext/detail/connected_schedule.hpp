// penstock/ext/detail/connected_schedule.hpp: a receiver that is told on a scheduler's context. The operation state is what is executed there.
#pragma once

#include <utility>

#include <penstock/core/detail/sending.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1::detail {

template <class Scheduler, class Receiver>
class connected_sender<schedule_awaiter<Scheduler>, Receiver> : work_item {
 public:
  using operation_state_concept = execution::operation_state_tag;

  connected_sender(schedule_awaiter<Scheduler>&& s, Receiver&& r) : receiver_(std::move(r)), to_{s.get_env().to} {}
  connected_sender(connected_sender&&) = delete;

  void start() & noexcept {
    if (receiver_stop_token(receiver_).stop_requested()) {
      receiver_calls<Receiver>::set_stopped(receiver_);
      return;
    }
    this->run = [](work_item& item) noexcept { static_cast<connected_sender&>(item).arrive(); };
    const Scheduler to = to_;  // a copy: once the item is handed over, *this may be gone
    to.execute(*this);
  }

 private:
  void arrive() noexcept {
    if (receiver_stop_token(receiver_).stop_requested() || nobody_is_there()) {
      receiver_calls<Receiver>::set_stopped(receiver_);
    } else {
      receiver_calls<Receiver>::set_value(receiver_);
    }
  }
  // A context without a thread has others run what it is given.
  [[nodiscard]] bool nobody_is_there() const noexcept {
    const any_scheduler where{to_};
    return where.knows_its_threads() && !where.running_here();
  }

  Receiver receiver_;
  Scheduler to_;
};

}  // namespace penstock::inline v0_1::detail
