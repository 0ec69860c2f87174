// penstock/observe/registry.hpp: the components of a program by name, to look at all of them at once.
//
//   penstock::registry all;
//   penstock::worker_pool pool{{.threads = 8, .metrics = true}};
//   penstock::semaphore connections{100};
//   const auto a = all.join("api", pool);                  // until `a` goes: declared after the component, it goes before it
//   const auto b = all.join("connections", connections);
//
//   std::string body = to_prometheus_text(all.snapshot()); // observe/prometheus_text.hpp: what /metrics answers
//   penstock::live_table(all, stderr, 1s, stop);           // observe/live_table.hpp: the same numbers in a terminal
//
// A component is whatever has describe(component, metric_sink&) (observe/metric_sink.hpp), or stats() whose result has: all of penstock's that count
// something, and your own. A function that takes a metric_sink& will do, too:
//
//   const auto c = all.join("orders", [&](penstock::metric_sink& to) { to.kind("orders"); to.counter({"placed", "Orders."}, placed.value()); });
//
// The idea       pull: components know nothing of registries, and are read when somebody looks. A name in a registry costs their events nothing.
// Invariants     a component is read only between join() and the end of its membership, which waits for those who read it just then.
// Thread safety  every member may be called concurrently, and snapshots be taken while components come and go. describe() of one component may run on
//                several threads at a time. It must not end its own membership: that waits for itself.
// Locks          components are described under no lock. The end of a membership waits for whoever describes the component, so it must not hold a lock
//                that describe() takes.
// Exceptions     what describing a component throws becomes its `error` in the snapshot, and its metric `up` 0; the others are there.
// Destruction    a membership may outlive the registry.
// Cost           join() and leaving: allocations, and a lock; leaving also a search among the components. A snapshot: what the components' stats() cost,
//                and memory for names and numbers.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/detail/metric_collector.hpp>
#include <penstock/observe/detail/registry_entries.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1 {

struct registry_options {
  std::string prefix = "penstock";  ///< what the names of metrics begin with: [a-z][a-z0-9_]*
  any_clock clock = {};             ///< tells how much time lies between two snapshots; must outlive the registry
};

template <class Sync>
class basic_registry;

/// A component's place in a registry. Its end waits for those who read the component just then.
template <class Sync = detail::std_sync>
class [[nodiscard]] basic_registry_membership {
 public:
  /// Of nothing.
  basic_registry_membership() noexcept = default;
  basic_registry_membership(basic_registry_membership&& other) noexcept = default;
  basic_registry_membership& operator=(basic_registry_membership&& other) noexcept {
    if (this != &other) {
      leave();
      state_ = std::move(other.state_);
      entry_ = std::move(other.entry_);
    }
    return *this;
  }
  ~basic_registry_membership() { leave(); }

  /// The component is not read any more when this returns. Idempotent.
  void leave() noexcept {
    if (entry_ == nullptr) return;
    {
      std::scoped_lock guard{state_->lock};
      entry_->left = true;
      std::erase(state_->all, entry_);
    }
    entry_->wait_for_readers();
    // Nobody reads it any more; a snapshot under way may still hold the entry.
    entry_->describe = nullptr;
    entry_->place.reset();
    entry_.reset();
    state_.reset();
  }

 private:
  friend basic_registry<Sync>;
  using entries = detail::registry_entries<Sync>;
  using entry = detail::registry_entry<Sync>;
  basic_registry_membership(std::shared_ptr<entries> where, std::shared_ptr<entry> what) noexcept
      : state_{std::move(where)}, entry_{std::move(what)} {}

  std::shared_ptr<entries> state_;
  std::shared_ptr<entry> entry_;
};

using registry_membership = basic_registry_membership<>;

template <class Sync = detail::std_sync>
class basic_registry {
  using membership = basic_registry_membership<Sync>;
  using entries = detail::registry_entries<Sync>;
  using entry = detail::registry_entry<Sync>;

 public:
  /// Throws std::invalid_argument if the prefix is no name.
  explicit basic_registry(registry_options options = {}) : options_{std::move(options)}, state_{std::make_shared<entries>()} {
    detail::check_metric_name(options_.prefix, "a prefix");
  }
  basic_registry(const basic_registry&) = delete;
  basic_registry& operator=(const basic_registry&) = delete;

  /// From now until what this returns goes, the component is part of every snapshot, by this name: any text, but one that nobody else has now; bytes that are
  /// no UTF-8 become U+FFFD. Who waits in it is shown with that name, too (observe/who_waits.hpp).
  /// Throws std::invalid_argument if somebody has it, or it is empty.
  template <measurable T>
  [[nodiscard]] membership join(std::string name, T& component) {
    membership joined = add(name, [&component](metric_sink& to) { detail::describe_any(component, to); });
    joined.entry_->place.emplace(component, joined.entry_->name);
    return joined;
  }
  /// The same of what a function tells, which is called as described above.
  template <class F>
    requires(!measurable<F> && std::invocable<const std::decay_t<F>&, metric_sink&>)
  [[nodiscard]] membership join(std::string name, F&& f) {
    return add(name, std::forward<F>(f));
  }

  /// What every component says now, one after the other, in the order in which they joined. Throws std::bad_alloc.
  [[nodiscard]] registry_snapshot snapshot() const;

  [[nodiscard]] const any_clock& clock() const noexcept { return options_.clock; }
  /// How many are joined now.
  [[nodiscard]] std::size_t size() const noexcept {
    std::scoped_lock guard{state_->lock};
    return state_->all.size();
  }

 private:
  membership add(std::string_view name, move_only_function<void(metric_sink&) const> describe);

  registry_options options_;
  std::shared_ptr<entries> state_;
};

using registry = basic_registry<>;

template <class Sync>
basic_registry_membership<Sync> basic_registry<Sync>::add(std::string_view name,
                                                          move_only_function<void(metric_sink&) const> describe) {
  if (name.empty()) throw std::invalid_argument{"penstock::registry: a component has no name"};
  const auto added = std::make_shared<entry>(detail::utf8_text(name), 0, std::move(describe));
  std::scoped_lock guard{state_->lock};
  for (const auto& e : state_->all) {
    if (e->name == added->name) throw std::invalid_argument{"penstock::registry: \"" + e->name + "\" is joined already"};
  }
  added->number = ++state_->joined;
  state_->all.push_back(added);
  return {state_, added};
}

template <class Sync>
registry_snapshot basic_registry<Sync>::snapshot() const {
  registry_snapshot s{std::chrono::nanoseconds{options_.clock.now()}, options_.prefix};
  std::vector<std::shared_ptr<entry>> joined;
  {
    std::scoped_lock guard{state_->lock};
    joined = state_->all;
  }
  detail::dependent<detail::metric_families_seen, Sync> families;
  for (const std::shared_ptr<entry>& e : joined) {
    const detail::registry_reading<Sync> of{*state_, *e};
    if (!of.begun()) continue;
    component_snapshot c{.name = e->name, .membership = e->number};
    detail::metric_collector<detail::dependent<detail::metric_families_seen, Sync>> to{options_.prefix, c, families};
    try {
      e->describe(to);
    } catch (const std::exception& error) {
      c.error = std::string{"it threw: "} + error.what();
    } catch (...) {
      c.error = "it threw what is no std::exception";
    }
    to.end();
    s.components.push_back(std::move(c));
  }
  return s;
}

}  // namespace penstock::inline v0_1
