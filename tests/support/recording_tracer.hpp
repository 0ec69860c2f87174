// A tracer that gives every piece of work a span of its own and keeps what it was told, in order.
#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/core/tracer.hpp>

namespace trace_testing {

struct told {
  enum class kind { enqueued, started, linked, finished, wait_begins, wait_ended } what;
  penstock::traced of = penstock::traced::task;
  std::string name = {};
  std::uint64_t parent = 0;   // of linked: the other span
  std::uint64_t context = 0;  // of a wait: the current one
  penstock::trace_outcome how = penstock::trace_outcome::completed;
  std::string why = {};
  std::error_code error = {};
  bool coroutine = false;
};

class recording_tracer final : public penstock::tracer {
  using kind = told::kind;

 public:
  void enqueued(penstock::trace_span& s) noexcept override { note(kind::enqueued, s); }
  void started(penstock::trace_span& s) noexcept override {
    s.context = s.parent;
    {
      std::scoped_lock guard{lock_};
      s.context.span = next_++;
    }
    note(kind::started, s);
  }
  void linked(penstock::trace_span& s, const penstock::trace_context& other) noexcept override {
    add({.what = kind::linked, .of = s.what, .parent = other.span, .context = s.context.span});
  }
  void finished(penstock::trace_span& s, penstock::trace_outcome how, const std::exception_ptr& why) noexcept override {
    told t = as_told(kind::finished, s);
    t.how = how;
    if (why) {
      try {
        std::rethrow_exception(why);
      } catch (const std::exception& e) {
        t.why = e.what();
      }
    }
    add(std::move(t));
  }
  void wait_begins(const penstock::trace_wait& w) noexcept override { add(of_wait(kind::wait_begins, w, {})); }
  void wait_ended(const penstock::trace_wait& w, std::error_code error) noexcept override {
    add(of_wait(kind::wait_ended, w, error));
  }

  [[nodiscard]] std::vector<told> all() const {
    std::scoped_lock guard{lock_};
    return told_;
  }
  [[nodiscard]] std::vector<told> all(told::kind what) const {
    std::vector<told> some = all();
    std::erase_if(some, [what](const told& t) { return t.what != what; });
    return some;
  }
  [[nodiscard]] std::size_t count(told::kind what) const { return all(what).size(); }

 private:
  static told as_told(kind what, const penstock::trace_span& s) {
    return {.what = what, .of = s.what, .name = std::string{s.name}, .parent = s.parent.span, .context = s.context.span};
  }
  static told of_wait(kind what, const penstock::trace_wait& w, std::error_code error) {
    return {.what = what,
            .name = std::string{w.where}.append(w.how.empty() ? "" : " ").append(w.how),
            .context = penstock::current_trace().span,
            .error = error,
            .coroutine = w.coroutine};
  }
  void note(kind what, const penstock::trace_span& s) noexcept { add(as_told(what, s)); }
  void add(told t) {
    std::scoped_lock guard{lock_};
    told_.push_back(std::move(t));
  }

  mutable std::mutex lock_;
  std::vector<told> told_;
  std::uint64_t next_ = 1001;
};

/// A context with that span.
inline penstock::trace_context span_of(std::uint64_t id) { return {.trace_high = 1, .trace_low = 2, .span = id, .flags = 1}; }

}  // namespace trace_testing
