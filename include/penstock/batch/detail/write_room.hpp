// penstock/batch/detail/write_room.hpp: how items go in, and into which batch: the second part of write_line.hpp, which includes it.
#pragma once

#include <exception>

#include <penstock/batch/detail/write_line.hpp>

namespace penstock::inline v0_1::detail {

// With lock_ held, all of these.

template <class Item, class Sync>
bool write_line<Item, Sync>::enter_if_first(room_node& n, wait_list<Sync>& won) noexcept {
  if (closed()) {
    n.how = outcome::closed;
  } else if (room_.empty() && fits(n.bytes)) {
    enter(n);
    serve_writers(won);
  } else {
    return false;
  }
  return true;
}

template <class Item, class Sync>
void write_line<Item, Sync>::enter(room_node& n) noexcept {
  try {
    batch& b = batch_for(n.bytes);
    const nanoseconds_point now = arrivals_ != nullptr ? arrivals_->timing.stamp(arrivals_->clock) : untimed;
    b.append(*n.item, n.ticket, arrivals_ != nullptr ? &now : nullptr);
    b.added = b.items.size();
    if (b.added == 1) b.trace = !observers::trace() ? trace_context{} : n.traced ? n.trace.context : current_trace();
    b.bytes += n.bytes;
    if (b.added >= limits_.max_items || b.bytes >= limits_.max_bytes) open_ = nullptr;
  } catch (...) {
    n.caught = std::current_exception();
    n.how = outcome::rejected;
    drop_empty();
    return;
  }
  set_held(held() + 1);
  held_bytes_ = held_bytes_ + n.bytes;
  added_ = added_ + 1;
  n.how = outcome::granted;
  if (limits_.max_idle != never) last_at_ = timers_->now();
}

template <class Item, class Sync>
auto write_line<Item, Sync>::batch_for(std::size_t bytes) -> batch& {
  if (open_ != nullptr && bytes <= limits_.max_bytes - open_->bytes) return *open_;
  batch* fresh = spare_.pop_front();
  if (fresh == nullptr) fresh = new batch;
  fresh->added = 0;
  fresh->bytes = 0;
  numbered_ = numbered_ + 1;
  fresh->number = numbered_;
  if (limits_.max_delay != 0) fresh->first_at = timers_->now();
  waiting_.push_back(*fresh);
  open_ = fresh;
  return *fresh;
}

template <class Item, class Sync>
void write_line<Item, Sync>::drop_empty() noexcept {
  if (open_ == nullptr || open_->added != 0) return;
  batch& b = *open_;
  waiting_.remove(b);
  numbered_ = numbered_ - 1;
  spare_.push_back(b);
  open_ = nullptr;  // the one before is sealed: no harm
}

template <class Item, class Sync>
void write_line<Item, Sync>::admit(wait_list<Sync>& won) noexcept {
  while (auto* const n = static_cast<room_node*>(room_.front())) {
    if (!fits(n->bytes)) return;
    enter(*n);
    room_.win(*n, n->how, won);
  }
}

}  // namespace penstock::inline v0_1::detail
