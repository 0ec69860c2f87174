// penstock/rate/detail/share_line.hpp: places that are shared out by guaranteed shares, and the line of those who wait for one.
//
// There are `limit` places. Share i has guaranteed_[i] of them at any time, whatever the others hold; beyond its own it may have any place that is
// free. Share 0 has none of its own. So more than `limit` are held where a share takes its own while others have borrowed them: by as much as
// those shares own, and only until the borrowers come back, for nobody borrows while the limit is reached.
//
// Invariants     when the lock is free, nobody in line can pass: passes(share) of every share with a line is false.
//                in_flight_ is what the shares hold together.
// Fairness       whoever can pass passes in order of arrival; nobody overtakes within a share, and nobody takes a free place that one who came
//                earlier, of whatever share, waits for. A place is handed over: it is the waiter's before the waiter runs.
// Thread safety  as the members say.
// Cost           entering and leaving: the lock; leaving looks at each share's head, if anybody waits. Waiting does not allocate.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class share_line {
 public:
  using sync = Sync;
  static constexpr const char* known_as = "adaptive_limit";
  using count = std::ptrdiff_t;
  struct request : wait_node<Sync> {
    explicit request(std::size_t s) noexcept : share{s} {}
    static result<void> take_result(outcome decided) noexcept { return to_result(decided); }

    const std::size_t share;
    std::uint64_t arrival = 0;  // guarded by the line's lock
  };

  /// `fractions`: one for each share after share 0.
  share_line(const double* fractions, std::size_t shares, count limit)
      : shares_{std::make_unique<share[]>(shares + 1)}, size_{shares + 1} {
    for (std::size_t i = 0; i < shares; ++i) shares_[i + 1].fraction = fractions[i];
    move_limit(limit);
  }
  share_line(const share_line&) = delete;
  share_line& operator=(const share_line&) = delete;
  ~share_line() { assert(waiting_ == 0 && "a limit was destroyed while somebody waits for it"); }

  // With the lock held.
  /// One that holds a place of this share gives it back.
  void leave(std::size_t s, wait_list<Sync>& won) noexcept {
    in_flight_ = in_flight_ - 1;
    shares_[s].held = shares_[s].held - 1;
    serve(won);
  }
  void set_limit(count limit, wait_list<Sync>& won) noexcept {
    move_limit(limit);
    serve(won);
  }
  void close(wait_list<Sync>& won) noexcept {
    closed_ = true;
    for (std::size_t i = 0; i < size_; ++i) shares_[i].line.win_all(outcome::closed, won);
    waiting_ = 0;
    hint();
  }
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] count in_flight() const noexcept { return in_flight_; }
  [[nodiscard]] count in_flight(std::size_t s) const noexcept { return shares_[s].held; }
  [[nodiscard]] count guaranteed(std::size_t s) const noexcept { return shares_[s].guaranteed; }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }
  /// How many have got a place, since the beginning.
  [[nodiscard]] std::uint64_t entered() const noexcept { return entered_; }

  // Without it.
  /// One look: granted, closed, or pending if there is no place.
  outcome enter(std::size_t s) noexcept {
    if (!worth_entering(s)) return outcome::pending;
    std::scoped_lock guard{lock_};
    return look(s);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // The hooks of wait_operation; wait_lock() is also the lock of what belongs to this.
  typename Sync::mutex& wait_lock() const noexcept { return lock_; }
  bool try_pass(request& n) noexcept {
    const outcome how = enter(n.share);
    if (how != outcome::pending) n.how = how;
    return how != outcome::pending;
  }
  step try_or_link(request& n, link_at where, wait_list<Sync>&) noexcept {
    const outcome how = look(n.share);
    if (how != outcome::pending) {
      n.how = how;
      return step::passed;
    }
    if (where == link_at::nowhere) return step::refused;
    n.arrival = arrivals_ = arrivals_ + 1;
    shares_[n.share].line.push_back(n);
    waiting_ = waiting_ + 1;
    return step::linked;
  }
  // Those behind it could not pass while it was there, and for the same reasons cannot now.
  void unlinked(request&, wait_list<Sync>&) noexcept { waiting_ = waiting_ - 1; }

 private:
  struct share {
    double fraction = 0;
    typename Sync::template var<count> guaranteed{0};
    typename Sync::template var<count> held{0};
    typename Sync::template atomic<bool> has_own{false};  // a place of its own is free; a hint
    wait_queue<Sync> line;
  };

  void move_limit(count limit) noexcept {
    limit_ = limit;
    for (std::size_t i = 1; i < size_; ++i) {
      shares_[i].guaranteed = std::max<count>(1, static_cast<count>(static_cast<double>(limit) * shares_[i].fraction + 1e-9));
    }
    hint();
  }

  [[nodiscard]] bool passes(std::size_t s) const noexcept {
    return in_flight_ < limit_ || shares_[s].held < shares_[s].guaranteed;
  }
  outcome look(std::size_t s) noexcept {
    if (closed_) return outcome::closed;
    if (!passes(s)) return outcome::pending;  // and who could pass would not be in line: nobody is overtaken
    take(s);
    hint();
    return outcome::granted;
  }
  void take(std::size_t s) noexcept {
    entered_ = entered_ + 1;
    in_flight_ = in_flight_ + 1;
    shares_[s].held = shares_[s].held + 1;
  }

  void serve(wait_list<Sync>& won) noexcept {
    while (waiting_ != 0) {
      std::size_t next = size_;
      for (std::size_t i = 0; i < size_; ++i) {
        if (!shares_[i].line.empty() && passes(i) && (next == size_ || head(i).arrival < head(next).arrival)) next = i;
      }
      if (next == size_) break;
      take(next);
      waiting_ = waiting_ - 1;
      shares_[next].line.win(head(next), outcome::granted, won);
    }
    hint();
  }
  request& head(std::size_t s) const noexcept { return static_cast<request&>(*shares_[s].line.front()); }

  // For who polls, or only tries: whether it is worth taking the lock. Relaxed, all of them: what is decided is decided under the lock, and who links
  // looks again under it. Whoever released a place and then tries finds its own store, or a later one.
  bool worth_entering(std::size_t s) const noexcept {
    return room_.load(std::memory_order_relaxed) || shares_[s].has_own.load(std::memory_order_relaxed);
  }
  // With the lock held. relaxed: as above.
  void hint() noexcept {
    room_.store(closed_ || in_flight_ < limit_, std::memory_order_relaxed);
    for (std::size_t i = 1; i < size_; ++i) {
      shares_[i].has_own.store(shares_[i].held < shares_[i].guaranteed, std::memory_order_relaxed);
    }
  }

  mutable typename Sync::mutex lock_;
  typename Sync::template atomic<bool> room_{false};  // closed, or a place is free for anybody; a hint
  // Guarded by lock_.
  typename Sync::template var<count> limit_{0};
  typename Sync::template var<count> in_flight_{0};
  typename Sync::template var<std::size_t> waiting_{0};
  typename Sync::template var<std::uint64_t> arrivals_{0};
  typename Sync::template var<std::uint64_t> entered_{0};
  typename Sync::template var<bool> closed_{false};
  const std::unique_ptr<share[]> shares_;
  const std::size_t size_;
};

}  // namespace penstock::inline v0_1::detail
