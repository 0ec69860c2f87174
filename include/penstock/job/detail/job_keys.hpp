// penstock/job/detail/job_keys.hpp: the names that jobs have, and the keys that keep others of the same kind away. Guarded by the store's lock.
//
// What an insertion needs is allocated by new_keys before the lock is taken; what is inserted under it is a node of a map, which cannot fail.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <utility>

#include <penstock/job/detail/job_group_record.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Node>
class job_keys {
 public:
  struct guard {
    job_id of = {};
    Node* job = nullptr;         // null: it is over
    job_time expires = no_time;  // no_time: with the job
    std::size_t users = 0;  // jobs that guard it until they are over, or would if they were redriven: for them its place is kept
  };
  using names_map = std::unordered_map<std::string, Node*>;
  using guards_map = std::unordered_map<std::string, guard>;

  /// The keys of jobs that are about to be added: one for each, as a key may be given, be free again and be given once more in one step.
  struct new_keys {
    std::unordered_multimap<std::string, Node*> names;
    std::unordered_multimap<std::string, guard> guards;
    new_job_groups<Node> groups;
    void prepare(const enqueue_options& o) {
      if (!o.group.empty()) {
        job_group<Node>& g = prepare_group(groups, o.group);
        if (o.priority != 0) ++g.coming_prioritized;
      }
      if (!o.job_id.empty()) names.emplace(o.job_id, nullptr);
      if (o.deduplicate) guards.emplace(o.deduplicate->id, guard{});
    }
    [[nodiscard]] bool empty() const noexcept { return names.empty() && guards.empty() && groups.empty(); }
  };

  /// Afterwards those insert without allocating.
  void reserve(const new_keys& keys, job_time now) {
    if (!keys.names.empty()) grow(names_, keys.names.size());
    if (keys.guards.empty()) return;
    if (guards_.size() >= sweep_at_) sweep(now);
    grow(guards_, keys.guards.size());
  }

  /// Null: there is none.
  [[nodiscard]] Node* named(const std::string& name) const noexcept {
    const auto at = names_.find(name);
    return at == names_.end() ? nullptr : at->second;
  }
  /// What keeps others of the same key away at `now`; null: nothing.
  [[nodiscard]] guard* guarded(const std::string& key, job_time now) noexcept {
    const auto at = guards_.find(key);
    if (at == guards_.end()) return nullptr;
    const bool counts = at->second.expires == no_time ? at->second.job != nullptr : now < at->second.expires;
    return counts ? &at->second : nullptr;
  }

  void add_name(new_keys& keys, const std::string& name, Node& job) noexcept {
    auto node = keys.names.extract(name);
    node.mapped() = &job;
    names_.insert(std::move(node));
  }
  /// In place of what was there.
  void add_guard(new_keys& keys, const std::string& key, guard g) noexcept {
    if (g.expires == no_time) g.users = 1;
    if (const auto at = guards_.find(key); at != guards_.end()) {
      g.users += at->second.users;
      at->second = std::move(g);
      return;
    }
    auto node = keys.guards.extract(key);
    node.mapped() = std::move(g);
    guards_.insert(std::move(node));
  }

  void forget_name(const std::string& name) noexcept { names_.erase(name); }
  /// That job is over: it guards no longer than its ttl says. `returns`: it may be redriven.
  void over(const job_extras& of, const Node& job, bool returns) noexcept {
    const auto at = guards_.find(of.deduplication_id);
    if (at == guards_.end()) return;
    guard& g = at->second;
    if (g.job == &job) g.job = nullptr;
    if (of.guards_until_over && !returns) --g.users;
    if (g.job == nullptr && g.users == 0 && g.expires == no_time) guards_.erase(at);
  }
  /// It waits again: so it guards again, if nobody else does.
  void redriven(const job_extras& of, Node& job) noexcept {
    const auto at = guards_.find(of.deduplication_id);
    if (at == guards_.end()) return;
    guard& g = at->second;
    const bool free = of.guards_until_over ? g.expires == no_time : g.of.number() == job.number();
    if (g.job != nullptr || !free) return;
    g.of = job.id();
    g.job = &job;
  }

 private:
  template <class Map>
  static void grow(Map& map, std::size_t more) {
    const std::size_t room = static_cast<std::size_t>(static_cast<float>(map.bucket_count()) * map.max_load_factor());
    // Not only where there are too few: an empty map of libstdc++ has one place in the object, which the first insertion replaces.
    if (map.size() + more >= room) map.reserve(2 * (map.size() + more));
  }
  // Guards of jobs that are over go when they are as many again as were left the last time: amortised, one step each.
  void sweep(job_time now) noexcept {
    std::erase_if(guards_,
                  [now](const auto& g) { return g.second.job == nullptr && g.second.users == 0 && g.second.expires <= now; });
    sweep_at_ = 2 * guards_.size() + 64;
  }

  names_map names_;
  guards_map guards_;
  std::size_t sweep_at_ = 64;
};

}  // namespace penstock::inline v0_1::detail
