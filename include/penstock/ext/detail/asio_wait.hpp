// penstock/ext/detail/asio_wait.hpp: a coroutine that awaits something for an Asio handler.
//
// Its frame comes from the handler's allocator and holds what is awaited, the handler, and a guard of work of the handler's executor. Nobody awaits it:
// when it ends it destroys itself, and sends the handler to its executor.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/ext/detail/asio_completion.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/ext/detail/asio_operations.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

/// A promise's memory, from `Allocator`, a copy of which lies behind the frame. `Argument` is the coroutine's second one.
template <class Allocator, class Argument>
class frame_from {
  struct alignas(__STDCPP_DEFAULT_NEW_ALIGNMENT__) unit {
    std::byte bytes[__STDCPP_DEFAULT_NEW_ALIGNMENT__];
  };
  using allocator = typename std::allocator_traits<Allocator>::template rebind_alloc<unit>;
  static constexpr std::size_t units(std::size_t bytes) noexcept { return (bytes + sizeof(unit) - 1) / sizeof(unit); }
  static_assert(alignof(allocator) <= alignof(unit));

 public:
  static void* operator new(std::size_t size, const Allocator& from, const Argument&) {
    allocator a{from};
    unit* const memory = std::allocator_traits<allocator>::allocate(a, units(size) + units(sizeof(allocator)));
    ::new (static_cast<void*>(memory + units(size))) allocator{std::move(a)};
    return memory;
  }
  static void operator delete(void* frame, std::size_t size) noexcept {
    unit* const memory = static_cast<unit*>(frame);
    auto* const kept = std::launder(reinterpret_cast<allocator*>(memory + units(size)));
    allocator a{std::move(*kept)};
    kept->~allocator();
    std::allocator_traits<allocator>::deallocate(a, memory, units(size) + units(sizeof(allocator)));
  }
};

template <class Handler, class Executor, class Awaitable>
class asio_wait {
 public:
  using allocator = net::associated_allocator_t<Handler>;
  using completion = asio_completion_for<Awaitable>;
  class promise_type;

 private:
  explicit asio_wait(promise_type& frame) noexcept : frame_{&frame} {}
  friend promise_type;
  promise_type* frame_;

 public:
  /// Owns the frame until start() has begun.
  asio_wait(asio_wait&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  asio_wait& operator=(asio_wait&&) = delete;
  ~asio_wait() {
    if (frame_ != nullptr) frame_->destroy(*frame_);
  }

  /// Takes the handler and begins. When this returns, it may have ended.
  template <class H>
  void start(H&& handler, const Executor& executor) && {
    promise_type& p = *frame_;
    p.token_ = p.stop.get_token();
    p.handler_.emplace(std::forward<H>(handler), executor);
    stop_by_slot(p.handler_->handler, p.stop);
    if (net::execution_context* const context = asio_context_of(executor)) {
      p.context_ = &net::use_service<asio_operations>(*context);
      if (!p.context_->link(p)) return;  // it is being destroyed: so is the handler
    }
    frame_ = nullptr;
    if constexpr (own_wait<Awaitable>) {
      std::coroutine_handle<promise_type>::from_promise(p).resume();  // runs nobody's code: it begins here and now, whoever calls
    } else {
      p.begin_.set(std::coroutine_handle<promise_type>::from_promise(p));
      trampoline::execute(p.begin_);
    }
  }
};

template <class Handler, class Executor, class Awaitable>
class asio_wait<Handler, Executor, Awaitable>::promise_type : public coroutine_result<await_result<Awaitable>>,
                                                              public frame_from<allocator, Awaitable>,
                                                              public asio_pending {
  using handle = std::coroutine_handle<promise_type>;

 public:
  asio_wait get_return_object() noexcept {
    this->destroy = [](asio_pending& self) { handle::from_promise(static_cast<promise_type&>(self)).destroy(); };
    return asio_wait{*this};
  }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return last_step{}; }
  [[nodiscard]] const std::stop_token& get_stop_token() const noexcept { return token_; }

 private:
  friend asio_wait;

  struct owned {
    template <class H>
    owned(H&& h, const Executor& e) : handler(std::forward<H>(h)), executor{e}, work{net::make_work_guard(e)} {}
    Handler handler;
    Executor executor;
    decltype(net::make_work_guard(std::declval<const Executor&>())) work;
  };

  struct last_step {
    bool await_ready() const noexcept { return false; }
    // noexcept: when there is no memory to give the handler to its executor, there is nobody left to tell
    [[gnu::noinline]] void await_suspend(handle ended) const noexcept { ended.promise().finish(); }
    void await_resume() const noexcept {}
  };

  void finish() {
    asio_operations* const context = context_;
    if (context != nullptr && !context->take(*this)) {
      this->ended.set();  // the last touch: whoever destroys the context has the rest
      return;
    }
    {
      // Asio promises that an operation's memory is free again when its handler runs.
      auto arguments = completion::of(*this);
      owned kept{std::move(*handler_)};
      handle::from_promise(*this).destroy();
      // Never run inside this call: who completed the operation may hold locks.
      net::post(kept.executor, asio_call<Handler, decltype(arguments)>{std::move(kept.handler), std::move(arguments)});
    }
    if (context != nullptr) context->handed_over();
  }

  std::stop_token token_;
  std::optional<owned> handler_;
  asio_operations* context_ = nullptr;
  resumption begin_;
};

/// `Allocator` is the handler's: the promise finds it here.
template <class Handler, class Executor, class Awaitable>
asio_wait<Handler, Executor, Awaitable> make_asio_wait(net::associated_allocator_t<Handler>, Awaitable awaited) {
  co_return co_await std::move(awaited);
}

/// What begins the wait for a token's handler; Asio's own name for such a thing is an initiation.
template <class Fallback>
struct asio_wait_initiation {
  using executor_type = Fallback;
  [[nodiscard]] executor_type get_executor() const noexcept { return fallback; }

  template <class Handler, class Awaitable>
  void operator()(Handler&& handler, Awaitable&& awaited) const {
    using handler_type = std::decay_t<Handler>;
    using executor = net::associated_executor_t<handler_type, Fallback>;
    const executor where = net::get_associated_executor(handler, fallback);
    auto wait = make_asio_wait<handler_type, executor, std::decay_t<Awaitable>>(net::get_associated_allocator(handler),
                                                                                std::move(awaited));
    std::move(wait).start(std::forward<Handler>(handler), where);
  }

  Fallback fallback;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
