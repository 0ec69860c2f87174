// penstock/route/detail/ring_points.hpp: the points of a hash ring in order, for lookups of a few nanoseconds and changes of a few microseconds.
//
// Changes        an insertion of 160 points makes up to 160 blocks of about 1 KB anew and shares the others with the copies of the ring: a copy
//                costs one count a block. All new blocks exist before the first takes its place, so a change that throws has done nothing. When
//                the number of points (or of slots) has outgrown the blocks, all are made anew.
// Invariants     points lie in order of (hash, rank), where the rank is the owner's order of slots; blocks_ is empty or holds a power of two,
//                with between one and two points a bucket after all have been made anew.
// Thread safety  concurrent reads, also of copies that share blocks.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/detail/ring_block.hpp>

namespace penstock::inline v0_1::detail {

template <class Block = ring_block_use>
class basic_ring_points {
 public:
  basic_ring_points() = default;
  basic_ring_points(const basic_ring_points&) = default;
  basic_ring_points(basic_ring_points&& other) noexcept
      : blocks_{std::move(other.blocks_)}, shape_{other.shape_}, size_{std::exchange(other.size_, 0)} {
    other.blocks_.clear();
  }
  basic_ring_points& operator=(basic_ring_points other) noexcept {
    blocks_.swap(other.blocks_);
    shape_ = other.shape_;
    size_ = other.size_;
    return *this;
  }
  ~basic_ring_points() = default;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The slot of the first point at `hash` or behind it, round the end if need be. False if that takes more than a look, and in an empty ring.
  [[nodiscard]] bool find_quickly(std::uint64_t hash, member_slot& slot) const noexcept {
    if (size_ == 0) [[unlikely]]
      return false;
    const std::uint32_t* const word = quick_look(hash);
    if (word == nullptr) [[unlikely]]
      return false;
    slot = *word & shape_.slot_mask;
    return true;
  }
  /// The same for sure; no_member in an empty ring only.
  [[nodiscard]] member_slot find(std::uint64_t hash) const noexcept {
    if (size_ == 0) return no_member;
    const place p = first_at(hash);
    return blocks_[p.block]->words()[p.index] & shape_.slot_mask;
  }

  /// Calls use(slot) for the points from `hash` on, once round the ring, until it returns true. Whether it did.
  template <class Use>
  bool walk(std::uint64_t hash, Use&& use) const {
    if (size_ == 0) return false;
    std::size_t block = shape_.block(hash);
    const std::uint32_t* word = quick_look(hash);
    if (word == nullptr) [[unlikely]] {
      const place p = first_at(hash);
      block = p.block;
      word = blocks_[block]->words() + p.index;
    }
    const std::uint32_t mask = shape_.slot_mask;
    for (std::size_t left = size_; left > 0;) {
      if (*word == ring_block::behind_the_last) {
        block = block + 1 < blocks_.size() ? block + 1 : 0;
        word = blocks_[block]->words();
        continue;
      }
      if (use(*word & mask)) return true;
      ++word;
      --left;
    }
    return false;
  }

  /// Calls use(point) for all points in order.
  template <class Use>
  void each(Use&& use) const {
    for (const Block& block : blocks_) {
      for (std::size_t i = 0; i < block->size(); ++i) use(block->at(i, shape_));
    }
  }

  /// Puts points in, which are in order: before(point, point). All slots in use, these included, are below `slots`.
  template <class Before>
  void insert(std::span<const ring_point> added, std::size_t slots, Before before) {
    if (added.empty()) return;
    if (!suits(size_ + added.size()) || slots > shape_.slot_mask) {
      const std::vector<dependent<ring_point, Block>> present = all();
      std::vector<dependent<ring_point, Block>> merged(present.size() + added.size());
      std::merge(present.begin(), present.end(), added.begin(), added.end(), merged.begin(), before);
      return make_all(merged, slots);
    }
    const auto make = [&](const ring_block& old, std::span<const ring_point> mine) {
      return ring_block::with(old, mine, shape_, before);
    };
    change(added, make);
    size_ += added.size();
  }

  /// Takes points out: all of them are there, and in order.
  template <class Before>
  void erase(std::span<const ring_point> gone, Before before) {
    if (gone.empty()) return;
    if (!suits(size_ - gone.size())) {
      const std::vector<dependent<ring_point, Block>> present = all();
      std::vector<dependent<ring_point, Block>> rest(present.size() - gone.size());
      std::set_difference(present.begin(), present.end(), gone.begin(), gone.end(), rest.begin(), before);
      return make_all(rest, shape_.slot_mask);
    }
    const auto make = [&](const ring_block& old, std::span<const ring_point> mine) {
      return ring_block::without(old, mine, shape_);
    };
    change(gone, make);
    size_ -= gone.size();
  }

 private:
  struct place {
    std::size_t block;
    std::size_t index;
  };

  // The ring is not empty, in these two. The word of the point where a lookup ends, nullptr if that takes more than a look.
  [[nodiscard]] const std::uint32_t* quick_look(std::uint64_t hash) const noexcept {
    const std::uint64_t shifted = shape_.shifted(hash);
    const auto inner = static_cast<std::uint32_t>(shifted);
    const std::uint32_t* word = blocks_[shifted >> 32]->words_from(ring_block::bucket(inner));
    // Not greater: further away, or in these bits the same and perhaps before the hash. No point has the word inner | mask, so that what is
    // greater stays so with 1 added, which makes 0 of behind_the_last.
    const std::uint32_t beyond = inner | shape_.slot_mask;
    // All at once: where the search ends is a toss of a coin, which a branch would guess wrong.
    const std::uint32_t wanted = inner & shape_.hash_mask;
    static_assert(ring_block::probes == 4);
    std::size_t steps = word[0] < wanted;
    steps += word[1] < wanted;
    steps += word[2] < wanted;
    steps += word[3] < wanted;
    word += steps;
    return *word + 1 > beyond ? word : nullptr;
  }
  [[nodiscard]] place first_at(std::uint64_t hash) const noexcept {
    place p{shape_.block(hash), 0};
    p.index = blocks_[p.block]->first_at(hash, ring_block::bucket(shape_.inner(hash)));
    while (p.index == blocks_[p.block]->size()) p = {(p.block + 1) % blocks_.size(), 0};
    return p;
  }

  [[nodiscard]] bool suits(std::size_t points) const noexcept {
    const std::size_t buckets = blocks_.size() * ring_block::buckets;
    return !blocks_.empty() && points <= 2 * buckets + buckets / 8 && (points >= buckets * 3 / 4 || blocks_.size() == 2);
  }

  [[nodiscard]] std::vector<dependent<ring_point, Block>> all() const {
    std::vector<dependent<ring_point, Block>> points;
    points.reserve(size_);
    each([&](const ring_point& p) { points.push_back(p); });
    return points;
  }

  // All new blocks first, so that nothing has changed if one cannot be made.
  template <class Make>
  void change(std::span<const ring_point> points, Make& make) {
    struct made {
      std::size_t number;
      Block block;
    };
    std::vector<made> fresh;
    fresh.reserve(std::min(points.size(), blocks_.size()));
    while (!points.empty()) {
      const std::size_t number = shape_.block(points[0].hash);
      std::size_t end = 1;
      while (end < points.size() && shape_.block(points[end].hash) == number) ++end;
      fresh.push_back({number, Block{make(*blocks_[number], points.first(end))}});
      points = points.subspan(end);
    }
    for (made& m : fresh) blocks_[m.number] = std::move(m.block);
  }

  void make_all(std::span<const ring_point> points, std::size_t slots) {
    const std::size_t size = points.size();
    const std::size_t blocks = std::max(std::bit_floor(size) / ring_block::buckets, std::size_t{2});
    const auto slot_mask = static_cast<std::uint32_t>(std::bit_ceil(slots + 1) - 1);
    const ring_shape shape{32 - std::countr_zero(blocks), slot_mask, ~slot_mask};
    std::vector<Block> fresh;
    fresh.reserve(blocks);
    for (std::size_t number = 0, first = 0; number < blocks; ++number) {
      std::size_t end = first;
      while (end < size && shape.block(points[end].hash) == number) ++end;
      fresh.push_back(Block{ring_block::make(end - first)});
      first = end;
    }
    // Then all hashes, so that what lookups read lies together.
    for (Block& block : fresh) {
      block.unshared().fill(points.first(block->size()), shape);
      points = points.subspan(block->size());
    }
    blocks_.swap(fresh);
    shape_ = shape;
    size_ = size;
  }

  std::vector<Block> blocks_;
  ring_shape shape_;
  std::size_t size_ = 0;
};

using ring_points = basic_ring_points<>;

}  // namespace penstock::inline v0_1::detail
