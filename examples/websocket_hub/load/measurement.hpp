// What is measured of the messages: how long each took to each reader, and until the last reader had it.
//
// One message is under way at a time. Readers on all threads say that they have it; the one that makes the number full wakes who waits. A message
// is known by its number, with which it begins, so that one which comes after its time is over is not taken for the next.
#pragma once

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/observe/histogram.hpp>
#include <penstock/sync/event.hpp>

namespace crowd {

using clock_type = std::chrono::steady_clock;

/// Of the readers at one hub.
struct group {
  std::atomic<std::size_t> readers{0};
  std::atomic<std::size_t> received{0};  // of the message that is under way
  std::atomic<std::int64_t> last{0};     // nanoseconds after it was sent
  penstock::histogram each;              // deliveries
  std::vector<std::int64_t> to_all;      // for each message
};

class measurement {
 public:
  explicit measurement(std::size_t hubs) : groups{hubs} {}

  /// The text of the next message, which is under way from now on.
  std::string begin(std::size_t size) {
    for (group& g : groups) {
      g.received.store(0, std::memory_order_relaxed);  // relaxed: the number below publishes both
      g.last.store(0, std::memory_order_relaxed);
    }
    all_have_it_.reset();
    std::string text = std::to_string(number_.load(std::memory_order_relaxed) + 1) + " ";  // relaxed: changed by this thread
    text.resize(size, 'x');
    sent_ = clock_type::now();
    number_.fetch_add(1, std::memory_order_release);  // release: pairs with the acquire in came()
    return text;
  }
  /// Waits until all readers have it. False: they have not, in this time.
  bool wait(std::chrono::nanoseconds timeout) {
    const bool done = all_have_it_.try_wait_for(timeout).has_value();
    for (group& g : groups)
      g.to_all.push_back(g.last.load(std::memory_order_acquire));  // acquire: pairs with the release in came()
    return done;
  }

  /// By a reader of a group.
  void came(group& g, std::string_view text) {
    std::uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    // acquire: pairs with the release in begin(); so sent_ is that message's. Only when all have it, or after its time, is it written again.
    if (number != number_.load(std::memory_order_acquire)) {
      out_of_time.fetch_add(1, std::memory_order_relaxed);  // relaxed: a statistic
      return;
    }
    const auto took = clock_type::now() - sent_;
    g.each.record(took);
    std::int64_t last = g.last.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while (last < took.count() && !g.last.compare_exchange_weak(last, took.count(), std::memory_order_relaxed)) {
    }
    g.received.fetch_add(1, std::memory_order_acq_rel);  // release: pairs with the acquires of look(), for g.last
    look();
  }
  /// Wakes who waits, if all readers that there are have it.
  void look() {
    std::size_t readers = 0;
    std::size_t received = 0;
    for (const group& g : groups) {
      readers += g.readers.load(std::memory_order_acquire);
      received += g.received.load(std::memory_order_acquire);
    }
    if (received >= readers) all_have_it_.set();
  }

  std::vector<group> groups;
  std::atomic<std::uint64_t> out_of_time{0};

 private:
  std::atomic<std::uint64_t> number_{0};
  clock_type::time_point sent_;
  penstock::event all_have_it_;
};

}  // namespace crowd
