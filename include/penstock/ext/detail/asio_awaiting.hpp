// penstock/ext/detail/asio_awaiting.hpp: a coroutine of penstock's that awaits an operation of Asio's.
//
// Two parties arrive, in any order: await_suspend(), when the initiation has returned, and the handler, when it was called or destroyed, or its context in
// its place. The second one lets the coroutine go on. So nothing of the operation goes while the initiation still uses it, and an initiation
// that throws, and destroys its handler on the way, resumes nobody.
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/ext/detail/asio_operations.hpp>
#include <penstock/ext/detail/asio_outcome.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

/// What a coroutine that awaits an operation of Asio's looks like from outside.
struct asio_awaited : work_item {
  any_scheduler where;
  std::coroutine_handle<> waiting;
  std::exception_ptr thrown;
  std::atomic<bool> one_has_arrived{false};

  /// True: the other one was there before.
  [[nodiscard]] bool second_to_arrive() noexcept {
    // acq_rel: what each of the two has written is visible to the second one
    return one_has_arrived.exchange(true, std::memory_order_acq_rel);
  }
  /// The handler was called or destroyed, or its context is being destroyed. *this may be gone when it returns.
  void end() noexcept {
    if (!second_to_arrive()) return;
    this->run = [](work_item& self) noexcept { static_cast<asio_awaited&>(self).waiting.resume(); };
    const any_scheduler to = where;  // a copy: the frame may be gone before execute() returns
    if (to.running_here()) {
      trampoline::execute(*this);
    } else {
      to.execute(*this);
    }
  }
};

/// Joins a handler, which lies somewhere in Asio, with the coroutine: until the handler has been there, or the context is destroyed.
template <class Executor>
class asio_connection final : public asio_connected {
 public:
  asio_connection(const Executor& e, asio_awaited& a) : awaited_{&a}, executor_{e} {}

  /// False: the executor's context is being destroyed.
  [[nodiscard]] bool open() {
    if constexpr (!std::same_as<Executor, net::system_executor>) {  // which is also what an initiation has that names no executor
      if (net::execution_context* const context = asio_context_of(*executor_)) {
        operations_ = &net::use_service<asio_operations>(*context);
        return operations_->link(*this);
      }
    }
    return true;
  }
  /// By the handler: the coroutine, if it still waits for that one.
  [[nodiscard]] asio_awaited* take() noexcept {
    const std::scoped_lock guard{lock_};
    if (operations_ != nullptr) std::exchange(operations_, nullptr)->unlink(*this);
    executor_.reset();
    return std::exchange(awaited_, nullptr);
  }
  void disconnect() noexcept override {
    asio_awaited* a = nullptr;
    {
      const std::scoped_lock guard{lock_};
      operations_ = nullptr;
      executor_.reset();
      a = std::exchange(awaited_, nullptr);
    }
    if (a != nullptr) a->end();
  }

#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)
  [[nodiscard]] net::cancellation_slot slot() noexcept { return signal_.slot(); }
  /// A stop request, on any thread: the signal is emitted where the operation lives.
  void request_stop() {
    // Under the lock: whoever destroys the context waits in disconnect() until nothing is sent there any more.
    const std::scoped_lock guard{lock_};
    if (!executor_) return;
    net::post(*executor_, [self = std::static_pointer_cast<asio_connection>(this->shared_from_this())] {
      if (!self->over()) self->signal_.emit(net::cancellation_type::all);
    });
  }
#else
  void request_stop() noexcept {}
#endif

 private:
  [[nodiscard]] bool over() {
    const std::scoped_lock guard{lock_};
    return awaited_ == nullptr;
  }

  std::mutex lock_;
  asio_awaited* awaited_;                  // until the end; guarded by lock_
  std::optional<Executor> executor_;       // as long; guarded by lock_
  asio_operations* operations_ = nullptr;  // in which this is linked; guarded by lock_ after open()
#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)
  net::cancellation_signal signal_;  // used on the executor only, after the initiation
#endif
};

template <class Signature>
struct asio_awaited_for : asio_awaited {
  asio_outcome<Signature> outcome;
};

template <class Signature, class Executor>
class asio_resume {
  using connection = std::shared_ptr<asio_connection<Executor>>;

 public:
  explicit asio_resume(connection c) noexcept : connection_{std::move(c)} {}
  asio_resume(asio_resume&&) noexcept = default;
  asio_resume& operator=(asio_resume&&) = delete;
  ~asio_resume() {
    if (connection_ == nullptr) return;
    if (asio_awaited* const a = connection_->take()) a->end();
  }

  template <class... Values>
  void operator()(Values&&... values) {
    const connection c = std::move(connection_);
    auto* const a = static_cast<asio_awaited_for<Signature>*>(c->take());
    if (a == nullptr) return;
    try {
      a->outcome.set(std::forward<Values>(values)...);
    } catch (...) {
      a->thrown = std::current_exception();
    }
    a->end();
  }

#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)
  using cancellation_slot_type = net::cancellation_slot;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept { return connection_->slot(); }
#endif

 private:
  connection connection_;
};

/// An operation that has not begun: await it, once.
template <class Signature, class Initiation, class... Arguments>
class [[nodiscard]] asio_awaiting {
  using executor = net::associated_executor_t<Initiation>;

  class awaiter : asio_awaited_for<Signature> {
   public:
    explicit awaiter(asio_awaiting& of) noexcept : of_{&of} {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> self) {
      const std::stop_token stop = stop_token_of(self.promise());
      if (stop.stop_requested()) {
        refused_ = true;
        return false;
      }
      this->waiting = self;
      this->where = scheduler_of(self.promise());
      connection_ = std::make_shared<asio_connection<executor>>(net::get_associated_executor(of_->initiation_),
                                                                static_cast<asio_awaited&>(*this));
      if (!connection_->open()) return false;  // as if its handler were destroyed at once
      try {
        std::apply(
            [this](Arguments&... a) {
              std::move(of_->initiation_)(asio_resume<Signature, executor>{connection_}, std::move(a)...);
            },
            of_->arguments_);
        // After the initiation: what is emitted before it finds no operation.
        if (stop.stop_possible()) stopped_.emplace(stop, on_stop{connection_.get()});
      } catch (...) {
        begin_failed_ = std::current_exception();
      }
      return !this->second_to_arrive();  // the last touch, if the handler is still to come
    }

    auto await_resume() {
      stopped_.reset();
      if (begin_failed_ != nullptr) std::rethrow_exception(std::move(begin_failed_));
      if (this->thrown != nullptr) std::rethrow_exception(std::move(this->thrown));
      if (refused_) {
        if constexpr (requires { this->outcome.refuse(errc::cancelled); }) {
          this->outcome.refuse(errc::cancelled);
        } else {
          throw std::system_error{errc::cancelled};
        }
      }
      return this->outcome.take();
    }

   private:
    struct on_stop {
      asio_connection<executor>* connection;
      void operator()() const { connection->request_stop(); }
    };

    asio_awaiting* of_;
    std::shared_ptr<asio_connection<executor>> connection_;
    std::optional<std::stop_callback<on_stop>> stopped_;
    std::exception_ptr begin_failed_;
    bool refused_ = false;
  };

 public:
  template <class I, class... A>
  explicit asio_awaiting(I&& initiation, A&&... arguments)
      : initiation_(std::forward<I>(initiation)), arguments_{std::forward<A>(arguments)...} {}

  awaiter operator co_await() && noexcept { return awaiter{*this}; }

 private:
  Initiation initiation_;
  std::tuple<Arguments...> arguments_;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
