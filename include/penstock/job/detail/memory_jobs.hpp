// penstock/job/detail/memory_jobs.hpp: the states of jobs in memory, and every step between them. Guarded by the store's lock; what a step causes that must
// not happen under it (destroying payloads, telling who waits, observers) it leaves in `effects`.
//
// Invariants   a job is in exactly one line: one of groups_ (waiting), delayed_, active_, waiting_children_, completed_, failed_, or in none (`!known`: it
//              is over and not kept, its node waits for leases that pin it). held(), of the first four, <= capacity, but for what is redriven and
//              what settlements add.
//              A job is active if and only if its fence is not 0, and that fence was given with the latest lease.
// No step that changes something fails: what it needs is reserved before.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/job/detail/job_families.hpp>
#include <penstock/job/detail/job_groups.hpp>
#include <penstock/job/detail/job_keys.hpp>
#include <penstock/job/detail/job_node.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// How many jobs that are over are kept.
struct keep_limits {
  std::size_t count;
  std::chrono::nanoseconds age;
};

template <class Payload>
class memory_jobs {
 public:
  using node = job_node<Payload>;
  using list = job_list<node>;
  using keys = job_keys<node>;
  static constexpr std::size_t event_backlog = 4096;
  static constexpr std::size_t promoted_at_once = 1000;

  /// What is to be done when the lock is free again.
  struct effects {
    node* dead = nullptr;       // linked by `after`: payloads to be destroyed
    job_watch* told = nullptr;  // to be called
    bool ready = false;         // there is work for listeners
  };

  memory_jobs(std::size_t capacity, keep_limits completed, keep_limits failed, const job_group_rule& usual = {})
      : capacity_{capacity}, keep_completed_{completed}, keep_failed_{failed}, groups_{usual} {}

  // Reserving: these throw std::bad_alloc, and change nothing then.

  void reserve(std::size_t jobs) {
    slab_.reserve(jobs);  // also for those whose children are over, or that are redriven
    groups_.reserve(slab_.size());
    delayed_.reserve(slab_.size());
  }
  void reserve(typename keys::new_keys& k, job_time now) {
    keys_.reserve(k, now);
    if (!k.groups.empty()) groups_.reserve(k.groups);
  }
  /// From now on until record(false), events are recorded.
  void record(bool wanted) noexcept {
    recording_ = wanted;
    if (!wanted || events_.capacity() >= event_backlog) return;
    try {
      events_.reserve(event_backlog);
    } catch (...) {
      recording_ = false;
    }
  }
  [[nodiscard]] std::vector<job_event>& events() noexcept { return events_; }
  [[nodiscard]] std::uint64_t events_lost() const noexcept { return events_lost_; }

  // Looking.

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t held() const noexcept {
    return waiting() + delayed_.size() + active_.size() + waiting_children_.size();
  }
  [[nodiscard]] bool room_for(std::size_t jobs) const noexcept { return held() <= capacity_ && jobs <= capacity_ - held(); }
  [[nodiscard]] bool something_ready() const noexcept { return !paused_ && groups_.something_ready(); }
  /// Whether a group that could not start jobs can since this was asked.
  [[nodiscard]] bool group_released() noexcept { return groups_.released() && something_ready(); }
  [[nodiscard]] job_time next_due() const noexcept {
    return std::min(delayed_.empty() ? no_time : job_time{delayed_.top().major}, groups_.next_due());
  }
  [[nodiscard]] job_counts counts() const noexcept {
    return {.waiting = waiting(),
            .delayed = delayed_.size(),
            .active = active_.size(),
            .completed = completed_.size(),
            .failed = failed_.size(),
            .waiting_children = waiting_children_.size(),
            .paused = paused_};
  }
  [[nodiscard]] node* find(const job_id& id) const noexcept {
    if (id.number() != 0) return slab_.find(id.number());
    return id.name() != nullptr ? keys_.named(*id.name()) : nullptr;
  }
  [[nodiscard]] static job_info info(const node& n) noexcept {
    return {.id = n.id(),
            .state = n.state,
            .priority = n.priority,
            .attempts_made = n.attempts_made,
            .stalled = n.stalled,
            .progress = n.progress,
            .why = n.why,
            .value = n.value,
            .name = n.extras != nullptr ? n.extras->kind : nullptr,
            .group = n.group != nullptr ? n.group->name : nullptr,
            .parent = n.kin != nullptr ? n.kin->parent : job_id{},
            .children = n.kin != nullptr ? n.kin->pending : 0,
            .added_at = n.added_at,
            .due_at = n.due,
            .started_at = n.started_at,
            .ended_at = n.ended_at,
            .leased_until = n.state == job_state::active ? n.lease_until : no_time};
  }
  /// The jobs in a state, in its order: as they will be fetched or become due, or as they came to it.
  [[nodiscard]] std::vector<node*> in_order(job_state s) const {
    std::vector<node*> all;
    if (s == job_state::waiting) groups_.append_to(all);
    if (s == job_state::delayed) append(all, delayed_);
    if (s == job_state::active) append(all, active_);
    if (s == job_state::waiting_children) append(all, waiting_children_);
    if (s == job_state::completed) append(all, completed_);
    if (s == job_state::failed) append(all, failed_);
    return all;
  }

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
  job_id add(Payload&& payload, const enqueue_options& o, std::unique_ptr<job_extras>&& extras, typename keys::new_keys& fresh,
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
  static void link(node& n, job_watch& w) noexcept {
    w.known = true;
    w.next = n.watches;
    n.watches = &w;
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
  /// Of an addition that is a duplicate. `n` may be null: the job that counts is over and gone, and nobody knows how it went.
  static void watch(node* n, job_watch& w, effects& e) noexcept {
    if (n != nullptr && n->state != job_state::completed && n->state != job_state::failed) return link(*n, w);
    w.known = n != nullptr;
    if (n != nullptr) {
      w.how = n->state;
      w.why = n->state == job_state::completed ? n->value : n->why;
    }
    say(w, e);
  }
  static void say(job_watch& w, effects& e) noexcept {
    w.next = e.told;
    e.told = &w;
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
      make_ready(*n, true, e);
    }
    return taken;
  }

  /// After a step that ended jobs, and has added what comes with their ends.
  void emit_if_drained() noexcept {
    if (recording_ && waiting() == 0 && active_.empty()) emit({.what = job_event::kind::drained});
  }
  /// Precondition: it is active, and who asks holds the lease.
  void progress(node& n, double done) noexcept {
    n.progress = done;
    emit(job_event::kind::progress, n, n.attempts_made + 1);
  }

  // Families (job_families.hpp).

  /// The parent of one that is about to be settled does not go on until gathered(). Null: none.
  [[nodiscard]] node* hold_parent(const node& n) const noexcept {
    node* const parent = families_.parent_of(n);
    if (parent != nullptr) parent->kin->gathering = true;
    return parent;
  }
  /// No child is added any more with the parent: it may go on.
  void gathered(node& n, job_time now, effects& e) noexcept {
    if (n.kin != nullptr) n.kin->gathering = false;
    look_after(&n, now, e);
  }
  /// A duplicate is a child, too. False: it has another parent.
  bool adopt(node& parent, node& child, std::unique_ptr<job_kin>& kin, job_time now, effects& e) noexcept {
    if (!families_.adopt(parent, child, kin)) return false;
    look_after(&parent, now, e);
    return true;
  }
  [[nodiscard]] const auto& families() const noexcept { return families_; }

  // By hand.

  [[nodiscard]] bool paused() const noexcept { return paused_; }
  void pause(bool wanted) noexcept {
    if (paused_ == wanted) return;
    paused_ = wanted;
    if (recording_) emit({.what = wanted ? job_event::kind::paused : job_event::kind::resumed});
  }
  void remove(node& n, effects& e) noexcept {
    leave(n);
    emit(job_event::kind::removed, n, 0);
    node* const parent = n.kin != nullptr ? families_.removed(n) : nullptr;
    forget(n, n.state, e);
    look_after(parent, job_time::min(),
               e);  // one that is not to be run yet is delayed, and so looked at by the next who knows the time
  }
  /// And who is below it and not over. False, and nothing happens, if one of them is active.
  [[nodiscard]] bool remove_family(node& top, effects& e) noexcept {
    if (top.kin == nullptr) return top.state != job_state::active && (remove(top, e), true);
    families_.descend(top);
    for (const node* n = &top; n != nullptr; n = families_.next(*n)) {
      if (n->state == job_state::active) return false;
    }
    for (node* n = &top; n != nullptr;) {
      node* const next = families_.next(*n);
      remove(*n, e);
      n = next;
    }
    return true;
  }
  void promote(node& n, effects& e) noexcept {
    delayed_.erase(n);
    make_ready(n, n.lifo, e);
    emit(job_event::kind::promoted, n, 0);
  }
  /// How many wait again with it: those that failed because of it, too.
  [[nodiscard]] std::size_t redriven_with(const node& n) const noexcept {
    std::size_t count = 1;
    for (const node* at = &n; families_.only_cause(*at); at = families_.parent_of(*at)) ++count;
    return count;
  }
  void redrive(node& failed, effects& e) noexcept {
    for (node* at = &failed; at != nullptr;) {
      node& n = *at;
      failed_.erase(n);
      n.attempts_made = 0;
      n.stalled = 0;
      n.progress = 0;
      n.ended_at = no_time;
      if (n.extras != nullptr && n.extras->schedule != nullptr) n.extras->schedule->again(n.number());
      if (n.extras != nullptr && !n.extras->deduplication_id.empty()) keys_.redriven(*n.extras, n);
      emit(job_event::kind::redriven, n, 0);
      at = n.kin != nullptr ? families_.redriven(n) : nullptr;
      if (n.kin != nullptr && n.kin->pending != 0) {
        wait(n, 0);
      } else {
        make_ready(n, false, e);
      }
    }
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
  [[nodiscard]] std::vector<job_group_info> groups() const { return groups_.infos(active_.size()); }

  // Of the dead: with the lock held again.
  void reuse(node* dead) noexcept {
    while (dead != nullptr) {
      node* const next = dead->after;
      slab_.give_back(*dead);
      dead = next;
    }
  }
  /// Without the lock: user's code.
  static void destroy_payloads(node* dead) noexcept {
    for (; dead != nullptr; dead = dead->after) {
      dead->has_payload = false;
      std::destroy_at(std::addressof(dead->payload));
      dead->extras.reset();
      dead->why.reset();
      dead->value.reset();
      dead->kin.reset();
      std::vector<std::string>{}.swap(dead->log);
    }
  }

 private:
  [[nodiscard]] std::size_t waiting() const noexcept { return groups_.waiting(); }
  [[nodiscard]] static job_time later(job_time now, std::chrono::nanoseconds by) noexcept {
    return job_time{saturating_add(now.count(), by.count())};
  }
  static void append(std::vector<node*>& all, const list& l) {
    for (node* n = l.front(); n != nullptr; n = n->after) all.push_back(n);
  }
  static void append(std::vector<node*>& all, const job_heap<node>& h) {
    auto entries = h.entries();
    std::sort(entries.begin(), entries.end());
    for (const auto& e : entries) all.push_back(e.node);
  }

  void make_ready(node& n, bool first, effects& e) noexcept {
    n.state = job_state::waiting;
    if (groups_.push(n, first, first ? --front_ : ++back_)) e.ready = true;
  }
  void delay(node& n, effects& e) noexcept {
    n.state = job_state::delayed;
    if (delayed_.empty() || n.due.count() < delayed_.top().major)
      e.ready = true;  // whoever waits for the next one waits too long
    delayed_.push(n.due.count(), ++back_, n);
  }
  void again(node& n, job_time at, job_time now, bool first, effects& e) noexcept {
    if (at > now) {
      n.due = at;
      delay(n, e);
    } else {
      make_ready(n, first, e);
    }
  }
  void deactivate(node& n) noexcept {
    active_.erase(n);
    groups_.ended(n);
    n.fence = 0;
  }
  void stall(node& n) noexcept {
    deactivate(n);
    emit(job_event::kind::stalled, n, n.attempts_made + 1);
    ++n.stalled;
  }
  void leave(node& n) noexcept {
    switch (n.state) {
      case job_state::waiting:
        groups_.erase(n);
        break;
      case job_state::delayed:
        delayed_.erase(n);
        break;
      case job_state::active:
        deactivate(n);
        break;
      case job_state::completed:
        completed_.erase(n);
        break;
      case job_state::failed:
        failed_.erase(n);
        break;
      case job_state::waiting_children:
        waiting_children_.erase(n);
        break;
    }
  }
  void wait(node& n, unsigned attempt) noexcept {
    n.state = job_state::waiting_children;
    waiting_children_.push_back(n);
    emit(job_event::kind::waiting_children, n, attempt);
  }

  void end(node& n, job_state how, job_time now, effects& e) noexcept { look_after(end_one(n, how, now, e), now, e); }
  /// Something happened to a child of it, or to itself, by which it may go on or fail; and so its parent.
  void look_after(node* at, job_time now, effects& e) noexcept {
    while (at != nullptr) {
      node& n = *at;
      at = nullptr;
      const auto fate = families_.of(n);
      if (fate == decltype(fate)::stays) continue;
      waiting_children_.erase(n);
      if (fate == decltype(fate)::fails) {
        n.kin->by_child = true;
        n.why = families_.why(n);
        emit(job_event::kind::failed, n, n.attempts_made);
        at = end_one(n, job_state::failed, now, e);
      } else {
        if (n.kin != nullptr) n.kin->goes_on = false;
        const bool due = n.due <= now || n.due <= n.added_at;
        due ? make_ready(n, n.lifo, e) : delay(n, e);
        emit(due ? job_event::kind::promoted : job_event::kind::delayed, n, 0);
      }
    }
  }
  /// Its parent, if that one is to be looked after.
  [[nodiscard]] node* end_one(node& n, job_state how, job_time now, effects& e) noexcept {
    node* const parent = n.kin != nullptr ? families_.ended(n, how) : nullptr;
    keep(n, how, now, e);
    return parent;
  }
  void keep(node& n, job_state how, job_time now, effects& e) noexcept {
    const bool completed = how == job_state::completed;
    const bool at_once = n.extras != nullptr && (completed ? n.extras->remove_on_complete : n.extras->remove_on_fail);
    const keep_limits& limits = completed ? keep_completed_ : keep_failed_;
    n.ended_at = now;
    if (n.extras != nullptr && n.extras->schedule != nullptr) n.extras->schedule->ended(n.number(), now);
    if (at_once || limits.count == 0) return forget(n, how, e);
    n.state = how;
    tell(n, how, e);
    if (n.extras != nullptr && !n.extras->deduplication_id.empty()) keys_.over(*n.extras, n, !completed);
    list& over = completed ? completed_ : failed_;
    over.push_back(n);
    // Two at the most a time: what a job adds is paid for, and a change of the clock makes nobody wait.
    for (int i = 0; i < 2 && (over.size() > limits.count || now - over.front()->ended_at > limits.age); ++i)
      remove(*over.front(), e);
  }
  /// It is in no line any more.
  [[gnu::always_inline]] inline void forget(node& n, job_state how, effects& e) noexcept {
    tell(n, how, e);
    if (n.extras != nullptr) {
      if (n.extras->schedule != nullptr) n.extras->schedule->ended(n.number(), no_time);
      if (n.extras->name != nullptr) keys_.forget_name(*n.extras->name);
      if (!n.extras->deduplication_id.empty() && n.state != job_state::completed) keys_.over(*n.extras, n, false);
    }
    groups_.forget(n);
    n.known = false;
    if (++n.generation == 0) n.generation = 1;  // so that no number is 0
    if (n.pins == 0) bury(n, e);
  }
  void bury(node& n, effects& e) noexcept {
    n.after = e.dead;
    e.dead = &n;
  }
  static void tell(node& n, job_state how, effects& e) noexcept {
    while (n.watches != nullptr) {
      job_watch* const w = n.watches;
      n.watches = w->next;
      w->how = how;
      w->why = how == job_state::completed ? n.value : n.why;
      say(*w, e);
    }
  }
  void emit(job_event::kind what, const node& n, unsigned attempt) noexcept {
    if (!recording_) [[likely]]
      return;
    emit({.what = what,
          .id = n.id(),
          .attempt = attempt,
          .why = n.why,
          .value = n.value,
          .progress = what == job_event::kind::progress ? n.progress : 0});
  }
  void emit(job_event e) noexcept {
    if (events_.size() == events_.capacity()) {
      ++events_lost_;
      return;
    }
    events_.push_back(std::move(e));
  }

  const std::size_t capacity_;
  const keep_limits keep_completed_;
  const keep_limits keep_failed_;
  job_slab<Payload> slab_;
  const job_families<job_slab<Payload>> families_{slab_};
  keys keys_;
  job_groups<node> groups_;  // those that wait
  job_heap<node> delayed_;   // by their time
  list active_;
  list waiting_children_;
  list completed_;  // in the order of their ends, as the next one
  list failed_;
  std::uint64_t fences_ = 0;
  std::uint64_t front_ = std::numeric_limits<std::uint64_t>::max() / 2;  // the numbers of what goes before the others
  std::uint64_t back_ = std::numeric_limits<std::uint64_t>::max() / 2;
  std::vector<job_event> events_;
  std::uint64_t events_lost_ = 0;
  bool recording_ = false;
  bool paused_ = false;
};

}  // namespace penstock::inline v0_1::detail
