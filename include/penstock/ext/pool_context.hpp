// penstock/ext/pool_context.hpp: a worker_pool as an execution context of Asio's.
//
//   penstock::worker_pool pool;
//   penstock::pool_context context{pool};
//   asio::post(context, [] { … });                                             // dispatch, defer, co_spawn, bind_executor
//   auto serial = asio::make_strand(context);                                  // any_io_executor, make_work_guard
//   asio::ip::tcp::socket socket{context};                                     // Asio's reactor on a thread of its own, handlers on the pool
//
// What comes through Asio is the completion of something that has happened, not new work: it goes where the pool's coroutines go (worker_pool.hpp), counts
// against no capacity, and is never refused, dropped or made to wait. So give the pool your own work by post() and submit(), which are bounded.
//
// Executor       blocking: possibly (on a worker of the pool a function runs at once) and never; relationship: both, without effect; outstanding_work:
//                both; allocator: any. Queries: context, mapping (thread), occupancy (the pool's threads).
// Exceptions     what leaves a function goes to the pool's on_error, and is counted there.
// Work           join() blocks until there is none: no function is queued or runs, and no executor with outstanding_work.tracked (a work guard, an operation
//                under way) exists. The pool goes on.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Destruction    as of an Asio context: what is pending in its services is dropped, handlers uncalled. Waits for functions that were posted; so not on a
//                worker of the pool. The pool must outlive it, running: what is posted after the pool's shutdown() runs on the posting thread.
// Allocation     one piece for each function, from the executor's allocator; it is free again when the function runs.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1 {

inline namespace PENSTOCK_DETAIL_ASIO {

template <class Allocator, bool Never, bool Tracked>
class pool_executor;
template <class Sync>
class basic_pool_context;
using pool_context = basic_pool_context<detail::std_sync>;

template <class Sync>
class basic_pool_context : public detail::net::execution_context {
 public:
  using pool_type = basic_worker_pool<Sync>;
  using executor_type = pool_executor<std::allocator<void>, false, false>;

  explicit basic_pool_context(pool_type& pool) noexcept : pool_{&pool} {}
  basic_pool_context(const basic_pool_context&) = delete;
  basic_pool_context& operator=(const basic_pool_context&) = delete;
  ~basic_pool_context() {
    functions_.wait();
    this->shutdown();
    functions_.wait();  // what the end of a service has posted
    this->destroy();
  }

  [[nodiscard]] executor_type get_executor() noexcept;
  [[nodiscard]] pool_type& pool() const noexcept { return *pool_; }
  /// Waits until there is no work. errc::timeout and errc::cancelled by the limits, errc::deadlock on a worker of the pool.
  result<void> join(const wait_limits& limits = {}) {
    if (pool_->running_here()) return errc::deadlock;
    return work_.wait(limits);
  }

 private:
  template <class, bool, bool>
  friend class pool_executor;

  template <class F, class Allocator>
  class function;

  template <class F>
  void call(F& f) noexcept {
    try {
      std::move(f)();
    } catch (...) {
      // Thrown once more where the pool looks for exceptions. A pool that refuses even that leaves nobody to tell.
      const auto told = pool_->post([why = std::current_exception()]() mutable { std::rethrow_exception(std::move(why)); });
      if (!told) std::terminate();
    }
  }

  pool_type* pool_;
  basic_wait_group<Sync> work_;       // functions and tracked executors
  basic_wait_group<Sync> functions_;  // those that are queued or run
};

/// One that was posted, in memory of its executor's allocator.
template <class Sync>
template <class F, class Allocator>
class basic_pool_context<Sync>::function : work_item {
  using allocator = typename std::allocator_traits<Allocator>::template rebind_alloc<function>;

 public:
  function(F&& f, basic_pool_context& c, const Allocator& a) : f_(std::move(f)), context_{&c}, allocator_{a} {
    this->run = [](work_item& item) noexcept { run_and_free(static_cast<function&>(item)); };
  }

  static void post(F f, basic_pool_context& c, const Allocator& a) {
    allocator from{a};
    function* const memory = std::allocator_traits<allocator>::allocate(from, 1);
    try {
      ::new (static_cast<void*>(memory)) function{std::move(f), c, a};
    } catch (...) {
      std::allocator_traits<allocator>::deallocate(from, memory, 1);
      throw;
    }
    c.work_.add();
    c.functions_.add();
    c.pool_->execute(*memory);
  }

 private:
  static void run_and_free(function& self) noexcept {
    basic_pool_context& context = *self.context_;
    {
      F f{std::move(self.f_)};
      allocator from{std::move(self.allocator_)};
      self.~function();
      std::allocator_traits<allocator>::deallocate(from, &self, 1);
      context.call(f);
    }
    // In this order: whoever joined may destroy the context, which waits for the second one.
    context.work_.done();
    context.functions_.done();
  }

  F f_;
  basic_pool_context* context_;
  [[no_unique_address]] Allocator allocator_;
};

/// What get_executor() gives, and what require() and prefer() make of it.
template <class Allocator, bool Never, bool Tracked>
class pool_executor {
  using self = pool_executor;
  using context = detail::dependent<pool_context, Allocator>;

 public:
  pool_executor(const self& o) noexcept : pool_executor{o.context_, o.allocator_} {}
  pool_executor(self&& o) noexcept
      : context_{Tracked ? std::exchange(o.context_, nullptr) : o.context_}, allocator_{std::move(o.allocator_)} {}
  pool_executor& operator=(const self& o) noexcept {
    self copy{o};
    return *this = std::move(copy);
  }
  pool_executor& operator=(self&& o) noexcept {
    std::swap(context_, o.context_);
    std::swap(allocator_, o.allocator_);
    return *this;
  }
  ~pool_executor() {
    if constexpr (Tracked) {
      if (context_ != nullptr) context_->work_.done();
    }
  }

  /// Runs `f()` on a worker; at once if this is one, unless blocking is never. Throws std::bad_alloc.
  template <class F>
  void execute(F&& f) const {
    if constexpr (!Never) {
      if (running_in_this_thread()) {
        std::decay_t<F> now(std::forward<F>(f));
        context_->call(now);
        return;
      }
    }
    context::template function<std::decay_t<F>, Allocator>::post(std::forward<F>(f), *context_, allocator_);
  }

  [[nodiscard]] bool running_in_this_thread() const noexcept { return context_->pool_->running_here(); }

  bool operator==(const self& o) const noexcept { return context_ == o.context_ && allocator_ == o.allocator_; }

  // Properties, for Asio's require(), prefer() and query().
  pool_executor<Allocator, false, Tracked> require(detail::net::execution::blocking_t::possibly_t) const {
    return {context_, allocator_};
  }
  pool_executor<Allocator, true, Tracked> require(detail::net::execution::blocking_t::never_t) const {
    return {context_, allocator_};
  }
  pool_executor<Allocator, Never, true> require(detail::net::execution::outstanding_work_t::tracked_t) const {
    return {context_, allocator_};
  }
  pool_executor<Allocator, Never, false> require(detail::net::execution::outstanding_work_t::untracked_t) const {
    return {context_, allocator_};
  }
  self require(detail::net::execution::relationship_t::fork_t) const { return *this; }
  self require(detail::net::execution::relationship_t::continuation_t) const { return *this; }
  template <class A>
  pool_executor<A, Never, Tracked> require(detail::net::execution::allocator_t<A> a) const {
    return {context_, a.value()};
  }
  pool_executor<std::allocator<void>, Never, Tracked> require(detail::net::execution::allocator_t<void>) const {
    return {context_, std::allocator<void>{}};
  }
  pool_context& query(detail::net::execution::context_t) const noexcept { return *context_; }
  static constexpr detail::net::execution::mapping_t query(detail::net::execution::mapping_t) noexcept {
    return detail::net::execution::mapping.thread;
  }
  static constexpr detail::net::execution::blocking_t query(detail::net::execution::blocking_t) noexcept {
    if constexpr (Never) return detail::net::execution::blocking.never;
    return detail::net::execution::blocking.possibly;
  }
  static constexpr detail::net::execution::outstanding_work_t query(detail::net::execution::outstanding_work_t) noexcept {
    if constexpr (Tracked) return detail::net::execution::outstanding_work.tracked;
    return detail::net::execution::outstanding_work.untracked;
  }
  static constexpr detail::net::execution::relationship_t query(detail::net::execution::relationship_t) noexcept {
    return detail::net::execution::relationship.fork;
  }
  std::size_t query(detail::net::execution::occupancy_t) const noexcept { return context_->pool_->threads(); }
  template <class A>
  Allocator query(detail::net::execution::allocator_t<A>) const noexcept {
    return allocator_;
  }

 private:
  friend context;
  template <class, bool, bool>
  friend class pool_executor;

  pool_executor(context* c, const Allocator& a) noexcept : context_{c}, allocator_{a} {
    if constexpr (Tracked) {
      if (context_ != nullptr) context_->work_.add();
    }
  }

  context* context_;
  [[no_unique_address]] Allocator allocator_;
};

template <class Sync>
inline auto basic_pool_context<Sync>::get_executor() noexcept -> executor_type {
  return {this, std::allocator<void>{}};
}

}  // namespace PENSTOCK_DETAIL_ASIO

}  // namespace penstock::inline v0_1
