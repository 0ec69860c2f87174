// penstock/route/round_robin.hpp: policies of a balancer that look at no load: in turn, or at random.
//
//   penstock::balancer<backend, penstock::round_robin> backends;
//
// round_robin     each thread goes round by itself, from one endpoint to the next, so its n picks among n endpoints are n different ones. Weights
//                 do not count; weighted_round_robin.hpp has them.
// random_choice   each with the same probability; the same again for the same seed on one thread. (random is a function of POSIX.)
//
// Slow start      an endpoint that counts for a part only is passed over that much more often.
// Cost            no lock, and no cache line that all picks write to.
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/route/detail/pick_context.hpp>

namespace penstock::inline v0_1 {

struct round_robin {
  template <class Sync>
  class picker : public detail::plain_picker {
   public:
    static constexpr bool spreads = false;  // a thread goes from one to the next, so it has a cache line for several picks

    picker(const round_robin&, std::size_t) noexcept {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      const std::uint32_t n = table.size();
      if (n == 0) return detail::no_place;
      std::uint32_t next = c.turn(n);
      if (const std::uint32_t place = table.at(next); c.first_attempt() && !table.watched(place)) [[likely]]
        return place;
      else if (!c.tried(place) && c.happens(table.share(place, c)))
        return place;
      // Round by itself: if another thread took turns of the same stripe meanwhile, this one would see some twice and others never.
      const std::uint32_t place = detail::first_to_accept(table, c, n, [&] { return next = next + 1 < n ? next + 1 : 0; });
      c.next_turn(next + 1);
      return place;
    }
  };
};

struct random_choice {
  template <class Sync>
  class picker : public detail::plain_picker {
   public:
    picker(const random_choice&, std::size_t) noexcept {}

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      const std::uint32_t n = table.size();
      if (n == 0) return detail::no_place;
      for (int look = 0; look < 16; ++look) {
        const std::uint32_t place = table.at(c.below(n));
        if (c.first_attempt() && !table.watched(place)) [[likely]]
          return place;
        if (!c.tried(place) && c.happens(table.share(place, c))) return place;
      }
      std::uint32_t next = c.below(n);
      return detail::first_to_accept(table, c, n, [&] { return next = next + 1 < n ? next + 1 : 0; });
    }
  };
};

}  // namespace penstock::inline v0_1
