// penstock/route/detail/endpoint_places.hpp: what picks read of a balancer's endpoints; endpoint_table.hpp changes it.
//
// Every place's words stay where they are until the balancer ends, so nothing here needs to be protected from those who read it. What is read may
// be a moment old, or of two moments: a pick then goes by that.
//
// Thread safety  the public members may be called at any time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <penstock/route/balancer_options.hpp>
#include <penstock/route/detail/endpoint_health.hpp>
#include <penstock/route/detail/endpoint_roster.hpp>
#include <penstock/route/detail/endpoint_use.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class endpoint_places {
 public:
  using use_word = endpoint_use<Sync>;
  using place_number = std::uint32_t;

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

  /// Whether a place stands in the roster.
  [[nodiscard]] bool available(place_number p) const noexcept {
    return members_[p].available.load(std::memory_order_relaxed);
  }  // relaxed: a hint

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

  // ---- by who is inside

  void measured(place_number p, std::chrono::nanoseconds latency) noexcept {
    members_[p].latency.fetch_add(static_cast<std::uint64_t>(latency.count()),
                                  std::memory_order_relaxed);  // relaxed, both: a statistic
    members_[p].successes.fetch_add(1, std::memory_order_relaxed);
  }
  void ignored(place_number p) noexcept {
    members_[p].ignored.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
  }
  /// The calls that ended and say something of the endpoint, modulo 2^32.
  [[nodiscard]] std::uint32_t judged(place_number p) const noexcept {
    return use_word::ended(load(p)) - members_[p].ignored.load(std::memory_order_relaxed);  // relaxed: a statistic
  }
  [[nodiscard]] endpoint_id id_of(place_number p) const noexcept {  // the generation stays
    return static_cast<endpoint_id>((std::uint64_t{members_[p].generation} << 32) | p);
  }

 protected:
  enum class standing : std::uint8_t { vacant, listed, ejected, draining };

  template <class T>
  using atomic = typename Sync::template atomic<T>;

  struct alignas(cache_line) member {
    atomic<double> weight{1};
    atomic<std::uint64_t> name{0};
    atomic<std::uint64_t> failures{0};
    atomic<std::uint64_t> latency{0};  // nanoseconds, of `successes` calls
    atomic<std::uint64_t> successes{0};
    atomic<std::uint32_t> ignored{0};  // since the place has been used, as only differences count
    atomic<bool> available{false};
    endpoint_health<Sync> health;
    nanoseconds_point returns = never;  // when its ejection is over; this and the rest: guarded by lock_
    std::uint32_t generation = 0;
    std::uint32_t ejections = 0;
    standing state = standing::vacant;
    bool local = false;
  };

  /// `spread`: the words of use on cache lines of their own, for picks that look at few of them. Otherwise side by side.
  endpoint_places(balancer_options options, bool spread)
      : options_{std::move(options)},
        shift_{spread ? 3U : 0U},
        uses_{std::make_unique<use_word[]>(options_.max_endpoints << shift_)},
        members_{std::make_unique<member[]>(options_.max_endpoints)},
        roster_{options_.max_endpoints} {}

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
  atomic<bool> uniform_{true};
  atomic<bool> gapless_{false};
};

}  // namespace penstock::inline v0_1::detail
