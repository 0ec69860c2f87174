// penstock/pool/detail/resource_wait.hpp: how a coroutine waits for a resource.
#pragma once

#include <source_location>
#include <stop_token>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/resource_engine.hpp>
#include <penstock/pool/resource_lease.hpp>

namespace penstock::inline v0_1::detail {

/// What the awaiter of a coroutine is made of (`awaiting`, in async_wait.hpp).
template <class T, class Sync = dependent<std_sync, T>>
class resource_wait : public completion_wait<resource_core<Sync>, resource_request<Sync>> {
 public:
  using base = completion_wait<resource_core<Sync>, resource_request<Sync>>;
  using resume_function = void (*)(resource_wait&) noexcept;

  resource_wait(resource_engine<T>& engine, const std::source_location& where)
      : base{engine, resource_borrower<Sync>{where, {}}}, engine_{engine} {}

  bool start(const std::stop_token& stop, const deadline& limit, any_scheduler where, resume_function resume) {
    resume_ = resume;
    this->until = limit.is_never() ? engine_.default_limit() : limit;
    since_ = engine_.begin_measuring();
    return base::start(stop, this->until, where, go_on);
  }
  void resume_on(any_scheduler where, resume_function resume) noexcept {
    resume_ = resume;
    base::resume_on(where, go_on);
  }

 protected:
  result<resource_lease<T>> take() noexcept {
    this->finish();
    return engine_.taken(*this, this->how, since_);
  }

 private:
  static void go_on(base& decided) noexcept {
    auto& self = static_cast<resource_wait&>(decided);
    self.resume_(self);
  }

  resource_engine<T>& engine_;
  nanoseconds_point since_ = 0;
  resume_function resume_ = nullptr;
};

template <class T>
class resource_awaiter : public awaiting<resource_wait<T>> {
 public:
  using awaiting<resource_wait<T>>::awaiting;
  result<resource_lease<T>> await_resume() noexcept { return this->take(); }
};

/// What async_acquire() returns: a wait that has not begun.
template <class T>
class [[nodiscard]] resource_operation : public sending<resource_operation<T>> {
 public:
  resource_operation(resource_engine<T>& engine, const std::source_location& where) noexcept : engine_{&engine}, where_{where} {}
  resource_awaiter<T> operator co_await() && { return resource_awaiter<T>{options_, *engine_, where_}; }
  [[nodiscard]] wait_options& options() noexcept { return options_; }

 private:
  resource_engine<T>* engine_;
  std::source_location where_;
  wait_options options_;
};

}  // namespace penstock::inline v0_1::detail
