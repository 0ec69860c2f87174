// Random steps with parents and children on a store of jobs, and after each what must hold whatever the steps were; at the end all that is left is run, and then
// nobody waits for children any more.
//
//   store_model::walk_with_families<my_bench>(below, 150);   // below(n): 0 to n - 1; throws `difference` with all that was done
//
// What becomes of whom the conformance tests ask (store_conformance.hpp, families()); here it is that nobody is lost, waits for ever, is in two places or is
// waited for though he has ended.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/job/job_store.hpp>

#include "store_model.hpp"

namespace store_model {

template <class Bench>
class family_walk {
  using store_type = std::remove_cvref_t<decltype(std::declval<Bench&>().store())>;
  using lease = typename store_type::lease_type;
  using settlement = penstock::job_settlement<lease>;
  using entry = penstock::job_entry<int>;

 public:
  explicit family_walk(std::function<int(int)> below)
      : below_{std::move(below)}, bench_{std::make_unique<Bench>()}, store_{bench_->store()} {}

  void step() {
    using act = void (family_walk::*)();
    static constexpr std::array acts{
        &family_walk::add_flow,  &family_walk::add_flow, &family_walk::add_flow, &family_walk::add_child, &family_walk::add_child,
        &family_walk::fetch,     &family_walk::fetch,    &family_walk::fetch,    &family_walk::settle,    &family_walk::settle,
        &family_walk::settle,    &family_walk::settle,   &family_walk::settle,   &family_walk::pass_time, &family_walk::take_back,
        &family_walk::hand_back, &family_walk::remove,   &family_walk::remove,   &family_walk::redrive,   &family_walk::redrive,
        &family_walk::promote,   &family_walk::clear_up};
    const act a = acts[static_cast<std::size_t>(pick(static_cast<int>(acts.size())))];
    (this->*a)();
    look();
  }
  /// All that is left is run.
  void finish() {
    say("run all that is left");
    for (int round = 0;; ++round) {
      require(round < 1000, "it comes to an end");
      std::vector<settlement> all;
      for (auto& h : held_) all.push_back({.lease = &h});
      require(store_.settle(all, now_).has_value(), "settling succeeds");
      held_.clear();
      if (fetch_some(100) != 0) continue;
      const penstock::job_counts c = store_.counts().value();
      if (c.waiting + c.delayed + c.active == 0) break;
      now_ += std::chrono::seconds{10};
      require(store_.take_back_stalled(now_, 1000).has_value(), "taking back succeeds");
    }
    look();
    const auto left = store_.list(job_state::waiting_children, 0, 100).value();
    require(left.empty(), "nobody waits for children when there is nothing left to run");
    for (const auto& w : watches_) require(w.calls == w.wanted, "who watches a job is told once when it is over");
  }

 private:
  struct noted_watch final : penstock::job_watch {
    void over(job_state, const penstock::job_text&) noexcept override { ++calls; }
    int calls = 0;
    int wanted = 0;  // 1: it was added, or is a duplicate
  };

  int pick(int n) { return n <= 1 ? 0 : below_(n); }
  bool chance(int in) { return pick(in) == in - 1; }
  job_time seconds(int n) { return std::chrono::seconds{n}; }
  void say(std::string line) { trace_ += line + "\n"; }
  void require(bool holds, const std::string& what) {
    if (!holds) throw difference{"it does not hold that " + what + "; after\n" + trace_};
  }

  penstock::enqueue_options any_options() {
    penstock::enqueue_options o{.attempts = static_cast<unsigned>(1 + pick(2)), .priority = static_cast<std::uint32_t>(pick(2))};
    if (chance(6)) o.delay = seconds(1 + pick(3));
    o.on_failure = static_cast<penstock::child_failure>(pick(3));
    o.remove_on_complete = chance(6);
    o.remove_on_fail = chance(6);
    if (chance(6)) {
      o.job_id = "name " + std::to_string(pick(3));
    } else if (chance(8)) {
      o.deduplicate = penstock::deduplication{.id = "key", .replace = chance(2)};
    }
    return o;
  }
  std::string text_of(const penstock::enqueue_options& o) {
    static constexpr const char* ways[] = {"fail_parent", "continue_parent", "ignore"};
    return std::string{"{"} + ways[static_cast<int>(o.on_failure)] + (o.delay.count() != 0 ? ", delayed" : "") +
           (o.job_id.empty() ? "" : ", " + o.job_id) + (o.deduplicate ? o.deduplicate->replace ? ", key replace" : ", key" : "") +
           (o.remove_on_complete ? ", remove_on_complete" : "") + (o.remove_on_fail ? ", remove_on_fail" : "") + "}";
  }
  struct flow {
    std::vector<int> payloads;
    std::vector<penstock::enqueue_options> options;
    std::vector<entry> entries;
  };
  // Of `n` jobs; of a settlement, whose children may be the settled job's.
  flow any_flow(std::size_t n, bool settles) {
    flow f;
    f.payloads.resize(n);
    for (std::size_t i = 0; i < n; ++i) f.options.push_back(any_options());
    std::string line;
    for (std::size_t i = 0; i < n; ++i) {
      f.payloads[i] = ++serial_;
      std::size_t parent = entry::no_entry;
      if (i > 0 && !chance(4)) parent = static_cast<std::size_t>(pick(static_cast<int>(i)));
      if (settles && (i == 0 || chance(2))) parent = entry::settled_job;
      f.entries.push_back({.payload = &f.payloads[i], .options = &f.options[i], .parent = parent});
      line += " " + std::to_string(f.payloads[i]) + text_of(f.options[i]) +
              (parent == entry::settled_job ? " under the settled one"
               : parent != entry::no_entry  ? " under " + std::to_string(f.payloads[parent])
                                            : "");
    }
    say("  of" + line);
    return f;
  }
  void add_flow() {
    say("add");
    flow f = any_flow(1 + static_cast<std::size_t>(pick(5)), false);
    for (entry& e : f.entries) {
      if (e.parent == entry::no_entry && chance(2)) e.watch = &watches_.emplace_back();
    }
    std::vector<penstock::job_added> added(f.entries.size());
    const auto r = store_.add(f.entries, now_, added);
    require(r.has_value() || r.error() == errc::full, "there is room or not");
    if (!r) return say("  full");
    for (std::size_t i = 0; i < added.size(); ++i) {
      if (f.entries[i].watch != nullptr) static_cast<noted_watch*>(f.entries[i].watch)->wanted = 1;
      if (added[i].id) known(added[i].id);
    }
  }
  void add_child() {
    if (ids_.empty()) return;
    const job_id parent = any_id();
    penstock::enqueue_options o = any_options();
    o.job_id.clear();
    o.deduplicate.reset();
    o.parent = parent;
    int payload = ++serial_;
    const auto there = store_.find(parent);
    say("add " + std::to_string(payload) + text_of(o) + " under job " + parent.to_string());
    const entry e{.payload = &payload, .options = &o};
    penstock::job_added added;
    const auto r = store_.add({&e, 1}, now_, {&added, 1});
    if (!there) {
      require(!r && r.error() == errc::not_found, "nobody has a parent that is not there");
    } else if (there->state != job_state::active && there->state != job_state::waiting_children) {
      require(!r && r.error() == errc::stale, "only who is run or waits for children gets one");
    } else {
      require(r.has_value() || r.error() == errc::full, "there is room or not");
      if (r) {
        require(store_.find(added.id).value().parent == parent, "a child knows its parent");
        known(added.id);
      }
    }
  }
  std::size_t fetch_some(std::size_t most) {
    const std::size_t before = held_.size();
    const auto r = store_.fetch({.most = most, .now = now_, .lease_until = now_ + seconds(3)}, {}, held_);
    require(r.has_value(), "fetching succeeds");
    for (std::size_t i = before; i < held_.size(); ++i) {
      require(held_[i].attempt() <= held_[i].policy().attempts, "there are no more runs than attempts");
      say("  " + std::to_string(held_[i].payload()) + " is job " + held_[i].id().to_string());
      known(held_[i].id());
    }
    return held_.size() - before;
  }
  void fetch() {
    say("fetch");
    fetch_some(1 + static_cast<std::size_t>(pick(3)));
  }
  void settle() {
    if (held_.empty()) return;
    const auto at = held_.begin() + pick(static_cast<int>(held_.size()));
    lease l = std::move(*at);
    held_.erase(at);
    static constexpr settle_as ways[] = {settle_as::completed, settle_as::completed, settle_as::waiting_children,
                                         settle_as::failed,    settle_as::retry,     settle_as::released};
    settle_as how = ways[pick(6)];
    if (how == settle_as::retry && l.attempt() >= l.policy().attempts) how = settle_as::failed;
    say("settle " + std::to_string(l.payload()) + " as " + std::to_string(static_cast<int>(how)));
    flow f;
    if (how == settle_as::waiting_children || (how == settle_as::completed && chance(4))) {
      f = any_flow(static_cast<std::size_t>(pick(4)), how == settle_as::waiting_children || chance(2));
    }
    settlement s{.lease = &l,
                 .how = how,
                 .at = chance(3) ? now_ + seconds(1) : now_,
                 .why = std::make_shared<const std::string>("no"),
                 .value = std::make_shared<const std::string>("yes"),
                 .then = f.entries};
    require(store_.settle({&s, 1}, now_).has_value(), "settling succeeds");
    if (s.stale) say("  stale");
  }
  void pass_time() {
    say("pass 1 s");
    now_ += seconds(1);
  }
  void take_back() {
    say("take back");
    require(store_.take_back_stalled(now_, static_cast<unsigned>(pick(2))).has_value(), "taking back succeeds");
  }
  void hand_back() {
    if (held_.empty()) return;
    const lease& l = held_[static_cast<std::size_t>(pick(static_cast<int>(held_.size())))];
    penstock::lease_ticket t{.id = l.id(), .fence = l.fence()};
    say("hand back job " + t.id.to_string());
    require(store_.hand_back({&t, 1}, now_).has_value(), "handing back succeeds");
  }
  void remove() {
    const job_id id = any_id();
    say("remove job " + id.to_string());
    static_cast<void>(store_.remove(id));
  }
  void redrive() {
    const auto dead = store_.list(job_state::failed, 0, 100).value();
    if (dead.empty()) return;
    const job_id id = dead[static_cast<std::size_t>(pick(static_cast<int>(dead.size())))].id;
    say("redrive job " + id.to_string());
    static_cast<void>(store_.redrive(id));
  }
  void promote() {
    const auto later = store_.list(job_state::delayed, 0, 100).value();
    if (later.empty()) return;
    say("promote job " + later[0].id.to_string());
    require(store_.promote(later[0].id).has_value(), "promoting succeeds");
  }
  void clear_up() {
    const int what = pick(12);
    if (what < 4)
      say("clean"), static_cast<void>(store_.clean(what < 2 ? job_state::completed : job_state::failed, now_, 2));
    else if (what < 7)
      say("drain"), static_cast<void>(store_.drain(what == 4));
    else if (what < 9)
      say("redrive all"), static_cast<void>(store_.redrive_all(3));
    else if (what == 9)
      say("obliterate"), static_cast<void>(store_.obliterate(chance(2)));
  }

  void known(const job_id& id) {
    for (const job_id& i : ids_) {
      if (i == id) return;
    }
    ids_.push_back(id);
    if (ids_.size() > 24) ids_.pop_front();
  }
  job_id any_id() {
    return ids_.empty() ? job_id{} : ids_[ids_.size() - 1 - static_cast<std::size_t>(pick(static_cast<int>(ids_.size())))];
  }
  static bool open(job_state s) { return s != job_state::completed && s != job_state::failed; }

  // What must hold.
  void look() {
    const penstock::job_counts c = store_.counts().value();
    const std::pair<job_state, std::size_t> states[] = {
        {job_state::waiting, c.waiting},     {job_state::delayed, c.delayed}, {job_state::active, c.active},
        {job_state::completed, c.completed}, {job_state::failed, c.failed},   {job_state::waiting_children, c.waiting_children}};
    std::map<std::uint64_t, penstock::job_info> all;
    for (const auto& [state, count] : states) {
      const auto list = store_.list(state, 0, 1000).value();
      require(list.size() == count, "counts are what the lists hold");
      for (const auto& i : list) {
        require(i.state == state, "a list holds those in its state");
        require(all.emplace(i.id.number(), i).second, "job " + i.id.to_string() + " is in one place");
        known(i.id);
      }
    }
    for (const auto& [number, i] : all) {
      if (i.parent && open(i.state)) {
        const auto parent = all.find(i.parent.number());
        if (parent != all.end() && open(parent->second.state)) {
          require(has_child(i.parent, i.id), "job " + i.parent.to_string() + " knows its child " + i.id.to_string());
        }
      }
      if (i.state == job_state::waiting_children || i.state == job_state::active) {
        const auto children = store_.children(i.id).value();
        std::size_t waits_for = 0;
        for (const auto& child : children) {
          if (!open(child.state)) continue;
          ++waits_for;
          const auto there = all.find(child.id.number());
          require(there != all.end(), "job " + i.id.to_string() + "'s open child " + child.id.to_string() + " is there");
          require(there->second.state == child.state, "a child is seen as it is");
          require(there->second.parent == i.id, "a child that is waited for knows it");
        }
        require(i.children == waits_for, "job " + i.id.to_string() + " counts its open children");
        require(i.state == job_state::active || waits_for > 0, "job " + i.id.to_string() + " waits for somebody");
        // Nobody waits for himself.
        job_id up = i.parent;
        for (std::size_t steps = 0; up; ++steps) {
          require(steps <= all.size() && !(up == i.id), "job " + i.id.to_string() + " is not above itself");
          const auto at = all.find(up.number());
          up = at != all.end() ? at->second.parent : job_id{};
        }
      }
    }
  }
  bool has_child(const job_id& parent, const job_id& child) {
    const std::vector<penstock::job_child> all = store_.children(parent).value();
    for (const auto& c : all) {
      if (c.id == child) return true;
    }
    return false;
  }

  std::function<int(int)> below_;
  std::deque<noted_watch> watches_;  // they outlive the store
  std::unique_ptr<Bench> bench_;
  store_type& store_;
  std::vector<lease> held_;
  std::deque<job_id> ids_;  // that were seen lately
  job_time now_ = std::chrono::hours{1};
  int serial_ = 0;
  std::string trace_;
};

/// Throws `difference`.
template <class Bench>
void walk_with_families(std::function<int(int)> below, int steps) {
  family_walk<Bench> w{std::move(below)};
  for (int i = 0; i < steps; ++i) w.step();
  w.finish();
}

}  // namespace store_model
