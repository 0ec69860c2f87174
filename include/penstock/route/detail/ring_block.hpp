// penstock/route/detail/ring_block.hpp: neighbouring points of a hash ring, which are never changed once they are in a ring.
//
// Layout         a block is a power-of-two share of the circle, cut into 64 buckets. It holds its points in order; for a lookup each is a word
//                of 32 bits, the part of its hash behind that which makes the block in the upper bits, its slot in the lower ones, and each
//                bucket has the number of points that lie before it. So a lookup reads one byte, then one or two words that stand together.
//                Where these bits cannot tell two hashes apart, which one lookup in thousands meets, the whole hashes decide. They stand
//                elsewhere, so that what lookups read takes half of the memory and of its pages.
// Invariants     the counts are capped at 255: a lookup starts there at the latest, and bad luck costs a search, no error. Behind the last
//                point stand words of ones, whose slot nobody has, where a lookup ends.
// Thread safety  immutable; its users are counted atomically.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <penstock/core/detail/owner.hpp>

namespace penstock::inline v0_1::detail {

using member_slot = std::uint32_t;
inline constexpr member_slot no_member = ~member_slot{0};

struct ring_point {
  std::uint64_t hash;
  member_slot slot;
};

/// How a ring is cut into blocks, and their words into hash and slot: at least two blocks, and slots below `slot_mask`.
struct ring_shape {
  int shift = 31;  // 32 less the bits of a hash that make its block
  std::uint32_t slot_mask = 1;
  std::uint32_t hash_mask = ~std::uint32_t{1};  // the rest of a word

  /// The block in the upper half, what follows in the lower one.
  [[nodiscard]] std::uint64_t shifted(std::uint64_t hash) const noexcept { return hash >> shift; }
  [[nodiscard]] std::size_t block(std::uint64_t hash) const noexcept { return static_cast<std::size_t>(shifted(hash) >> 32); }
  [[nodiscard]] std::uint32_t inner(std::uint64_t hash) const noexcept { return static_cast<std::uint32_t>(shifted(hash)); }
};

class alignas(64) ring_block {
 public:
  static constexpr std::size_t buckets = 64;
  static constexpr std::uint32_t behind_the_last = ~std::uint32_t{0};  // the word that no point has
  static constexpr std::size_t probes = 4;                             // points that a lookup compares without a branch

  [[nodiscard]] static std::size_t bucket(std::uint32_t inner) noexcept { return inner >> 26; }

  /// A block for so many points, which fill() puts in.
  template <class = void>
  static ring_block* make(std::size_t size) {
    const std::size_t words = size + probes + 1;
    void* const memory =
        ::operator new(sizeof(ring_block) + words * sizeof(std::uint32_t), std::align_val_t{alignof(ring_block)});
    auto* const block = ::new (memory) ring_block{static_cast<std::uint32_t>(size)};
    std::fill(block->words() + size, block->words() + words, behind_the_last);
    return block;
  }
  template <class = void>
  void fill(std::span<const ring_point> points, ring_shape shape) {
    hashes_.reset(new std::uint64_t[size_]);
    for (std::size_t i = 0; i < points.size(); ++i) put(i, points[i], shape);
    count(shape);
  }

  /// A copy of a block with these points, too, which are in order.
  template <class Before>
  static ring_block* with(const ring_block& old, std::span<const ring_point> added, ring_shape shape, Before precedes) {
    ring_block* const block = with_room_for(old.size() + added.size());
    std::size_t from = 0;
    std::size_t to = 0;
    for (const ring_point& p : added) {
      std::size_t end = old.first_at(p.hash, bucket(shape.inner(p.hash)));
      while (end < old.size() && precedes(old.at(end, shape), p)) ++end;
      block->take_over(old, from, to, end - from);
      to += end - from;
      from = end;
      block->put(to++, p, shape);
    }
    block->take_over(old, from, to, old.size() - from);
    block->count(old, added, 1, shape);
    return block;
  }

  /// A copy of a block without these points, which are in it and in order.
  template <class = void>
  static ring_block* without(const ring_block& old, std::span<const ring_point> gone, ring_shape shape) {
    ring_block* const block = with_room_for(old.size() - gone.size());
    std::size_t from = 0;
    std::size_t to = 0;
    for (const ring_point& p : gone) {
      std::size_t end = std::max(old.first_at(p.hash, bucket(shape.inner(p.hash))), from);
      while (old.at(end, shape).slot != p.slot) ++end;
      block->take_over(old, from, to, end - from);
      to += end - from;
      from = end + 1;
    }
    block->take_over(old, from, to, old.size() - from);
    block->count(old, gone, 255, shape);
    return block;
  }

  void share() noexcept { users_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: who shares it has it already
  void drop() noexcept {
    // release: what was read of it comes before; acquire: and is over when the last one frees it
    if (users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    this->~ring_block();
    ::operator delete(this, std::align_val_t{alignof(ring_block)});
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The points' words, and at least one more.
  [[nodiscard]] const std::uint32_t* words() const noexcept { return reinterpret_cast<const std::uint32_t*>(this + 1); }
  [[nodiscard]] ring_point at(std::size_t i, ring_shape shape) const noexcept {
    return {hashes_[i], words()[i] & shape.slot_mask};
  }

  /// Where a lookup in this bucket begins: at least probes + 1 words follow.
  [[nodiscard]] const std::uint32_t* words_from(std::size_t bucket) const noexcept { return words() + before_[bucket]; }

  /// The place of the first point at `hash`, which is in this bucket, or behind it; size() if there is none.
  template <class = void>
  [[nodiscard]] std::size_t first_at(std::uint64_t hash, std::size_t bucket) const noexcept {
    const std::uint64_t* const points = hashes_.get();
    std::size_t i = before_[bucket];
    for (const std::size_t end = i + 8; i < size_ && points[i] < hash; ++i) {
      if (i == end) return static_cast<std::size_t>(std::lower_bound(points + i, points + size_, hash) - points);
    }
    return i;
  }

 private:
  explicit ring_block(std::uint32_t size) noexcept : size_{size} {}
  ~ring_block() = default;

  template <class = void>
  static ring_block* with_room_for(std::size_t size) {
    owner<std::uint64_t[]> hashes{new std::uint64_t[size]};
    ring_block* const block = make(size);
    block->hashes_ = std::move(hashes);
    return block;
  }

  // They stand behind the object.
  std::uint32_t* words() noexcept { return reinterpret_cast<std::uint32_t*>(this + 1); }

  void put(std::size_t i, const ring_point& p, ring_shape shape) noexcept {
    words()[i] = (shape.inner(p.hash) & shape.hash_mask) | p.slot;
    hashes_[i] = p.hash;
  }
  template <class = void>
  void take_over(const ring_block& old, std::size_t from, std::size_t to, std::size_t n) noexcept {
    std::copy_n(old.words() + from, n, words() + to);
    std::copy_n(old.hashes_.get() + from, n, hashes_.get() + to);
  }

  template <class = void>
  void count(ring_shape shape) noexcept {
    std::array<std::uint32_t, buckets> found{};
    for (std::size_t i = 0; i < size_; ++i) ++found[bucket(shape.inner(hashes_[i]))];
    std::uint32_t before = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
      before_[b] = static_cast<std::uint8_t>(std::min<std::uint32_t>(before, 255));
      before += found[b];
    }
  }
  // From the old block's counts, with `by` (1 or, modulo 256, -1) for each changed point.
  template <class = void>
  void count(const ring_block& old, std::span<const ring_point> changed, std::uint8_t by, ring_shape shape) noexcept {
    if (std::max(size_, old.size_) >= 255) return count(shape);  // some may have been capped
    before_ = old.before_;
    for (const ring_point& p : changed) {
      const auto own = static_cast<std::uint8_t>(bucket(shape.inner(p.hash)));
      for (std::size_t b = 0; b < buckets; ++b) before_[b] = static_cast<std::uint8_t>(before_[b] + (b > own ? by : 0));
    }
  }

  std::atomic<std::uint32_t> users_{1};
  std::uint32_t size_;
  owner<std::uint64_t[]> hashes_;
  // On a line of its own, which sharing the block does not take from those who read it.
  alignas(64) std::array<std::uint8_t, buckets> before_;
};

/// One use of a block.
class ring_block_use {
 public:
  explicit ring_block_use(ring_block* block = nullptr) noexcept : block_{block} {}
  ring_block_use(const ring_block_use& other) noexcept : block_{other.block_} {
    if (block_ != nullptr) block_->share();
  }
  ring_block_use(ring_block_use&& other) noexcept : block_{std::exchange(other.block_, nullptr)} {}
  ring_block_use& operator=(ring_block_use other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~ring_block_use() {
    if (block_ != nullptr) block_->drop();
  }
  const ring_block& operator*() const noexcept { return *block_; }
  const ring_block* operator->() const noexcept { return block_; }
  /// Before anybody else uses it.
  [[nodiscard]] ring_block& unshared() noexcept { return *block_; }

 private:
  ring_block* block_;
};

}  // namespace penstock::inline v0_1::detail
