// penstock/batch/detail/write_turns.hpp: which writer takes which batch and who watches the time, and who waited for an end that has come: the third
// part of write_line.hpp, which includes it.
#pragma once

#include <cstdint>

#include <penstock/batch/detail/write_line.hpp>

namespace penstock::inline v0_1::detail {

// With lock_ held, all of these.

template <class Item, class Sync>
bool write_line<Item, Sync>::take_or_linger(work_node& n, wait_list<Sync>& won) noexcept {
  if (n.its->comes) {
    n.its->comes = false;
    coming_ = coming_ - 1;
  }
  batch* const b = waiting_.front();
  if (b == nullptr) {
    drop_role(n);
    if (!closed()) return false;
    n.how = outcome::closed;
    return true;
  }
  if (due_now(*b) || timers_->now() >= due_at(*b)) {
    give(*b, n);
    serve_writers(won);  // another one may have to linger now
    return true;
  }
  if (lingers_ && !n.its->lingers) return false;
  const nanoseconds_point at = due_at(*b);
  if (n.its->lingers && n.its->until == at) return false;
  send_to_linger(n, at);
  return true;
}

template <class Item, class Sync>
void write_line<Item, Sync>::give(batch& b, work_node& n) noexcept {
  drop_role(n);
  if (open_ == &b) open_ = nullptr;
  waiting_.remove(b);
  in_flight_.push_back(b);
  n.its->taken = &b;
  n.how = outcome::granted;
}

template <class Item, class Sync>
void write_line<Item, Sync>::send_to_linger(work_node& n, nanoseconds_point until) noexcept {
  lingers_ = true;
  n.its->lingers = true;
  n.its->until = until;
  n.how = outcome::granted;
}

template <class Item, class Sync>
void write_line<Item, Sync>::drop_role(work_node& n) noexcept {
  if (!n.its->lingers) return;
  n.its->lingers = false;
  n.its->until = never;
  lingers_ = false;
  if (lingering_ == &n) lingering_ = nullptr;
}

template <class Item, class Sync>
void write_line<Item, Sync>::serve_writers(wait_list<Sync>& won) noexcept {
  while (!writers_.empty()) {
    work_node& first = *static_cast<work_node*>(lingering_ != nullptr ? lingering_ : writers_.front());
    const batch* const b = waiting_.front();
    if (b == nullptr) {
      if (closed()) writers_.win_all(outcome::closed, won);
      return;
    }
    if (coming_ < due_batches()) {
      coming_ = coming_ + 1;
      first.its->comes = true;
      if (lingering_ == &first) lingering_ = nullptr;  // it keeps the role until it arrives
    } else if (!lingers_ && !due_now(*b)) {
      send_to_linger(first, due_at(*b));
    } else {
      return;
    }
    writers_.win(first, outcome::granted, won);
  }
}

template <class Item, class Sync>
void write_line<Item, Sync>::serve_ends(wait_list<Sync>& won) noexcept {
  const batch* const oldest = !in_flight_.empty() ? in_flight_.front() : waiting_.front();
  const std::uint64_t over = oldest != nullptr ? oldest->number - 1 : static_cast<std::uint64_t>(numbered_);
  over_.store(over, std::memory_order_release);  // release: pairs with the acquire in try_pass()
  while (auto* const n = static_cast<end_node*>(ends_.front())) {
    if (n->number > over) return;  // those in line stand in the order of their numbers
    ends_.win(*n, outcome::granted, won);
  }
}

}  // namespace penstock::inline v0_1::detail
