// penstock/ext/detail/store_listeners.hpp: those who want to know what happens in a store, and the events that are on their way to them.
//
// Thread safety  every member may be called concurrently. Listeners are called under no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Listener = store_listener, class Event = job_event>
class basic_store_listeners {
  using list = std::vector<std::shared_ptr<Listener>>;

 public:
  static constexpr std::size_t event_backlog = 4096;

  /// Throws std::bad_alloc.
  void add(std::shared_ptr<Listener> listener) {
    std::scoped_lock one_change{changing_};
    auto changed = std::make_shared<list>(*all());
    changed->push_back(std::move(listener));
    set(std::move(changed));
  }
  /// Without memory for the change, it stays until the next one.
  void remove(const Listener& listener) noexcept {
    std::scoped_lock one_change{changing_};
    try {
      auto changed = std::make_shared<list>(*all());
      std::erase_if(*changed, [&](const auto& l) { return l.get() == &listener; });
      set(std::move(changed));
    } catch (const std::bad_alloc&) {
    }
  }
  /// Whether somebody wants events; then recorded() does not allocate. Throws std::bad_alloc.
  [[nodiscard]] bool record() {
    std::scoped_lock guard{lock_};
    for (const auto& l : *all_) {
      if (!l->wants_events()) continue;
      if (events_.capacity() < event_backlog) {
        events_.reserve(event_backlog);
        on_their_way_.reserve(event_backlog);
      }
      return true;
    }
    return false;
  }
  /// In the order in which they happened. True: deliver() is to be called.
  [[nodiscard]] bool recorded(std::vector<Event>& events) noexcept {
    if (events.empty()) return false;
    std::scoped_lock guard{lock_};
    for (auto& e : events) {
      if (events_.size() == events_.capacity()) {
        ++lost_;
      } else {
        events_.push_back(std::move(e));
      }
    }
    return true;
  }
  // One thread at a time, so that events are told in their order: others leave theirs to it.
  void deliver() noexcept {
    std::unique_lock guard{lock_};
    if (delivering_) return;
    delivering_ = true;
    while (!events_.empty()) {
      std::swap(on_their_way_, events_);
      const std::shared_ptr<const list> to = all_;
      guard.unlock();
      for (const auto& l : *to) l->happened(on_their_way_);
      on_their_way_.clear();
      guard.lock();
    }
    delivering_ = false;
  }
  void tell(bool ready, bool room) const noexcept {
    const std::shared_ptr<const list> to = all();
    for (const auto& l : *to) {
      if (ready) l->work_ready();
      if (room) l->room_made();
    }
  }
  /// Events that were not told, for too many came at a time.
  [[nodiscard]] std::uint64_t lost() const noexcept {
    std::scoped_lock guard{lock_};
    return lost_;
  }

 private:
  [[nodiscard]] std::shared_ptr<const list> all() const noexcept {
    std::scoped_lock guard{lock_};
    return all_;
  }
  void set(std::shared_ptr<const list> l) noexcept {
    std::scoped_lock guard{lock_};
    all_.swap(l);
  }

  mutable polled_mutex<> lock_;
  std::shared_ptr<const list> all_ = std::make_shared<const list>();  // replaced as a whole
  std::vector<Event> events_;
  std::vector<Event> on_their_way_;  // of who delivers
  std::uint64_t lost_ = 0;
  bool delivering_ = false;
  std::mutex changing_;  // one change of all_ at a time
};

using store_listeners = basic_store_listeners<>;

}  // namespace penstock::inline v0_1::detail
