// penstock/route/sticky.hpp: the policy that sends a key to the same endpoint each time, in every process.
//
//   penstock::balancer<backend, penstock::sticky> backends;
//   backends.insert(backend{...}, {.weight = 2, .name = "10.0.0.7:80"});    // the name decides; a string endpoint is its own
//   auto lease = backends.pick(session_id);
//   auto other = backends.pick(address.network());                 // by the network of an ip_address (route/ip_address.hpp)
//
// Law            The endpoint with the highest score of all for the key: rendezvous hashing, weighted by its logarithm form. When one goes, is drained
//                or ejected, its keys alone move, to each key's next endpoint, and come back with it; a new one takes its share from all the
//                others. Shares are as the weights; slow start and failures short of an ejection move no key.
// Bounded load   with a load_factor of c, nobody has more than c times its share of all leases (rounded up): a hot key goes on to its next endpoint.
//                Each pick by itself holds to it, by what it sees.
// Cost           no lock, no memory; a look at every endpoint: about 4 ns each, a logarithm more with different weights. For many take consistent_hash.
// While endpoints change, a pick that sees half of the change looks again, a few times; the change may send that one pick elsewhere.
// Source         D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates" (1998); the weighted form: C. Schindelhauer,
//                G. Schomaker, "Weighted distributed hash tables" (2005). V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with
//                bounded loads" (2016), here applied to the order that the scores give.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include <penstock/core/backoff.hpp>
#include <penstock/route/detail/endpoint_use.hpp>
#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1 {

struct sticky {
  double load_factor = 0;  ///< more than 1; 0: no bound

  template <class Sync>
  class picker : public detail::plain_picker {
    using use = detail::endpoint_use<Sync>;

   public:
    static constexpr bool keyed = true;
    static constexpr bool spreads = false;

    picker(const sticky& options, std::size_t) : factor_{options.load_factor} {
      if (factor_ != 0 && !(factor_ > 1 && std::isfinite(factor_))) {
        throw std::invalid_argument{"penstock::sticky: load_factor must be 0, or greater than 1 and finite"};
      }
    }

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) const noexcept {
      std::uint32_t best = detail::no_place;
      for (int look = 0; look < 64; ++look) {
        const std::uint32_t seen = table.roster().version();
        best = factor_ == 0 ? highest(table, c, [](std::uint32_t) { return true; }) : highest_with_room(table, c);
        if (table.roster().unchanged(seen)) break;
      }
      return best;
    }

   private:
    template <class Table, class Context, class Admits>
    static std::uint32_t highest(const Table& table, Context& c, Admits admits) noexcept {
      const std::uint32_t n = table.roster().size_as_part();
      const bool uniform = table.uniform();
      std::uint32_t best = detail::no_place;
      std::uint64_t highest_hash = 0;
      double lowest_wait = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint32_t place = table.at(i);
        if ((!c.first_attempt() && c.tried(place)) || !admits(place)) continue;
        if (uniform) {
          const std::uint64_t hash = splitmix64{c.key() ^ table.name(place)}();
          if (best != detail::no_place && hash <= highest_hash) continue;
          highest_hash = hash;
        } else {
          const double wait = detail::waiting_time(c.key(), table.name(place), table.weight(place));
          if (best != detail::no_place && wait >= lowest_wait) continue;
          lowest_wait = wait;
        }
        best = place;
      }
      return best;
    }

    template <class Table, class Context>
    std::uint32_t highest_with_room(const Table& table, Context& c) const noexcept {
      const std::uint32_t n = table.roster().size_as_part();
      double leases = 1;  // with this one
      double weights = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        leases += use::in_flight(table.load(table.at(i)));
        weights += table.weight(table.at(i));
      }
      const double all = factor_ * leases;
      const std::uint32_t best = highest(table, c, [&](std::uint32_t place) {
        return use::in_flight(table.load(place)) + 1.0 <= std::ceil(all * table.weight(place) / weights);
      });
      return best != detail::no_place
                 ? best
                 : highest(table, c, [](std::uint32_t) { return true; });  // leases moved meanwhile, or most were tried
    }

    const double factor_;
  };
};

}  // namespace penstock::inline v0_1
