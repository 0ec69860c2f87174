// penstock/batch/accumulator.hpp: single writes from many callers, written in batches.
//
//   penstock::accumulator<row> rows{pool, [&](std::span<const row> batch) { db.insert(batch); }};   // one transaction for each batch
//
//   penstock::future<void> written = rows.add(r);     // ready when the batch with r is written; get() throws what the insert threw
//   rows.push(r).value();                             // fire and forget; waits while `capacity` items are inside
//   auto in = co_await rows.async_add(r);             // a coroutine: goes on when r is written; a result<void>
//   rows.drain();                                     // sends off what is inside, and waits until it is over
//
// Batches        with max_delay 0, the default, a batch leaves at once when none is on its way, and grows while one is: group commit, without a
//                timer and without a wait when there is little to do. Otherwise by size, bytes, age or idleness (accumulator_options.hpp).
// The function   gets std::span<const Item>, and a std::stop_token if it takes one, which abort() stops. It gives nothing (what it throws is the
//                outcome of the whole batch), a result<void>, an outcome for each item as std::vector<result<void>>, or something to be awaited
//                that gives one of these. A wrong number of outcomes fails the batch with wrong_batch_size.
// Context        the batches are written on it (a worker_pool, a strand, any scheduler). With `any_scheduler{}` on the thread that makes a batch due:
//                an adder then writes what others add meanwhile, too, and what is due by time is written on the timers' thread, which must not block.
//                A thread that the context needs in order to write (the only worker of a pool) must not block for room or for an outcome: such a
//                wait does not end. Coroutines there use async_push() and async_add().
// Failures       `retry` says whether, and after how long, the items that failed are tried again; their batch keeps its place until then. Those that
//                have failed for good go to `on_failed`, then their futures are told. Those of a batch that were written are told at once.
// Invariants     added == acknowledged + failed + held in every snapshot: nothing is lost, also not by close(), abort(), or an exception.
//                Items that went in stay in the order in which they did: within a batch, and with max_in_flight_batches == 1 across batches, whatever
//                is tried again (but an item that its batch's outcome says was written is not written again, though one before it is).
// Fairness       who waits for room is served in order of arrival, and nobody overtakes.
// Memory         at the most `capacity` items and `capacity_bytes`, on their way, too; and a few empty batches for reuse, of up to max_batch_size
//                places each.
// Thread safety  every member may be called concurrently, and by the function, on_failed and retry; but for construction and destruction.
//                Items move under a lock, without throwing; nothing else of a user's runs under one.
// Cancellation   who waits for room and is stopped or late has not added: the item is its caller's still. What is inside is written all the same.
// Destruction    close(), and waits until all is written or has failed: what `retry` never gives up delays it for ever, unless abort() comes first.
//                Not inside the function, nor on a thread that the context needs in order to write.
// Waiting inside the function: for room or for the end would never end, nor in retry or on_failed. On the thread that runs them such a wait gives
//                errc::deadlock; in a function that is a coroutine nobody notices. try_push() and flush() are fine.
// Cost           push(): one lock, the item moved; who makes a batch due hands a writer to the context. add(): one allocation more. A batch that
//                leaves allocates nothing beyond the frame of a function that is a coroutine.
// Fork           in a child of fork() adding throws std::system_error; destruction frees nothing and waits for nothing.
#pragma once

#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator_options.hpp>
#include <penstock/batch/detail/batch_writer.hpp>
#include <penstock/batch/wrong_batch_size.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

template <class Item>
class accumulator {
  static_assert(std::is_object_v<Item> && std::is_nothrow_move_constructible_v<Item> && std::is_nothrow_move_assignable_v<Item>,
                "an item of an accumulator moves without throwing");

  using writer = detail::batch_writer<Item>;
  using line_type = typename writer::line_type;
  using room_node = typename line_type::room_node;
  using refusal = typename line_type::refusal;
  using end_node = typename line_type::end_node;

 public:
  using value_type = Item;
  using options = accumulator_options<Item>;

  /// Throws std::invalid_argument of options out of their ranges, std::bad_alloc, and std::system_error if a timer thread is needed and cannot
  /// be started.
  template <class Context, class F>
    requires detail::writes_batches<std::decay_t<F>, Item>
  accumulator(Context&& context, F&& write, options o = {}) : state_{std::make_unique<state>(limits_of(o), std::move(o))} {
    using function = std::decay_t<F>;
    auto f = std::make_shared<function>(std::forward<F>(write));
    state_->writers.reserve(of().options.max_in_flight_batches);
    for (std::size_t i = 0; i < of().options.max_in_flight_batches; ++i) state_->writers.push_back(of().run(*f));
    state_->function = std::move(f);
    const trace_scope of_nobody{trace_context{}};  // not of who makes the accumulator
    for (auto& w : state_->writers) w.start(via(context).to, of().stop.get_token());
  }
  accumulator(const accumulator&) = delete;
  accumulator& operator=(const accumulator&) = delete;
  ~accumulator() {
    if (of().origin.forked()) {
      static_cast<void>(state_.release());  // who writes stayed with the parent
      return;
    }
    assert(!of().inside() && "an accumulator was destroyed inside its own function");
    close();
    for (auto& w : state_->writers) w.wait();
  }

  // An outcome for each item. All of these throw std::bad_alloc, std::invalid_argument of an item that is heavier than max_batch_bytes or
  // capacity_bytes, what item_bytes throws, and std::system_error in a forked child; then the item is the caller's still.

  /// Waits for room. The future is ready when the item is written or has failed for good: get() throws what the function threw, or
  /// std::system_error of the error that it gave. Of an item that did not go in it is ready at once, and the item is the caller's still:
  /// errc::closed; errc::cancelled and errc::timeout as the limits say; errc::deadlock inside the function.
  [[nodiscard]] future<void> add(Item&& item) { return future_of(item, nullptr); }
  [[nodiscard]] future<void> add(const std::stop_token& stop, Item&& item) {
    return add(wait_limits{.stop = stop}, std::move(item));
  }
  [[nodiscard]] future<void> add(const wait_limits& limits, Item&& item) { return future_of(item, &limits); }
  /// Never waits: errc::full, errc::closed.
  [[nodiscard]] result<future<void>> try_add(Item&& item) {
    return with_ticket([&](detail::write_ticket t) { return try_put(item, t); });
  }
  template <class Rep, class Period>
  [[nodiscard]] future<void> try_add_for(std::chrono::duration<Rep, Period> timeout, Item&& item) {
    return add(wait_limits{.deadline = deadline::after(timeout)}, std::move(item));
  }
  [[nodiscard]] future<void> try_add_until(deadline until, Item&& item) {
    return add(wait_limits{.deadline = until}, std::move(item));
  }
  /// `co_await a.async_add(item)` is a result<void>, when the item is written or has failed: the error that the function gave, or why it did not go
  /// in. What the function threw is thrown (a std::system_error is given as its error). A stop request ends the wait with errc::cancelled; what is
  /// inside by then is written all the same. The item is the task's: one that did not go in is lost.
  task<result<void>> async_add(Item item) {
    detail::state_ref<ticket_state> told = detail::make_future_state<detail::dependent<void, Item>>();
    ticket_state* ticket = share(told);
    result<void> in;
    try {
      of().origin.check();
      auto room = room_for(item, ticket);
      in = co_await std::move(room);
    } catch (...) {
      ticket->drop_owner();
      throw;
    }
    if (!in) {
      ticket->drop_owner();
      co_return in;
    }
    future<detail::dependent<void, Item>> outcome{std::move(told)};
    try {
      co_await std::move(outcome);
    } catch (const std::system_error& e) {
      in = e.code();
    }
    co_return in;
  }

  // Fire and forget: what fails goes to on_failed. Throws as above.

  /// Waits for room. errc::closed; errc::deadlock inside the function.
  result<void> push(Item&& item) { return put(item, nullptr, nullptr); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without adding, if it was before the call.
  result<void> push(const std::stop_token& stop, Item&& item) { return push(wait_limits{.stop = stop}, std::move(item)); }
  /// Also ends at a deadline, with errc::timeout. If there is room the item goes in even if the deadline has passed.
  result<void> push(const wait_limits& limits, Item&& item) { return put(item, nullptr, &limits); }
  /// Never waits: errc::full, errc::closed.
  result<void> try_push(Item&& item) { return try_put(item, nullptr); }
  template <class Rep, class Period>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, Item&& item) {
    return push(wait_limits{.deadline = deadline::after(timeout)}, std::move(item));
  }
  result<void> try_push_until(deadline until, Item&& item) { return push(wait_limits{.deadline = until}, std::move(item)); }
  /// `co_await a.async_push(item)` is a result<void>, when the item is in; refers to the caller's object, and moves from it if it goes in. Observes
  /// the coroutine's stop token; takes with_timeout, with_stop and via. item_bytes is called here.
  auto async_push(Item& item) {
    of().origin.check();
    return room_for(item, nullptr);
  }

  // The same with a copy.
  [[nodiscard]] future<void> add(const Item& item)
    requires std::copy_constructible<Item>
  {
    return add(Item(item));
  }
  [[nodiscard]] result<future<void>> try_add(const Item& item)
    requires std::copy_constructible<Item>
  {
    return try_add(Item(item));
  }
  result<void> push(const Item& item)
    requires std::copy_constructible<Item>
  {
    return push(Item(item));
  }
  result<void> try_push(const Item& item)
    requires std::copy_constructible<Item>
  {
    return try_push(Item(item));
  }

  /// What is inside leaves as soon as it may. Does not wait.
  void flush() noexcept { static_cast<void>(line().flush()); }
  /// flush(), and waits until everything is over, and told, that went in before. errc::timeout or errc::cancelled if the wait ends before; what is
  /// inside is written all the same. errc::deadlock inside the function. It blocks, so not on a thread that the context needs in order to write.
  result<void> drain(const wait_limits& limits = {}) {
    const std::uint64_t newest = line().flush();
    if (of().inside()) return errc::deadlock;
    return detail::to_result(detail::blocking_wait<line_type, end_node>{line(), newest}.run(limits.stop, limits.deadline));
  }
  /// `co_await a.async_drain()` is a result<void>; it flushes when it is called. Takes with_timeout, with_stop and via.
  auto async_drain() noexcept { return detail::async_operation<line_type, end_node, std::uint64_t>{line(), line().flush()}; }

  /// Nothing more goes in, who waits for room gets errc::closed, and what is inside leaves as soon as it may; drain() waits for the end. Idempotent.
  void close() noexcept { line().close(); }
  /// close(), but what waits is not written: it fails with errc::cancelled. Stop is requested of what is being written, which is waited for and
  /// counts, and nothing is tried again. Idempotent.
  void abort() noexcept {
    of().stop.request_stop();
    close();
  }
  [[nodiscard]] bool is_closed() const noexcept { return state_->of.line.closed(); }

  [[nodiscard]] accumulator_stats stats() const noexcept {
    accumulator_stats s;
    state_->of.line.snapshot(s);
    s.limit = state_->of.options.max_in_flight_batches;
    s.handler_failed = state_->of.handler_failed.load(std::memory_order_relaxed);  // relaxed: a counter
    return s;
  }
  /// How many items batches left with, and how long each call of the function took. Throws std::bad_alloc.
  [[nodiscard]] auto batch_sizes() const { return state_->of.batch_size.snapshot(); }
  [[nodiscard]] auto write_times() const { return state_->of.write_time.snapshot(); }
  /// With accumulator_options::metrics: how long items waited inside until their batch left, in nanoseconds; empty without. Where items are many one
  /// in accumulator_options::time_every is timed, and counts as so many. Throws std::bad_alloc.
  [[nodiscard]] auto wait_times() const {
    const auto& measured = state_->of.waits;
    using snapshot = decltype(measured->times.snapshot());
    return measured ? measured->times.snapshot() : snapshot{};
  }

  /// For names (observe/named_place.hpp).
  friend std::pair<const void*, std::size_t> inner_place(const accumulator& a) noexcept {
    return {a.state_.get(), sizeof(state)};
  }

 private:
  using ticket_state = detail::dependent<detail::future_state<void>, Item>;

  struct state {
    state(const detail::write_limits& limits, options&& o) : of{limits, std::move(o)} {}
    writer of;
    std::shared_ptr<detail::dependent<void, Item>> function;
    std::vector<detail::dependent<detail::root<void>, Item>> writers;
  };

  static detail::write_limits limits_of(const options& o) {
    const auto refuse = [](const char* what, const std::string& value) {
      throw std::invalid_argument{std::string{"penstock::accumulator: "} + what + " is " + value};
    };
    const auto at_least_one = [&](const char* what, std::size_t value) {
      if (value == 0) refuse(what, "0");
    };
    at_least_one("max_batch_size", o.max_batch_size);
    at_least_one("max_batch_bytes", o.max_batch_bytes);
    at_least_one("capacity", o.capacity);
    at_least_one("capacity_bytes", o.capacity_bytes);
    at_least_one("max_in_flight_batches", o.max_in_flight_batches);
    at_least_one("time_every", o.time_every);
    if (o.max_delay.count() < 0) refuse("max_delay", std::to_string(o.max_delay.count()) + " ns");
    if (o.max_idle.count() < 0) refuse("max_idle", std::to_string(o.max_idle.count()) + " ns");
    const bool timed = o.max_delay.count() != 0;
    return {.max_items = o.max_batch_size,
            .max_bytes = o.max_batch_bytes,
            .capacity = o.capacity,
            .capacity_bytes = o.capacity_bytes,
            .max_delay = o.max_delay.count(),
            .max_idle = timed ? o.max_idle.count() : detail::never,
            .max_in_flight = o.max_in_flight_batches};
  }

  writer& of() const noexcept { return state_->of; }
  line_type& line() const noexcept { return state_->of.line; }

  [[nodiscard]] std::size_t weigh(const Item& item) const {
    const options& o = of().options;
    if (!o.item_bytes) return 0;
    const std::size_t bytes = o.item_bytes(item);
    if (bytes > o.max_batch_bytes || bytes > o.capacity_bytes) {
      throw std::invalid_argument{"penstock::accumulator: an item has " + std::to_string(bytes) + " bytes"};
    }
    return bytes;
  }

  result<void> put(Item& item, detail::write_ticket ticket, const wait_limits* limits) {
    of().origin.check();
    room_node look{&line(), &item, ticket, weigh(item)};
    if (limits != nullptr && limits->stop.stop_requested()) return look.take_result(detail::outcome::cancelled);
    if (line().try_pass(look)) [[likely]]
      return look.take_result(look.how);
    return wait_for_room(look, limits);
  }
  [[gnu::noinline]] result<void> wait_for_room(room_node& look, const wait_limits* limits) {
    if (of().inside()) {
      line().count_refused(refusal::deadlock);
      return errc::deadlock;
    }
    detail::blocking_wait<line_type, room_node> wait{line(), &line(), look.item, look.ticket, look.bytes};
    return wait.take_result(limits == nullptr ? wait.run() : wait.run(limits->stop, limits->deadline));
  }
  result<void> try_put(Item& item, detail::write_ticket ticket) {
    of().origin.check();
    room_node look{&line(), &item, ticket, weigh(item)};
    if (line().try_pass(look)) return look.take_result(look.how);
    line().count_refused(refusal::full);
    return errc::full;
  }
  auto room_for(Item& item, detail::write_ticket ticket) {
    return detail::async_operation<line_type, room_node, line_type*, Item*, detail::write_ticket, std::size_t>{
        line(), &line(), &item, ticket, weigh(item)};
  }

  static ticket_state* share(const detail::state_ref<ticket_state>& told) noexcept {
    told->add_owner();
    return &*told;
  }
  // `enter` gives the ticket to the batch, or not.
  template <class Enter>
  result<future<void>> with_ticket(Enter&& enter) {
    detail::state_ref<ticket_state> told = detail::make_future_state<detail::dependent<void, Item>>();
    ticket_state* const ticket = share(told);
    try {
      const result<void> in = enter(ticket);
      if (in) return future<void>{std::move(told)};
      ticket->drop_owner();
      return in.error();
    } catch (...) {
      ticket->drop_owner();
      throw;
    }
  }
  future<void> future_of(Item& item, const wait_limits* limits) {
    result<future<void>> in = with_ticket([&](detail::write_ticket t) { return put(item, t, limits); });
    if (in) return std::move(*in);
    detail::state_ref<ticket_state> refused = detail::make_future_state<detail::dependent<void, Item>>();
    refused->set_error(in.error());
    return future<void>{std::move(refused)};
  }

  std::unique_ptr<state> state_;
};

template <class Item>
void describe(const accumulator<Item>& a, metric_sink& to) {
  describe(a.stats(), to);
  to.histogram({"batch_size", "Items of a batch."}, a.batch_sizes());
  if (const auto waits = a.wait_times(); waits.count() != 0) to.times(metrics::queue_wait, waits);
  to.times(metrics::run, a.write_times());
}

}  // namespace penstock::inline v0_1
