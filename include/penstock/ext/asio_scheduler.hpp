// penstock/ext/asio_scheduler.hpp: an io_context as a place where coroutines of penstock's go on.
//
//   penstock::task<> serve(penstock::asio_scheduler<asio::io_context> here, http_request request) {
//     co_await pool.schedule();                       // on a worker of the pool
//     page p = render(request);
//     co_await here.schedule();                       // on a thread that runs io
//     …
//   }
//
//   asio::io_context io;
//   penstock::asio_scheduler here{io};
//   auto session = penstock::spawn(here, serve(here, request));      // lives on io: each wait in it goes on there
//
// A scheduler (core/scheduler.hpp), for io_context and thread_pool: whatever is an Asio execution context with an executor that knows its own threads. With
// ext/execution.hpp, or a header that joins penstock with an implementation, it is one of std::execution's, too: stdexec::starts_on(here, ...).
//
// Order          coroutines that are due go on one after the other in their order; several threads that run the context run several. Up to 32 go on
//                within one handler, for between two handlers of a context that one thread runs Asio looks after its sockets, which is a system call; then Asio's other
//                handlers have their turn.
// Thread safety  every member may be called concurrently.
// Work           what is due counts as outstanding work of the context. A coroutine that waits for something of penstock's does not: keep a work guard, or
//                begin it with as_asio(), which has one.
// Destruction    a handle refers to its context. The coroutines that live there have ended when the context is destroyed, but what is due then still
//                goes on, on the destroying thread.
// Allocation     the first handle of a context makes a service in it. Nothing else allocates: the place of the one handler that the context holds
//                for all that is due lies in the service.
#pragma once

#include <concepts>
#include <cstddef>
#include <mutex>
#include <new>

#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/ext/detail/asio_operations.hpp>

namespace penstock::inline v0_1 {

namespace detail::inline PENSTOCK_DETAIL_ASIO {

template <class Context>
class asio_resumptions final : public net::execution_context::service {
 public:
  static inline net::execution_context::id id;

  explicit asio_resumptions(net::execution_context& context)
      : net::execution_context::service{context}, context_{static_cast<Context&>(context)} {
    // Asio ends the youngest service first: this one must still run what the operations need that the other one waits for.
    static_cast<void>(net::use_service<asio_operations>(context));
  }

  void execute(work_item& item) noexcept {
    {
      const std::scoped_lock guard{lock_};
      if (!closed_) {
        due_.push_back(item);
        if (!sent_) send();
        return;
      }
    }
    trampoline::execute(item);
  }

  [[nodiscard]] bool running_here() const noexcept { return context_.get_executor().running_in_this_thread(); }

 private:
  // Takes the memory of the handler on its way from the service; there is never more than one.
  template <class T>
  struct place {
    using value_type = T;
    explicit place(asio_resumptions& s) noexcept : of{&s} {}
    template <class U>
    place(const place<U>& other) noexcept : of{other.of} {}
    T* allocate(std::size_t n) {
      if (fits(n)) return static_cast<T*>(static_cast<void*>(of->memory_));
      return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{alignof(T)}));
    }
    void deallocate(T* memory, std::size_t n) noexcept {
      if (!fits(n)) ::operator delete(memory, n * sizeof(T), std::align_val_t{alignof(T)});
    }
    static constexpr bool fits(std::size_t n) noexcept {
      return n * sizeof(T) <= sizeof(memory_) && alignof(T) <= alignof(std::max_align_t);
    }
    template <class U>
    bool operator==(const place<U>& other) const noexcept {
      return of == other.of;
    }
    asio_resumptions* of;
  };

  struct run_some {
    using allocator_type = place<void>;
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_type{*self}; }
    asio_resumptions* self;
    void operator()() const noexcept { self->run(); }
  };

  static constexpr int most_at_once = 32;

  // One at a time is taken: the handler for what is left is sent before the first one runs, and another thread that gets it takes its part.
  void run() noexcept {
    work_item* item = nullptr;
    {
      const std::scoped_lock guard{lock_};
      item = due_.pop_front();
      sent_ = false;
      if (!due_.empty()) send();
    }
    for (int left = most_at_once; item != nullptr;) {
      (*item)();
      if (--left == 0) return;
      const std::scoped_lock guard{lock_};
      item = due_.pop_front();
    }
  }

  // With lock_ held, which Asio's own functions know nothing of: so nobody sends to a context that has been closed.
  void send() {
    sent_ = true;
    net::post(context_.get_executor(), run_some{this});
  }

  void shutdown() override {
    for (;;) {
      work_item* item = nullptr;
      {
        const std::scoped_lock guard{lock_};
        closed_ = true;
        item = due_.pop_front();
      }
      if (item == nullptr) return;
      (*item)();
    }
  }

  Context& context_;
  std::mutex lock_;
  work_list due_;        // guarded by lock_
  bool sent_ = false;    // a handler is on its way; guarded by lock_
  bool closed_ = false;  // the context is being destroyed; guarded by lock_
  alignas(std::max_align_t) std::byte memory_[256];
};

}  // namespace detail::inline PENSTOCK_DETAIL_ASIO

inline namespace PENSTOCK_DETAIL_ASIO {

template <class Context>
class asio_scheduler {
 public:
  using scheduler_concept = execution::scheduler_tag;

  /// Throws std::bad_alloc.
  explicit asio_scheduler(Context& context) : to_{&detail::net::use_service<detail::asio_resumptions<Context>>(context)} {}

  void execute(work_item& item) const noexcept { to_->execute(item); }
  /// Whether the calling thread is inside run() of the context.
  [[nodiscard]] bool running_here() const noexcept { return to_->running_here(); }
  /// `co_await here.schedule()` goes on on a thread that runs the context. As a sender it completes there; with set_stopped() if the context is
  /// destroyed before its turn comes.
  [[nodiscard]] auto schedule() const noexcept { return detail::schedule_awaiter<asio_scheduler>{*this}; }
  /// What std::execution asks schedulers: the same answers as of an any_scheduler.
  template <class Query>
    requires detail::has_answer<any_scheduler, Query>
  [[nodiscard]] auto query(const Query& q) const noexcept {
    return any_scheduler{*this}.query(q);
  }
  bool operator==(const asio_scheduler&) const noexcept = default;

 private:
  detail::asio_resumptions<Context>* to_;
};

}  // namespace PENSTOCK_DETAIL_ASIO

}  // namespace penstock::inline v0_1
