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
#include <cassert>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <penstock/route/balancer_options.hpp>
#include <penstock/route/detail/endpoint_places.hpp>
#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class endpoint_table : public endpoint_places<Sync> {
 public:
  using typename endpoint_places<Sync>::use_word;
  using typename endpoint_places<Sync>::place_number;
  using endpoint_places<Sync>::use;
  using endpoint_places<Sync>::load;
  using endpoint_places<Sync>::id_of;

  endpoint_table(balancer_options options, bool spread) : endpoint_places<Sync>{std::move(options), spread} {
    free_.reserve(options_.max_endpoints);
    scratch_.reserve(options_.max_endpoints);
    for (std::size_t i = options_.max_endpoints; i-- > 0;) free_.push_back(static_cast<place_number>(i));
  }

  /// Whether somebody is ejected: then return_due() is to be called before a pick.
  [[nodiscard]] bool someone_is_out() const noexcept {
    return next_return_.load(std::memory_order_relaxed) != never;  // relaxed: a hint; return_due() looks under the lock
  }
  /// Lets in again whose ejection is over.
  [[gnu::noinline]] void return_due(nanoseconds_point now) noexcept {
    if (now < next_return_.load(std::memory_order_relaxed)) return;  // relaxed: as above
    std::scoped_lock guard{lock_};
    bool changed = false;
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state != standing::ejected || members_[p].returns > now) continue;
      members_[p].state = standing::listed;
      begin(p, now, true, options_.ejection.probation);
      changed = true;
    }
    if (!changed) return;
    set_next_return();
    rewrite_roster();
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

  /// What the next endpoint at a place that was taken will be called.
  [[nodiscard]] endpoint_id next_id(place_number p) const noexcept {
    return static_cast<endpoint_id>(static_cast<std::uint64_t>(id_of(p)) + (std::uint64_t{1} << 32));
  }
  /// The value is there: let it be picked. `prepare()` runs before that, under the lock. `name`: hashed.
  template <class Prepare>
  endpoint_id list(place_number p, double weight, bool local, nanoseconds_point now, std::uint64_t name,
                   Prepare prepare) noexcept {
    std::scoped_lock guard{lock_};
    member& m = members_[p];
    ++m.generation;
    m.weight.store(weight, std::memory_order_relaxed);  // relaxed, all: let_in() publishes them
    m.failures.store(0, std::memory_order_relaxed);
    m.latency.store(0, std::memory_order_relaxed);
    m.successes.store(0, std::memory_order_relaxed);
    m.name.store(name, std::memory_order_relaxed);
    prepare();
    m.local = local;
    m.ejections = 0;
    m.state = standing::listed;
    begin(p, now, false, 0);
    use(p).let_in();
    used_ = std::max(used_, p + 1);
    rewrite_roster();
    return id_of(p);
  }

  [[nodiscard]] bool has(endpoint_id id) const noexcept {
    std::scoped_lock guard{lock_};
    return find(id).has_value();
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
    begin(*p, now, true, 0);
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
      eject_it = m.health.fail(now, options_, this->judged(p));
      use(p).watch();
    }
    if (eject_it) eject(p, now);
  }
  void succeeded(place_number p, nanoseconds_point now) noexcept {
    {
      std::scoped_lock guard{members_[p].health.lock};
      const auto after = members_[p].health.succeed(now, options_);
      if (after.settled) use(p).unwatch();
      if (!after.passed) return;
    }
    std::scoped_lock guard{lock_};
    members_[p].ejections = 0;
  }
  /// For a call that has tried all who are in the roster: the cheapest of those who are well, but not of the preferred zone. With a key, whoever
  /// sticky would send it to.
  template <class Context>
  [[nodiscard, gnu::noinline]] place_number elsewhere(Context& c, bool keyed) const noexcept {
    if (options_.zone.empty()) return no_place;
    static_cast<void>(c.now());  // looked at once, and not under the lock
    std::scoped_lock guard{lock_};
    place_number best = no_place;
    double least = 0;
    const place_number begin = used_ == 0 ? 0 : c.below(used_);  // so that equals are all as likely
    for (place_number k = 0; k < used_; ++k) {
      const place_number p = begin < used_ - k ? begin + k : begin + k - used_;
      if (members_[p].state != standing::listed || c.tried(p)) continue;
      const double cost = keyed ? waiting_time(c.key(), this->name(p), this->weight(p)) : this->cost(p, c);
      if (best != no_place && cost >= least) continue;
      best = p;
      least = cost;
    }
    return best;
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
  /// At the end of the balancer: each place where a value is, once.
  template <class F>
  void clear(F destroy) noexcept {
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state == standing::vacant) continue;
      assert(use_word::in_flight(load(p)) == 0 && "a balancer was destroyed while leases are held");
      destroy(p);
      free_.push_back(p);
    }
    assert(free_.size() == options_.max_endpoints && "a balancer was destroyed while leases of an erased endpoint are held");
  }

 private:
  using typename endpoint_places<Sync>::standing;
  using typename endpoint_places<Sync>::member;
  using endpoint_places<Sync>::stats_of;
  using endpoint_places<Sync>::options_;
  using endpoint_places<Sync>::members_;
  using endpoint_places<Sync>::roster_;
  using endpoint_places<Sync>::uniform_;
  using endpoint_places<Sync>::gapless_;

  [[nodiscard]] std::optional<place_number> find(endpoint_id id) const noexcept {
    const auto p = static_cast<place_number>(static_cast<std::uint64_t>(id));
    const bool there =
        p < used_ && members_[p].state != standing::vacant && members_[p].generation == static_cast<std::uint64_t>(id) >> 32;
    return there ? std::optional{p} : std::nullopt;
  }

  void begin(place_number p, nanoseconds_point now, bool returns, std::uint32_t probation) noexcept {
    std::scoped_lock guard{members_[p].health.lock};
    if (members_[p].health.begin(now, options_, returns, probation)) {
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
    std::size_t ejected = 1;  // with this one
    for (place_number q = 0; q < used_; ++q) {
      members += members_[q].state == standing::listed || members_[q].state == standing::ejected;
      ejected += members_[q].state == standing::ejected;
    }
    const auto ceiling =
        static_cast<std::size_t>(e.max_ejected_share * static_cast<double>(members) + 1e-6);  // 0.29 * 100 is 28.99...
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

  void set_next_return() noexcept {
    nanoseconds_point next = never;
    for (place_number p = 0; p < used_; ++p) {
      if (members_[p].state == standing::ejected) next = std::min(next, members_[p].returns);
    }
    next_return_.store(next, std::memory_order_relaxed);  // relaxed: a hint for return_due()
  }

  void rewrite_roster() noexcept {
    double local = 0;
    double local_available = 0;
    for (place_number p = 0; p < used_; ++p) {
      const member& m = members_[p];
      if (!m.local || (m.state != standing::listed && m.state != standing::ejected)) continue;
      local += this->weight(p);
      if (m.state == standing::listed) local_available += this->weight(p);
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
    for (auto [p, next] = std::pair{place_number{0}, scratch_.begin()}; p < used_; ++p) {
      const bool in = next != scratch_.end() && *next == p;
      members_[p].available.store(in, std::memory_order_relaxed);  // relaxed: a hint
      if (in) ++next;
    }
    const bool uniform = std::all_of(scratch_.begin(), scratch_.end(),
                                     [&](place_number p) { return this->weight(p) == this->weight(scratch_[0]); });
    uniform_.store(uniform, std::memory_order_relaxed);                                                      // relaxed: a hint
    gapless_.store(!scratch_.empty() && scratch_.back() + 1 == scratch_.size(), std::memory_order_relaxed);  // relaxed: a hint
    roster_.assign(scratch_);
  }

  typename Sync::template atomic<nanoseconds_point> next_return_{never};
  mutable typename Sync::mutex lock_;
  place_number used_ = 0;           // no place from here on has ever been used; this and the rest: guarded by lock_
  std::vector<place_number> free_;  // what was used last comes first
  std::vector<place_number> scratch_;
};

}  // namespace penstock::inline v0_1::detail
