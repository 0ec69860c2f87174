// penstock/batch/detail/write_batch.hpp: items that are written together, and whom to tell.
//
// Ownership   the line's lock while it waits (write_line.hpp), whoever took it afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/sync/detail/future_state.hpp>

namespace penstock::inline v0_1::detail {

/// Who waits for the outcome of one item: an owner of the state, or null.
using write_ticket = future_state<void>*;

template <class Item>
struct write_batch {
  using ticket_type = dependent<future_state<void>, Item>*;

  /// If this throws (std::bad_alloc), nothing has changed. Moves items, but destroys none: that would be a user's code under the line's lock.
  /// `at`: when it came; null where nobody measures that.
  void append(Item& item, write_ticket ticket, const nanoseconds_point* at) {
    if (items.size() == items.capacity()) grow();
    if (at != nullptr) {
      came.resize(items.size());  // one more, if the last item did not come in the end
      came.push_back(*at);
    }
    if (ticket != nullptr || !tickets.empty()) {
      tickets.resize(items.size());  // those before it wanted nothing
      tickets.push_back(ticket);
    }
    items.push_back(std::move(item));
  }

  /// The batch is over, and everybody told. Under no lock.
  void clear() noexcept {
    items.clear();
    outgrown.clear();
    tickets.clear();
    came.clear();
  }

  /// Tells who waits for item i how it ended, if anybody does. Once.
  void tell(std::size_t i) noexcept {
    if (const ticket_type t = take(i)) {
      t->emplace();
      t->publish();
      t->drop_owner();
    }
  }
  void tell(std::size_t i, std::exception_ptr thrown, std::error_code error) noexcept {
    if (const ticket_type t = take(i)) {
      if (thrown != nullptr) {
        t->set_exception(std::move(thrown));
      } else {
        t->set_error(error);
      }
      t->drop_owner();
    }
  }

  /// Item `from` becomes item `to`, which is over.
  void keep(std::size_t from, std::size_t to) noexcept {
    if (from == to) return;
    items[to] = std::move(items[from]);
    if (!tickets.empty()) tickets[to] = std::exchange(tickets[from], nullptr);
  }
  void shorten(std::size_t n) noexcept {
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(n), items.end());
    if (tickets.size() > n) tickets.resize(n);
  }

  std::vector<Item> items;
  std::vector<std::vector<Item>> outgrown;               // what is left of items that have moved
  std::vector<dependent<write_ticket, Item>> tickets;    // empty, or one for each item
  std::vector<dependent<nanoseconds_point, Item>> came;  // when, each of `added`, where that is measured
  std::size_t added = 0;                                 // items that it left with; some may be over
  std::size_t bytes = 0;
  std::uint64_t number = 0;        // in the order of their opening, from 1
  nanoseconds_point first_at = 0;  // when its first item came, where that matters
  trace_context trace = {};        // in which context it came, if somebody traces
  write_batch* before = nullptr;   // in its list
  write_batch* after = nullptr;

 private:
  void grow() {
    std::vector<Item> larger;
    larger.reserve(items.empty() ? 16 : 2 * items.size());
    outgrown.reserve(outgrown.size() + 1);
    for (Item& i : items) larger.push_back(std::move(i));
    outgrown.push_back(std::move(items));
    items = std::move(larger);
  }
  ticket_type take(std::size_t i) noexcept { return tickets.empty() ? nullptr : std::exchange(tickets[i], nullptr); }
};

}  // namespace penstock::inline v0_1::detail
