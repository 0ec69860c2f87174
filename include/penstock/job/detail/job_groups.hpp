// penstock/job/detail/job_groups.hpp: whose turn it is. Guarded by the store's lock.
//
// Each group with jobs that may start has a virtual time at which its next turn begins (`start`) and one at which it ends, 1/weight later. Of those whose turn
// has begun the one whose turn ends first is served: so no group is ever ahead of or behind its exact share by more than one job, and turns of a heavy group
// lie between those of light ones, not before them. The virtual time goes on by 1/(sum of weights) a start, and at least to the earliest turn: for who comes
// (back) it has gone on meanwhile, so idleness gives no credit, and a group can be forgotten as soon as it has left.
//
// A group is in one heap at most: coming (its turn has not begun), eligible (it has), resting (too many starts; by the time at which it may go on), or, without
// jobs and a rule of its own, leaving (by the time at which its last start counts no more: then it is forgotten). One that is idle or full is in none.
//
// Until a group is used, all of this is a branch: jobs without a group stand in none_'s line.
// Source       J. Bennett, H. Zhang, Hierarchical packet fair queueing algorithms (WF2Q+), SIGCOMM 1996; the virtual time that goes on by the weights of those
//              who take part: C. Waldspurger, W. Weihl, Stride scheduling, MIT/LCS/TM-528, 1995.
// No step fails: what it needs is reserved before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/job/detail/job_group_record.hpp>

namespace penstock::inline v0_1::detail {

template <class Node>
class job_groups {
 public:
  using group = job_group<Node>;
  using new_groups = new_job_groups<Node>;

  explicit job_groups(const job_group_rule& usual) : usual_{usual} {}
  job_groups(const job_groups&) = delete;
  job_groups& operator=(const job_groups&) = delete;

  // Reserving: these throw std::bad_alloc, and change nothing then.

  /// Room for jobs without a group.
  void reserve(std::size_t jobs) { none_.line.others.reserve(jobs); }
  /// Afterwards jobs of those groups can be admitted.
  void reserve(new_groups& fresh) {
    const std::size_t all = groups_.size() + fresh.size();
    if (static_cast<float>(all + 1) >= static_cast<float>(groups_.bucket_count()) * groups_.max_load_factor()) {
      groups_.reserve(2 * all);
    }
    for (heap* h : {&coming_, &eligible_, &resting_, &leaving_}) h->reserve(all + 1);
    for (auto& [name, g] : fresh) {
      group* const there = named(name);
      if (there == nullptr) {
        g.rule = usual_;
        if (g.paced()) g.starts.reserve_one();
      }
      (there != nullptr ? *there : g).line.others.reserve((there != nullptr ? there->prioritized : 0) + g.coming_prioritized);
    }
  }

  // Looking.

  [[nodiscard]] std::size_t waiting() const noexcept { return none_.line.size() + waiting_; }
  [[nodiscard]] bool something_ready() const noexcept { return used_ ? weights_ != 0 : !none_.line.empty(); }
  /// The one that is next, or of the group of which one is soon; null: none may start.
  [[nodiscard]] const Node* front() const noexcept {
    if (!something_ready()) return nullptr;
    return used_ ? (eligible_.empty() ? coming_ : eligible_).top().node->line.front() : none_.line.front();
  }
  /// When a group may go on that has had too many starts.
  [[nodiscard]] job_time next_due() const noexcept { return resting_.empty() ? no_time : job_time{resting_.top().major}; }
  /// Whether some have become ready since this was asked.
  [[nodiscard]] bool released() noexcept { return released_ && std::exchange(released_, false); }
  /// Groups that are known, or remembered.
  [[nodiscard]] std::size_t size() const noexcept { return groups_.size(); }
  /// By their turns, as far as these can be foretold.
  void append_to(std::vector<Node*>& all) const {
    if (!used_) return none_.line.append_to(all);
    struct turn {
      turn_time end;
      std::size_t index;
      Node* node;
    };
    std::vector<turn> turns;
    std::vector<Node*> line;
    for_each([&](const group& g) {
      line.clear();
      g.line.append_to(line);
      turn_time t = g.in == group::at::coming || g.in == group::at::eligible ? g.start : std::max(g.start, now_);
      for (Node* n : line) turns.push_back({t = t.after(g.rule.weight), turns.size(), n});
    });
    std::sort(turns.begin(), turns.end(),
              [](const turn& a, const turn& b) { return a.end != b.end ? a.end < b.end : a.index < b.index; });
    for (const turn& t : turns) all.push_back(t.node);
  }
  /// `active`: jobs in all.
  [[nodiscard]] std::vector<dependent<job_group_info, Node>> infos(std::size_t active) const {
    std::vector<dependent<job_group_info, Node>> all;
    for_each([&](const group& g) {
      const std::size_t running = &g == &none_ && !used_ ? active : g.active;
      if (!g.own_rule && g.line.empty() && running == 0) return;
      all.push_back(
          {.group = g.name != nullptr ? *g.name : std::string{}, .rule = g.rule, .waiting = g.line.size(), .active = running});
    });
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.group < b.group; });
    return all;
  }

  // Jobs come and go.

  /// One of that group is added. `active`: jobs in all that are.
  void admit(Node& n, new_groups& fresh, std::string_view name, std::size_t active) noexcept {
    group& g = insert(fresh, name, active);
    n.group = &g;
    ++g.members;
    if (n.priority != 0) ++g.prioritized;
    if (g.members == 1) place(g);  // it leaves no longer
  }
  /// One is known no longer. It is neither waiting nor active.
  void forget(Node& n) noexcept {
    if (n.group != nullptr) forget_member(n);
  }
  /// It waits. False: its group cannot go on before others of it have ended.
  bool push(Node& n, bool before_others, std::uint64_t order) noexcept {
    if (used_) [[unlikely]]
      return push_to_group(n, before_others, order);
    none_.line.push(n, before_others, order);
    return true;
  }
  void erase(Node& n) noexcept {
    if (used_) [[unlikely]]
      return erase_from_group(n);
    none_.line.erase(n);
  }
  /// Calls f for jobs that wait until none does. It erases each.
  template <class F>
  void drain(F f) {
    while (!none_.line.empty()) f(*none_.line.front());
    for (auto& [name, g] : groups_) {  // none is forgotten meanwhile
      while (!g.line.empty()) f(*g.line.front());
    }
  }
  /// The next one starts; null: none may.
  [[nodiscard]] Node* pop(job_time now) noexcept {
    if (used_) [[unlikely]]
      return pop_by_turn(now);
    return none_.line.empty() ? nullptr : none_.line.pop();
  }
  void ended(Node& n) noexcept {
    if (used_) [[unlikely]]
      ended_in_group(n);
  }
  /// Groups that have rested long enough go on.
  void wake(job_time now) noexcept {
    if (used_) [[unlikely]]
      wake_groups(now);
  }
  /// `fresh` has that group, and was reserved for. What the rule needs was reserved in it, too.
  void set_rule(new_groups& fresh, std::string_view name, const job_group_rule& rule, start_log&& room,
                std::size_t active) noexcept {
    if (name.empty() && !used_) use(active);
    group& g = name.empty() ? none_ : insert(fresh, name, active);
    take_out(g);
    g.rule = rule;
    g.own_rule = rule != (name.empty() ? job_group_rule{} : usual_);
    if (!g.paced()) g.starts.clear();
    if (g.paced() && g.starts.capacity() == 0) g.starts = std::move(room);
    place(g);
    rest_if_unused();
  }

 private:
  using heap = job_heap<group>;

  template <class F>
  void for_each(F f) const {
    f(none_);
    for (const auto& [name, g] : groups_) f(g);
  }
  [[nodiscard]] group* named(std::string_view name) noexcept {
    const auto at = groups_.find(name);
    return at == groups_.end() ? nullptr : &at->second;
  }
  // Out of line, as they are where groups are used only.

  [[gnu::noinline]] void forget_member(Node& n) noexcept {
    group& g = *std::exchange(n.group, nullptr);
    if (n.priority != 0) --g.prioritized;
    if (--g.members == 0) place(g);
  }
  [[gnu::noinline]] bool push_to_group(Node& n, bool before_others, std::uint64_t order) noexcept {
    group& g = n.group != nullptr ? *n.group : none_;
    const bool first = g.line.empty();
    g.line.push(n, before_others, order);
    if (&g != &none_) ++waiting_;
    if (first) place(g);
    return g.in != group::at::nowhere;
  }
  [[gnu::noinline]] void erase_from_group(Node& n) noexcept {
    group& g = n.group != nullptr ? *n.group : none_;
    g.line.erase(n);
    if (&g != &none_) --waiting_;
    if (g.line.empty()) place(g);
  }
  [[gnu::noinline]] Node* pop_by_turn(job_time now) noexcept {
    group* const g = next();
    if (g == nullptr) return nullptr;
    Node* const n = g->line.pop();
    if (g != &none_) --waiting_;
    ++g->active;
    if (g->paced()) {
      const job_time t = g->starts.size() != 0 ? std::max(now, g->starts.back()) : now;  // a clock that steps back gives nothing
      g->starts.drop(t, g->rule.duration);
      g->starts.push(t);
    }
    now_ = now_.after(weights_);
    take_out(*g);
    g->start = g->start.after(g->rule.weight);
    place(*g, true);
    forget_some(now, 2);
    return n;
  }
  [[gnu::noinline]] void ended_in_group(Node& n) noexcept {
    group& g = n.group != nullptr ? *n.group : none_;
    if (g.active-- == g.rule.concurrency) place(g);
  }
  [[gnu::noinline]] void wake_groups(job_time now) noexcept {
    while (!resting_.empty() && resting_.top().major <= now.count()) {
      group& g = *resting_.top().node;
      g.starts.drop(now, g.rule.duration);
      place(g);
    }
    forget_some(now, 64);
  }
  group& insert(new_groups& fresh, std::string_view name, std::size_t active) noexcept {
    if (group* const g = named(name)) return *g;
    if (!used_) use(active);
    return groups_.insert(fresh.extract(name)).position->second;
  }
  // From now on turns are taken: until now all jobs were without a group.
  void use(std::size_t active) noexcept {
    used_ = true;
    none_.active = active;
    place(none_);
  }

  /// The group whose turn it is; null: none may start anything.
  [[nodiscard]] group* next() noexcept {
    if (weights_ == 0) return nullptr;
    if (eligible_.empty()) now_ = std::max(now_, coming_.top().node->start);
    while (!coming_.empty() && coming_.top().node->start <= now_) {
      group& g = *coming_.top().node;
      coming_.erase(g);
      enter(eligible_, group::at::eligible, g, g.start.after(g.rule.weight));
    }
    return eligible_.top().node;
  }

  // Where it belongs. `served`: it was just given a turn, so what is due to it is known.
  void place(group& g, bool served = false) noexcept {
    using at = typename group::at;
    const bool was_ready = g.in == at::coming || g.in == at::eligible;
    take_out(g);
    if (g.line.empty()) {
      if (g.members == 0 && !g.own_rule && &g != &none_) wait_until_free(leaving_, at::leaving, g, g.starts.size() - 1);
      return;
    }
    if (g.active >= g.rule.concurrency) return;
    if (g.paced() && !g.starts.room(g.rule.max)) {
      // The start that has to be forgotten first. More than `max` of them: the rule was another one.
      const std::size_t oldest = g.starts.size() > g.rule.max ? g.starts.size() - g.rule.max : 0;
      return wait_until_free(resting_, at::resting, g, oldest);
    }
    if (!served && !was_ready) {
      g.start = std::max(g.start, now_);
      released_ = true;
    }
    weights_ += g.rule.weight;
    enter(coming_, at::coming, g, g.start);
  }
  // Not all at once, so that nobody waits for the leaving of a million; and not when the last job goes: who adds may have counted on the group.
  void forget_some(job_time now, int most) noexcept {
    for (; most > 0 && !leaving_.empty() && leaving_.top().major <= now.count(); --most) {
      group& g = *leaving_.top().node;
      take_out(g);
      const job_text name = g.name;
      groups_.erase(std::string_view{*name});
      rest_if_unused();
    }
  }
  void rest_if_unused() noexcept {
    if (!groups_.empty() || none_.own_rule) return;
    take_out(none_);
    used_ = false;
  }
  // Until one of its starts counts no more; at once if it has had none.
  void wait_until_free(heap& h, typename group::at in, group& g, std::size_t start) noexcept {
    g.in = in;
    h.push(g.starts.size() != 0 ? saturating_add(g.starts[start].count(), g.rule.duration.count()) : job_time::min().count(),
           ++order_, g);
  }
  // Those of the same time in the order in which they came.
  void enter(heap& h, typename group::at in, group& g, turn_time t) noexcept {
    g.in = in;
    h.push(t.whole, t.part << (64 - turn_time::bits) | (++order_ & ((std::uint64_t{1} << (64 - turn_time::bits)) - 1)), g);
  }
  void take_out(group& g) noexcept {
    using at = typename group::at;
    switch (std::exchange(g.in, at::nowhere)) {
      case at::nowhere:
        break;
      case at::coming:
        weights_ -= g.rule.weight;
        coming_.erase(g);
        break;
      case at::eligible:
        weights_ -= g.rule.weight;
        eligible_.erase(g);
        break;
      case at::resting:
        resting_.erase(g);
        break;
      case at::leaving:
        leaving_.erase(g);
        break;
    }
  }

  const job_group_rule usual_;
  bool used_ = false;  // there are groups, or a rule for jobs without one
  bool released_ = false;
  group none_;                                          // of jobs without a group
  std::unordered_map<std::string_view, group> groups_;  // by group::name
  heap coming_;
  heap eligible_;
  heap resting_;
  heap leaving_;
  std::size_t waiting_ = 0;    // in groups_
  std::uint64_t weights_ = 0;  // of those in coming_ and eligible_
  turn_time now_;
  std::uint64_t order_ = 0;
};

}  // namespace penstock::inline v0_1::detail
