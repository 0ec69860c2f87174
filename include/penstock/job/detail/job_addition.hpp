// penstock/job/detail/job_addition.hpp: what a step of memory_store needs that adds jobs: made before the lock is taken, so that under it nothing fails.
//
// Thread safety  belongs to who makes the step.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/job/detail/job_families.hpp>
#include <penstock/job/detail/job_keys.hpp>
#include <penstock/job/detail/job_node.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// Of one span of entries, or of those of several settlements, one after the other.
template <class Payload>
struct job_addition {
  using entry = job_entry<Payload>;
  using node = job_node<Payload>;

  explicit job_addition(std::size_t n) noexcept : size{n} {}

  /// Entries that stand from the place `from` on. Throws std::invalid_argument, std::bad_alloc.
  void prepare(std::span<const entry> entries, std::size_t from, bool settling) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::size_t parent = entries[i].parent;
      const bool child = prepare_parent(entries[i], i, from, settling);
      prepare(*entries[i].options, from + i, child);
      if (child) reserve_child(extras[from + i]->kin, *entries[i].options);
      if (parent >= i) continue;
      reserve_parent(extras[from + parent]->kin);
      extras[from + parent]->kin->gathering = true;
    }
  }
  void prepare(const enqueue_options& o, std::size_t i, bool child) {
    check(o);
    const bool plain = !child && o.attempts == 1 && o.timeout.count() == 0 && o.name.empty() && o.job_id.empty() &&
                       !o.deduplicate && !o.remove_on_complete && !o.remove_on_fail &&
                       o.keep_logs == enqueue_options::usual_logs && !observers::trace();
    if (plain && o.group.empty()) return;
    fresh.prepare(o);
    if (!plain) make_extras(o, i);
  }

  std::size_t size;
  typename job_keys<node>::new_keys fresh = {};
  std::vector<dependent<owner<job_extras>, Payload>> extras = {};  // empty: nobody has any
  // If there are parents among them, else empty:
  std::vector<node*> nodes = {};  // of what was added; null: a duplicate
  std::vector<dependent<bool, Payload>> duplicates = {};

 private:
  void make_extras(const enqueue_options& o, std::size_t i) {
    if (extras.empty()) extras.resize(size);
    auto x = owner<job_extras>{new job_extras};
    x->policy = {.attempts = o.attempts, .backoff = o.backoff, .timeout = o.timeout};
    if (!o.job_id.empty()) x->name = std::make_shared<const std::string>(o.job_id);
    if (!o.name.empty()) x->kind = std::make_shared<const std::string>(o.name);
    if (o.deduplicate) {
      x->deduplication_id = o.deduplicate->id;
      x->guards_until_over = o.deduplicate->ttl.count() == 0;
    }
    x->keep_logs = o.keep_logs;
    x->remove_on_complete = o.remove_on_complete;
    x->remove_on_fail = o.remove_on_fail;
    if (observers::trace()) {
      const trace_scope adder{o.trace ? o.trace : current_trace()};
      x->trace = open_span{traced::job, nullptr, o.name}.travel();
    }
    extras[i] = std::move(x);
  }
  // Whether it is a child. Its parent has extras then, if it is among them.
  bool prepare_parent(const entry& e, std::size_t i, std::size_t from, bool settling) {
    if (e.parent == entry::no_entry) return static_cast<bool>(e.options->parent);
    if (e.options->parent || (e.parent >= i && !(settling && e.parent == entry::settled_job))) {
      throw std::invalid_argument{"penstock::job_entry: the parent of entry " + std::to_string(i) +
                                  (e.options->parent ? " is named twice" : " is not before it")};
    }
    if (e.parent == entry::settled_job) return true;
    if (extras.empty()) extras.resize(size);
    if (nodes.empty()) nodes.resize(size), duplicates.resize(size);
    auto& x = extras[from + e.parent];
    if (x == nullptr) x = owner<job_extras>{new job_extras};
    return true;
  }
};

}  // namespace penstock::inline v0_1::detail
