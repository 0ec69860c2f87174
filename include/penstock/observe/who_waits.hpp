// penstock/observe/who_waits.hpp: who waits where, and for how long: the first question in an outage.
//
//   const penstock::wait_watch watch;                                // from now on waits are noted
//   penstock::semaphore permits{8};
//   const penstock::named_place name{permits, "database permits"};   // or joined to a registry by a name; else it is shown by its address
//   …
//   std::fputs(penstock::dump_waiters().c_str(), stderr);            // after a timeout, at /debug/waits, by a thread that waits for a signal
//
//   for        left     who              what             where
//   31.204 s   -        coroutine 7f…40  semaphore        database permits
//    2.010 s   1.990 s  thread 4711      channel pop      orders
//
// What is noted  every wait of a thread or a coroutine in a primitive of the library, from when it stands in line (or a thread is about to sleep) until the waiter goes
//                on: a coroutine that was served, but has found no processor yet, is still there. Not: waits that began before the watch; workers that sleep
//                for want of work; locks and waits of others than this library.
// Safety         a place is an address here, and is never looked into: who waits in something that is being destroyed does no harm. A named_place must go
//                before its primitive (as it does, declared after it).
// Thread safety  all of it may be called concurrently. who_waits() holds locks of the list's shards one after the other, while it copies, and allocates
//                under none of them: it takes no snapshot of one moment. Not in the handler of a signal, where locks and memory are out of bounds.
// Fork           not in a forked child of a process that has watched: it has the list of its parent, and perhaps a lock that nobody will release. A child
//                may watch if its parent never has (the workers of ext/supervisor.hpp).
// Cost           without a watch, or a tracer: nothing but one load where a wait is entered. With one: a look at the clock and two locks for each such
//                wait, and an allocation for a coroutine's; some 50 ns (docs/tracing.md).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/observers.hpp>
#include <penstock/core/detail/wait_mark.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/named_place.hpp>

namespace penstock::inline v0_1 {

/// While one or more live, waits that begin are noted.
class wait_watch {
 public:
  wait_watch() {
    std::scoped_lock guard{lock_};
    if (watches_++ == 0)
      detail::observers::seen.fetch_or(detail::observers::watcher, std::memory_order_relaxed);  // relaxed: a hint
  }
  wait_watch(const wait_watch&) = delete;
  wait_watch& operator=(const wait_watch&) = delete;
  ~wait_watch() {
    std::scoped_lock guard{lock_};
    if (--watches_ == 0)
      detail::observers::seen.fetch_and(~detail::observers::watcher, std::memory_order_relaxed);  // relaxed: a hint
  }

 private:
  static inline std::mutex lock_;
  static inline std::size_t watches_ = 0;
};

/// One who waits.
struct waiter_info {
  const void* place = nullptr;        ///< the primitive; null: several (select)
  std::string name = {};              ///< of the place; empty: it has none
  std::string_view where = {};        ///< what it is: "semaphore", "channel"
  std::string_view how = {};          ///< what is asked of it, where there are several: "push", "pop"
  const void* coroutine = nullptr;    ///< where its wait lies in its frame; null: it is a thread
  std::uint64_t thread = 0;           ///< the system's number of the thread; of a coroutine: that on which it began to wait
  std::chrono::nanoseconds waits{0};  ///< for so long
  std::optional<std::chrono::nanoseconds> left = {};  ///< until its deadline, if that is one of the steady clock; negative: late
  trace_context trace = {};                           ///< its context, if it has one (core/trace_context.hpp)
};

/// Who waits now, the longest first. Throws std::bad_alloc.
template <class Sync = detail::std_sync>
[[nodiscard]] std::vector<detail::dependent<waiter_info, Sync>> who_waits() {
  using mark = detail::wait_mark<Sync>;
  using mark_data = typename mark::data;
  std::vector<mark_data> found;
  for (std::size_t missing = 64; missing != 0;) {
    found.clear();
    found.reserve(found.capacity() + missing + missing / 8);
    missing = 0;
    mark::for_each([&](const mark_data& one) {
      if (found.size() < found.capacity()) {
        found.push_back(one);
      } else {
        ++missing;
      }
    });
  }
  const detail::nanoseconds_point now = Sync::now();
  std::sort(found.begin(), found.end(), [](const mark_data& a, const mark_data& b) { return a.since < b.since; });
  std::vector<detail::dependent<waiter_info, Sync>> all;
  all.reserve(found.size());
  for (const mark_data& one : found) {
    waiter_info& w = all.emplace_back();
    w.place = one.place;
    w.name = name_of(one.place);
    w.where = one.kind->where;
    w.how = one.kind->how;
    w.coroutine = one.frame;
    w.thread = one.thread;
    w.waits = std::chrono::nanoseconds{std::max<detail::nanoseconds_point>(now - one.since, 0)};
    if (one.deadline != detail::never) w.left = std::chrono::nanoseconds{one.deadline - now};
    w.trace = one.trace;
  }
  return all;
}

/// A table of them, a line each, with a heading. Throws std::bad_alloc.
template <class Sync = detail::std_sync>
[[nodiscard]] std::string dump_waiters(const std::vector<waiter_info>& all = who_waits<Sync>()) {
  std::string text;
  const auto line = [&](const std::string& waits, const std::string& left, const std::string& who, const std::string& what,
                        const std::string& where, const std::string& trace) {
    const auto cell = [&](const std::string& s, std::size_t width) {
      text += s;
      text.append(s.size() < width ? width - s.size() : 0, ' ').append(2, ' ');
    };
    cell(waits, 12);
    cell(left, 12);
    cell(who, 24);
    cell(what, 20);
    cell(where, 24);
    text.append(trace).append("\n");
  };
  const auto seconds = [](std::chrono::nanoseconds t) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%10.3f s", std::chrono::duration<double>(t).count());
    return std::string{digits};
  };
  const auto address = [](const void* p) { return "0x" + to_hex(reinterpret_cast<std::uintptr_t>(p)).substr(4); };
  line("for", "left", "who", "what", "where", "span");
  for (const waiter_info& w : all) {
    std::string what{w.where};
    if (!w.how.empty()) what.append(" ").append(w.how);
    line(seconds(w.waits), w.left ? seconds(*w.left) : "-",
         w.coroutine != nullptr ? "coroutine " + address(w.coroutine) : "thread " + std::to_string(w.thread), what,
         !w.name.empty() ? detail::plain_text(w.name) : (w.place != nullptr ? address(w.place) : "-"),
         w.trace ? to_hex(w.trace.span) : "-");
  }
  return text;
}

}  // namespace penstock::inline v0_1
