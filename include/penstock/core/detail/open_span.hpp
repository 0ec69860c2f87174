// penstock/core/detail/open_span.hpp: a piece of work that is traced, from its enqueueing or its beginning to its end.
//
// States         enqueued (it travels) → begun → ended. One that is destroyed before it has begun ends as cancelled; one that was begun is to be ended.
// Thread safety  belongs to who has the work. begin() and end() may be called on different threads: the context goes with a coroutine.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

#include <penstock/core/tracer.hpp>

namespace penstock::inline v0_1::detail {

class open_span {
 public:
  /// It is submitted here.
  [[gnu::cold]] open_span(traced what, const void* place, std::string_view name = {}) noexcept
      : span_{.what = what, .place = place, .name = name, .parent = current_trace()} {
    const tracer_call call;
    if (call.get() == nullptr) return;
    session_ = tracer_call::session();
    call.get()->enqueued(span_);
    if (span_.context) span_.parent = std::exchange(span_.context, {});
  }
  /// It was submitted elsewhere, with that context.
  [[gnu::cold]] open_span(traced what, const void* place, std::string_view name, const trace_context& parent) noexcept
      : span_{.what = what, .place = place, .name = name, .parent = parent} {
    const tracer_call call;
    if (call.get() != nullptr) session_ = tracer_call::session();
  }
  open_span(const open_span&) = delete;
  open_span& operator=(const open_span&) = delete;
  ~open_span() {
    if (session_ != 0) end(trace_outcome::cancelled);
  }

  /// What travels in its place, where it cannot itself.
  [[nodiscard]] trace_context travel() noexcept {
    session_ = 0;
    return span_.parent;
  }

  [[gnu::cold]] void begin() noexcept {
    {
      const tracer_call call;
      if (tracer* const t = call.get(session_)) t->started(span_);
    }
    before_ = current_trace();
    begun_ = true;
    trace_of_this_thread = span_.context ? span_.context : span_.parent;
  }
  [[gnu::cold]] void link(const trace_context& other) noexcept {
    const tracer_call call;
    if (tracer* const t = call.get(session_)) t->linked(span_, other);
  }
  [[gnu::cold]] void end(trace_outcome how, const std::exception_ptr& why = {}) noexcept {
    if (std::exchange(begun_, false)) trace_of_this_thread = before_;
    const tracer_call call;
    if (tracer* const t = call.get(std::exchange(session_, 0))) t->finished(span_, how, why);
  }

 private:
  trace_span span_;
  trace_context before_;
  std::uint32_t session_ = 0;  // 0: nobody is told any more
  bool begun_ = false;
};

/// A piece of work that runs in this scope.
class running_span {
 public:
  explicit running_span(open_span& s) noexcept : span_{s} { span_.begin(); }
  running_span(const running_span&) = delete;
  running_span& operator=(const running_span&) = delete;
  ~running_span() {
    if (!ended_) span_.end(trace_outcome::completed);
  }
  /// Within a handler of what left it.
  void fail() noexcept {
    ended_ = true;
    span_.end(trace_outcome::failed, std::current_exception());
  }

 private:
  open_span& span_;
  bool ended_ = false;
};

/// What f() returns, within the span.
template <class Span, class F>  // Span: open_span
[[gnu::cold]] auto run_traced(std::unique_ptr<Span> span, F&& f) -> decltype(f()) {
  running_span here{*span};
  try {
    return f();
  } catch (...) {
    here.fail();
    throw;
  }
}

}  // namespace penstock::inline v0_1::detail
