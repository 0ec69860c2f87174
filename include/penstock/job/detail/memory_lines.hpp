// penstock/job/detail/memory_lines.hpp: the lines that jobs in memory stand in, what can be seen of them, and who is to be told. Guarded by the store's lock;
// what a step causes that must not happen under it (destroying payloads, telling who waits, observers) it leaves in `effects`.
//
// Invariants   a job is in exactly one line: one of groups_ (waiting), delayed_, active_, waiting_children_, completed_, failed_, or in none (`!known`: it
//              is over and not kept, its node waits for leases that pin it). held(), of the first four, <= capacity, but for what is redriven and
//              what settlements add.
//              A job is active if and only if its fence is not 0, and that fence was given with the latest lease.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/node_list.hpp>
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
class memory_lines {
 public:
  using node = job_node<Payload>;
  using list = node_list<node>;
  using keys = job_keys<node>;
  static constexpr std::size_t event_backlog = 4096;

  /// What is to be done when the lock is free again.
  struct effects {
    node* dead = nullptr;       // linked by `after`: payloads to be destroyed
    job_watch* told = nullptr;  // to be called
    bool ready = false;         // there is work for listeners
  };

  memory_lines(std::size_t capacity, keep_limits completed, keep_limits failed, const job_group_rule& usual = {})
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
  [[nodiscard]] std::vector<dependent<job_event, Payload>>& events() noexcept { return events_; }
  [[nodiscard]] std::uint64_t events_lost() const noexcept { return events_lost_; }

  // Looking.

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t held() const noexcept {
    return waiting() + delayed_.size() + active_.size() + waiting_children_.size();
  }
  [[nodiscard]] bool room_for(std::size_t jobs) const noexcept { return held() <= capacity_ && jobs <= capacity_ - held(); }
  [[nodiscard]] bool paused() const noexcept { return paused_; }
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
            .paused = paused_,
            .next_due = due_of_next()};
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
            .due_at = n.due_since(),
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

  // Telling.

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
  /// After a step that ended jobs, and has added what comes with their ends.
  void emit_if_drained() noexcept {
    if (recording_ && waiting() == 0 && active_.empty()) emit({.what = job_event::kind::drained});
  }

 protected:
  static void link(node& n, job_watch& w) noexcept {
    w.known = true;
    w.next = n.watches;
    n.watches = &w;
  }
  [[nodiscard]] std::size_t waiting() const noexcept { return groups_.waiting(); }
  [[nodiscard]] job_time due_of_next() const noexcept {
    const node* const n = groups_.front();
    if (n != nullptr && n->due == due_unknown) return no_time;
    return std::min(n != nullptr ? n->due : no_time, delayed_.empty() ? no_time : job_time{delayed_.top().major});
  }
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
  std::vector<dependent<job_event, Payload>> events_;
  std::uint64_t events_lost_ = 0;
  bool recording_ = false;
  bool paused_ = false;
};

}  // namespace penstock::inline v0_1::detail
