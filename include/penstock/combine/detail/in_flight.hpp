// penstock/combine/detail/in_flight.hpp: coroutines that run at the same time, taken one by one as they end: the machine under map_concurrent()
// and hedge().
//
// A task_group joins all its children at once and forgets what they give; here their owner (one coroutine) meets each end, takes what it gave and
// decides what follows: another child, a stop for the others.
//
// Invariants     a child lies in its frame until it is taken, and nothing outlives the object.
// Thread safety  begin(), take() and running() are the owner's; request_stop() may be called by anyone while the object lives.
// Cancellation   request_stop() reaches all children, also those that begin later. The task of a future among them is asked to stop; a future is not
//                let go, but awaited to its end, for what computes it would run on behind its owner's back.
// Destruction    requests stop, and blocks until all children have ended; owners that await the ends before have nothing to block for.
// Cost           one frame a child, and a lock three times: when it ends, when its owner looks, and when it is taken.
#pragma once

#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/combine/detail/child_value.hpp>
#include <penstock/combine/detail/end_list.hpp>
#include <penstock/combine/settled.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1::detail {

/// What a child ended with. A result that holds an error is a failure, too.
template <class T>
class child_result : public coroutine_result<T> {
 public:
  [[nodiscard]] std::error_code error() const noexcept { return {}; }
};
template <class T>
class child_result<result<T>> : public coroutine_result<result<T>> {
 public:
  template <class R>
  void return_value(R&& r) {
    error_ = r.error_or({});
    coroutine_result<result<T>>::return_value(std::forward<R>(r));
  }
  [[nodiscard]] const std::error_code& error() const noexcept { return error_; }

 private:
  std::error_code error_;
};

/// What an item ends with. T: what awaiting it gives.
template <class T>
using settled_item = settled<stored<unwrapped<T>>>;

template <class T>
class in_flight {
 public:
  class child;
  class list;

  /// Children run in the context of a scheduler. Throws std::bad_alloc.
  explicit in_flight(any_scheduler where) : where_{where} {}
  in_flight(const in_flight&) = delete;
  in_flight& operator=(const in_flight&) = delete;
  ~in_flight() {
    request_stop();
    if (running_ == 0) return;
    try {
      sync_wait(take_all());  // on a worker of a pool this runs the pool's coroutines, of which the children may be some
    } catch (const std::bad_alloc&) {
      for (; running_ != 0; take()) blocking_wait<basic_end_list<>, plain_node<std_sync>>{ended_}.run();
    }
  }

  /// Throws what allocating its frame throws; then nothing has begun.
  template <class Awaitable>
  void begin(std::size_t index, Awaitable awaitable) {
    auto awaited = joinable<Awaitable>(std::move(awaitable), promise_at_stop::is_awaited);
    child next = run_child<decltype(awaited)>(std::move(awaited));
    ++running_;
    std::move(next).begin(*this, index, stop_.get_token());
  }

  /// How many have begun and were not taken.
  [[nodiscard]] std::size_t running() const noexcept { return running_; }

  /// An operation that waits until one has ended. The awaiting coroutine's stop token does not end it. Precondition: running() != 0.
  [[nodiscard]] auto ended() noexcept {
    assert(running_ != 0 && "nothing will end");
    return async_operation<basic_end_list<>, plain_node<std_sync>>{ended_} | with_stop({});
  }
  /// Of those that have ended the first. Precondition: there is one.
  child take() noexcept {
    --running_;
    auto& ended = static_cast<typename child::promise_type&>(*ended_.take());
    if (ended.failed()) ended.failure_ = ended.exception();
    return child{ended};
  }

  /// Waits until all have ended; what they gave is dropped.
  [[nodiscard]] task<> take_all() {
    while (running_ != 0) {
      static_cast<void>(co_await ended());
      static_cast<void>(take());
    }
  }

  void request_stop() noexcept {
    detail::request_stop(stop_);  // the owner may go on in here, and *this with it
  }
  [[nodiscard]] bool stop_requested() const noexcept { return stop_.stop_requested(); }

  /// Passes a stop request on, for as long as the callback lives.
  struct stop_all {
    in_flight* children;
    void operator()() const noexcept { children->request_stop(); }
  };

 private:
  template <class Awaitable>
  static child run_child(Awaitable awaitable) {
    co_return co_await std::move(awaitable);
  }

  any_scheduler where_;
  std::stop_source stop_;
  basic_end_list<> ended_;
  std::size_t running_ = 0;
};

/// Owns the frame of one that has ended.
template <class T>
class in_flight<T>::child {
 public:
  class promise_type : public child_result<T>, public root_promise, public end_link<std_sync> {
   public:
    child get_return_object() noexcept { return child{*this}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    friend child;
    friend in_flight;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      [[gnu::noinline]] void await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
        promise_type& self = ended.promise();
        self.list_->push(self);  // the last touch
      }
      void await_resume() const noexcept {}
    };

    basic_end_list<>* list_ = nullptr;
    std::size_t index_ = 0;
    std::exception_ptr failure_;  // written and read by the owner
  };

  child(child&& other) noexcept : promise_{std::exchange(other.promise_, nullptr)} {}
  child& operator=(child&& other) noexcept {
    std::swap(promise_, other.promise_);
    return *this;
  }
  ~child() {
    if (promise_ != nullptr) handle().destroy();
  }

  /// What was given to begin().
  [[nodiscard]] std::size_t index() const noexcept { return promise_->index_; }
  [[nodiscard]] bool failed() const noexcept { return threw() || error(); }
  [[nodiscard]] bool threw() const noexcept { return promise_->failure_ != nullptr; }
  /// Of a result that holds an error; no error if it has none, or threw.
  [[nodiscard]] std::error_code error() const noexcept { return promise_->error(); }
  /// Whether it failed in the way of one that was stopped: with errc::cancelled.
  [[nodiscard]] bool was_cancelled() const noexcept {
    return (threw() ? code_of(promise_->failure_) : error()) == errc::cancelled;
  }
  /// Why it failed, once; a std::system_error of the error that a result holds.
  [[nodiscard]] std::exception_ptr failure() {
    if (threw()) return std::move(promise_->failure_);
    return std::make_exception_ptr(std::system_error{error()});
  }
  /// Its value, once. Precondition: it did not throw.
  T take() { return promise_->take(); }
  /// Either of them, once. An exception that moving the value throws is one, too.
  [[nodiscard]] settled_item<T> settle() noexcept {
    if (threw()) return settled_item<T>{failure()};
    if (error()) return settled_item<T>{error()};
    try {
      if constexpr (gives_nothing<T>) {
        return settled_item<T>{std::in_place};
      } else if constexpr (is_result<T>) {
        return settled_item<T>{std::in_place, *promise_->take()};
      } else {
        return settled_item<T>{std::in_place, promise_->take()};
      }
    } catch (...) {
      return settled_item<T>{std::current_exception()};
    }
  }

 private:
  friend in_flight;
  friend list;
  explicit child(promise_type& p) noexcept : promise_{&p} {}
  [[nodiscard]] auto handle() const noexcept { return std::coroutine_handle<promise_type>::from_promise(*promise_); }

  // From here on the end list owns the frame.
  void begin(in_flight& children, std::size_t index, std::stop_token stop) && noexcept {
    promise_type& p = *std::exchange(promise_, nullptr);
    p.list_ = &children.ended_;
    p.index_ = index;
    p.begin(std::coroutine_handle<promise_type>::from_promise(p), children.where_, std::move(stop));
  }

  promise_type* promise_;
};

/// Children that were taken, in frames of their own.
template <class T>
class in_flight<T>::list {
 public:
  list() noexcept = default;
  list(const list&) = delete;
  list& operator=(const list&) = delete;
  ~list() {
    while (first_ != nullptr) child{pop()};
  }
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  void push_back(child c) noexcept {
    link* const added = std::exchange(c.promise_, nullptr);
    added->next_ended = nullptr;
    (first_ == nullptr ? first_ : static_cast<link&>(*last_).next_ended) = added;
    last_ = added;
  }
  [[nodiscard]] child pop_front() noexcept { return child{pop()}; }

 private:
  using link = end_link<std_sync>;
  typename child::promise_type& pop() noexcept {
    link* const taken = first_;
    first_ = taken->next_ended;
    return static_cast<typename child::promise_type&>(*taken);
  }
  link* first_ = nullptr;
  link* last_ = nullptr;
};

}  // namespace penstock::inline v0_1::detail
