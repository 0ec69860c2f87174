// penstock/pool/detail/resource_line.hpp: how a resource is acquired and given back, and who is served next: the second part of resource_core.hpp, which includes it.
#pragma once

#include <penstock/pool/detail/resource_core.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
auto resource_core<Sync>::choose(request& r, nanoseconds_point now, wait_list<Sync>& won) noexcept -> choice {
  const std::size_t ended = pending_.ended;
  const choice c = look(r, now);
  // It needs its right no more, or there are too few idle ones.
  if (pending_.ended != ended || (c == choice::decided && terms_.min_idle != 0)) pump(now, won);
  return c;
}

template <class Sync>
auto resource_core<Sync>::look(request& r, nanoseconds_point now) noexcept -> choice {
  if (r.job != nullptr) return choice::run_here;  // it was told before
  if (closed_) {
    give_back(r);
    r.how = outcome::closed;
    return choice::decided;
  }
  // Nobody overtakes. Who was woken has been the first in line.
  if (r.how != outcome::woken && !r.reserved && !waiters_.empty()) return choice::nothing;
  while (slot* const s = next_idle()) {
    if (s->expires_at <= now) {  // its timer is late
      retire_idle_one(*s, discard_reason::lifetime);
    } else if (!must_be_checked(*s, now)) {
      give_back(r);
      idle_.remove(*s);
      lend(*s, r.borrower, now);
      r.got = s;
      r.how = outcome::granted;
      return choice::decided;
    } else if (terms_.background) {  // it is begun when it stands in line; for one that will not, the next time may find it done
      if (r.may_make || checking_ != 0) break;
      start_check(*s);
      s->checked_ahead = true;
      pending_.checks.push_back(*s);
    } else {
      give_back(r);
      start_check(*s);
      r.job = s;
      return choice::run_here;
    }
  }
  if (terms_.background || !r.may_make) return choice::nothing;
  if (!r.reserved) {
    if (!may_connect(now, terms_.max_size + terms_.max_overflow)) return choice::nothing;
    reserve();
    r.reserved = true;
  }
  return choice::run_here;
}

template <class Sync>
bool resource_core<Sync>::try_pass(request& r) noexcept {
  if (!r.reserved && r.job == nullptr) {
    r.got = this->take_from_lane();
    if (r.got != nullptr) {
      r.how = outcome::granted;
      return true;
    }
  }
  for (;;) {
    choice c = choice::nothing;
    work todo;
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      c = choose(r, time(), won);
      take_pending(todo);
    }
    settle(todo, won);
    if (c == choice::decided) return true;
    if (c == choice::nothing) return false;
    run_here(r);
    if (r.got != nullptr) return true;
    if (r.how == outcome::timeout) return true;
  }
}

template <class Sync>
step resource_core<Sync>::try_or_link(request& r, link_at where, wait_list<Sync>& won) noexcept {
  if (where == link_at::nowhere) return step::refused;  // it is stopped, or late: it has looked before
  const nanoseconds_point now = time();
  const choice c = choose(r, now, won);
  if (c != choice::nothing) {
    leave_to_keeper(won);
    return c == choice::decided ? step::passed : step::look_again;
  }
  if (where == link_at::back) {
    const bool down = failures_ != 0 && now < retry_at_ && in_pool() == 0;
    if (is_line_full(now)) {
      r.refusal = errc::full;
    } else if (terms_.refuse_nested && this->holds_a_lease(r.borrower.thread)) {
      r.refusal = errc::deadlock;
    } else if (terms_.fail_fast && down) {
      r.refusal = errc::rejected;
    }
    if (r.refusal != errc::empty) {
      r.how = outcome::rejected;
      leave_to_keeper(won);
      return step::passed;
    }
    waiters_.push_back(r);
  } else {
    waiters_.push_front(r);
  }
  r.has_waited = true;
  if (terms_.background) pump(now, won);  // otherwise choose() has seen that nothing can be done
  leave_to_keeper(won);
  return step::linked;
}

template <class Sync>
bool resource_core<Sync>::rest_at_once(slot& s, nanoseconds_point now) noexcept {
  std::scoped_lock guard{lock_};
  if (!waiters_.empty() || why_unfit(s, now) != discard_reason::none || in_pool() > terms_.max_size) return false;
  s.idle_since = now;
  if (this->count_return(now) || due_at(s) < due_) return false;
  this->end_lease(s);
  idle_.push_back(s);
  return true;
}

template <class Sync>
void resource_core<Sync>::give(slot& s, nanoseconds_point now, wait_list<Sync>& won) noexcept {
  const discard_reason unfit = why_unfit(s, now);
  if (unfit != discard_reason::none) [[unlikely]] {
    retire(s, unfit);
    pump(now, won);
  } else if (in_pool() >= terms_.max_size + terms_.max_overflow) [[unlikely]] {  // there were more once
    retire(s, discard_reason::surplus);
  } else if (request* const head = static_cast<request*>(waiters_.front())) {
    head->got = &s;
    s.checking = false;
    lend(s, head->borrower, now);
    waiters_.win(*head, outcome::granted, won);
  } else if (in_pool() >= terms_.max_size) [[unlikely]] {
    retire(s, discard_reason::surplus);
  } else {
    rest(s, now);
  }
}

template <class Sync>
void resource_core<Sync>::rest(slot& s, nanoseconds_point now) noexcept {
  if (s.checking) {
    s.checking = false;
    idle_.push_front(s);  // nobody has used it
  } else {
    s.idle_since = now;
    idle_.push_back(s);
  }
  note_due(due_at(s));
  this->use_lane(now);
  note_due(this->next_look());
}

template <class Sync>
void resource_core<Sync>::release_slowly(slot& s, nanoseconds_point now, bool broken) noexcept {
  work todo;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    this->end_lease(s);
    if (!broken) {
      give(s, now, won);
    } else {
      retire(s, discard_reason::broken);
      pump(now, won);
    }
    take_pending(todo);
  }
  settle(todo, won);
}

template <class Sync>
bool resource_core<Sync>::may_connect(nanoseconds_point now, std::size_t most) noexcept {
  if (in_pool() + retiring_ >= most || connecting_ >= (failures_ != 0 ? 1 : terms_.max_connecting)) return false;
  if (failures_ != 0 && now < retry_at_) {
    note_due(retry_at_);
    return false;
  }
  return true;
}

template <class Sync>
void resource_core<Sync>::pump(nanoseconds_point now, wait_list<Sync>& won) noexcept {
  if (closed_) return;
  if (!terms_.background) {
    while (auto* const head = static_cast<request*>(waiters_.front())) {
      if (!may_connect(now, terms_.max_size + terms_.max_overflow)) return;
      reserve();
      head->reserved = true;
      waiters_.win(*head, outcome::woken, won);
    }
    return;
  }
  while (waiters_.size() > connecting_ + checking_) {
    slot* const s = next_idle();
    if (s == nullptr) break;
    start_check(*s);
    pending_.checks.push_back(*s);
  }
  for (;;) {
    const std::size_t coming = connecting_ + checking_;
    const bool awaited = waiters_.size() > coming;
    if (!awaited && idle_.size() + (coming - waiters_.size()) >= terms_.min_idle) return;
    if (!may_connect(now, awaited ? terms_.max_size + terms_.max_overflow : terms_.max_size)) return;
    reserve();
    ++pending_.connects;
  }
}

}  // namespace penstock::inline v0_1::detail
