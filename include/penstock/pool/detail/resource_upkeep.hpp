// penstock/pool/detail/resource_upkeep.hpp: operations that end, what time brings, and closing: the third part of resource_core.hpp, which includes it.
#pragma once

#include <algorithm>
#include <chrono>

#include <penstock/pool/detail/resource_core.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
void resource_core<Sync>::finished(slot* s, bool ok, std::exception_ptr why, request* mine, nanoseconds_point now) noexcept {
  const bool late = mine != nullptr && mine->until.passed();
  const bool connected = s == nullptr || !s->checking;
  work todo;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (!connected) {
      checking_ = checking_ - 1;
      if (terms_.keep_alive != 0) note_due(now);  // others may have waited for their turn
    } else {
      connecting_ = connecting_ - 1;
      if (s == nullptr) ++pending_.ended;
      if (ok) {
        failures_ = 0;
        last_delay_ = {};
        this->admit(*s, now);
        if (terms_.max_lifetime != 0) {
          const double share = static_cast<double>(random_() >> 11) * 0x1p-53 * terms_.lifetime_jitter;
          s->expires_at = saturating_add(
              now, terms_.max_lifetime - static_cast<std::int64_t>(static_cast<double>(terms_.max_lifetime) * share));
        }
      } else {
        ++counts_.connect_failures;
        if (failures_ == 0 || now >= retry_at_) {  // else it was begun together with one that has failed already
          ++failures_;
          last_delay_ = terms_.connect_backoff.next_delay(failures_, random_, last_delay_);
          retry_at_ = saturating_add(now, std::max<std::int64_t>(last_delay_.count(), 1'000'000));
        }
        std::swap(last_error_, why);
      }
    }
    if (ok) {
      s->checked_at = now;
      if (late) mine->how = outcome::timeout;
      if (mine != nullptr && !late && why_unfit(*s, now) == discard_reason::none) {
        s->checking = false;
        lend(*s, mine->borrower, now);
        mine->has_waited = true;
        mine->got = s;
        mine->how = outcome::granted;
      } else {
        give(*s, now, won);
      }
    } else if (s != nullptr) {
      retire(*s, connected ? discard_reason::none : discard_reason::invalid);
    }
    if (!ok && connected && terms_.fail_fast && in_pool() == 0) {
      while (auto* const head = static_cast<request*>(waiters_.front())) {
        head->refusal = errc::rejected;
        waiters_.win(*head, outcome::rejected, won);
      }
    }
    pump(now, won);
    take_pending(todo);
  }
  settle(todo, won);
}

template <class Sync>
void resource_core<Sync>::on_time() noexcept {
  work todo;
  todo.on_timer = true;
  wait_list<Sync> won;
  nanoseconds_point now = time();
  {
    std::scoped_lock guard{lock_};
    now = std::max(now, timer_at_);  // a clock that is read from a cache may lag behind its timers
    timer_at_ = due_ = never;
    if (gone_) return;
    sweep(now);
    this->move_lane_time(now);
    note_due(this->next_look());
    pump(now, won);
    pending_.timer = due_ != never;
    take_pending(todo);
  }
  if (terms_.leak_threshold != 0) report_leaks(now);
  settle(todo, won);  // the last touch, if there was nothing to do: whoever goes on may destroy the pool
}

template <class Sync>
void resource_core<Sync>::sweep(nanoseconds_point now) noexcept {
  for (slot* s = idle_.front(); s != nullptr;) {
    slot* const next = s->after;
    if (s->expires_at <= now) {
      retire_idle_one(*s, discard_reason::lifetime);
    } else if (terms_.idle_timeout != 0 && idle_.size() > terms_.min_idle &&
               saturating_add(s->idle_since, terms_.idle_timeout) <= now) {
      retire_idle_one(*s, discard_reason::idle);
    } else if (terms_.keep_alive != 0 && next_check_of(*s) <= now) {
      if (checking_ < terms_.max_connecting && !closed_) {  // else when one of those is over
        start_check(*s);
        pending_.checks.push_back(*s);
      }
    } else {
      const nanoseconds_point at = due_at(*s);
      if (at > now) {
        note_due(at);
      } else {  // kept for min_idle, however long it is idle: only its end, and its next check, matter
        nanoseconds_point other = s->expires_at;
        if (terms_.keep_alive != 0) other = std::min(other, next_check_of(*s));
        note_due(other);
      }
    }
    s = next;
  }
  if (terms_.leak_threshold == 0) return;
  for (const slot* s = leases_.front(); s != nullptr; s = s->after) {
    const nanoseconds_point at = saturating_add(s->leased_at, terms_.leak_threshold);
    if (at > now) {
      note_due(at);
      break;
    }
  }
}

template <class Sync>
void resource_core<Sync>::report_leaks(nanoseconds_point now) noexcept {
  for (;;) {
    std::source_location where;
    std::int64_t age = 0;
    {
      std::scoped_lock guard{lock_};
      slot* s = leases_.front();
      while (s != nullptr && s->reported) s = s->after;
      if (s == nullptr || saturating_add(s->leased_at, terms_.leak_threshold) > now) return;
      s->reported = true;
      ++counts_.leaks;
      where = s->where;
      age = now - s->leased_at;
    }
    report_leak(where, age);
  }
}

template <class Sync>
void resource_core<Sync>::close() noexcept {
  work todo;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    closed_ = true;
    waiters_.win_all(outcome::closed, won);
    retire_idle(discard_reason::closed);
    take_pending(todo);
  }
  settle(todo, won);
}

}  // namespace penstock::inline v0_1::detail
