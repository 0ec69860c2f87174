// penstock/batch/detail/batch_line.hpp: the line in which keys gather, and which of them leave together.
//
// departure.hpp says when a *runner* is sent to the executor: that is the work item of some flight in line, so sending allocates nothing and cannot
// fail. Where it arrives it takes what is there. A thread that stands where batches are processed may take one at once, without a runner.
//
// What is loaded from within a batch (on its thread, or by a coroutine with its stop token) must not wait for that batch to end: it gathers apart
// from others, and leaves without regard to max_in_flight_batches.
//
// Thread safety  none: all of it is guarded by the lock of Derived. It calls nobody: what a change asks for is noted in `consequences`, and is
//                done without the lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <penstock/batch/detail/departure.hpp>
#include <penstock/batch/detail/flight.hpp>
#include <penstock/core/detail/node_list.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

/// `Derived` has, both noexcept and with the lock held:
///   send(Flight&)   its work item goes to the executor as a runner, which is away until Derived::gone()
///   go()            a batch is away until Derived::gone()
template <class Derived, class Flight>
class batch_line {
 public:
  batch_line(const batch_line&) = delete;
  batch_line& operator=(const batch_line&) = delete;

 protected:
  struct consequences {
    bool may_process = false;  // this thread stands where batches are processed
    Flight* first = nullptr;   // that it has taken, linked by `later`
    std::size_t count = 0;
    work_list to_send;
    nanoseconds_point window = never;  // the timer is to be set
    bool schedule = false;             // the user's schedule is to be told
    bool over = false;
  };

  batch_line(const departure_rules& rules, std::size_t quiet_rounds, bool own_schedule) noexcept
      : max_size_{rules.max_size},
        max_bytes_{rules.max_bytes},
        max_running_{rules.max_running},
        quiet_rounds_{quiet_rounds},
        own_schedule_{own_schedule},
        line_{rules} {}
  ~batch_line() = default;

  // --- keys

  /// A new one.
  void enter_line(Flight& f, nanoseconds_point now, consequences& after) noexcept {
    f.core = self();
    f.at = now;
    queue_.push_back(f);
    line_.join(f.bytes, now);
    ++joined_;
    if (own_schedule_ && !scheduled_) after.schedule = scheduled_ = true;
  }
  /// One that nobody wants any more.
  void leave_line(Flight& f) noexcept {
    if (f.origin != nullptr) return nested_.remove(f);
    queue_.remove(f);
    line_.leave(f.bytes, oldest());
  }
  /// One that is asked for from within a batch, instead of enter_line(), or after it if others had asked for it before. send_nested() comes next.
  void enter_nested(Flight& f, nanoseconds_point now, const void* origin) noexcept {
    if (f.core != nullptr) {
      leave_line(f);
      if (f.posted == flight_item::line) {  // that runner comes for this one now
        f.posted = flight_item::nested;
        overtaken_ != 0 ? static_cast<void>(--overtaken_) : line_.recall();
      }
    } else {
      f.core = self();  // once: who waits for it reads this without the lock
    }
    f.at = now;
    f.origin = origin;
    nested_.push_back(f);
  }
  [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size() + nested_.size(); }
  [[nodiscard]] bool has_room_for(std::size_t bytes) const noexcept { return line_.has_room_for(bytes); }

  // --- batches

  /// After each change: runners for what is due, and the timer for what will be.
  void plan(nanoseconds_point now, consequences& after) noexcept {
    if (closed_) line_.tell();
    while (line_.may_send(now)) {
      seen_ = joined_;
      rounds_ = 0;
      if (after.may_process && after.first == nullptr) {
        line_.begin_here();
        after.count = take(after.first);
        self()->go();
        continue;
      }
      line_.send();
      if (overtaken_ != 0) {  // one that is on its way has a place again
        --overtaken_;
        continue;
      }
      Flight* f = queue_.back();  // mostly the one that has just come, whose item cannot be on its way
      if (f->posted != flight_item::none) {
        f = queue_.front();
        while (f->posted != flight_item::none)
          f = f->after;  // there is one: fewer are on their way than there are batches in line
      }
      post(*f, flight_item::line, after);
    }
    if (!line_.timed() || armed_ || closed_) return;
    after.window = line_.look(now);
    armed_ = after.window != never;
  }
  // What one batch asks for is a batch, of its own: others' keys could wait for the very batch that waits for this one.
  void send_nested(const void* origin, consequences& after) noexcept {
    Flight* idle = nullptr;
    for (Flight* f = nested_.front(); f != nullptr; f = f->after) {
      if (f->origin != origin) continue;
      if (f->posted != flight_item::none) return;
      idle = f;
    }
    if (idle != nullptr) post(*idle, flight_item::nested, after);
  }

  /// A runner is there: what it takes; none: it has to go(ne), or, if `round`, once more to the back of the executor's line.
  std::size_t arrived(Flight& item, nanoseconds_point now, Flight*& first, bool& round, consequences& after) noexcept {
    std::size_t n = 0;
    if (item.posted == flight_item::nested) {
      item.posted = flight_item::none;
      return take_nested(item.origin, first, after);
    }
    if (overtaken_ != 0) {
      --overtaken_;
      item.posted = flight_item::none;
    } else if (goes_round()) {
      round = true;
    } else {
      item.posted = flight_item::none;
      line_.arrive();
      n = take(first);
      if (n == 0) line_.end();
      plan(now, after);
    }
    return n;
  }
  /// On a thread of the executor, in place of a runner that may need this very thread: the batch that `f`, which is queued, needs. 0: no place.
  std::size_t take_here(Flight& f, nanoseconds_point now, Flight*& first, consequences& after) noexcept {
    if (f.origin != nullptr) return take_nested(f.origin, first, after);
    if (line_.running() >= max_running_) return 0;
    if (line_.sent() != 0) {
      ++overtaken_;
      line_.arrive();
    } else {
      line_.begin_here();
    }
    const std::size_t n = take(first);
    plan(now, after);
    return n;
  }
  void end_of_batch(const Flight& one_of_it) noexcept {
    if (one_of_it.origin != nullptr) {
      --nested_running_;
    } else {
      line_.end();
    }
  }
  [[nodiscard]] std::size_t running() const noexcept { return line_.running() + nested_running_; }
  [[nodiscard]] std::size_t most_running() const noexcept { return max_running_; }

  // What is in line leaves.
  void hurry() noexcept {
    line_.tell();
    scheduled_ = false;
  }
  [[nodiscard]] bool waits_for_rounds() const noexcept { return quiet_rounds_ != 0; }
  [[nodiscard]] bool timed() const noexcept { return line_.timed(); }
  [[nodiscard]] bool empty() const noexcept { return queue_.empty() && nested_.empty(); }

  bool closed_ = false;
  bool armed_ = false;      // the window's timer is set, or is about to be
  std::uint64_t left_ = 0;  // keys that ever left in batches

 private:
  Derived* self() noexcept { return static_cast<Derived*>(this); }
  [[nodiscard]] nanoseconds_point oldest() const noexcept { return queue_.empty() ? 0 : queue_.front()->at; }

  void post(Flight& f, flight_item what, consequences& after) noexcept {
    f.posted = what;
    f.add_owner();
    self()->send(f);
    after.to_send.push_back(f);
  }

  // The flights of the next batch, out of the line.
  std::size_t take(Flight*& first) noexcept {
    const Flight* next = queue_.front();
    const std::size_t n = line_.batch_size([&](std::size_t) { return std::exchange(next, next->after)->bytes; });
    first = nullptr;
    Flight** link = &first;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < n; ++i) {
      Flight* const f = queue_.pop_front();
      bytes += f->bytes;
      add(*f, link);
    }
    if (n != 0) line_.took(n, bytes, oldest());
    left_ += n;
    return n;
  }
  std::size_t take_nested(const void* origin, Flight*& first, consequences& after) noexcept {
    std::size_t n = 0;
    std::size_t room = max_bytes_;
    first = nullptr;
    Flight** link = &first;
    for (Flight* f = nested_.front(); f != nullptr && n < max_size_;) {
      Flight* const next = f->after;
      if (f->origin == origin) {
        if (f->bytes > room) break;
        room -= f->bytes;
        nested_.remove(*f);
        add(*f, link);
        ++n;
      }
      f = next;
    }
    left_ += n;
    if (n != 0) ++nested_running_;
    send_nested(origin, after);
    return n;
  }
  static void add(Flight& f, Flight**& link) noexcept {
    f.phase = flight_phase::taken;
    f.after = nullptr;
    *link = &f;
    link = &f.after;
  }

  // Whether a runner goes to the back of the executor's line once more: something came since it was there last, or not often enough nothing.
  [[nodiscard]] bool goes_round() noexcept {
    if (quiet_rounds_ == 0 || line_.hurried()) return false;
    if (seen_ != joined_) {
      seen_ = joined_;
      rounds_ = 0;
      return true;
    }
    return ++rounds_ < quiet_rounds_;
  }

  const std::size_t max_size_;
  const std::size_t max_bytes_;
  const std::size_t max_running_;
  const std::size_t quiet_rounds_;  // 0: a runner takes what is there when it arrives
  const bool own_schedule_;
  node_list<Flight> queue_;
  node_list<Flight> nested_;        // asked for from within batches
  std::size_t nested_running_ = 0;  // batches of those
  departure line_;                  // counts what is in queue_
  std::size_t overtaken_ = 0;       // runners on their way whose place a thread of take_here() took
  std::uint64_t joined_ = 0;        // keys that ever came
  std::uint64_t seen_ = 0;          // of those, when a runner looked last
  std::size_t rounds_ = 0;          // in a row without a new key
  bool scheduled_ = false;          // the user's schedule was told
};

}  // namespace penstock::inline v0_1::detail
