// penstock/ext/detail/asio_awaiting.hpp: a coroutine of penstock's that awaits an operation of Asio's.
//
// Two parties arrive, in any order: await_suspend(), when the initiation has returned, and the handler, when it was called or destroyed. The second one
// lets the coroutine go on. So nothing of the operation goes while the initiation still uses it, and an initiation that throws, and destroys its
// handler on the way, resumes nobody.
#pragma once

#include <atomic>
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
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/asio_library.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

template <class... Values>
struct asio_values {
  using type = std::tuple<Values...>;
};
template <class Value>
struct asio_values<Value> {
  using type = Value;
};
template <>
struct asio_values<> {
  using type = void;
};

/// What awaiting gives, and where a handler leaves it: nothing is left if it was destroyed uncalled.
template <class Signature>
class asio_outcome;

template <class... Values>
class asio_outcome<void(Values...)> {
 public:
  using type = typename asio_values<Values...>::type;
  template <class... V>
  void set(V&&... values) {
    values_.emplace(std::forward<V>(values)...);
  }
  type take() {
    if (!values_) throw std::system_error{errc::broken_promise};
    if constexpr (sizeof...(Values) == 1) {
      return std::get<0>(*std::move(values_));
    } else if constexpr (sizeof...(Values) > 1) {
      return *std::move(values_);
    }
  }

 private:
  std::optional<std::tuple<Values...>> values_;
};

template <class... Values>
class asio_outcome<void(asio_error_code, Values...)> {
 public:
  using type = result<typename asio_values<Values...>::type>;
  template <class... V>
  void set(const asio_error_code& e, V&&... values) {
    if (e) {
      error_ = from_asio_error(e);
    } else {
      error_ = {};
      values_.emplace(std::forward<V>(values)...);
    }
  }
  type take() {
    if (!values_) return error_;
    if constexpr (sizeof...(Values) == 0) {
      return {};
    } else if constexpr (sizeof...(Values) == 1) {
      return std::get<0>(*std::move(values_));
    } else {
      return *std::move(values_);
    }
  }
  void refuse(errc e) noexcept { error_ = e; }

 private:
  std::error_code error_ = errc::broken_promise;
  std::optional<std::tuple<Values...>> values_;
};

template <class... Values>
class asio_outcome<void(std::exception_ptr, Values...)> : public asio_outcome<void(Values...)> {
 public:
  template <class... V>
  void set(std::exception_ptr e, V&&... values) {
    why_ = std::move(e);
    asio_outcome<void(Values...)>::set(std::forward<V>(values)...);
  }
  typename asio_outcome<void(Values...)>::type take() {
    if (why_ != nullptr) std::rethrow_exception(std::move(why_));
    return asio_outcome<void(Values...)>::take();
  }

 private:
  std::exception_ptr why_;
};

#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)

/// The way from a stop request on any thread to a signal that is emitted where the operation lives.
template <class Executor>
class asio_stop_signal : public std::enable_shared_from_this<asio_stop_signal<Executor>> {
 public:
  explicit asio_stop_signal(const Executor& e) : executor_{e} {}
  [[nodiscard]] net::cancellation_slot slot() noexcept { return signal_.slot(); }

  void request() {
    // Under the lock, so that a handler which is destroyed together with the executor's context waits until nothing goes there any more.
    const std::scoped_lock guard{lock_};
    if (executor_) {
      net::post(*executor_, [self = this->shared_from_this()] {
        if (!self->over()) self->signal_.emit(net::cancellation_type::all);
      });
    }
  }
  /// The handler was called or destroyed.
  void finish() noexcept {
    const std::scoped_lock guard{lock_};
    executor_.reset();
  }

 private:
  [[nodiscard]] bool over() {
    const std::scoped_lock guard{lock_};
    return !executor_;
  }

  std::mutex lock_;
  std::optional<Executor> executor_;  // until the end; guarded by lock_
  net::cancellation_signal signal_;   // used on the executor only, after the initiation
};

#else

template <class Executor>
struct asio_stop_signal {
  explicit asio_stop_signal(const Executor&) noexcept {}
  void request() noexcept {}
  void finish() noexcept {}
};

#endif

/// What the handler sees of the awaiting coroutine.
template <class Signature, class Executor>
struct asio_awaited : work_item {
  asio_outcome<Signature> outcome;
  std::shared_ptr<asio_stop_signal<Executor>> signal;  // null where stop cannot be requested
  any_scheduler where;
  std::coroutine_handle<> waiting;
  std::atomic<bool> one_has_arrived{false};

  /// True: the other one was there before.
  [[nodiscard]] bool second_to_arrive() noexcept {
    // acq_rel: what each of the two has written is visible to the second one
    return one_has_arrived.exchange(true, std::memory_order_acq_rel);
  }
  /// By the handler. *this may be gone when it returns.
  void end() noexcept {
    if (signal != nullptr) signal->finish();
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

template <class Awaited>
class asio_resume {
 public:
  explicit asio_resume(Awaited& a) noexcept : awaited_{&a} {}
  asio_resume(asio_resume&& other) noexcept : awaited_{std::exchange(other.awaited_, nullptr)} {}
  asio_resume& operator=(asio_resume&&) = delete;
  ~asio_resume() {
    if (awaited_ != nullptr) awaited_->end();
  }

  template <class... Values>
  void operator()(Values&&... values) {
    Awaited* const a = std::exchange(awaited_, nullptr);
    a->outcome.set(std::forward<Values>(values)...);
    a->end();
  }

#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)
  using cancellation_slot_type = net::cancellation_slot;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
    return awaited_->signal != nullptr ? awaited_->signal->slot() : net::cancellation_slot{};
  }
#endif

 private:
  Awaited* awaited_;
};

/// An operation that has not begun: await it, once.
template <class Signature, class Initiation, class... Arguments>
class [[nodiscard]] asio_awaiting {
  using executor = net::associated_executor_t<Initiation>;
  using awaited = asio_awaited<Signature, executor>;

  class awaiter : awaited {
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
      if (stop.stop_possible()) {
        this->signal = std::make_shared<asio_stop_signal<executor>>(net::get_associated_executor(of_->initiation_));
      }
      try {
        std::apply([this](Arguments&... a) { std::move(of_->initiation_)(asio_resume<awaited>{*this}, std::move(a)...); },
                   of_->arguments_);
        // After the initiation: what is emitted before it finds no operation.
        if (this->signal != nullptr) stopped_.emplace(stop, on_stop{this->signal.get()});
      } catch (...) {
        thrown_ = std::current_exception();
      }
      return !this->second_to_arrive();  // the last touch, if the handler is still to come
    }

    auto await_resume() {
      stopped_.reset();
      if (thrown_ != nullptr) std::rethrow_exception(std::move(thrown_));
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
      asio_stop_signal<executor>* signal;
      void operator()() const { signal->request(); }
    };

    asio_awaiting* of_;
    std::optional<std::stop_callback<on_stop>> stopped_;
    std::exception_ptr thrown_;
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
