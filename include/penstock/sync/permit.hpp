// penstock/sync/permit.hpp: permits that are given back when their owner goes.
//
//   auto permit = connections.acquire_permit();   // result<permit>
//   if (permit) use(database);                    // given back at the end of the scope
//
// Thread safety  belongs to one thread at a time, and may be given back on another one than acquired it.
// Destruction    gives back what it owns, and so serves who waits. The semaphore must outlive it.
#pragma once

#include <cassert>
#include <stdexcept>
#include <string>
#include <utility>

namespace penstock::inline v0_1 {

/// Permits of a semaphore.
template <class Semaphore>
class [[nodiscard]] basic_permit {
 public:
  using count = typename Semaphore::count;

  /// Owns nothing.
  basic_permit() noexcept = default;
  /// Adopts `n` permits that the caller has acquired. Precondition: n >= 0.
  basic_permit(Semaphore& from, count n) noexcept : from_{&from}, count_{n} { assert(n >= 0 && "a permit of less than nothing"); }
  basic_permit(basic_permit&& other) noexcept
      : from_{std::exchange(other.from_, nullptr)}, count_{std::exchange(other.count_, 0)} {}
  basic_permit& operator=(basic_permit&& other) noexcept {
    if (this != &other) {
      release();
      from_ = std::exchange(other.from_, nullptr);
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~basic_permit() { release(); }

  [[nodiscard]] count size() const noexcept { return count_; }
  explicit operator bool() const noexcept { return from_ != nullptr; }

  /// Gives everything back now.
  void release() noexcept {
    if (from_ != nullptr) std::exchange(from_, nullptr)->release(std::exchange(count_, 0));
  }
  /// Lets go without giving back: the semaphore stays smaller by that much. Returns how many.
  count forget() noexcept {
    from_ = nullptr;
    return std::exchange(count_, 0);
  }
  /// Moves `n` of the permits into an owner of their own. Throws std::invalid_argument unless 0 <= n <= size().
  basic_permit split(count n) {
    if (n < 0 || n > count_) throw std::invalid_argument{"penstock::permit: cannot split off " + std::to_string(n)};
    count_ -= n;
    return from_ != nullptr ? basic_permit{*from_, n} : basic_permit{};
  }
  /// Takes over another owner's permits. Throws std::invalid_argument if they are of another semaphore; then nothing has changed.
  void merge(basic_permit&& other) {
    if (&other == this || !other) return;
    if (from_ != nullptr && from_ != other.from_) throw std::invalid_argument{"penstock::permit: merge of two semaphores"};
    from_ = std::exchange(other.from_, nullptr);
    count_ += std::exchange(other.count_, 0);
  }

 private:
  Semaphore* from_ = nullptr;
  count count_ = 0;
};

}  // namespace penstock::inline v0_1
