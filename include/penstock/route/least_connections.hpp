// penstock/route/least_connections.hpp: policies of a balancer that look at how many leases an endpoint has.
//
//   penstock::balancer<backend, penstock::least_connections> exact;      // the least loaded of all
//   penstock::balancer<backend> quick;                                   // the less loaded of two: power_of_two_choices, the default
//
// Load                  (leases + 1) / (weight × the part that the endpoint counts for), so an endpoint that fails at once does not look idle.
// least_connections     the least of all. Equals have their turns: each pick begins to look behind the endpoint that the thread's last one took.
//                       What others pick at the same moment is not seen, so many threads may go to the same endpoint together.
// power_of_two_choices  the less loaded of two different ones drawn at random: nearly as even (M. Mitzenmacher, "The Power of Two Choices in
//                       Randomized Load Balancing", 1996), with two looks however many there are, and no herd: what is chosen is not the same
//                       for all who look at the same moment.
// Cost                  no lock. least_connections looks at endpoints until it finds an idle one, or at all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <penstock/route/detail/endpoint_use.hpp>
#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// Two different ones at random, and the one of them that costs less. If one was tried before, the other; if both were, the cheapest that was not.
template <class Table, class Context, class Cost>
[[nodiscard]] std::uint32_t better_of_two(const Table& table, Context& c, Cost cost) noexcept {
  const std::uint32_t n = table.size();
  if (n == 0) return no_place;
  const std::uint64_t random = c.random();
  const std::uint32_t i = Context::below(n, static_cast<std::uint32_t>(random));
  std::uint32_t j = n > 1 ? Context::below(n - 1, static_cast<std::uint32_t>(random >> 32)) : i;
  if (n > 1 && j >= i) ++j;
  const std::uint32_t a = table.at(i);
  const std::uint32_t b = table.at(j);
  if (c.first_attempt()) [[likely]]
    return cost(b) < cost(a) ? b : a;
  const bool a_tried = c.tried(a);
  if (!a_tried && !c.tried(b)) return cost(b) < cost(a) ? b : a;
  if (!a_tried || !c.tried(b)) return a_tried ? b : a;
  std::uint32_t best = no_place;
  for (std::uint32_t k = 0; k < n; ++k) {
    const std::uint32_t place = table.at(k);
    if (!c.tried(place) && (best == no_place || cost(place) < cost(best))) best = place;
  }
  return best;
}

}  // namespace detail

struct power_of_two_choices {
  template <class Sync>
  class picker : public detail::plain_picker {
   public:
    picker(const power_of_two_choices&, std::size_t) noexcept {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      if (!table.uniform()) return detail::better_of_two(table, c, [&](std::uint32_t place) { return table.cost(place, c); });
      // With equal weights all but the watched ones cost what they have in leases; in 256ths.
      return detail::better_of_two(table, c, [&](std::uint32_t place) {
        const std::uint64_t word = table.load(place);
        if ((word & detail::endpoint_use<Sync>::watched) != 0) [[unlikely]]
          return static_cast<std::uint64_t>(256 * table.cost(place, c) * table.weight(place));
        return std::uint64_t{256} * (detail::endpoint_use<Sync>::in_flight(word) + 1);
      });
    }
  };
};

struct least_connections {
  template <class Sync>
  class picker : public detail::plain_picker {
    using use = detail::endpoint_use<Sync>;

   public:
    static constexpr bool spreads = false;

    picker(const least_connections&, std::size_t) noexcept {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      const std::uint32_t n = table.size();
      if (n == 0) return detail::no_place;
      const std::uint32_t begin = c.turn(n);
      const std::uint32_t best = table.uniform() && c.first_attempt() ? among_equals(table, begin, n) : n;
      return best < n ? taken(table, c, best) : among_unequals(table, c, begin, n);
    }

   private:
    template <class Table, class Context>
    static std::uint32_t taken(const Table& table, Context& c, std::uint32_t best) noexcept {
      c.next_turn(best + 1);
      return table.at(best);
    }

    // The first of the least loaded from `begin` on; n: one of those looked at is watched. What is compared is the leases above the distance from
    // `begin`, in one number, and four are looked at between two branches: this is what a pick consists of when nobody is idle.
    template <class Table>
    static std::uint32_t among_equals(const Table& table, std::uint32_t begin, std::uint32_t n) noexcept {
      constexpr unsigned leases_at = 40;
      static_assert(use::inside << leases_at >> leases_at == use::inside && use::inside + 1 == std::uint64_t{1}
                                                                                                   << (64 - leases_at));
      constexpr std::uint64_t idle = std::uint64_t{1} << leases_at;
      std::uint64_t best = ~std::uint64_t{0};
      std::uint64_t any = 0;
      const auto look = [&](auto place_at, std::uint32_t from, std::uint32_t to, std::uint32_t distance) {
        const auto rank = [&](std::uint32_t i) {
          const std::uint64_t word = table.load(place_at(i));
          any |= word;
          return (word << leases_at) + (i + distance);
        };
        std::uint32_t i = from;
        for (; i + 4 <= to && best >= idle; i += 4) {
          best = std::min(best, std::min(std::min(rank(i), rank(i + 1)), std::min(rank(i + 2), rank(i + 3))));
        }
        for (; i < to && best >= idle; ++i) best = std::min(best, rank(i));
      };
      const auto look_around = [&](auto place_at) {
        look(place_at, begin, n, 0 - begin);
        look(place_at, 0, begin, n - begin);
      };
      if (table.gapless()) {
        look_around([](std::uint32_t i) { return i; });
      } else {
        look_around([&](std::uint32_t i) { return table.at(i); });
      }
      if ((any & use::watched) != 0) [[unlikely]]
        return n;
      const auto at = begin + static_cast<std::uint32_t>(best & (idle - 1));
      return at < n ? at : at - n;
    }

    template <class Table, class Context>
    static std::uint32_t among_unequals(const Table& table, Context& c, std::uint32_t begin, std::uint32_t n) noexcept {
      std::uint32_t best = n;
      double least = 0;
      for (std::uint32_t k = 0, i = begin; k < n; ++k, i = i + 1 < n ? i + 1 : 0) {
        const std::uint32_t place = table.at(i);
        if (!c.first_attempt() && c.tried(place)) continue;
        const double cost = table.cost(place, c);
        if (best != n && cost >= least) continue;
        best = i;
        least = cost;
      }
      return best == n ? detail::no_place : taken(table, c, best);
    }
  };
};

}  // namespace penstock::inline v0_1
