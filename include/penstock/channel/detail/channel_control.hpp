// penstock/channel/detail/channel_control.hpp: what options bring besides guarded pushes, and abort(): a part of channel.hpp, which includes it.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, channel_policy Policy, class Sync>
basic_channel<T, Policy, Sync>::basic_channel(options o)
    : items_{o.capacity},
      tally_{o.metrics && !rules::needed(o) ? std::make_unique<detail::channel_tally<Sync>>() : nullptr},
      rules_{rules::needed(o) ? std::make_unique<rules>(std::move(o)) : nullptr} {
  const bool metrics = tally_ != nullptr || (rules_ != nullptr && rules_->options.metrics);
  if (metrics) {
    room_.time_waits();
    available_.time_waits();
  }
  if (tally_ != nullptr) available_.watch();
  if (rules_ == nullptr) return;
  if (spsc && rules_->options.when_full == when_full::drop_oldest) {
    throw std::invalid_argument{"penstock::channel: when_full::drop_oldest with channel_policy::spsc"};
  }
  if (!nothrow && rules_->options.weight) {
    throw std::invalid_argument{"penstock::channel: a weight function for items whose move may throw"};
  }
  items_.guard();
}

template <class T, channel_policy Policy, class Sync>
template <class Put>
void basic_channel<T, Policy, Sync>::abort_into(Put put) {
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    aborted_.store(true, std::memory_order_seq_cst);
    close_locked(errc::closed, nullptr, won);
  }
  won.complete_all();
  for (;;) {
    std::optional<T> item;
    if constexpr (nothrow) {
      if (items_.try_pop(item) != detail::ring_step::done) return;
    } else {
      try {
        if (items_.try_pop(item) != detail::ring_step::done) return;
      } catch (...) {  // this one is lost; the others are not
      }
    }
    if (tally_ != nullptr) tally_->discarded();
    if (rules_ != nullptr) account_for(item ? rules_->weigh(*item) : 1, &channel_stats::discarded);
    if (item) put(std::move(*item));
  }
}

template <class T, channel_policy Policy, class Sync>
std::vector<T> basic_channel<T, Policy, Sync>::abort() {
  std::vector<T> discarded;
  discarded.reserve(capacity());  // may throw: before anything is done
  abort_into([&](T&& item) { discarded.push_back(std::move(item)); });
  return discarded;
}

template <class T, channel_policy Policy, class Sync>
auto basic_channel<T, Policy, Sync>::drained() -> water_mark& {
  if (rules_ == nullptr || rules_->options.high_water == 0) throw std::invalid_argument{"penstock::channel: high_water is 0"};
  return rules_->mark;
}

template <class T, channel_policy Policy, class Sync>
void basic_channel<T, Policy, Sync>::set_max_weight(std::size_t weight) {
  if (weight == 0 || rules_ == nullptr || !rules_->options.weight) {
    throw std::invalid_argument{"penstock::channel: max_weight is " + std::to_string(weight) + ", or nothing is weighed"};
  }
  detail::wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    rules_->set_max_weight(weight);
    hand_over_room(won);
  }
  won.complete_all();
}

template <class T, channel_policy Policy, class Sync>
channel_stats basic_channel<T, Policy, Sync>::stats() const noexcept {
  std::scoped_lock guard{lock_};
  channel_stats told{};
  if (tally_ != nullptr) {
    told = tally_->read(items_);
  } else if (rules_ != nullptr) {
    told = rules_->count;
  } else {
    told.depth = items_.size();
  }
  told.push_waits = room_.waits();
  told.push_waited = room_.waited();
  told.pop_waits = available_.waits();
  told.pop_waited = available_.waited();
  return told;
}

}  // namespace penstock::inline v0_1
