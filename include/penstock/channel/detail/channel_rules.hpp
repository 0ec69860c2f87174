// penstock/channel/detail/channel_rules.hpp: what a channel keeps when it was asked for more than a capacity. Guarded by the channel's lock.
#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/channel/channel_options.hpp>
#include <penstock/channel/detail/water_mark.hpp>
#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync>
class channel_rules {
 public:
  explicit channel_rules(channel_options<T>&& o)
      : options{checked(std::move(o))}, mark{options.high_water, options.low_water}, max_weight_{options.max_weight} {}

  /// Whether options ask for anything of this. Metrics alone do not: channel_tally.hpp.
  [[nodiscard]] static bool needed(const channel_options<T>& o) noexcept {
    return o.weight || o.max_weight != unlimited || o.high_water != 0 || o.low_water != 0 || o.when_full != when_full::wait;
  }

  // Without the lock.
  [[nodiscard]] std::size_t weigh(const T& item) const noexcept { return options.weight ? options.weight(item) : 1; }
  /// More than fits at any time.
  [[nodiscard]] bool too_heavy(std::size_t weight) const noexcept {
    return options.weight && weight > max_weight_.load(std::memory_order_relaxed);  // relaxed: a number that publishes nothing
  }

  // All below: with the lock held.

  void set_max_weight(std::size_t most) noexcept { max_weight_.store(most, std::memory_order_relaxed); }  // relaxed: as above

  /// More than the bound fits only where nothing else is: the bound may have been lowered meanwhile.
  [[nodiscard]] bool bears(std::size_t more) const noexcept {
    if (!options.weight || used() == 0) return true;
    const std::size_t most = max_weight_.load(std::memory_order_relaxed);  // relaxed: changes under the lock
    return used() <= most && more <= most - used();
  }

  /// `inside`: how many items there are now. Pops leave the ring before they come here, so it may be less than what is accounted for.
  void entered(std::size_t weight, std::size_t inside, wait_list<Sync>& won) noexcept {
    count.weight += weight;
    ++count.depth;
    if (options.metrics) {
      ++count.pushed;
      if (inside > count.peak_depth) count.peak_depth = inside;
    }
    look_at_mark(inside, won);
  }
  /// `why` is the counter that counts it.
  void left(std::size_t weight, std::size_t inside, std::size_t channel_stats::* why, wait_list<Sync>& won) noexcept {
    count.weight -= weight;
    --count.depth;
    happened(why);
    look_at_mark(inside, won);
  }
  /// Whether an item would find room if nothing were inside.
  [[nodiscard]] bool could_bear(std::size_t more) const noexcept {
    const std::size_t most = max_weight_.load(std::memory_order_relaxed);  // relaxed: changes under the lock
    return !options.weight || reserved_weight == 0 || (reserved_weight <= most && more <= most - reserved_weight);
  }
  void happened(std::size_t channel_stats::* what) noexcept {
    if (options.metrics) ++(count.*what);
  }

  channel_options<T> options;
  channel_stats count;
  std::size_t reserved_weight = 0;
  water_mark<Sync> mark;

 private:
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  static channel_options<T>&& checked(channel_options<T>&& o) {
    const auto demand = [](bool right, const char* what, std::size_t value) {
      if (!right) throw std::invalid_argument{std::string{"penstock::channel: "} + what + " is " + std::to_string(value)};
    };
    demand(o.max_weight > 0, "max_weight", o.max_weight);
    demand(o.weight || o.max_weight == unlimited, "there is no weight function, but max_weight", o.max_weight);
    demand(o.high_water == 0 ? o.low_water == 0 : o.low_water < o.high_water, "low_water", o.low_water);
    demand(o.high_water <= (o.weight ? o.max_weight : o.capacity), "high_water", o.high_water);
    return std::move(o);
  }

  [[nodiscard]] std::size_t used() const noexcept { return count.weight + reserved_weight; }
  void look_at_mark(std::size_t inside, wait_list<Sync>& won) noexcept {
    mark.depth_is(options.weight ? count.weight : inside, won);
  }

  typename Sync::template atomic<std::size_t> max_weight_;
};

}  // namespace penstock::inline v0_1::detail
