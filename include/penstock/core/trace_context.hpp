// penstock/core/trace_context.hpp: which request a piece of work belongs to, and how that goes with it from thread to thread.
//
//   penstock::trace_context caller = penstock::trace_context::parse(request["traceparent"]).value_or(penstock::trace_context{});
//   const penstock::trace_scope here{caller};     // what this thread, or this coroutine, submits from now on has `caller` as its parent
//   pool.post([] { log(penstock::current_trace()); });
//
// A context is what W3C Trace Context and OpenTelemetry call one: the numbers of a trace and of the span in it that is current. Each thread has one that
// is current. While a tracer is installed (tracer.hpp) it goes with what is submitted to a worker_pool, with jobs and batches, and with coroutines:
// each goes on, on whatever thread, with the context that it was suspended with, and what it begins (co_await, spawn, task_group) has it, too.
//
// Not carried    by what has no span of its own: the loops and fork-join calls of combine/.
// Thread safety  a value; current_trace() is the thread's own.
// Coroutines     a trace_scope may stand across co_await of the library's operations. It ends, as any local, before those that were made before it. The thread
//                has its own context again when the coroutine suspends, whether or not somebody traces.
// Cost           current_trace(): an access to thread-local memory. Nothing allocates but to_traceparent().
// Source         W3C Trace Context, level 1 (2021).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::inline v0_1 {

struct trace_context {
  std::uint64_t trace_high = 0;  ///< the first 8 of the 16 bytes of the trace's id
  std::uint64_t trace_low = 0;   ///< the others
  std::uint64_t span = 0;        ///< the id of the span. 0: there is none
  std::uint64_t flags = 0;       ///< 1: sampled

  /// Whether there is a span.
  [[nodiscard]] explicit constexpr operator bool() const noexcept { return span != 0; }
  friend constexpr bool operator==(const trace_context&, const trace_context&) = default;

  /// From the text of a `traceparent` header: "00-<32 hex digits>-<16 hex digits>-<2 hex digits>". None: it is not one.
  template <class Context = trace_context>
  [[nodiscard]] static constexpr std::optional<Context> parse(std::string_view text) noexcept {
    if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
    std::uint64_t version = 0;
    trace_context c;
    if (!hex(text.substr(0, 2), version) || version == 0xff || (version == 0 && text.size() != 55)) return std::nullopt;
    if (text.size() > 55 && text[55] != '-') return std::nullopt;
    if (!hex(text.substr(3, 16), c.trace_high) || !hex(text.substr(19, 16), c.trace_low) || !hex(text.substr(36, 16), c.span) ||
        !hex(text.substr(53, 2), c.flags)) {
      return std::nullopt;
    }
    if (c.span == 0 || (c.trace_high == 0 && c.trace_low == 0)) return std::nullopt;
    return c;
  }

 private:
  static constexpr bool hex(std::string_view digits, std::uint64_t& n) noexcept {
    n = 0;
    for (const char c : digits) {
      const bool letter = c >= 'a' && c <= 'f';
      if (!letter && (c < '0' || c > '9')) return false;
      n = n << 4 | static_cast<std::uint64_t>(letter ? c - 'a' + 10 : c - '0');
    }
    return true;
  }
};

/// `n` in 16 hex digits. Throws std::bad_alloc.
template <class = void>
[[nodiscard]] std::string to_hex(std::uint64_t n) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; n >>= 4) text[i] = "0123456789abcdef"[n & 15];
  return text;
}
/// The text of a `traceparent` header. Throws std::bad_alloc.
[[nodiscard]] inline std::string to_traceparent(const trace_context& c) {
  return "00-" + to_hex(c.trace_high) + to_hex(c.trace_low) + "-" + to_hex(c.span) + "-" + to_hex(c.flags & 0xff).substr(14);
}

namespace detail {
// Initialised without code, so that an access needs no call.
inline constinit thread_local trace_context trace_of_this_thread{};

/// A context that goes with something; not initialised, for it is captured only where somebody traces.
struct carried_trace {
  carried_trace() noexcept {}
  void capture() noexcept { context = trace_of_this_thread; }
  union {
    trace_context context;
  };
};
}  // namespace detail

/// The context of what runs here now.
[[nodiscard]] inline const trace_context& current_trace() noexcept { return detail::trace_of_this_thread; }

/// Sets the context while it lives.
class trace_scope {
 public:
  explicit trace_scope(const trace_context& now) noexcept : before_{detail::trace_of_this_thread} {
    detail::trace_of_this_thread = now;
  }
  trace_scope(const trace_scope&) = delete;
  trace_scope& operator=(const trace_scope&) = delete;
  ~trace_scope() { detail::trace_of_this_thread = before_; }

 private:
  const trace_context before_;
};

}  // namespace penstock::inline v0_1
