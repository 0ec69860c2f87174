// penstock/ext/detail/asio_wait.hpp: a coroutine that awaits something for an Asio handler.
//
// Its frame holds what is awaited. Behind the frame, in the same piece of memory, which comes from the handler's allocator, lies the receiver: the handler, its
// executor and a guard of work. Nobody awaits the coroutine: when it ends it destroys itself, and the receiver sends the handler to its executor. (The
// coroutine's type does not depend on the handler's: fewer coroutines to compile, and g++ warns of frames with a type of an anonymous namespace in them.)
#pragma once

#include <coroutine>
#include <cstddef>
#include <memory>
#include <new>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/ext/detail/asio_completion.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/ext/detail/asio_operations.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

struct alignas(__STDCPP_DEFAULT_NEW_ALIGNMENT__) asio_memory_unit {
  static constexpr std::size_t of(std::size_t bytes) noexcept {
    return (bytes + sizeof(asio_memory_unit) - 1) / sizeof(asio_memory_unit);
  }
  std::byte bytes[__STDCPP_DEFAULT_NEW_ALIGNMENT__];
};

/// How a frame is freed together with the receiver behind it.
struct asio_memory {
  void (*free)(void* frame, std::size_t size) noexcept;

  static asio_memory& behind(void* frame, std::size_t size) noexcept {
    return *std::launder(reinterpret_cast<asio_memory*>(static_cast<asio_memory_unit*>(frame) + asio_memory_unit::of(size)));
  }
};

/// Who wants to know how the coroutine ended.
template <class Value>
class asio_receiver {
 public:
  /// Destroys the coroutine, and with it *this.
  virtual void receive(coroutine_result<Value>& ended, std::coroutine_handle<> frame) = 0;

 protected:
  ~asio_receiver() = default;
};

/// Makes the memory of a coroutine, with the receiver in it.
template <class Value>
class asio_frame_source {
 public:
  virtual void* allocate(std::size_t frame_size) = 0;
  asio_receiver<Value>* made = nullptr;

 protected:
  ~asio_frame_source() = default;
};

template <class Awaitable, class Value = await_result<Awaitable>>
class asio_promise : public coroutine_result<Value>, public asio_pending {
  using handle = std::coroutine_handle<asio_promise>;

 public:
  asio_promise(asio_frame_source<Value>& source, Awaitable&) : receiver_{source.made}, token_{this->stop.get_token()} {
    this->destroy = [](asio_pending& self) { static_cast<asio_promise&>(self).frame().destroy(); };
  }
  static void* operator new(std::size_t size, asio_frame_source<Value>& source, Awaitable&) { return source.allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { asio_memory::behind(frame, size).free(frame, size); }

  struct return_object {
    using promise_type = asio_promise;
    asio_promise* promise;
  };
  return_object get_return_object() noexcept { return {this}; }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return last_step{}; }
  [[nodiscard]] const std::stop_token& get_stop_token() const noexcept { return token_; }

  /// Begins, for a handler of a context, if it has one. When this returns, it may have ended.
  void start(asio_operations* context, bool at_once) noexcept {
    context_ = context;
    if (context != nullptr && !context->link(*this)) {  // it is being destroyed: so is the handler
      frame().destroy();
      return;
    }
    if (at_once) {
      frame().resume();
    } else {
      begin_.set(frame());
      trampoline::execute(begin_);
    }
  }

 private:
  struct last_step {
    bool await_ready() const noexcept { return false; }
    // noexcept: when there is no memory to send the handler to its executor, there is nobody left to tell
    [[gnu::noinline]] void await_suspend(handle ended) const noexcept { ended.promise().finish(); }
    void await_resume() const noexcept {}
  };

  handle frame() noexcept { return handle::from_promise(*this); }

  void finish() {
    asio_operations* const context = context_;
    if (context != nullptr && !context->take(*this)) {
      this->ended.set();  // the last touch: whoever destroys the context has the rest
      return;
    }
    receiver_->receive(*this, frame());
    if (context != nullptr) context->handed_over();
  }

  asio_receiver<Value>* receiver_;
  std::stop_token token_;
  asio_operations* context_ = nullptr;
  resumption begin_;
};

template <class Awaitable>
typename asio_promise<Awaitable>::return_object await_for_asio(asio_frame_source<await_result<Awaitable>>&, Awaitable awaited) {
  co_return co_await std::move(awaited);
}

/// What begins the wait for a token's handler; Asio's own name for such a thing is an initiation.
template <class Fallback>
struct asio_wait_initiation {
  using executor_type = Fallback;
  [[nodiscard]] executor_type get_executor() const noexcept { return fallback; }

  template <class Handler, class Awaitable>
  void operator()(Handler&& handler, Awaitable&& awaited) const {
    using awaitable_type = std::decay_t<Awaitable>;
    using value = await_result<awaitable_type>;
    using source_type = source<std::decay_t<Handler>, value, asio_completion_for<awaitable_type>>;
    source_type s{std::forward<Handler>(handler), fallback};
    s.begin(*await_for_asio<awaitable_type>(s, std::move(awaited)).promise, own_wait<awaitable_type>);
  }

  Fallback fallback;

 private:
  template <class Handler, class Value, class Completion>
  class source final : public asio_frame_source<Value> {
    using executor = net::associated_executor_t<Handler, Fallback>;
    using allocator =
        typename std::allocator_traits<net::associated_allocator_t<Handler>>::template rebind_alloc<asio_memory_unit>;

    struct receiver final : asio_receiver<Value> {
      receiver(Handler&& h, const executor& e) : handler(std::move(h)), where{e}, work{net::make_work_guard(e)} {}

      void receive(coroutine_result<Value>& ended, std::coroutine_handle<> frame) override {
        // Asio promises that an operation's memory is free again when its handler runs.
        auto arguments = Completion::of(ended);
        receiver kept{std::move(*this)};
        frame.destroy();
        // Never run inside this call: who completed the operation may hold locks.
        net::post(kept.where, asio_call<Handler, decltype(arguments)>{std::move(kept.handler), std::move(arguments)});
      }

      Handler handler;
      executor where;
      decltype(net::make_work_guard(std::declval<const executor&>())) work;
    };
    /// What lies behind a frame.
    struct tail {
      tail(Handler&& h, const executor& e, const allocator& a) : of{a}, to{std::move(h), e} {}
      static void free(void* frame, std::size_t size) noexcept {
        auto* const self = std::launder(static_cast<tail*>(place(frame, size)));
        allocator a{self->of};
        self->~tail();
        std::allocator_traits<allocator>::deallocate(a, static_cast<asio_memory_unit*>(frame), units(size));
      }
      static void* place(void* frame, std::size_t size) noexcept {
        return static_cast<asio_memory_unit*>(frame) + asio_memory_unit::of(size) + asio_memory_unit::of(sizeof(asio_memory));
      }
      static std::size_t units(std::size_t size) noexcept {
        return asio_memory_unit::of(size) + asio_memory_unit::of(sizeof(asio_memory)) + asio_memory_unit::of(sizeof(tail));
      }

      allocator of;
      receiver to;
    };

   public:
    source(Handler handler, const Fallback& fallback)
        : handler_(std::move(handler)), where_{net::get_associated_executor(handler_, fallback)} {}

    void* allocate(std::size_t size) override {
      static_assert(alignof(tail) <= alignof(asio_memory_unit), "a handler is aligned more strictly than new does by itself");
      allocator a{net::get_associated_allocator(handler_)};
      asio_memory_unit* const frame = std::allocator_traits<allocator>::allocate(a, tail::units(size));
      try {
        tail_ = ::new (tail::place(frame, size)) tail{std::move(handler_), where_, a};
      } catch (...) {
        std::allocator_traits<allocator>::deallocate(a, frame, tail::units(size));
        throw;
      }
      ::new (static_cast<void*>(frame + asio_memory_unit::of(size))) asio_memory{&tail::free};
      this->made = &tail_->to;
      return frame;
    }

    template <class Promise>
    void begin(Promise& p, bool at_once) {
      asio_operations* operations = nullptr;
      try {
        stop_by_slot(tail_->to.handler, p.stop);
        net::execution_context* const context = asio_context_of(where_);
        if (context != nullptr) operations = &net::use_service<asio_operations>(*context);
      } catch (...) {
        p.destroy(p);
        throw;
      }
      p.start(operations, at_once);
    }

   private:
    Handler handler_;
    executor where_;
    tail* tail_ = nullptr;
  };
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
