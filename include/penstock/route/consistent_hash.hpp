// penstock/route/consistent_hash.hpp: the policy that sends a key where a placement says: a hash ring, or one of its relatives.
//
//   penstock::balancer<backend, penstock::consistent_hash<penstock::hash_ring>> backends{{.max_endpoints = 10'000}};
//   backends.insert(backend{...}, {.weight = 2, .name = "10.0.0.7:80"});
//   auto lease = backends.pick(session_id);
//
// The mapping    is the placement's. A hash_ring<std::string> with the seed balancer_options::key_seed that has the endpoints' names as nodes sends
//                the same keys to the same names.
// Endpoints that are drained, ejected or tried before stay in the placement; their keys go to the next one that the placement's find_n() says, or, where
//                it has none or says nobody who is left, to whom sticky would send them. So no other key moves, and they come back.
// Cost           the lookup, and two atomic additions on one word; never a lock. To insert, erase or reweight an endpoint copies the placement. With fewer
//                than some fifty endpoints sticky is as quick and needs no memory.
// Placement      any template of which placement<P<placed_endpoint>> holds (route/placement.hpp): hash_ring, rendezvous, maglev, jump, anchor_hash. A
//                find_n(ready_hash, std::span<const Node*>) is used if there is one. What a placement does not take, weights for instance, insert() throws.
// Algorithm      versions that readers count themselves into (detail/versions.hpp).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <penstock/core/backoff.hpp>
#include <penstock/route/detail/pick_context.hpp>
#include <penstock/route/detail/versions.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/placement.hpp>
#include <penstock/route/sticky.hpp>

namespace penstock::inline v0_1 {

/// What a balancer's placement places: an endpoint's name, hashed, and where it is in the balancer.
struct placed_endpoint {
  std::uint64_t name = 0;
  std::uint32_t place = 0;

  friend auto operator<=>(const placed_endpoint&, const placed_endpoint&) noexcept = default;
  friend std::uint64_t penstock_hash(const placed_endpoint& e, std::uint64_t) noexcept {
    return e.name;
  }  // hashed with the balancer's seed
};

template <template <class> class Placement>
  requires placement<Placement<placed_endpoint>>
struct consistent_hash {
  using placement_type = Placement<placed_endpoint>;
  placement_type empty{};  ///< what endpoints are put into: a hash_ring with more virtual nodes, for instance

  template <class Sync>
  class picker : public detail::plain_picker {
    using versions = detail::versions<placement_type, Sync>;
    using version = typename versions::version;

   public:
    static constexpr bool keyed = true;
    static constexpr bool places = true;

    picker(const consistent_hash& options, std::size_t) : versions_{new version{options.empty}} {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) const noexcept {
      const auto admits = [&](std::uint32_t place) { return table.available(place) && (c.first_attempt() || !c.tried(place)); };
      const use now{versions_};
      const placed_endpoint* const first = now->find(ready_hash{c.key()});
      if (first != nullptr && admits(first->place)) [[likely]]
        return first->place;
      if (first != nullptr) {
        const std::uint32_t next = next_of(*now, c.key(), admits);
        if (next != detail::no_place) return next;
      }
      return typename sticky::picker<Sync>{sticky{}, 0}.choose(table, c);
    }

    /// By one thread at a time, as they may all throw; then nothing has changed.
    void insert(std::uint32_t place, std::uint64_t name, double weight) {
      change([&](placement_type& p) { p.insert(placed_endpoint{name, place}, {.weight = weight}); });
    }
    void erase(std::uint32_t place, std::uint64_t name) {
      change([&](placement_type& p) { p.erase(placed_endpoint{name, place}); });
    }
    void reweight(std::uint32_t place, std::uint64_t name, double weight) {
      change([&](placement_type& p) {
        p.erase(placed_endpoint{name, place});
        p.insert(placed_endpoint{name, place}, {.weight = weight});
      });
    }

   private:
    // A version that is not freed while it is looked at.
    class use {
     public:
      explicit use(versions& from) noexcept : from_{from}, taken_{from.take()} {}
      use(const use&) = delete;
      use& operator=(const use&) = delete;
      ~use() { from_.end(taken_); }
      const placement_type& operator*() const noexcept { return taken_->value; }
      const placement_type* operator->() const noexcept { return &taken_->value; }
      [[nodiscard]] version* taken() const noexcept { return taken_; }

     private:
      versions& from_;
      version* const taken_;
    };

    template <class Admits>
    static std::uint32_t next_of(const placement_type& p, std::uint64_t key, Admits admits) noexcept {
      if constexpr (requires(std::span<const placed_endpoint*> out) { p.find_n(ready_hash{key}, out); }) {
        std::array<const placed_endpoint*, 16> preferred{};  // for so many a hash_ring allocates nothing
        const std::size_t n = p.find_n(ready_hash{key}, std::span<const placed_endpoint*>{preferred});
        for (std::size_t i = 1; i < n; ++i) {
          if (admits(preferred[i]->place)) return preferred[i]->place;
        }
      }
      return detail::no_place;
    }

    template <class F>
    void change(F f) {
      versions_.free_dead();
      const use now{versions_};
      auto fresh = std::make_unique<version>(*now);
      f(fresh->value);
      if (versions_.replace(now.taken(), fresh.get()))
        static_cast<void>(fresh.release());  // always: one thread at a time changes it
    }

    mutable versions versions_;  // its readers count in it
  };
};

}  // namespace penstock::inline v0_1
