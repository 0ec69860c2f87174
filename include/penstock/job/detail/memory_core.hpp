// penstock/job/detail/memory_core.hpp: the lock of a store in memory, and what follows from a step under it when it is free again.
//
// Guarded by the lock  everything but who changes listeners_ (one at a time).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/job_schedules.hpp>
#include <penstock/job/detail/memory_jobs.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload, class Listener = store_listener, class Event = job_event>
class memory_core {
  using listeners = std::vector<std::shared_ptr<Listener>>;

 public:
  /// Throws std::bad_alloc.
  void subscribe(std::shared_ptr<Listener> listener) {
    std::scoped_lock guard{listening_};
    auto changed = std::make_shared<listeners>(*all_listeners());
    changed->push_back(std::move(listener));
    set_listeners(std::move(changed));
  }
  /// Without memory for the change, the listener stays until the next one.
  void unsubscribe(const store_listener& listener) noexcept {
    std::scoped_lock guard{listening_};
    try {
      auto changed = std::make_shared<listeners>(*all_listeners());
      std::erase_if(*changed, [&](const auto& l) { return l.get() == &listener; });
      set_listeners(std::move(changed));
    } catch (const std::bad_alloc&) {
    }
  }
  /// Events that were not told, for too many came at a time.
  [[nodiscard]] std::uint64_t events_lost() const noexcept {
    std::scoped_lock guard{lock_};
    return jobs_.events_lost();
  }

 protected:
  using jobs = memory_jobs<Payload>;
  using node = typename jobs::node;
  using effects = typename jobs::effects;
  using schedule_records = job_schedules<Payload>;

  memory_core(std::size_t capacity, keep_limits completed, keep_limits failed, const job_group_rule& usual)
      : jobs_{capacity, completed, failed, usual} {}
  memory_core(const memory_core&) = delete;
  memory_core& operator=(const memory_core&) = delete;
  ~memory_core() = default;

  [[nodiscard]] job_time next_due() const noexcept {
    return std::min(jobs_.next_due(), jobs_.paused() || schedules_.starved ? no_time : schedules_.next_at());
  }
  /// One step, and what follows from it. The step may throw before it has changed anything.
  template <class F>
  auto change(F f) {
    effects e;
    std::shared_ptr<const listeners> tell;
    bool events = false;
    std::unique_lock guard{lock_};
    jobs_.record(somebody_records());
    auto answer = f(e);
    if (jobs_.group_released()) e.ready = true;
    if (schedules_.starved && jobs_.room_for(1)) schedules_.starved = false, e.ready = true;
    if (e.ready && !jobs_.something_ready() && next_due() == no_time) e.ready = false;  // it was taken in the same step
    events = !jobs_.events().empty();
    const bool room = wanted_room_ != 0 && jobs_.room_for(wanted_room_);
    if (room) wanted_room_ = 0;
    if (e.ready || room) tell = listeners_;
    guard.unlock();
    if (e.dead != nullptr) {
      jobs::destroy_payloads(e.dead);
      guard.lock();
      jobs_.reuse(e.dead);
      guard.unlock();
    }
    for (job_watch* w = e.told; w != nullptr;) {
      job_watch* const next = w->next;  // read first: it may destroy itself
      w->tell();
      w = next;
    }
    if (events) deliver();
    if (e.ready || room) {
      for (const auto& l : *tell) {
        if (e.ready) l->work_ready();
        if (room) l->room_made();
      }
    }
    return answer;
  }

  mutable polled_mutex<> lock_;
  jobs jobs_;                   // guarded by lock_, as are the next six
  schedule_records schedules_;  // but for next_at()
  std::size_t leases_ = 0;
  std::size_t wanted_room_ = 0;  // the least that somebody asked for in vain, since listeners were told; 0: nobody did

 private:
  // With the lock held.
  bool somebody_records() const noexcept {
    for (const auto& l : *listeners_) {
      if (l->wants_events()) return true;
    }
    return false;
  }
  // One thread at a time, so that events are told in their order: others leave theirs to it.
  void deliver() noexcept {
    std::unique_lock guard{lock_};
    if (delivering_) return;
    delivering_ = true;
    while (!jobs_.events().empty()) {
      std::swap(on_their_way_, jobs_.events());
      const std::shared_ptr<const listeners> tell = listeners_;
      guard.unlock();
      for (const auto& l : *tell) l->happened(on_their_way_);
      on_their_way_.clear();
      guard.lock();
    }
    delivering_ = false;
  }

  std::shared_ptr<const listeners> all_listeners() const noexcept {
    std::scoped_lock guard{lock_};
    return listeners_;
  }
  void set_listeners(std::shared_ptr<const listeners> l) noexcept {
    std::scoped_lock guard{lock_};
    listeners_.swap(l);
  }

  std::shared_ptr<const listeners> listeners_ = std::make_shared<const listeners>();  // replaced as a whole
  bool delivering_ = false;
  std::vector<Event> on_their_way_;  // of who delivers
  std::mutex listening_;             // one change of listeners_ at a time
};

}  // namespace penstock::inline v0_1::detail
