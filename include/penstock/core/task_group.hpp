// penstock/core/task_group.hpp: coroutines that run at the same time, and end together.
//
//   penstock::task<> serve(listener& l, worker_pool& pool) {
//     penstock::task_group group{pool};
//     for (;;) {
//       auto c = co_await l.async_accept();   // g++ 12: name what is awaited before testing it
//       if (!c) break;
//       group.spawn(handle(*std::move(c)));
//     }
//     co_await group.join();   // every child has ended; the first exception of one of them is thrown here
//   }
//
// Structured concurrency: nothing that was spawned outlives the group. The first child that throws requests stop of the others,
// and join() throws its exception when all of them have ended. A stop request from above reaches the children in the same way.
//
// Invariants     a child's frame is destroyed before the child counts as ended: what it refers to need only live until join() or
//                wait().
// Thread safety  every member may be called concurrently, and by children: they may spawn siblings. Only join(), wait() and the
//                destruction are the owner's; whoever returned from join() or wait() may destroy the group, provided nobody else
//                still uses it.
// Cancellation   request_stop(), a child's exception, the parent's stop token given to the constructor, and the stop token of the
//                coroutine that awaits join() all do the same: the children's stop token says so, and their waits end with
//                errc::cancelled. Joining itself is never cut short. A child spawned after that begins all the same, with stop
//                requested.
// Destruction    requests stop and waits for the children, as std::jthread does; an exception that nobody joined is dropped then.
//                So join() before a group goes on a thread that its children need in order to end.
// Failures       a child fails by throwing. Its value is ignored, a result<T> that holds an error too. Of several exceptions the
//                first counts.
// Allocation     one frame a child, freed at its end: a group that runs for long does not grow.
// Cost           one lock to spawn and one at a child's end.
#pragma once

#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/modifiers.hpp>

namespace penstock::inline v0_1 {

template <class Sync = detail::std_sync>
class basic_task_group {
 public:
  /// Children begin on the thread that spawns them and go on where they are completed.
  basic_task_group() : basic_task_group{any_scheduler{}} {}
  /// The same; a stop request through `parent` stops the children.
  explicit basic_task_group(std::stop_token parent) : basic_task_group{any_scheduler{}, std::move(parent)} {}
  /// Children run in a context: a worker_pool, a manual_executor, any scheduler. It must outlive the group.
  template <class Context>
    requires(!std::same_as<std::remove_cvref_t<Context>, std::stop_token> &&
             !std::same_as<std::remove_cvref_t<Context>, basic_task_group>)
  explicit basic_task_group(Context&& context, std::stop_token parent = {}) : where_{via(context).to} {
    parent_.emplace(std::move(parent), stop_children{this});
  }
  basic_task_group(const basic_task_group&) = delete;
  basic_task_group& operator=(const basic_task_group&) = delete;
  ~basic_task_group() {
    parent_.reset();
    request_stop();
    wait_for_children();
  }

  /// Begins `awaitable` (a task, or any operation that can be awaited) as a child. With the default context it runs here until it
  /// first waits for something; if a coroutine spawns it, as soon as that one waits. Throws what allocating its frame throws;
  /// then nothing has begun.
  template <class Awaitable>
  void spawn(Awaitable awaitable);

  /// `co_await group.join()` goes on when no child runs, and throws the first exception of one of them, once. While it waits, a
  /// stop request to the awaiting coroutine is passed on to the children.
  [[nodiscard]] auto join() noexcept { return join_operation{*this}; }

  /// The same for a thread: blocks. Not for children, nor on a thread that they need in order to end.
  void wait() {
    wait_for_children();
    rethrow();
  }

  /// Asks the children to stop. Idempotent.
  void request_stop() noexcept {
    detail::request_stop(stop_);  // a child that ends meanwhile may be the last one, and then *this may be gone
  }
  /// What the children see as their stop token.
  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }

  /// How many children have not ended.
  [[nodiscard]] std::size_t running() const noexcept { return children_.running(); }

 private:
  class child;
  class joining;
  struct stop_children {
    basic_task_group* group;
    void operator()() const noexcept { group->request_stop(); }
  };
  struct [[nodiscard]] join_operation {
    basic_task_group& group;
    joining operator co_await() const noexcept;
  };

  template <class Awaitable>
  static child run_child(Awaitable awaitable);

  void ended(std::exception_ptr failure) noexcept {
    if (failure != nullptr && children_.fail(std::move(failure))) request_stop();
    children_.end_one();  // the last touch: *this may be gone
  }
  void wait_for_children() noexcept {
    while (children_.running() != 0 && detail::trampoline::run_one()) {
    }
    assert((children_.running() == 0 || detail::timers_of_this_thread == nullptr) &&
           "a coroutine that a timeout resumed blocks the thread of the timers: give it a scheduler");
    detail::blocking_wait<detail::basic_join<Sync>, detail::plain_node<Sync>>{children_}.run();
  }
  void rethrow() {
    if (std::exception_ptr failure = children_.take_failure()) std::rethrow_exception(std::move(failure));
  }

  detail::basic_join<Sync> children_;
  any_scheduler where_;
  std::stop_source stop_;
  std::optional<std::stop_callback<stop_children>> parent_;
};

/// A coroutine whose frame frees itself at its end.
template <class Sync>
class basic_task_group<Sync>::child {
 public:
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;

  class promise_type : public detail::coroutine_result<void>, public detail::root_promise {
   public:
    child get_return_object() noexcept { return child{handle::from_promise(*this)}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    friend child;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      [[gnu::noinline]] void await_suspend(handle ended) const noexcept {
        basic_task_group& group = *ended.promise().group_;
        std::exception_ptr failure = ended.promise().exception();
        ended.destroy();  // first: what the frame holds may refer to what lives only until the group is joined
        group.ended(std::move(failure));
      }
      void await_resume() const noexcept {}
    };

    basic_task_group* group_ = nullptr;
  };

  void begin(basic_task_group& group) noexcept {
    frame_.promise().group_ = &group;
    frame_.promise().begin(frame_, group.where_, group.get_stop_token());
  }

 private:
  explicit child(handle frame) noexcept : frame_{frame} {}
  handle frame_;
};

template <class Sync>
class basic_task_group<Sync>::joining : public detail::wait_awaiter<detail::basic_join<Sync>, detail::plain_node<Sync>> {
 public:
  using base = detail::wait_awaiter<detail::basic_join<Sync>, detail::plain_node<Sync>>;

  // The wait for the end is not cut short: stop goes to the children, and they end it.
  explicit joining(basic_task_group& group) noexcept : base{detail::uncancelled, group.children_}, group_{group} {}

  template <class Promise>
  [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> waiting) {
    stop_.emplace(detail::stop_token_of(waiting.promise()), stop_children{&group_});
    return base::await_suspend(waiting);
  }
  void await_resume() {
    stop_.reset();
    static_cast<void>(base::await_resume());
    group_.rethrow();
  }

 private:
  basic_task_group& group_;
  std::optional<std::stop_callback<stop_children>> stop_;
};

template <class Sync>
inline auto basic_task_group<Sync>::join_operation::operator co_await() const noexcept -> joining {
  return joining{group};
}

template <class Sync>
template <class Awaitable>
auto basic_task_group<Sync>::run_child(Awaitable awaitable) -> child {
  static_cast<void>(co_await std::move(awaitable));
}

template <class Sync>
template <class Awaitable>
void basic_task_group<Sync>::spawn(Awaitable awaitable) {
  child next = run_child<Awaitable>(std::move(awaitable));
  children_.begin_one();
  next.begin(*this);
}

using task_group = basic_task_group<>;

class metric_sink;  // of observe/, which this folder does not include

/// What a registry sees of a group (observe/registry.hpp): its children, and whether they were asked to stop.
template <class Sync, std::same_as<metric_sink> Sink>
void describe(const basic_task_group<Sync>& g, Sink& to) {
  to.kind("task_group");
  to.gauge(Sink::common::in_flight, g.running());
  to.gauge({"stopping", "1: the children were asked to stop."}, g.get_stop_token().stop_requested());
}

}  // namespace penstock::inline v0_1
