// penstock/route/detail/maglev_table.hpp: fills a Maglev table.
//
// Each member goes through all slots in an order of its own, begin + i * step modulo the number of slots, a prime; they take turns, and whose turn
// it is takes the first slot of its order that is free. The weight of a member is how many of its turns count. Where few count, because some weigh
// far more than others, a heap says whose turn is the next that does: 65,537 slots take milliseconds then, however many members there are.
//
// With f of M slots free, the first free one is M / f steps away on average, and the last 256 slots would cost as many steps as all others. There
// we turn round: for each free slot, how many steps away is it? That is (slot - begin) / step modulo M, and the nearest is taken: the same slot.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/detail/placing.hpp>

namespace penstock::inline v0_1::detail {

template <class Word = std::uint64_t>
class maglev_fill {
 public:
  /// By their order: the hash of each member and its weight. At least one, at most as many as slots and 2^16; slots is a prime below 2^31.
  maglev_fill(std::span<const Word> hashes, std::span<const dependent<double, Word>> weights, std::uint32_t slots)
      : slots_{slots}, free_{slots}, table_(slots), taken_(slots / 64 + 1) {
    const double heaviest = *std::max_element(weights.begin(), weights.end());
    members_.reserve(hashes.size());
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      const auto begin = static_cast<std::uint32_t>(scaled(mixed(hashes[i]), slots));
      const auto step = static_cast<std::uint32_t>(1 + scaled(mixed(~hashes[i]), slots - 1));
      // In 2^32nds of a turn, integers: the same everywhere. Everybody's first turn counts.
      const auto share = static_cast<std::uint64_t>(std::max(1.0, std::round(weights[i] / heaviest * 0x1p32)));
      members_.push_back({begin, step, 0, share, turn - share});
    }
  }

  [[nodiscard]] std::vector<dependent<std::uint16_t, Word>> filled() && {
    std::uint64_t shares = 0;
    for (const member& m : members_) shares += m.share;
    if (shares < members_.size() * (turn / 32)) {  // else a look at everybody costs less than a heap
      by_rounds_that_count();
    } else {
      by_rounds();
    }
    return std::move(table_);
  }

 private:
  static constexpr std::uint64_t turn = std::uint64_t{1} << 32;
  static constexpr std::uint32_t few = 256;

  struct member {
    std::uint32_t next;  // the slot to look at first
    std::uint32_t step;
    std::uint32_t inverse;  // of step; 0 as long as nobody has asked
    std::uint64_t share;
    std::uint64_t credit;
  };

  void by_rounds() {
    for (;;) {
      for (std::size_t i = 0; i < members_.size(); ++i) {
        member& m = members_[i];
        m.credit += m.share;
        if (m.credit < turn) continue;
        m.credit -= turn;
        if (take(i)) return;
      }
    }
  }
  // The same, but from one turn that counts to the next: (round, member) in a heap. The k-th one of a member, from 0, is in round k * turn / share,
  // rounded up.
  void by_rounds_that_count() {
    std::vector<Word> next(members_.size());
    for (std::size_t i = 0; i < next.size(); ++i) next[i] = i;
    for (member& m : members_) m.credit = 0;  // its turns that counted
    for (;;) {
      std::pop_heap(next.begin(), next.end(), std::greater{});
      const auto i = static_cast<std::uint32_t>(next.back());
      member& m = members_[i];
      if (take(i)) return;
      const std::uint64_t round = (++m.credit * turn + m.share - 1) / m.share;
      next.back() = std::min<std::uint64_t>(round, turn - 1) << 32 | i;  // there are no more rounds than slots
      std::push_heap(next.begin(), next.end(), std::greater{});
    }
  }

  // Whether that was the last free slot.
  [[nodiscard]] bool take(std::size_t i) {
    const std::uint32_t slot = free_ > few ? step_to_free(members_[i]) : nearest_free(members_[i]);
    taken_[slot / 64] |= std::uint64_t{1} << slot % 64;
    table_[slot] = static_cast<std::uint16_t>(i);
    if (--free_ == 0) return true;
    if (free_ == few) list_free();
    return false;
  }

  [[nodiscard]] std::uint32_t step_to_free(member& m) const noexcept {
    std::uint32_t slot = m.next;
    while ((taken_[slot / 64] >> slot % 64 & 1) != 0) slot = after(slot, m.step);
    m.next = after(slot, m.step);
    return slot;
  }
  [[nodiscard]] std::uint32_t after(std::uint32_t slot, std::uint32_t step) const noexcept {
    const std::uint32_t sum = slot + step;
    return sum >= slots_ ? sum - slots_ : sum;
  }

  void list_free() {
    for (std::uint32_t slot = 0; slot < slots_; ++slot) {
      if ((taken_[slot / 64] >> slot % 64 & 1) == 0) rest_.push_back(slot);
    }
  }
  [[nodiscard]] std::uint32_t nearest_free(member& m) {
    if (rest_.empty()) list_free();  // there were few from the beginning
    if (m.inverse == 0) m.inverse = inverse(m.step);
    std::size_t nearest = 0;
    std::uint64_t least = slots_;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const std::uint64_t steps = static_cast<std::uint64_t>(rest_[i] + slots_ - m.next) % slots_ * m.inverse % slots_;
      if (steps >= least) continue;
      least = steps;
      nearest = i;
    }
    const std::uint32_t slot = rest_[nearest];
    rest_[nearest] = rest_.back();
    rest_.pop_back();
    m.next = after(slot, m.step);
    return slot;
  }
  // By Euclid's algorithm; slots_ is a prime.
  [[nodiscard]] std::uint32_t inverse(std::uint32_t step) const noexcept {
    std::int64_t r = slots_, next_r = step, t = 0, next_t = 1;
    while (next_r != 0) {
      const std::int64_t q = r / next_r;
      r = std::exchange(next_r, r - q * next_r);
      t = std::exchange(next_t, t - q * next_t);
    }
    return static_cast<std::uint32_t>(t < 0 ? t + slots_ : t);
  }

  std::uint32_t slots_;
  std::uint32_t free_;
  std::vector<dependent<std::uint16_t, Word>> table_;
  std::vector<Word> taken_;
  std::vector<member> members_;
  std::vector<dependent<std::uint32_t, Word>> rest_;  // the free slots, when they are few
};

}  // namespace penstock::inline v0_1::detail
