// penstock/observe/measured.hpp: a semaphore, or something that makes its callers wait like one, that counts what it lets in.
//
//   penstock::measured<penstock::semaphore> connections{100};                  // in place of penstock::semaphore connections{100}
//   penstock::measured<penstock::token_bucket<>> calls{penstock::rate{100, 1s}, 20};
//   const auto joined = all.join("connections", connections);                  // accepted, rejected by reason, how long they waited
//
// What it is     the primitive itself, with every member of its that acquires in front of the same one that counts. So a primitive that nobody measures
//                pays nothing: it is another type. What goes by a reference to the primitive itself is not counted; nor is what has no counterpart below
//                (consume_with_debt() and drain() of a token_bucket).
// Counted        calls that were let in, and what they took; calls that were refused, by why; how long those waited that were let in and had to wait.
//                Misuse (std::invalid_argument) is not counted.
// Thread safety, cancellation, destruction  those of the primitive. Statistics of calls that run at the same time may lack parts of them.
// Cost           a call that is let in at once: one counter::add() more (two if it takes another number than one). One that waits: two looks at the clock; so does
//                every asynchronous one, for one look at least. No allocation. 42 KB.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <stop_token>
#include <system_error>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct measured_options {
  any_clock clock = {};  ///< by which waits are measured. It must outlive what is measured
};

struct measured_refusals {
  std::uint64_t empty = 0;      ///< did not want to wait
  std::uint64_t timeout = 0;    ///< waited in vain
  std::uint64_t cancelled = 0;  ///< were stopped
  std::uint64_t closed = 0;
  std::uint64_t rejected = 0;  ///< any other error
  [[nodiscard]] std::uint64_t total() const noexcept { return empty + timeout + cancelled + closed + rejected; }
};

/// Since the beginning.
struct measured_stats {
  std::uint64_t accepted = 0;         ///< calls that got what they wanted
  std::uint64_t taken = 0;            ///< what they got: permits, tokens
  measured_refusals refused = {};     ///< calls that got nothing
  histogram_snapshot wait_time = {};  ///< of the accepted ones that had to wait: nanoseconds
};

/// What a registry sees of what is measured, besides what it sees without.
template <class = void>
void describe(const measured_stats& s, metric_sink& to) {
  to.kind("measured");
  to.counter(metrics::accepted, s.accepted);
  to.counter({"taken", "Permits or tokens that were taken."}, s.taken);
  to.counter(metrics::rejected, s.refused.empty, {"reason", "empty"});
  to.counter(metrics::rejected, s.refused.timeout, {"reason", "timeout"});
  to.counter(metrics::rejected, s.refused.cancelled, {"reason", "cancelled"});
  to.counter(metrics::rejected, s.refused.closed, {"reason", "closed"});
  to.counter(metrics::rejected, s.refused.rejected, {"reason", "rejected"});
  to.times(metrics::queue_wait, s.wait_time);
}

namespace detail {

class wait_meter {
 public:
  explicit wait_meter(const any_clock& clock = {}) noexcept : clock_{clock} {}

  [[nodiscard]] nanoseconds_point now() const noexcept { return clock_.now(); }

  /// Modulo 2^64, so that 0 is right, too.
  void accept(std::int64_t n) noexcept {
    accepted_.add();
    if (n != 1) more_.add(static_cast<std::uint64_t>(n - 1));
  }
  void accept(std::int64_t n, nanoseconds_point since) noexcept {
    accept(n);
    waits_.record(std::chrono::nanoseconds{std::max(now() - since, nanoseconds_point{0})});
  }
  void refuse(const std::error_code& why) noexcept {
    if (why == errc::empty) return empty_.add();
    (why == errc::timeout ? timeout_ : why == errc::cancelled ? cancelled_ : why == errc::closed ? closed_ : rejected_).add();
  }

  /// Something that does not wait.
  template <class Result>
  Result looked(std::int64_t n, Result r) noexcept {
    r ? accept(n) : refuse(r.error());
    return r;
  }
  /// Something that waits: first without, so that the clock need not be asked.
  template <class Try, class Wait>
  auto waited(std::int64_t n, const std::stop_token* stop, Try try_now, Wait wait) {
    if (stop == nullptr || !stop->stop_requested()) {
      if (auto r = try_now()) {
        accept(n);
        return r;
      }
    }
    const nanoseconds_point since = now();
    auto r = wait();
    r ? accept(n, since) : refuse(r.error());
    return r;
  }

  [[nodiscard]] measured_stats stats() const {
    const std::uint64_t accepted = accepted_.value();
    return {.accepted = accepted,
            .taken = accepted + more_.value(),
            .refused = {.empty = empty_.value(),
                        .timeout = timeout_.value(),
                        .cancelled = cancelled_.value(),
                        .closed = closed_.value(),
                        .rejected = rejected_.value()},
            .wait_time = waits_.snapshot()};
  }

 private:
  counter accepted_;
  counter more_;  // taken, less one a call
  counter empty_;
  basic_counter<1> timeout_;
  basic_counter<1> cancelled_;
  basic_counter<1> closed_;
  basic_counter<1> rejected_;
  histogram waits_;
  const any_clock clock_;
};

/// The awaiter of an operation of what is measured, with a look at the clock before it and at the result after it.
template <class Operation>
class measured_awaiter {
  using inner = decltype(std::declval<Operation&&>().operator co_await());

 public:
  measured_awaiter(Operation&& operation, wait_meter& meter, std::int64_t n)
      : inner_{std::move(operation).operator co_await()}, meter_{&meter}, n_{n} {}

  [[nodiscard]] bool await_ready() const noexcept { return inner_.await_ready(); }
  template <class Promise>
  [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> waiting) {
    return begun([&] { return inner_.await_suspend(waiting); });
  }
  auto await_resume() {
    auto r = inner_.await_resume();
    if (!r) {
      meter_->refuse(r.error());
    } else if (waits_) {
      meter_->accept(n_, since_);
    } else {
      meter_->accept(n_);
    }
    return r;
  }

  // For who is no coroutine: as awaiting (core/detail/async_wait.hpp).
  template <class Waiter>
  [[nodiscard]] bool begin(Waiter& waiter, const std::stop_token& stop) {
    return begun([&] { return inner_.begin(waiter, stop); });
  }
  void interrupt(outcome why) noexcept { inner_.interrupt(why); }

 private:
  template <class Begin>
  bool begun(Begin begin) {
    since_ = meter_->now();
    if (begin()) return true;  // *this may be gone
    waits_ = false;
    return false;
  }

  inner inner_;
  wait_meter* meter_;
  std::int64_t n_;
  nanoseconds_point since_ = 0;
  bool waits_ = true;  // false: it was decided at once
};

/// A wait that has not begun, as async_operation.
template <class Operation>
class [[nodiscard]] measured_operation : public sending<measured_operation<Operation>> {
 public:
  measured_operation(Operation&& of, wait_meter& meter, std::int64_t n) : of_{std::move(of)}, meter_{&meter}, n_{n} {}

  measured_awaiter<Operation> operator co_await() && { return {std::move(of_), *meter_, n_}; }
  [[nodiscard]] wait_options& options() noexcept { return of_.options(); }

 private:
  Operation of_;
  wait_meter* meter_;
  std::int64_t n_;
};

template <class P>
concept measurable_line = requires(P& p, typename P::count n, const wait_limits& limits) {
  { p.try_acquire(n) } -> std::same_as<result<void>>;
  { p.acquire(n) } -> std::same_as<result<void>>;
  { p.acquire(limits, n) } -> std::same_as<result<void>>;
  p.async_acquire(n);
};
template <class P>
concept gives_permits = requires(P& p) { p.try_acquire_permit(); };
template <class P>
concept gives_up_to = requires(P& p) { p.try_acquire_up_to(1); };

}  // namespace detail

/// A semaphore, a token_bucket, a leaky_bucket, a fixed_window or a sliding_window. Constructed as that is; with a measured_options in front if waits are
/// not by the steady clock: `measured<semaphore> s{{.clock = clock}, 100}`. Every member is what it is there.
template <detail::measurable_line Primitive>
class measured : public Primitive {
 public:
  using count = typename Primitive::count;

  using Primitive::Primitive;
  template <class... Arguments>
    requires std::constructible_from<Primitive, Arguments...>
  explicit measured(const measured_options& o, Arguments&&... arguments)
      : Primitive(std::forward<Arguments>(arguments)...), meter_{o.clock} {}

  result<void> acquire(count n = 1) {
    return meter_.waited(n, nullptr, try_now(n), [&] { return Primitive::acquire(n); });
  }
  result<void> acquire(const std::stop_token& stop, count n = 1) {
    return meter_.waited(n, &stop, try_now(n), [&] { return Primitive::acquire(stop, n); });
  }
  result<void> acquire(const wait_limits& limits, count n = 1) {
    return meter_.waited(n, &limits.stop, try_now(n), [&] { return Primitive::acquire(limits, n); });
  }
  result<void> try_acquire(count n = 1) { return meter_.looked(n, Primitive::try_acquire(n)); }
  template <class Rep, class Period>
  result<void> try_acquire_for(std::chrono::duration<Rep, Period> timeout, count n = 1) {
    return meter_.waited(n, nullptr, try_now(n), [&] { return Primitive::try_acquire_for(timeout, n); });
  }
  result<void> try_acquire_until(deadline until, count n = 1) {
    return meter_.waited(n, nullptr, try_now(n), [&] { return Primitive::try_acquire_until(until, n); });
  }
  auto async_acquire(count n = 1) { return detail::measured_operation{Primitive::async_acquire(n), meter_, n}; }

  // With an owner, of those that have one:

  auto acquire_permit(count n = 1)
    requires detail::gives_permits<Primitive>
  {
    return meter_.waited(n, nullptr, try_permit(n), [&] { return Primitive::acquire_permit(n); });
  }
  auto acquire_permit(const std::stop_token& stop, count n = 1)
    requires detail::gives_permits<Primitive>
  {
    return meter_.waited(n, &stop, try_permit(n), [&] { return Primitive::acquire_permit(stop, n); });
  }
  auto acquire_permit(const wait_limits& limits, count n = 1)
    requires detail::gives_permits<Primitive>
  {
    return meter_.waited(n, &limits.stop, try_permit(n), [&] { return Primitive::acquire_permit(limits, n); });
  }
  auto try_acquire_permit(count n = 1)
    requires detail::gives_permits<Primitive>
  {
    return meter_.looked(n, Primitive::try_acquire_permit(n));
  }
  auto async_acquire_permit(count n = 1)
    requires detail::gives_permits<Primitive>
  {
    return detail::measured_operation{Primitive::async_acquire_permit(n), meter_, n};
  }

  // As many as there are, of those that can:

  [[nodiscard]] count try_acquire_up_to(count n)
    requires detail::gives_up_to<Primitive>
  {
    const count got = Primitive::try_acquire_up_to(n);
    got != 0 ? meter_.accept(got) : meter_.refuse(this->is_closed() ? errc::closed : errc::empty);
    return got;
  }
  result<count> acquire_up_to(count n)
    requires detail::gives_up_to<Primitive>
  {
    return acquire_up_to(wait_limits{}, n);
  }
  result<count> acquire_up_to(const wait_limits& limits, count n)
    requires detail::gives_up_to<Primitive>
  {
    if (!limits.stop.stop_requested()) {
      if (const count got = Primitive::try_acquire_up_to(n); got != 0) {
        meter_.accept(got);
        return got;
      }
    }
    const auto since = meter_.now();
    const result<count> r = Primitive::acquire_up_to(limits, n);
    r ? meter_.accept(*r, since) : meter_.refuse(r.error());
    return r;
  }

  /// Throws std::bad_alloc.
  [[nodiscard]] measured_stats stats() const { return meter_.stats(); }

 private:
  auto try_now(count n) {
    return [this, n] { return Primitive::try_acquire(n); };
  }
  auto try_permit(count n) {
    return [this, n] { return Primitive::try_acquire_permit(n); };
  }

  detail::wait_meter meter_;
};

/// What the primitive tells, and what was measured, under the primitive's kind.
template <class Primitive>
void describe(const measured<Primitive>& m, metric_sink& to) {
  describe(static_cast<const Primitive&>(m), to);
  describe(m.stats(), to);
}

}  // namespace penstock::inline v0_1
