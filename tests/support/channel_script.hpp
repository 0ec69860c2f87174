// A sequence of calls to a channel, read from bytes, beside a sequential reference that must give the same answers. The property test and the
// fuzzer feed it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>

namespace channel_script {

using penstock::errc;

// An item whose move may throw, as far as the type says: such channels are made of another ring.
struct careful {
  careful(int v) noexcept : value{v} {}
  careful(careful&& other) noexcept(false) : value{std::exchange(other.value, -1)} {}
  careful& operator=(careful&& other) noexcept(false) {
    value = std::exchange(other.value, -1);
    return *this;
  }
  int value;
};
// Moved from, it says so.
struct plain {
  plain(int v) noexcept : value{v} {}
  plain(plain&& other) noexcept : value{std::exchange(other.value, -1)} {}
  plain& operator=(plain&& other) noexcept {
    value = std::exchange(other.value, -1);
    return *this;
  }
  int value;
};

class reader {
 public:
  explicit reader(std::span<const std::uint8_t> bytes) : bytes_{bytes} {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::size_t below(std::size_t n) {
    if (bytes_.empty()) return 0;
    const std::size_t b = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return b % n;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

inline void demand(bool right, const char* what) {
  if (!right) throw std::logic_error{what};
}

/// Throws std::logic_error where the channel and the reference differ.
template <class Item, penstock::channel_policy Policy>
class run {
 public:
  static void from(reader& in) {
    penstock::channel_options<Item> o;
    o.capacity = 1 + in.below(5);
    const std::size_t asked = in.below(4);
    if ((asked & 1) != 0) {
      o.metrics = true;
      o.when_full = static_cast<penstock::when_full>(in.below(Policy == penstock::channel_policy::spsc ? 3 : 4));
      if (std::is_same_v<Item, plain> && in.below(2) != 0) {
        o.max_weight = 2 + in.below(12);
        o.weight = [](const Item& i) { return static_cast<std::size_t>(i.value % 4); };
      }
      if ((asked & 2) != 0) {
        o.high_water = o.weight ? 2 : 1 + in.below(o.capacity);
        o.low_water = in.below(o.high_water);
      }
    }
    run r{std::move(o)};
    while (!in.empty()) r.step(in);
    r.finish();
  }

 private:
  using channel = penstock::basic_channel<Item, Policy>;

  explicit run(penstock::channel_options<Item>&& o)
      : capacity_{o.capacity},
        most_{o.max_weight},
        weighed_{static_cast<bool>(o.weight)},
        when_full_{o.when_full},
        high_{o.high_water},
        low_{o.low_water},
        metrics_{o.metrics},
        c_{(o.on_drop = [this](Item&& i) { dropped_.push_back(i.value); }, std::move(o))} {}

  std::size_t weight_of(int value) const { return weighed_ ? static_cast<std::size_t>(value % 4) : 1; }
  std::size_t weight() const {
    std::size_t sum = 0;
    for (const int i : items_) sum += weight_of(i);
    return sum;
  }
  std::size_t reserved_places() const {
    std::size_t sum = 0;
    for (const auto& s : slots_) sum += s.places();
    return sum;
  }
  std::size_t reserved_weight() const {
    std::size_t sum = 0;
    for (const auto& s : slots_) sum += s.weight();
    return weighed_ ? sum : 0;
  }
  bool fits(std::size_t places, std::size_t more) const {
    if (items_.size() + reserved_places() + places > capacity_) return false;
    const std::size_t used = weight() + reserved_weight();
    return !weighed_ || used == 0 || (used <= most_ && more <= most_ - used);
  }
  void entered(int value) {
    items_.push_back(value);
    look_at_mark();
  }
  int left() {
    const int value = items_.front();
    items_.pop_front();
    look_at_mark();
    return value;
  }
  void look_at_mark() {
    if (high_ == 0 || closed_) return;
    const std::size_t depth = weighed_ ? weight() : items_.size();
    if (!above_ && depth >= high_) above_ = true;
    if (above_ && depth <= low_) above_ = false;
  }

  // What the reference answers to a push that does not wait; nullopt: it goes in, or is dropped.
  std::optional<errc> expected_push(int value, std::vector<int>& dropped) {
    if (closed_) return errc::closed;
    const std::size_t w = weight_of(value);
    if (!fits(1, w)) {
      switch (when_full_) {
        case penstock::when_full::wait:
          return errc::full;
        case penstock::when_full::reject:
          return errc::rejected;
        case penstock::when_full::drop_newest:
          dropped.push_back(value);
          return std::nullopt;
        case penstock::when_full::drop_oldest:
          // What is inside can be dropped, what is reserved cannot.
          if (reserved_places() == capacity_ ||
              (weighed_ && reserved_weight() != 0 && (reserved_weight() > most_ || w > most_ - reserved_weight())))
            return errc::rejected;
          while (!fits(1, w) && !items_.empty()) dropped.push_back(left());
          if (!fits(1, w)) return errc::rejected;
      }
    }
    entered(value);
    return std::nullopt;
  }
  static bool same(const penstock::result<void>& got, std::optional<errc> expected) {
    return expected ? got == *expected : got.has_value();
  }

  void push(bool timed) {
    const int value = next_++;
    Item item{value};
    if (weighed_ && weight_of(value) > most_) {
      bool refused = false;
      try {
        refused = c_.try_push(std::move(item)) == errc::closed && closed_;
      } catch (const std::invalid_argument&) {
        refused = true;
      }
      demand(refused && item.value == value, "an item that is too heavy is refused");
      return;
    }
    std::vector<int> dropped;
    std::optional<errc> expected = expected_push(value, dropped);
    dropped_.clear();
    if (timed && expected == errc::full) expected = errc::timeout;
    const auto got = timed ? c_.try_push_for(std::chrono::nanoseconds{0}, std::move(item)) : c_.try_push(std::move(item));
    demand(same(got, expected), "a push is answered as by the reference");
    demand((item.value == value) == expected.has_value(), "an item is moved from if, and only if, the push succeeded");
    demand(dropped_ == dropped, "what is dropped is what the reference drops");
  }

  void pop(bool timed) {
    const auto got = timed ? c_.try_pop_for(std::chrono::nanoseconds{0}) : c_.try_pop();
    if (!items_.empty()) {
      const int expected = left();
      demand(got.has_value() && got->value == expected, "the oldest item comes out");
    } else if (closed_ && (aborted_ || reserved_places() == 0)) {
      demand(got == errc::closed, "drained");
    } else {
      demand(got == (timed ? errc::timeout : errc::empty), "empty");
    }
  }

  void push_range(std::size_t n) {
    if (when_full_ != penstock::when_full::wait || weighed_) return;
    std::vector<Item> items;
    for (std::size_t i = 0; i < n; ++i) items.emplace_back(next_++);
    std::size_t expected = 0;
    if (!closed_) {
      while (expected < n && fits(1, 1)) entered(items[expected++].value);
    }
    const auto got = c_.push_range(items, {.deadline = penstock::deadline::after(std::chrono::nanoseconds{0})});
    demand(got.count == expected, "as many go in as there is room for");
    demand(static_cast<bool>(got) == (expected == n), "and it says whether that were all");
    for (std::size_t i = 0; i < n; ++i) demand((items[i].value == -1) == (i < expected), "the others are untouched");
  }

  void pop_n(std::size_t n) {
    if (items_.empty() || n == 0) return;
    std::vector<Item> out;
    const bool into_vector = n % 2 == 0;
    const auto got = into_vector ? c_.pop_n(out, n) : c_.pop_n(std::back_inserter(out), n);
    demand(got.count == (n < items_.size() ? n : items_.size()) && got.count == out.size(), "as many come out as there are");
    for (const Item& i : out) demand(i.value == left(), "in order");
  }

  void reserve(std::size_t places, std::size_t more) {
    if (places > capacity_ || (weighed_ && more > most_)) return;
    const bool room = fits(places, more);
    auto got = c_.try_reserve(places, more);
    if (closed_) {
      demand(got == errc::closed, "nothing is reserved any more");
    } else {
      demand(got.has_value() == room, "places are reserved if they are free");
      if (got) slots_.push_back(*std::move(got));
    }
  }

  void push_slot(std::size_t which) {
    if (slots_.empty()) return;
    auto& s = slots_[which % slots_.size()];
    const int value = next_++;
    Item item{value};
    if (s.places() == 0) {
      demand(s.push(std::move(item)) == errc::full && item.value == value, "no place is left");
      return;
    }
    if (weighed_ && weight_of(value) > s.weight()) return;
    const auto got = s.push(std::move(item));
    demand(got.has_value() == !aborted_, "what is reserved finds room");
    if (got) entered(value);
  }

  void step(reader& in) {
    switch (in.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        push(in.below(2) != 0);
        break;
      case 4:
      case 5:
      case 6:
        pop(in.below(2) != 0);
        break;
      case 7:
        push_range(in.below(8));
        break;
      case 8:
        pop_n(in.below(8));
        break;
      case 9:
      case 10:
        reserve(1 + in.below(4), in.below(6));
        break;
      case 11:
      case 12:
        push_slot(in.below(8));
        break;
      case 13:
        if (!slots_.empty()) slots_.erase(slots_.begin() + static_cast<std::ptrdiff_t>(in.below(slots_.size())));
        break;
      case 14:
        if (weighed_) {
          most_ = 1 + in.below(14);
          c_.set_max_weight(most_);
        }
        break;
      default:
        if (in.below(8) == 0) {
          c_.close();
          closed_ = true;
          above_ = false;
        } else if (in.below(16) == 0) {
          const std::vector<Item> discarded = c_.abort();
          demand(discarded.size() == items_.size(), "abort() returns what was inside");
          for (const Item& i : discarded) {
            demand(i.value == items_.front(), "in order");
            items_.pop_front();
          }
          closed_ = aborted_ = true;
          above_ = false;
        }
    }
    demand(c_.size() == items_.size() && c_.empty() == items_.empty(), "size()");
    demand(c_.is_closed() == closed_, "is_closed()");
    demand(c_.above_high_water() == above_, "above_high_water()");
    if (metrics_) {
      const auto s = c_.stats();
      demand(s.depth == items_.size() && s.weight == weight(), "what is inside is counted");
      demand(s.pushed == s.popped + s.dropped_oldest + s.discarded + s.depth, "what went in came out, was dropped, or is inside");
    }
  }

  void finish() {
    slots_.clear();
    while (!items_.empty()) pop(false);
  }

  const std::size_t capacity_;
  std::size_t most_;
  const bool weighed_;
  const penstock::when_full when_full_;
  const std::size_t high_;
  const std::size_t low_;
  const bool metrics_;
  bool closed_ = false;
  bool aborted_ = false;
  bool above_ = false;
  int next_ = 1;
  std::deque<int> items_;
  std::vector<int> dropped_;
  channel c_;
  std::vector<typename channel::slots> slots_;
};

inline void from_bytes(std::span<const std::uint8_t> bytes) {
  reader in{bytes};
  switch (in.below(3)) {
    case 0:
      return run<plain, penstock::channel_policy::mpmc>::from(in);
    case 1:
      return run<plain, penstock::channel_policy::spsc>::from(in);
    default:
      return run<careful, penstock::channel_policy::mpmc>::from(in);
  }
}

}  // namespace channel_script
