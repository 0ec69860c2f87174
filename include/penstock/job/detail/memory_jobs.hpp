// penstock/job/detail/memory_jobs.hpp: the steps of a store in memory: adding jobs, running them, and what is done by hand. Guarded by the store's lock.
//
// No step that changes something fails: what it needs is reserved before.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/job/detail/job_groups.hpp>
#include <penstock/job/detail/job_keys.hpp>
#include <penstock/job/detail/memory_states.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload>
class memory_jobs : public memory_states<Payload> {
  using base = memory_states<Payload>;

 public:
  using node = typename base::node;
  using keys = typename base::keys;
  using list = typename base::list;
  using effects = typename base::effects;
  using base::base;
  using base::emit_if_drained;
  using base::promote;
  using base::remove;

  // Adding.

  /// Somebody wanted to add it once more.
  void duplicated(const job_id& id) noexcept {
    if (recording_) emit({.what = job_event::kind::duplicate, .id = id});
  }
  /// The job that counts in place of this one, also if it is over and only its ttl keeps others away; no job: none does.
  [[nodiscard]] job_id duplicate_of(const enqueue_options& o, job_time now, node*& there) noexcept {
    there = nullptr;
    if (!o.job_id.empty()) there = keys_.named(o.job_id);
    if (there != nullptr) return there->id();
    if (!o.deduplicate) return {};
    typename keys::guard* const g = keys_.guarded(o.deduplicate->id, now);
    if (g == nullptr) return {};
    if (o.deduplicate->replace && g->job != nullptr && g->job->state == job_state::delayed) return {};
    there = g->job != nullptr ? g->job : slab_.find(g->of.number());  // null: it is over, and not kept
    return g->of;
  }

  /// One that is no duplicate. Room was reserved. A parent has kin.
  job_id add(Payload&& payload, const enqueue_options& o, owner<job_extras>&& extras, typename keys::new_keys& fresh,
             job_watch* watch, node* parent, job_time now, effects& e) noexcept {
    node& n = slab_.take();
    std::construct_at(std::addressof(n.payload), std::move(payload));
    n.has_payload = true;
    n.known = true;
    n.extras = std::move(extras);
    if (n.extras != nullptr) n.kin = std::move(n.extras->kin);
    n.priority = o.priority;
    n.lifo = o.lifo;
    n.attempts_made = 0;
    n.stalled = 0;
    n.progress = 0;
    n.added_at = now;
    n.started_at = no_time;
    n.ended_at = no_time;
    n.fence = 0;
    if (!o.group.empty()) groups_.admit(n, fresh.groups, o.group, active_.size());
    if (watch != nullptr) link(n, *watch);
    if (parent != nullptr) families_.join(*parent, n);  // before another child is replaced, which may have been the last
    node* replaced = nullptr;
    if (n.extras != nullptr) {
      if (!o.job_id.empty()) keys_.add_name(fresh, o.job_id, n);
      if (o.deduplicate) {
        const deduplication& d = *o.deduplicate;
        typename keys::guard* const g = keys_.guarded(d.id, now);
        if (g != nullptr) replaced = g->job;
        // What replaces keeps the time that the first one set, unless each is to extend it.
        const job_time expires = d.ttl.count() == 0 ? no_time : g != nullptr && !d.extend ? g->expires : later(now, d.ttl);
        keys_.add_guard(fresh, d.id, {.of = n.id(), .job = &n, .expires = expires});
      }
    }
    if (replaced != nullptr) remove(*replaced, e);
    n.due = later(now, o.delay);
    if (n.kin != nullptr && n.kin->gathering) {
      wait(n, 0);
    } else if (o.delay.count() > 0) {
      delay(n, e);
      emit(job_event::kind::delayed, n, 0);
    } else {
      make_ready(n, n.lifo, e);
      emit(job_event::kind::added, n, 0);
    }
    return n.id();
  }
  void extend_guard(const enqueue_options& o, job_time now) noexcept {
    if (!o.deduplicate || !o.deduplicate->extend || o.deduplicate->ttl.count() == 0) return;
    if (typename keys::guard* const g = keys_.guarded(o.deduplicate->id, now)) g->expires = later(now, o.deduplicate->ttl);
  }

  // Running.

  void promote_due(job_time now, effects& e) noexcept {
    for (std::size_t i = 0; i < promoted_at_once && !delayed_.empty() && job_time{delayed_.top().major} <= now; ++i) {
      promote(*delayed_.top().node, e);
    }
    groups_.wake(now);
  }
  /// Null: nothing is ready. Pinned once.
  [[nodiscard]] node* start_next(job_time now, job_time lease_until) noexcept {
    if (paused_) return nullptr;
    node* const n = groups_.pop(now);
    if (n == nullptr) return nullptr;
    n->state = job_state::active;
    n->fence = ++fences_;
    n->lease_until = lease_until;
    n->started_at = now;
    ++n->pins;
    active_.push_back(*n);
    emit(job_event::kind::started, *n, n->attempts_made + 1);
    return n;
  }
  [[nodiscard]] static bool holds(const node& n, std::uint64_t fence) noexcept {
    return n.known && n.state == job_state::active && n.fence == fence;
  }
  void unpin(node& n, effects& e) noexcept {
    if (--n.pins == 0 && !n.known) bury(n, e);
  }
  /// Precondition, of these: it is active, and who asks holds the lease.
  void complete(node& n, job_text&& value, job_time now, effects& e) noexcept {
    deactivate(n);
    n.value = std::move(value);
    const unsigned attempt = ++n.attempts_made;
    emit(job_event::kind::completed, n, attempt);
    end(n, job_state::completed, now, e);
  }
  void fail(node& n, job_text&& why, job_time now, effects& e) noexcept {
    deactivate(n);
    const unsigned attempt = ++n.attempts_made;
    n.why = std::move(why);
    emit(job_event::kind::failed, n, attempt);
    if (attempt >= (n.extras != nullptr ? n.extras->policy.attempts : 1)) emit(job_event::kind::retries_exhausted, n, attempt);
    end(n, job_state::failed, now, e);
  }
  void retry(node& n, job_text&& why, job_time at, job_time now, effects& e) noexcept {
    deactivate(n);
    const unsigned attempt = ++n.attempts_made;
    n.why = std::move(why);
    emit(job_event::kind::retried, n, attempt);
    again(n, at, now, n.lifo, e);
  }
  void release(node& n, job_time at, job_time now, effects& e) noexcept {
    deactivate(n);
    emit(job_event::kind::released, n, n.attempts_made + 1);
    again(n, at, now, true, e);
  }
  /// Until gathered(): children may be added before.
  void wait_for_children(node& n) noexcept {
    deactivate(n);
    n.due = n.added_at;  // it has begun
    if (n.kin != nullptr) n.kin->gathering = true;
    wait(n, n.attempts_made + 1);
  }
  [[nodiscard]] stalled_jobs take_back(job_time now, unsigned max_stalled, const job_text& why, effects& e) noexcept {
    stalled_jobs taken;
    for (node *n = active_.front(), *next; n != nullptr; n = next) {
      next = n->after;
      if (n->lease_until > now || n->stalled < max_stalled) continue;
      ++taken.failed;
      stall(*n);
      n->why = why;
      emit(job_event::kind::failed, *n, n->attempts_made + 1);
      end(*n, job_state::failed, now, e);
      emit_if_drained();
    }
    for (node *n = active_.back(), *next; n != nullptr; n = next) {  // each goes before all others, so the first one last
      next = n->before;
      if (n->lease_until > now) continue;
      ++taken.back;
      stall(*n);
      n->due = now;
      make_ready(*n, true, e);
    }
    return taken;
  }
  /// Precondition: it is active, and who asks holds the lease.
  void progress(node& n, double done) noexcept {
    n.progress = done;
    emit(job_event::kind::progress, n, n.attempts_made + 1);
  }

  // By hand.

  void pause(bool wanted) noexcept {
    if (paused_ == wanted) return;
    paused_ = wanted;
    if (recording_) emit({.what = wanted ? job_event::kind::paused : job_event::kind::resumed});
  }
  std::size_t drain(bool delayed_too, effects& e) noexcept {
    std::size_t n = 0;
    for (std::size_t before = n + 1; n != before;) {  // again: those whose children all went
      before = n;
      groups_.drain([&](node& waiting) { remove(waiting, e), ++n; });
      for (; delayed_too && !delayed_.empty(); ++n) remove(*delayed_.top().node, e);
    }
    return n;
  }
  std::size_t clean(job_state s, job_time ended_by, std::size_t most, effects& e) noexcept {
    if (s != job_state::completed && s != job_state::failed) return 0;
    list& over = s == job_state::completed ? completed_ : failed_;
    std::size_t n = 0;
    for (; n < most && !over.empty() && over.front()->ended_at <= ended_by; ++n) remove(*over.front(), e);
    return n;
  }
  void remove_all(effects& e) noexcept {
    while (!waiting_children_.empty()) remove(*waiting_children_.front(), e);  // first, so that none goes on
    drain(true, e);
    while (!active_.empty()) remove(*active_.front(), e);
    while (!completed_.empty()) remove(*completed_.front(), e);
    while (!failed_.empty()) remove(*failed_.front(), e);
  }
  [[nodiscard]] node* oldest_failed() const noexcept { return failed_.front(); }

  // Groups.

  /// Throws std::bad_alloc, and changes nothing then.
  void set_group(std::string_view name, const job_group_rule& rule, new_job_groups<node>& fresh, start_log&& room) {
    groups_.reserve(fresh);
    groups_.set_rule(fresh, name, rule, std::move(room), active_.size());
  }
  [[nodiscard]] std::vector<dependent<job_group_info, Payload>> groups() const { return groups_.infos(active_.size()); }

 private:
  static constexpr std::size_t promoted_at_once = 1000;

  using base::active_;
  using base::again;
  using base::bury;
  using base::completed_;
  using base::deactivate;
  using base::delay;
  using base::delayed_;
  using base::emit;
  using base::end;
  using base::failed_;
  using base::families_;
  using base::fences_;
  using base::groups_;
  using base::keys_;
  using base::later;
  using base::link;
  using base::make_ready;
  using base::paused_;
  using base::recording_;
  using base::slab_;
  using base::stall;
  using base::wait;
  using base::waiting_children_;
};

}  // namespace penstock::inline v0_1::detail
