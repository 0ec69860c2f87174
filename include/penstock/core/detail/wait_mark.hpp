// penstock/core/detail/wait_mark.hpp: a wait that was entered, for who observes waits: the tracer is told of it, and it lies in the list of all waits.
//
// Ownership      a mark lies on the waiting thread's stack, or on the heap for a coroutine, whose frame would else be larger for it; and only the waiter begins and ends it: before it stands in line, and when it goes on. So the mark has
//                no part in the races for the outcome, and the place that is waited for is an address here, which is never looked into.
// List           of the whole process, in shards, each with a lock of its own. All but the links is written before a mark is linked, and not changed
//                until it is unlinked, under the same lock.
// Cost           where nobody observes: one relaxed load at the beginning, a look at one word of the frame at the end. Else two locks and a look at the clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <penstock/core/detail/observers.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/type_word.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/tracer.hpp>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace penstock::inline v0_1::detail {

/// What kind of wait it is. One for each kind, with static storage.
struct wait_kind {
  std::string_view where;  // the primitive
  std::string_view how;    // what is asked of it
  bool idle;               // for want of work: not what anybody means by waiting
};
template <class Node>
inline constexpr bool is_idle_node = requires { Node::is_idle; };
/// What people call it, where that is not the name of the type: `known_as`.
template <class T>
[[nodiscard]] constexpr std::string_view word_for() noexcept {
  if constexpr (requires { T::known_as; }) {
    return T::known_as;
  } else {
    return type_word<T>();
  }
}
template <class Node>
[[nodiscard]] constexpr std::string_view asked_for() noexcept {
  const std::string_view word = word_for<Node>();
  return word == "plain" || word.ends_with("request") ? std::string_view{} : word;  // where there is but one thing to ask for
}
template <class Owner, class Node>
inline constexpr wait_kind kind_of_wait{word_for<Owner>(), asked_for<Node>(), is_idle_node<Node>};

/// The system's number of this thread, as debuggers and `top -H` show it.
[[nodiscard]] inline std::uint64_t number_of_this_thread() noexcept {
#if defined(__linux__)
  static thread_local const auto number = static_cast<std::uint64_t>(::syscall(SYS_gettid));
  return number;
#else
  return std::hash<std::thread::id>{}(std::this_thread::get_id());
#endif
}

/// Of other platforms than the real one: nothing. The model checker has nothing to see here.
template <class Sync>
class wait_mark {
 public:
  void begin_thread(const void*, const wait_kind&, nanoseconds_point) noexcept {}
  template <class Node>
  void end(const Node&) noexcept {}
  void end_granted() noexcept {}
};

/// A part of the list of all waits.
struct alignas(cache_line) wait_shard {
  polled_mutex<std_sync> lock;
  wait_mark<std_sync>* first = nullptr;
};

template <>
class wait_mark<std_sync> {
 public:
  wait_mark() noexcept {}  // the other members are written if somebody observes
  wait_mark(const wait_mark&) = delete;
  wait_mark& operator=(const wait_mark&) = delete;
  ~wait_mark() { end_granted(); }

  [[nodiscard]] bool is_used() const noexcept { return state_ != 0; }

  /// `deadline`: on the steady clock, or never.
  void begin_thread(const void* place, const wait_kind& kind, nanoseconds_point deadline) noexcept {
    if (observers::any()) [[unlikely]]
      begin(place, kind, deadline, nullptr);
  }
  /// Of a coroutine, for which `frame` stands.
  void begin_coroutine(const void* place, const wait_kind& kind, nanoseconds_point deadline, const void* frame) noexcept {
    begin(place, kind, deadline, frame);
  }
  void end(const wait_node<std_sync>& n) noexcept {
    if (state_ != 0) [[unlikely]]
      end(n.how);
  }
  /// For who has no node.
  void end_granted() noexcept {
    if (state_ != 0) [[unlikely]]
      end(outcome::granted);
  }

  struct data {
    const void* place;
    const wait_kind* kind;
    const void* frame;  // null: a thread
    std::uint64_t thread;
    nanoseconds_point since;
    nanoseconds_point deadline;
    trace_context trace;
  };

  /// Calls f(const data&) for every wait in the list, under locks: it must neither wait nor allocate nor throw.
  template <class F>
  static void for_each(F f) noexcept {
    for (wait_shard& s : shards_) {
      std::scoped_lock guard{s.lock};
      for (const wait_mark* m = s.first; m != nullptr; m = m->next_) f(m->data_);
    }
  }

  [[gnu::cold]] [[gnu::noinline]] void end(outcome how) noexcept {
    if ((state_ & linked) != 0) unlink();
    if ((state_ & told) != 0) {
      const trace_scope waiters{data_.trace};  // a coroutine may not go on yet
      const tracer_call call;
      if (tracer* const t = call.get(session_)) t->wait_ended(as_told(), as_error(how));
    }
    state_ = 0;
  }

 private:
  static constexpr std::uint8_t told = 1;    // the tracer
  static constexpr std::uint8_t linked = 2;  // in the list
  static constexpr std::size_t shards = 16;

  [[gnu::cold]] [[gnu::noinline]] void begin(const void* place, const wait_kind& kind, nanoseconds_point deadline,
                                             const void* frame) noexcept {
    if (kind.idle || state_ != 0) return;
    data_ = data{.place = place,
                 .kind = &kind,
                 .frame = frame,
                 .thread = number_of_this_thread(),
                 .since = std_sync::now(),
                 .deadline = deadline,
                 .trace = current_trace()};
    const unsigned who = observers::seen.load(std::memory_order_relaxed);  // relaxed: a hint
    if ((who & observers::tracer) != 0) {
      const tracer_call call;
      if (tracer* const t = call.get()) {
        session_ = tracer_call::session();
        state_ |= told;
        t->wait_begins(as_told());
      }
    }
    if ((who & observers::watcher) != 0) link();
  }

  [[nodiscard]] trace_wait as_told() const noexcept {
    return {.place = data_.place,
            .where = data_.kind->where,
            .how = data_.kind->how,
            .coroutine = data_.frame != nullptr,
            .since = data_.since};
  }
  [[nodiscard]] static std::error_code as_error(outcome how) noexcept {
    switch (how) {
      case outcome::closed:
        return errc::closed;
      case outcome::timeout:
        return errc::timeout;
      case outcome::cancelled:
        return errc::cancelled;
      case outcome::rejected:
        return errc::rejected;
      default:
        return {};
    }
  }

  [[nodiscard]] wait_shard& mine() const noexcept {
    // A frame has some hundred bytes; a multiplication spreads what lies regularly.
    return shards_[(reinterpret_cast<std::uintptr_t>(this) >> 6) * std::uint64_t{0x9E37'79B9'7F4A'7C15} >> 60];
  }
  void link() noexcept {
    wait_shard& s = mine();
    std::scoped_lock guard{s.lock};
    previous_ = nullptr;
    next_ = s.first;
    if (next_ != nullptr) next_->previous_ = this;
    s.first = this;
    state_ |= linked;
  }
  void unlink() noexcept {
    wait_shard& s = mine();
    std::scoped_lock guard{s.lock};
    (previous_ != nullptr ? previous_->next_ : s.first) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }

  static inline constinit wait_shard shards_[shards]{};

  wait_mark* previous_;
  wait_mark* next_;
  union {
    data data_;
  };
  std::uint32_t session_;
  std::uint8_t state_ = 0;  // the waiter's own
};

/// A wait of this thread, while this scope lasts.
template <class Sync>
class marked_wait {
 public:
  marked_wait(const void*, const wait_kind&, nanoseconds_point, const wait_node<Sync>&) noexcept {}
};
template <>
class marked_wait<std_sync> {
 public:
  marked_wait(const void* place, const wait_kind& kind, nanoseconds_point deadline, const wait_node<std_sync>& n) noexcept
      : node_{n} {
    mark_.begin_thread(place, kind, deadline);
  }
  marked_wait(const marked_wait&) = delete;
  marked_wait& operator=(const marked_wait&) = delete;
  ~marked_wait() { mark_.end(node_); }

 private:
  const wait_node<std_sync>& node_;
  wait_mark<std_sync> mark_;
};

/// Of a wait of a coroutine, in its frame: one word, and a mark on the heap while somebody observes. Without memory the wait is not noted.
template <class Sync>
class coroutine_mark {
 public:
  void begin(const void*, const wait_kind&, nanoseconds_point) noexcept {}
  template <class Node>
  void end(const Node&) noexcept {}
  void end_granted() noexcept {}
};
template <>
class coroutine_mark<std_sync> {
 public:
  coroutine_mark() noexcept = default;
  coroutine_mark(const coroutine_mark&) = delete;
  coroutine_mark& operator=(const coroutine_mark&) = delete;
  ~coroutine_mark() { end_granted(); }

  void begin(const void* place, const wait_kind& kind, nanoseconds_point deadline) noexcept {
    if (observers::any()) [[unlikely]]
      observe(place, kind, deadline);
  }
  void end(const wait_node<std_sync>& n) noexcept {
    if (mark_ != nullptr) [[unlikely]]
      finish(n.how);
  }
  void end_granted() noexcept {
    if (mark_ != nullptr) [[unlikely]]
      finish(outcome::granted);
  }

 private:
  [[gnu::cold]] [[gnu::noinline]] void observe(const void* place, const wait_kind& kind, nanoseconds_point deadline) noexcept {
    if (mark_ != nullptr || kind.idle) return;
    mark_ = new (std::nothrow) wait_mark<std_sync>;
    if (mark_ == nullptr) return;
    mark_->begin_coroutine(place, kind, deadline, this);
    if (!mark_->is_used()) delete std::exchange(mark_, nullptr);
  }
  [[gnu::cold]] [[gnu::noinline]] void finish(outcome how) noexcept {
    wait_mark<std_sync>* const mine = std::exchange(mark_, nullptr);
    mine->end(how);
    delete mine;
  }

  wait_mark<std_sync>* mark_ = nullptr;
};

}  // namespace penstock::inline v0_1::detail
