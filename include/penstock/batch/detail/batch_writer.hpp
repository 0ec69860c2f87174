// penstock/batch/detail/batch_writer.hpp: the coroutines that take batches from the line, write them, try again, and tell.
//
// Each of them lives on the accumulator's context from its construction to its destruction, so a batch that leaves allocates nothing. Between
// batches it stands in the line. A batch keeps its writer while it waits to be tried again: with one writer the order of the items is kept.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator_options.hpp>
#include <penstock/batch/detail/write_line.hpp>
#include <penstock/batch/wrong_batch_size.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/sync/detail/joined_future.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// What one attempt gave. Without an exception, an error and outcomes: all is written.
template <class Result>  // result<void>
struct basic_write_outcome {
  basic_write_outcome() = default;
  explicit basic_write_outcome(const result<void>& r) noexcept {
    if (r) return;
    error = r.error();
    refused = true;
  }
  explicit basic_write_outcome(std::vector<Result>&& r) noexcept : each{std::move(r)}, each_given{true} {}

  [[nodiscard]] bool failed() const noexcept { return exception != nullptr || refused; }

  std::exception_ptr exception;
  std::error_code error;
  bool refused = false;  // with that error, whatever its value
  std::vector<Result> each;
  bool each_given = false;
};

/// What a batch function may give, at once or when it is awaited.
template <class R>
concept write_answer = std::is_void_v<R> || std::same_as<R, result<void>> || std::same_as<R, std::vector<result<void>>>;

template <class F, class Item>
decltype(auto) call_writer(F& f, std::span<const Item> items, const std::stop_token& stop) {
  if constexpr (std::invocable<F&, std::span<const Item>, std::stop_token>) {
    return f(items, stop);
  } else {
    return f(items);
  }
}
template <class F, class Item>
using written_by =
    decltype(call_writer(std::declval<F&>(), std::declval<std::span<const Item>>(), std::declval<const std::stop_token&>()));

template <class R>
struct answer_of {
  using type = R;
};
template <class R>
  requires(!write_answer<R> && awaitable<R>)
struct answer_of<R> {
  using type = std::remove_cvref_t<await_result<R>>;
};

/// Something that a wait that is stopped lets go of, and that goes on.
template <class A>
concept gives_future = requires(A& a) {
  a.async_wait();
  a.get();
  a.valid();
};
template <class A>
task<std::remove_cvref_t<await_result<A>>> whole(A answer) {
  auto end = answer.async_wait() | with_stop(std::stop_token{});
  static_cast<void>(co_await std::move(end));
  co_return answer.get();
}

/// What is awaited in place of the answer: a future to its end, whatever is stopped, for who computes it reads the items until then. A task behind
/// one that nobody shares is asked to stop.
template <class A>
auto to_its_end(A answer) {
  if constexpr (is_future<A>) {
    return joined_future<typename A::value_type>{std::move(answer), promise_at_stop::is_awaited};
  } else if constexpr (gives_future<A>) {
    return whole(std::move(answer));
  } else {
    return answer;
  }
}

/// A function, or one that gives something to be awaited, of a batch.
template <class F, class Item>
concept writes_batches =
    (std::invocable<F&, std::span<const Item>> || std::invocable<F&, std::span<const Item>, std::stop_token>) &&
    write_answer<typename answer_of<written_by<F, Item>>::type>;

/// The batch functions, and handlers of their failures, that run on this thread, one inside the other.
struct writing_frame {
  explicit writing_frame(const void* of) noexcept : line{of}, outer{innermost} { innermost = this; }
  writing_frame(const writing_frame&) = delete;
  writing_frame& operator=(const writing_frame&) = delete;
  ~writing_frame() { innermost = outer; }
  [[nodiscard]] static bool inside(const void* line) noexcept {
    const writing_frame* f = innermost;
    while (f != nullptr && f->line != line) f = f->outer;
    return f != nullptr;
  }
  const void* line;
  const writing_frame* outer;
  static inline thread_local const writing_frame* innermost = nullptr;
};

template <class Item>
class batch_writer {
 public:
  using line_type = write_line<Item>;
  using batch = write_batch<Item>;
  using write_outcome = basic_write_outcome<dependent<result<void>, Item>>;
  using options_type = accumulator_options<Item>;

  batch_writer(const write_limits& limits, options_type&& o)
      : options{std::move(o)},
        timers{timers_for(options)},
        waits{options.metrics ? new measured_waits{{options.clock, event_timing{options.time_every}}} : nullptr},
        line{limits, timers, waits ? &*waits : nullptr} {
    origin.remember();
    if (timers == nullptr) return;
    timer_entry<std_sync> first;  // starts the thread of the timers now, when that may fail
    first.fire = [](timer_entry<std_sync>&) noexcept {};
    timers->add(first, never - 1);
    timers->remove(first);
  }

  /// The life of one of the writers; `f` outlives it.
  template <class F>
  root<void> run(F& f) {
    typename line_type::turn turn;
    std::vector<dependent<std::error_code, Item>> errors;
    for (;;) {
      turn.taken = nullptr;
      auto wait = async_operation<line_type, typename line_type::work_node, typename line_type::turn*>{line, &turn} |
                  with_stop(std::stop_token{});
      if (turn.until != never) wait.options().deadline = deadline{turn.until, *timers};
      const outcome how = co_await std::move(wait);
      if (how == outcome::closed) co_return;
      if (turn.taken == nullptr) continue;

      batch& b = *turn.taken;
      write_failure failure;
      batch_size.record(b.added);
      if (waits && !stop.stop_requested()) [[unlikely]]
        record_waits(b);
      std::optional<dependent<open_span, F>> span;
      if (observers::trace()) [[unlikely]]
        span.emplace(traced::batch, &line, std::string_view{}, b.trace).begin();
      failure.attempt = 0;
      std::size_t written = 0;
      while (!b.items.empty()) {
        if (stop.stop_requested()) {
          if (failure.attempt == 0) failure.error = errc::cancelled;
          break;
        }
        failure = write_failure{.attempt = failure.attempt + 1};
        write_outcome given;
        const nanoseconds_point began = std_sync::now();
        try {
          if constexpr (write_answer<written_by<F, Item>>) {
            if constexpr (std::is_void_v<written_by<F, Item>>) {
              call(f, b);
            } else {
              given = write_outcome{call(f, b)};
            }
          } else {
            auto answer = to_its_end(call(f, b));
            if constexpr (std::is_void_v<await_result<decltype(answer)>>) {
              co_await std::move(answer);
            } else {
              auto value = co_await std::move(answer);
              given = write_outcome{std::move(value)};
            }
          }
        } catch (...) {
          given.exception = std::current_exception();
        }
        write_time.record(std::chrono::nanoseconds{std_sync::now() - began});
        written += settle(b, given, failure, errors);
        if (b.items.empty()) break;
        const std::optional<std::chrono::nanoseconds> pause = ask(failure);
        if (!pause) break;
        if (pause->count() > 0) {
          auto delay = never_set.async_wait() | with_deadline(deadline{saturating_add(timers->now(), pause->count()), *timers});
          static_cast<void>(co_await std::move(delay));
        }
      }
      if (span) [[unlikely]]
        span->end(b.items.empty() ? trace_outcome::completed : trace_outcome::failed, failure.exception);
      if (!b.items.empty()) give_up(b, failure);
      b.clear();
      line.finish(b, written, failure.attempt);
    }
  }

  [[nodiscard]] bool inside() const noexcept { return writing_frame::inside(&line); }

  const options_type options;
  timer_queue* const timers;  // null: no time matters
  struct measured_waits : arrival_times {
    dependent<histogram, Item> times{};
  };
  const owner<measured_waits> waits;  // null: not measured
  line_type line;
  std::stop_source stop;
  process_origin origin;
  std::atomic<std::uint64_t> handler_failed{0};
  basic_histogram<4, 32> batch_size;
  basic_histogram<5, 42> write_time;

 private:
  static timer_queue* timers_for(const options_type& o) {
    if (o.max_delay.count() == 0 && !o.retry) return nullptr;
    timer_queue* const own = o.clock.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? own : &std_sync::steady_timers();
  }

  void record_waits(const batch& b) noexcept {
    const nanoseconds_point now = options.clock.now();
    for (const nanoseconds_point at : b.came) {
      if (at == untimed) continue;
      const auto length = static_cast<std::uint64_t>(std::max<nanoseconds_point>(saturating_difference(now, at), 0));
      waits->times.record_n(length, waits->timing.weight(at));
    }
  }

  // What blocks in it, for room or for the end, is told of the deadlock. If it is a coroutine it runs later.
  template <class F>
  decltype(auto) call(F& f, batch& b) {
    const writing_frame here{&line};
    return call_writer<F, Item>(f, b.items, stop.get_token());
  }

  // After an attempt: tells those whose items were written, and leaves the others in the batch, with their errors. How many were written.
  std::size_t settle(batch& b, write_outcome& given, write_failure& failure,
                     std::vector<dependent<std::error_code, Item>>& errors) noexcept {
    const std::size_t n = b.items.size();
    errors.clear();
    if (given.each_given && !given.failed()) {
      try {
        if (given.each.size() != n) throw wrong_batch_size{n, given.each.size()};
        for (const result<void>& r : given.each) {
          if (!r) errors.push_back(r.error());
        }
      } catch (...) {
        given.exception = std::current_exception();
        errors.clear();
      }
    }
    if (given.failed()) {
      failure.exception = std::move(given.exception);
      failure.error = given.error;
      failure.items = n;
      return 0;
    }
    std::size_t left = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (given.each_given && !given.each[i]) {
        b.keep(i, left++);
      } else {
        b.tell(i);
      }
    }
    b.shorten(left);
    failure.errors = errors;
    if (left != 0) failure.error = errors.front();
    failure.items = left;
    return n - left;
  }

  std::optional<std::chrono::nanoseconds> ask(write_failure& failure) noexcept {
    failure.closing = line.closed();
    if (!options.retry || stop.stop_requested()) return std::nullopt;
    const writing_frame here{&line};
    try {
      return options.retry(failure);
    } catch (...) {
      handler_failed.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
      return std::nullopt;
    }
  }

  void give_up(batch& b, write_failure& failure) noexcept {
    failure.items = b.items.size();
    failure.closing = line.closed();
    if (options.on_failed) {
      const writing_frame here{&line};
      try {
        options.on_failed(std::span<Item>{b.items}, failure);
      } catch (...) {
        handler_failed.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
      }
    }
    std::size_t last = b.tickets.size();
    while (last > 0 && b.tickets[last - 1] == nullptr) --last;
    for (std::size_t i = 0; i < last; ++i) {
      // The last one gets the exception itself: if only one is told, it is that thread's alone (hazards of sharing one: shared_future.hpp).
      b.tell(i, i + 1 == last ? std::exchange(failure.exception, nullptr) : failure.exception,
             failure.errors.empty() ? failure.error : failure.errors[i]);
    }
  }

  event never_set;
};

}  // namespace penstock::inline v0_1::detail
