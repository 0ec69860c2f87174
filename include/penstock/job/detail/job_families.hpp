// penstock/job/detail/job_families.hpp: who is whose parent, and what becomes of a parent when something happened to a child. It changes no job's state:
// memory_jobs asks it, and does. Guarded by the store's lock.
//
// A parent keeps a record of each child, in the order in which they came, until it is gone itself: what a child gave survives the child. A child knows its parent
// by number, so that neither has to be told when the other goes: a number of what is gone finds nothing. Its record is made with the child and
// moved to the parent, which allocates nothing.
//
// Invariants   pending == the records of children that are not over. A job has one parent; the ways up have an end.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// A child as its parent keeps it.
struct family_record {
  job_id id = {};
  job_text name = {};
  child_failure on_failure = child_failure::fail_parent;
  job_state state = job_state::waiting;  // completed and failed; any other: not over
  job_text text = {};                    // what it gave, or why it failed
  job_text root = {};                    // of one that failed with a child of its own: why the first of them did
  [[nodiscard]] bool over() const noexcept { return state == job_state::completed || state == job_state::failed; }
};

/// What a job has that has a parent, or children.
struct job_kin {
  using records = std::list<family_record>;
  job_id parent = {};  // the last one, gone or not; none: it never had one
  records own = {};    // its record, until a parent has it
  records::iterator place = {};

  records children = {};
  std::size_t pending = 0;
  const family_record* failed_by = nullptr;  // has it fail when it waits
  bool goes_on = false;                      // it is run when it waits, whoever is not over
  bool gathering = false;                    // others are still being added: it stays
  bool by_child = false;                     // it has failed with a child
  std::uint64_t next = 0;                    // in a walk
};

/// Reserving, of these two: they throw std::bad_alloc.
template <class = void>
void reserve_child(owner<job_kin>& kin, const enqueue_options& o) {
  if (kin == nullptr) kin = owner<job_kin>{new job_kin};
  kin->own.emplace_back().on_failure = o.on_failure;
}
template <class = void>
void reserve_parent(owner<job_kin>& kin) {
  if (kin == nullptr) kin = owner<job_kin>{new job_kin};
}

template <class Slab>
class job_families {
 public:
  using node = typename Slab::node;
  enum class fate : std::uint8_t { stays, goes_on, fails };

  explicit job_families(const Slab& jobs) noexcept : jobs_{jobs} {}

  [[nodiscard]] node* parent_of(const node& n) const noexcept {
    return n.kin != nullptr && n.kin->parent ? jobs_.find(n.kin->parent.number()) : nullptr;
  }
  /// Whether others may be added as its children.
  [[nodiscard]] static bool takes_children(const node& n) noexcept {
    return n.state == job_state::active || n.state == job_state::waiting_children;
  }

  /// Precondition: both have kin, the child a record of its own and no parent.
  static void join(node& parent, node& child) noexcept {
    job_kin& k = *child.kin;
    k.parent = parent.id();
    k.place = k.own.begin();
    k.place->id = child.id();
    if (child.extras != nullptr) k.place->name = child.extras->kind;
    parent.kin->children.splice(parent.kin->children.end(), k.own, k.place);
    ++parent.kin->pending;
  }
  /// One that is there already. False: it has another parent, or that one waits for it. `kin` is a new child's.
  [[nodiscard]] bool adopt(node& parent, node& child, owner<job_kin>& kin) const noexcept {
    if (parent_of(child) != nullptr) return false;
    for (const node* up = &parent; up != nullptr; up = parent_of(*up)) {
      if (up == &child) return false;
    }
    if (child.kin == nullptr) {
      child.kin = std::move(kin);
      child.kin->gathering = false;  // its own children are not added
    } else {
      child.kin->own.splice(child.kin->own.begin(), kin->own);
    }
    join(parent, child);
    if (child.state == job_state::completed || child.state == job_state::failed) static_cast<void>(ended(child, child.state));
    return true;
  }

  // What happened to a child: its parent, if it is to be looked after.

  node* ended(node& child, job_state how) const noexcept {
    node* const p = parent_of(child);
    if (p == nullptr) return nullptr;
    family_record& r = *child.kin->place;
    assert(!r.over());
    r.state = how;
    r.text = how == job_state::completed ? child.value : child.why;
    --p->kin->pending;
    if (how == job_state::failed) {
      r.root = child.kin->by_child ? child.kin->failed_by->root : child.why;
      if (r.on_failure == child_failure::fail_parent && p->kin->failed_by == nullptr) p->kin->failed_by = &r;
      if (r.on_failure == child_failure::continue_parent && takes_children(*p)) p->kin->goes_on = true;
    }
    return p;
  }
  /// What it gave, if it was over, is kept.
  node* removed(node& child) const noexcept {
    node* const p = parent_of(child);
    if (p == nullptr || child.kin->place->over()) return nullptr;
    p->kin->children.erase(child.kin->place);
    --p->kin->pending;
    return p;
  }
  /// Whether its parent has failed with it, and with no other.
  [[nodiscard]] bool only_cause(const node& child) const noexcept {
    const node* const p = parent_of(child);
    return p != nullptr && p->state == job_state::failed && p->kin->by_child && other_cause(*p, &*child.kin->place) == nullptr;
  }
  /// Before it is: its parent, if that one waits again.
  node* redriven(node& child) const noexcept {
    if (child.kin != nullptr) {  // as a parent: it is run though a child has failed
      child.kin->failed_by = nullptr;
      child.kin->by_child = false;
      child.kin->goes_on = false;
    }
    node* const p = parent_of(child);
    if (p == nullptr) return nullptr;
    const bool revives = only_cause(child);
    family_record& r = *child.kin->place;
    r.state = job_state::waiting;
    r.text = nullptr;
    r.root = nullptr;
    ++p->kin->pending;
    if (p->kin->failed_by == &r) p->kin->failed_by = other_cause(*p, &r);
    return revives ? p : nullptr;
  }

  [[nodiscard]] static fate of(const node& n) noexcept {
    if (n.state != job_state::waiting_children) return fate::stays;
    if (n.kin == nullptr) return fate::goes_on;
    if (n.kin->gathering) return fate::stays;
    if (n.kin->failed_by != nullptr) return fate::fails;
    return n.kin->goes_on || n.kin->pending == 0 ? fate::goes_on : fate::stays;
  }
  /// Of one that fails with a child. Without memory for the whole of it, why the child did.
  [[nodiscard]] static job_text why(const node& n) noexcept {
    const family_record& r = *n.kin->failed_by;
    try {
      return std::make_shared<const std::string>("child " + r.id.to_string() +
                                                 " has failed: " + (r.root != nullptr ? *r.root : std::string{}));
    } catch (...) {
      return r.root;
    }
  }

  /// Those below that are not over, and itself, in an order in which parents come first, by `kin->next`. `n` has kin.
  void descend(node& n) const noexcept {
    node* last = &n;
    n.kin->next = 0;
    for (node* at = &n; at != nullptr; at = next(*at)) {
      for (const family_record& r : at->kin->children) {
        node* const child = r.over() ? nullptr : jobs_.find(r.id.number());
        if (child == nullptr) continue;
        last->kin->next = child->number();
        last = child;
        last->kin->next = 0;
      }
    }
  }
  [[nodiscard]] node* next(const node& n) const noexcept { return n.kin->next != 0 ? jobs_.find(n.kin->next) : nullptr; }

  [[nodiscard]] std::vector<dependent<job_child, Slab>> children(const node& n) const {
    std::vector<dependent<job_child, Slab>> all;
    if (n.kin == nullptr) return all;
    all.reserve(n.kin->children.size());
    for (const family_record& r : n.kin->children) {
      const node* const child = r.over() ? nullptr : jobs_.find(r.id.number());
      all.push_back({.id = r.id, .name = r.name, .state = child != nullptr ? child->state : r.state, .text = r.text});
    }
    return all;
  }

 private:
  [[nodiscard]] static const family_record* other_cause(const node& parent, const family_record* but) noexcept {
    for (const family_record& r : parent.kin->children) {
      if (&r != but && r.state == job_state::failed && r.on_failure == child_failure::fail_parent) return &r;
    }
    return nullptr;
  }

  const Slab& jobs_;
};

}  // namespace penstock::inline v0_1::detail
