// penstock/route/detail/endpoint_table.hpp: the endpoints of a balancer, but for the user's values: places, states, ejections, the roster.
//
// Picks read the roster, loads and shares and take no lock. Whatever changes who may be picked (an insertion, a drain, an ejection) holds lock_
// and writes the roster anew.
//
// States         vacant → listed → vacant (erased; the place is free when nobody is inside any more)
//                listed ⇄ ejected, listed or ejected → draining → listed
// Invariants     Who stands in the roster is open. A place that is free is in free_, unless its last endpoint has not gone yet.
// Locks          lock_, then a health's lock; no code of the user's runs under either.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <penstock/route/balancer_options.hpp>
#include <penstock/route/detail/endpoint_health.hpp>
#include <penstock/route/detail/endpoint_roster.hpp>
#include <penstock/route/detail/endpoint_use.hpp>
#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class endpoint_table {
 public:
  using use_word = endpoint_use<Sync>;
  using place_number = std::uint32_t;

  /// `spread`: the words of use on cache lines of their own, for picks that look at few of them. Otherwise side by side.
  endpoint_table(balancer_options options, bool spread)
      : options_{std::move(options)},
        shift_{spread ? 3U : 0U},
        uses_{std::make_unique<use_word[]>(options_.max_endpoints << shift_)},
        members_{std::make_unique<member[]>(options_.max_endpoints)},
        roster_{options_.max_endpoints} {
    free_.reserve(options_.max_endpoints);
    scratch_.reserve(options_.max_endpoints);
    for (std::size_t i = options_.max_endpoints; i-- > 0;) free_.push_back(static_cast<place_number>(i));
  }

  // ---- for picks; no lock

  [[nodiscard]] const balancer_options& options() const noexcept { return options_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return roster_.size(); }
  [[nodiscard]] place_number at(std::uint32_t i) const noexcept { return roster_.at(i); }
  [[nodiscard]] const endpoint_roster<Sync>& roster() const noexcept { return roster_; }
  [[nodiscard]] use_word& use(place_number p) noexcept { return uses_[std::size_t{p} << shift_]; }
  [[nodiscard]] std::uint64_t load(place_number p) const noexcept { return uses_[std::size_t{p} << shift_].load(); }
  /// Whether its share may be less than 1.
  [[nodiscard]] bool watched(place_number p) const noexcept { return (load(p) & use_word::watched) != 0; }
  [[nodiscard]] double weight(place_number p) const noexcept {
    return members_[p].weight.load(std::memory_order_relaxed);
  }  // relaxed: a hint
  /// What the endpoint's name was hashed to.
  [[nodiscard]] std::uint64_t name(place_number p) const noexcept {
    return members_[p].name.load(std::memory_order_relaxed);
  }  // relaxed: a hint
  /// Whether all in the roster have the same weight.
  [[nodiscard]] bool uniform() const noexcept { return uniform_.load(std::memory_order_relaxed); }  // relaxed: a hint

  /// Whether the roster is 0, 1, 2, and so on; it may just have changed.
  [[nodiscard]] bool gapless() const noexcept { return gapless_.load(std::memory_order_relaxed); }  // relaxed: a hint

  /// The part of its weight that an endpoint counts for.
  template <class Context>
  [[nodiscard]] double share(place_number p, Context& c) const noexcept {
    return !watched(p) ? 1 : members_[p].health.share(c.now(), options_);
  }
  /// Leases for each unit of weight if it got one more.
  template <class Context>
  [[nodiscard]] double cost(place_number p, Context& c) const noexcept {
    return (1.0 + use_word::in_flight(load(p))) / (weight(p) * share(p, c));
  }

  /// Lets in again whose ejection is over. One load while nobody is ejected.
  template <class Context>
  void look_after(Context& c) noexcept {
    if (next_return_.load(std::memory_order_relaxed) == never) [[likely]]  // relaxed: a hint; return_due() looks under the lock
      return;
    if (c.now() >= next_return_.load(std::memory_order_relaxed)) return_due(c.now());
  }

  // ---- changes

  /// A free place, for a value that is then made there.
  [[nodiscard]] std::optional<place_number> take_place() noexcept {
    std::scoped_lock guard{lock_};
    if (free_.empty()) return std::nullopt;
    const place_number p = free_.back();
    free_.pop_back();
    return p;
  }
  void give_back(place_number p) noexcept {
    std::scoped_lock guard{lock_};
    free_.push_back(p);  // room was reserved
  }

  /// The value is there: let it be picked. `prepare(id)` runs before that, under the lock, and returns what the name is hashed to.
  template <class Prepare>
  endpoint_id list(place_number p, double weight, bool local, nanoseconds_point now, Prepare prepare) noexcept {
    std::scoped_lock guard{lock_};
    member& m = members_[p];
    const auto id = static_cast<endpoint_id>((std::uint64_t{++m.generation} << 32) | p);
    m.weight.store(weight, std::memory_order_relaxed);  // relaxed, all: let_in() publishes them
    m.failures.store(0, std::memory_order_relaxed);
    m.latency.store(0, std::memory_order_relaxed);
    m.successes.store(0, std::memory_order_relaxed);
    m.name.store(prepare(id), std::memory_order_relaxed);
    m.local = local;
    m.ejections = 0;
    m.state = standing::listed;
    begin(p, now, 0);
    use(p).let_in();
    used_ = std::max(used_, p + 1);
    rewrite_roster();
    return id;
  }

  enum class erased : std::uint8_t { unknown, in_use, gone };
  /// gone: the caller destroys the value and gives the place back; in_use: who leaves last does.
  [[nodiscard]] erased erase(endpoint_id id) noexcept {
    std::scoped_lock guard{lock_};
    const auto p = find(id);
    if (!p) return erased::unknown;
    members_[*p].state = standing::vacant;
    set_next_return();
    rewrite_roster();
    return use(*p).retire() ? erased::gone : erased::in_use;
  }
  bool drain(endpoint_id id) noexcept {
    std::scoped_lock guard{lock_};
    const auto p = find(id);
    if (!p) return false;
    members_[*p].state = standing::draining;
    set_next_return();
    rewrite_roster();
    use(*p).shut();
    return true;
  }
  /// Ends a drain or an ejection.
  bool restore(endpoint_id id, nanoseconds_point now) noexcept {
    std::scoped_lock guard{lock_};
    const auto p = find(id);
    if (!p) return false;
    member& m = members_[*p];
    if (m.state == standing::listed) return true;
    m.state = standing::listed;
    begin(*p, now, 0);
    use(*p).let_in();
    set_next_return();
    rewrite_roster();
    return true;
  }
  bool reweight(endpoint_id id, double weight) noexcept {
    std::scoped_lock guard{lock_};
    const auto p = find(id);
    if (!p) return false;
    members_[*p].weight.store(weight, std::memory_order_relaxed);  // relaxed: a hint
    rewrite_roster();
    return true;
  }

  // ---- ends of leases, by who is inside

  void failed(place_number p, nanoseconds_point now) noexcept {
    member& m = members_[p];
    m.failures.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
    bool eject_it;
    {
      std::scoped_lock guard{m.health.lock};
      eject_it = m.health.fail(now, options_, use_word::ended(use(p).load()));
      use(p).watch();
    }
    if (eject_it) eject(p, now);
  }
  void succeeded(place_number p, nanoseconds_point now) noexcept {
    bool passed;
    {
      std::scoped_lock guard{members_[p].health.lock};
      const auto after = members_[p].health.succeed(now, options_);
      if (after.settled) use(p).unwatch();
      passed = after.passed;
    }
    if (!passed) return;
    std::scoped_lock guard{lock_};
    members_[p].ejections = 0;
  }
  void measured(place_number p, std::chrono::nanoseconds latency) noexcept {
    members_[p].latency.fetch_add(static_cast<std::uint64_t>(latency.count()),
                                  std::memory_order_relaxed);  // relaxed, both: a statistic
    members_[p].successes.fetch_add(1, std::memory_order_relaxed);
  }

  // ---- what is there

  [[nodiscard]] std::vector<endpoint_stats> stats(nanoseconds_point now) const {
    std::vector<endpoint_stats> all;
    all.reserve(options_.max_endpoints);  // so that nothing is allocated under the lock
    std::scoped_lock guard{lock_};
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state != standing::vacant) all.push_back(stats_of(p, now));
    }
    return all;
  }
  [[nodiscard]] std::optional<endpoint_stats> stats(endpoint_id id, nanoseconds_point now) const noexcept {
    std::scoped_lock guard{lock_};
    const auto p = find(id);
    return p ? std::optional{stats_of(*p, now)} : std::nullopt;
  }
  [[nodiscard]] endpoint_id id_of(place_number p) const noexcept {  // by who is inside, so the generation stays
    return static_cast<endpoint_id>((std::uint64_t{members_[p].generation} << 32) | p);
  }
  /// At the end of the balancer: each place where a value is, once.
  template <class F>
  void clear(F destroy) noexcept {
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state != standing::vacant) destroy(p);
    }
  }

 private:
  enum class standing : std::uint8_t { vacant, listed, ejected, draining };

  template <class T>
  using atomic = typename Sync::template atomic<T>;

  struct alignas(cache_line) member {
    atomic<double> weight{1};
    atomic<std::uint64_t> name{0};
    atomic<std::uint64_t> failures{0};
    atomic<std::uint64_t> latency{0};  // nanoseconds, of `successes` calls
    atomic<std::uint64_t> successes{0};
    endpoint_health<Sync> health;
    nanoseconds_point returns = never;  // when its ejection is over; this and the rest: guarded by lock_
    std::uint32_t generation = 0;
    std::uint32_t ejections = 0;
    standing state = standing::vacant;
    bool local = false;
  };

  [[nodiscard]] std::optional<place_number> find(endpoint_id id) const noexcept {
    const auto p = static_cast<place_number>(static_cast<std::uint64_t>(id));
    const bool there =
        p < used_ && members_[p].state != standing::vacant && members_[p].generation == static_cast<std::uint64_t>(id) >> 32;
    return there ? std::optional{p} : std::nullopt;
  }

  void begin(place_number p, nanoseconds_point now, std::uint32_t probation) noexcept {
    std::scoped_lock guard{members_[p].health.lock};
    if (members_[p].health.begin(now, options_, probation)) {
      use(p).watch();
    } else {
      use(p).unwatch();
    }
  }

  // Called by who is inside: the place is not given to another endpoint meanwhile.
  void eject(place_number p, nanoseconds_point now) noexcept {
    const ejection_options& e = options_.ejection;
    std::scoped_lock guard{lock_};
    member& m = members_[p];
    if (m.state != standing::listed) return;
    std::size_t members = 0;
    std::size_t ejected = 1;
    for (place_number q = 0; q < used_; ++q) {
      members += members_[q].state == standing::listed || members_[q].state == standing::ejected;
      ejected += members_[q].state == standing::ejected;
    }
    const auto ceiling = static_cast<std::size_t>(e.max_ejected_share * static_cast<double>(members));
    if (e.max_ejected_share == 0 || ejected > std::max<std::size_t>(1, ceiling) || ejected == members) return;
    std::chrono::nanoseconds out = e.duration;
    for (std::uint32_t i = 0; i < m.ejections && out < e.max_duration; ++i)
      out = out > e.max_duration / 2 ? e.max_duration : out * 2;
    ++m.ejections;
    m.state = standing::ejected;
    m.returns = saturating_add(now, out.count());
    set_next_return();
    rewrite_roster();
  }

  void return_due(nanoseconds_point now) noexcept {
    std::scoped_lock guard{lock_};
    bool changed = false;
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state != standing::ejected || members_[p].returns > now) continue;
      members_[p].state = standing::listed;
      begin(p, now, options_.ejection.probation);
      changed = true;
    }
    if (!changed) return;
    set_next_return();
    rewrite_roster();
  }

  void set_next_return() noexcept {
    nanoseconds_point next = never;
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state == standing::ejected) next = std::min(next, members_[p].returns);
    }
    next_return_.store(next, std::memory_order_relaxed);  // relaxed: a hint for look_after()
  }

  void rewrite_roster() noexcept {
    double local = 0;
    double local_available = 0;
    for (place_number p = 0; p < used_; ++p) {
      const member& m = members_[p];
      if (!m.local || (m.state != standing::listed && m.state != standing::ejected)) continue;
      local += weight(p);
      if (m.state == standing::listed) local_available += weight(p);
    }
    const bool prefer_local = local_available > 0 && local_available >= options_.zone_available_share * local;
    const auto collect = [&](standing wanted) {
      for (place_number p = 0; p < used_; ++p) {
        if (members_[p].state == wanted && (members_[p].local || !prefer_local)) scratch_.push_back(p);
      }
    };
    scratch_.clear();
    collect(standing::listed);
    if (scratch_.empty()) collect(standing::ejected);  // rather one that fails than none
    const bool uniform =
        std::all_of(scratch_.begin(), scratch_.end(), [&](place_number p) { return weight(p) == weight(scratch_[0]); });
    uniform_.store(uniform, std::memory_order_relaxed);                                                      // relaxed: a hint
    gapless_.store(!scratch_.empty() && scratch_.back() + 1 == scratch_.size(), std::memory_order_relaxed);  // relaxed: a hint
    roster_.assign(scratch_);
  }

  [[nodiscard]] endpoint_stats stats_of(place_number p, nanoseconds_point now) const noexcept {
    const member& m = members_[p];
    const std::uint64_t w = uses_[std::size_t{p} << shift_].observe();
    endpoint_stats s;
    s.id = id_of(p);
    s.state = m.state == standing::ejected    ? endpoint_state::ejected
              : m.state == standing::draining ? endpoint_state::draining
                                              : endpoint_state::listed;
    s.weight = weight(p);
    s.share = (w & use_word::watched) == 0 ? 1 : m.health.share(now, options_);
    s.in_flight = use_word::in_flight(w);
    s.ended = use_word::ended(w);
    s.failures = m.failures.load(std::memory_order_relaxed);  // relaxed, all: each number by itself
    s.ejections = m.ejections;
    const std::uint64_t successes = m.successes.load(std::memory_order_relaxed);
    if (successes > 0) s.mean_latency = std::chrono::nanoseconds{m.latency.load(std::memory_order_relaxed) / successes};
    return s;
  }

  const balancer_options options_;
  const unsigned shift_;
  const std::unique_ptr<use_word[]> uses_;
  const std::unique_ptr<member[]> members_;
  endpoint_roster<Sync> roster_;
  atomic<nanoseconds_point> next_return_{never};
  atomic<bool> uniform_{true};
  atomic<bool> gapless_{false};
  mutable typename Sync::mutex lock_;
  place_number used_ = 0;           // no place from here on has ever been used; this and the rest: guarded by lock_
  std::vector<place_number> free_;  // what was used last comes first
  std::vector<place_number> scratch_;
};

}  // namespace penstock::inline v0_1::detail
