// penstock/route/weighted_round_robin.hpp: nginx's smooth weighted round robin: by weight, and each endpoint's turns spread evenly.
//
//   penstock::balancer<backend, penstock::weighted_round_robin> backends;
//   backends.insert(big, {.weight = 5}); backends.insert(a, {.weight = 1}); backends.insert(b, {.weight = 1});
//   // big, big, a, big, b, big, big, and so on
//
// Law            Each pick adds to every endpoint's account its weight, takes the endpoint with the greatest account (of equals the one that came
//                first), and subtracts the sum of all weights from that one's. So in each sum of whole weights everybody has exactly its share.
// Slow start     the weight counts for the part that the endpoint counts for, also after failures, as nginx's effective_weight does.
// Cost           one lock and a look at every endpoint a pick: it is meant for dozens of them. All threads share the accounts.
// Source         I. Sysoev and M. Dounin, nginx 1.3.1 (2012), "upstream: smooth weighted round-robin balancing"; written anew from its description.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1 {

struct weighted_round_robin {
  template <class Sync>
  class picker : public detail::plain_picker {
   public:
    static constexpr bool spreads = false;

    picker(const weighted_round_robin&, std::size_t capacity) : accounts_{std::make_unique<account[]>(capacity)} {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      std::scoped_lock guard{lock_};
      const std::uint32_t n = table.size();
      std::uint32_t best = detail::no_place;
      double total = 0;
      for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint32_t place = table.at(i);
        if (!c.first_attempt() && c.tried(place)) continue;
        const double weight = table.weight(place) * table.share(place, c);
        total += weight;
        accounts_[place] += weight;
        if (best == detail::no_place || accounts_[place] > accounts_[best]) best = place;
      }
      if (best != detail::no_place) accounts_[best] -= total;
      return best;
    }
    void placed(std::uint32_t place, std::uint64_t) noexcept {
      std::scoped_lock guard{lock_};
      accounts_[place] = 0;
    }

   private:
    using account = detail::dependent<double, Sync>;

    detail::polled_mutex<Sync> lock_;
    std::unique_ptr<account[]> accounts_;  // by place; guarded by lock_
  };
};

}  // namespace penstock::inline v0_1
