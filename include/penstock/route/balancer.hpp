// penstock/route/balancer.hpp: which of several endpoints a call goes to.
//
//   penstock::balancer<backend> backends{{.slow_start = {.duration = 30s}}};      // power of two choices; others by the second parameter
//   auto id = backends.insert(backend{"10.0.0.7:80"}, {.weight = 2});             // result<endpoint_id>
//   auto lease = backends.pick();                                                 // counts as in flight until its end
//   if (!lease) return error("no backend");
//   reply r = lease->ask(query);
//   if (r.refused()) lease.failure();                                             // otherwise the end of the scope is a success
//
//   for (auto attempts = backends.attempts(3); auto lease = attempts.next();) {   // another endpoint each time
//     if (lease->ask(query, answer)) break;
//     lease.failure();
//   }
//
// Policies       round_robin, random_choice · weighted_round_robin · least_connections, power_of_two_choices · peak_ewma · sticky (by key).
// Health         by what leases say. Failures make an endpoint count for less at once and eject it for a while when there are too many
//                (ejection_options); it comes back on probation and with a slow start. Ejections end in a pick: there is no thread and no timer.
// Endpoints      come, go, and are drained at any time. An erased one is picked by nobody who begins after erase() returned; it is destroyed when
//                its last lease ends, on that thread, or by erase().
// Thread safety  every member may be called concurrently. A lease belongs to one thread at a time, and may end on another than it began on.
// Cancellation   nothing here waits. An endpoint whose pick was in vain (drained at that moment) is not tried again: pick() goes on to others.
// Destruction    all leases must have ended (asserted).
// Bounds         2^24 - 1 leases of one endpoint at a time (asserted).
// Memory         for max_endpoints, allocated at construction: 150 to 270 bytes each and the Endpoint. pick(), leases and attempts() allocate nothing.
// Cost           a pick is one read-modify-write on the endpoint's own counter and what the policy says; the end of a lease another one. The clock is
//                read if the policy measures latency, and while endpoints are ejected, warm up or have failed lately.
// Algorithm      places that never move, with a count and the states in one word (detail/endpoint_use.hpp): readers need no other protection.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/clock_handle.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/route/balancer_lease.hpp>
#include <penstock/route/balancer_options.hpp>
#include <penstock/route/detail/checked_options.hpp>
#include <penstock/route/detail/endpoint_table.hpp>
#include <penstock/route/detail/pick_context.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/least_connections.hpp>

namespace penstock::inline v0_1 {

/// By a Clock (an instance that outlives the balancer, unless it is like std's).
template <class Endpoint, class Policy = power_of_two_choices, clock Clock = std::chrono::steady_clock,
          class Sync = detail::std_sync>
class balancer {
  using picker = typename Policy::template picker<Sync>;
  using context = detail::pick_context<Clock, Sync>;
  using table = detail::endpoint_table<Sync>;

 public:
  using lease = balancer_lease<balancer>;
  using attempts_left = balancer_attempts<balancer>;

  /// Throws std::invalid_argument that names the option which cannot be.
  explicit balancer(balancer_options options = {}, Policy policy = {})
    requires detail::static_clock<Clock>
      : balancer{std::move(options), policy, detail::clock_handle<Clock>{}} {}
  balancer(balancer_options options, Clock& clock) : balancer{std::move(options), Policy{}, clock} {}
  balancer(balancer_options options, Policy policy, Clock& clock)
      : balancer{std::move(options), policy, detail::clock_handle<Clock>{clock}} {}
  balancer(const balancer&) = delete;
  balancer& operator=(const balancer&) = delete;
  ~balancer() {
    table_.clear([this](std::uint32_t p) { std::destroy_at(&values_[p].value); });
  }

  /// Adds an endpoint, which is moved from only if there is room. errc::full: there are max_endpoints, erased ones with leases among them.
  /// Throws std::invalid_argument unless the weight is positive and finite, and what the Endpoint's constructor throws.
  result<endpoint_id> insert(Endpoint&& endpoint, const endpoint_options& options = {}) {
    return add(std::move(endpoint), options);
  }
  result<endpoint_id> insert(const Endpoint& endpoint, const endpoint_options& options = {}) { return add(endpoint, options); }

  /// Each is false if there is no such endpoint any more. erase() and reweight() throw what a placement throws (consistent_hash); then nothing changes.
  bool erase(endpoint_id id) noexcept(!picker::places) {
    auto how = table::erased::unknown;
    if constexpr (picker::places) {
      std::scoped_lock guard{placing_};
      if (!table_.has(id)) return false;
      picker_.erase(place_of(id), table_.name(place_of(id)));
      how = table_.erase(id);
    } else {
      how = table_.erase(id);
    }
    if (how == table::erased::gone) free_place(place_of(id));
    return how != table::erased::unknown;
  }
  /// No new leases. stats(id)->in_flight tells how many have not ended.
  bool drain(endpoint_id id) noexcept { return table_.drain(id); }
  /// Ends a drain or an ejection now; with a slow start, without a probation: the next success says that it is well.
  bool restore(endpoint_id id) noexcept { return table_.restore(id, time_.now()); }
  /// Throws std::invalid_argument unless the weight is positive and finite.
  bool reweight(endpoint_id id, double weight) {
    static_cast<void>(detail::checked_weight(weight));
    if constexpr (picker::places) {
      std::scoped_lock guard{placing_};
      if (!table_.has(id)) return false;
      if (table_.weight(place_of(id)) == weight) return true;  // a placement that goes by the order of changes would move keys
      picker_.reweight(place_of(id), table_.name(place_of(id)), weight);
      return table_.reweight(id, weight);
    } else {
      return table_.reweight(id, weight);
    }
  }

  /// A lease of an endpoint; an empty one if there is none that could be picked.
  [[nodiscard]] lease pick() noexcept
    requires(!picker::keyed)
  {
    return pick_other(0, {});
  }
  template <routable Key>
    requires(picker::keyed)
  [[nodiscard]] lease pick(const Key& key) noexcept(noexcept(hash_of(key, 0))) {
    return pick_other(hash_of(key, table_.options().key_seed), {});
  }

  /// The leases of one call that is tried at up to `limit` different endpoints, 1 to 16; throws std::invalid_argument.
  [[nodiscard]] attempts_left attempts(unsigned limit)
    requires(!picker::keyed)
  {
    return attempts_left{*this, 0, limit};
  }
  template <routable Key>
    requires(picker::keyed)
  [[nodiscard]] attempts_left attempts(const Key& key, unsigned limit) {
    return attempts_left{*this, hash_of(key, table_.options().key_seed), limit};
  }

  /// How many can be picked now: neither drained nor ejected, and of the preferred zone if that one is preferred.
  [[nodiscard]] std::size_t size() const noexcept { return table_.size(); }
  /// Of every endpoint that has not been erased.
  [[nodiscard]] std::vector<endpoint_stats> stats() const { return table_.stats(time_.now()); }
  [[nodiscard]] std::optional<endpoint_stats> stats(endpoint_id id) const noexcept { return table_.stats(id, time_.now()); }

 private:
  friend lease;
  friend attempts_left;

  union value_place {
    value_place() noexcept {}
    ~value_place() {}
    Endpoint value;
  };

  balancer(balancer_options options, const Policy& policy, detail::clock_handle<Clock> time)
      : time_{time},
        table_{detail::checked(std::move(options)), picker::spreads},
        picker_{policy, table_.options().max_endpoints},
        stripes_{table_.options().seed},
        measures_{picker::measures_latency || table_.options().measure_latency},
        values_{std::make_unique<value_place[]>(table_.options().max_endpoints)} {}

  static std::uint32_t place_of(endpoint_id id) noexcept { return static_cast<std::uint32_t>(static_cast<std::uint64_t>(id)); }

  template <class E>
  result<endpoint_id> add(E&& endpoint, const endpoint_options& options) {
    const double weight = detail::checked_weight(options.weight);
    const bool local = !options.zone.empty() && options.zone == table_.options().zone;
    const std::uint64_t seed = table_.options().key_seed;
    std::optional<std::uint64_t> name;
    if (!options.name.empty()) {
      name = hash_of(options.name, seed);
    } else if constexpr (routable<Endpoint>) {
      name = hash_of(endpoint, seed);
    }
    const auto p = table_.take_place();
    if (!p) return errc::full;
    try {
      std::construct_at(&values_[*p].value, std::forward<E>(endpoint));
    } catch (...) {
      table_.give_back(*p);
      throw;
    }
    const auto list = [&](std::uint64_t hashed) {
      return table_.list(*p, weight, local, time_.now(), hashed, [&] { picker_.placed(*p, hashed); });
    };
    if constexpr (!picker::places) {
      return list(name ? *name : hash_of(table_.next_id(*p), seed));
    } else {
      const std::uint64_t hashed = name ? *name : hash_of(table_.next_id(*p), seed);
      std::scoped_lock guard{placing_};
      try {
        picker_.insert(*p, hashed, weight);
      } catch (...) {
        free_place(*p);
        throw;
      }
      return list(hashed);
    }
  }

  [[nodiscard]] lease pick_other(std::uint64_t key, std::span<const std::uint32_t> tried) noexcept {
    if (table_.someone_is_out()) [[unlikely]]
      table_.return_due(time_.now());
    context c{stripes_.mine(), time_, key, tried};
    for (;;) {
      std::uint32_t p = picker_.choose(table_, c);
      if (p == detail::no_place) [[unlikely]] {
        if (!c.first_attempt()) p = table_.elsewhere(c, picker::keyed);
        if (p == detail::no_place) return {};
      }
      if (table_.use(p).try_enter()) [[likely]]
        return lease{*this, p, measures_ ? c.now() : 0};
      if (table_.use(p).back_out()) free_place(p);  // it was just erased or drained; the roster is newer by now
    }
  }

  void end_lease(std::uint32_t p, detail::nanoseconds_point began, lease_outcome how) noexcept {
    auto& use = table_.use(p);
    const bool failed = how == lease_outcome::failure;
    if (measures_ && how != lease_outcome::ignored) {
      const detail::nanoseconds_point now = time_.now();
      if (const std::chrono::nanoseconds took{detail::saturating_difference(now, began)}; took.count() >= 0) {
        picker_.ended(p, now, took, !failed);
        if (!failed) table_.measured(p, took);
      }
    }
    if (failed) {
      table_.failed(p, time_.now());
    } else if (how == lease_outcome::ignored) {
      table_.ignored(p);
    } else if (table_.watched(p)) [[unlikely]] {
      table_.succeeded(p, time_.now());
    }
    if (use.leave()) [[unlikely]]
      free_place(p);
  }

  // By whom the word of use told: nobody else knows the value any more. Its destructor runs under no lock.
  void free_place(std::uint32_t p) noexcept {
    std::destroy_at(&values_[p].value);
    table_.give_back(p);
  }

  [[nodiscard]] bool may_try_again(bool first) noexcept {
    if (const retry_allowance_ref& budget = table_.options().budget) {
      if (!first) return budget.try_withdraw();
      budget.deposit();
      return true;
    }
    const auto earns = static_cast<std::int64_t>(table_.options().retry_share * one_retry);
    std::int64_t seen = retries_.load(std::memory_order_relaxed);  // relaxed, all: an allowance, which publishes nothing
    if (first) {
      if (seen < retries_at_most) retries_.fetch_add(earns, std::memory_order_relaxed);
      return true;
    }
    while (seen >= one_retry) {
      if (retries_.compare_exchange_weak(seen, seen - one_retry, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  // It was not made after all. (A budget of others' keeps it.)
  void give_retry_back() noexcept {
    retries_.fetch_add(table_.options().budget ? 0 : one_retry, std::memory_order_relaxed);  // relaxed: as in may_try_again()
  }

  static constexpr std::int64_t one_retry = 1'000'000;  // so that a small retry_share counts, too
  static constexpr std::int64_t retries_at_most = 10 * one_retry;

  [[no_unique_address]] detail::clock_handle<Clock> time_;
  table table_;
  picker picker_;
  detail::pick_stripes<Sync> stripes_;
  const bool measures_;
  const std::unique_ptr<value_place[]> values_;
  typename Sync::mutex placing_;  // held by who changes a placement; before the table's lock
  typename Sync::template atomic<std::int64_t> retries_{retries_at_most};
};

template <class Endpoint, class Policy, clock Clock, class Sync>
void describe(const balancer<Endpoint, Policy, Clock, Sync>& b, metric_sink& to) {
  to.kind("balancer");
  detail::describe_endpoints(b.stats(), to);
}

}  // namespace penstock::inline v0_1
