// penstock/job/job_handlers.hpp: a handler for each kind of job, by the name that it was added with.
//
//   penstock::job_handlers<mail> handlers;
//   handlers.on("welcome", [](penstock::job<mail>& j) { send(j.payload()); })
//           .on("invoice", [](penstock::job<mail>& j) -> penstock::task<int> { co_return co_await print(j.payload()); })
//           .otherwise([](penstock::job<mail>& j) { return penstock::job_outcome::unrecoverable("what is a " + std::string{j.name()} + "?"); });
//   penstock::job_worker worker{mails, pool, handlers};
//   mails.add("welcome", letter).value();
//
// Each is what a job_worker takes for a handler: a function or something that gives what can be awaited, with a value or without. The names are compared as they
// are. A job whose name has no handler fails for good, with a reason that says so; as a dead letter it can be redriven when there is one.
//
// Invariants     a name has one handler.
// Thread safety  on() and otherwise() belong to one thread, before a worker has it. Copies share the handlers, which several threads may call at a time.
// Cost           O(log names) a job, and a virtual call; for a coroutine that does not give a job_outcome one frame more.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/detail/job_answer.hpp>
#include <penstock/job/job.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class job_handlers {
 public:
  /// Of jobs of that name; "" of those without one. Throws std::invalid_argument if the name has a handler, std::bad_alloc.
  template <class F>
    requires detail::handles_jobs<std::decay_t<F>, Payload>
  job_handlers& on(std::string_view name, F&& handler) {
    const auto [at, fresh] = named_.try_emplace(std::string{name});
    if (!fresh) throw std::invalid_argument{"penstock::job_handlers: two handlers for jobs named \"" + std::string{name} + "\""};
    try {
      at->second = shared(std::forward<F>(handler));
    } catch (...) {
      named_.erase(at);
      throw;
    }
    return *this;
  }
  /// Of all other jobs; the last one given counts. Throws std::bad_alloc.
  template <class F>
    requires detail::handles_jobs<std::decay_t<F>, Payload>
  job_handlers& otherwise(F&& handler) {
    rest_ = shared(std::forward<F>(handler));
    return *this;
  }

  /// For workers.
  detail::dependent<detail::eventual_outcome, Payload> operator()(job<Payload>& j) const {
    const auto at = named_.find(j.name());
    if (at != named_.end()) return at->second->handle(j);
    if (rest_ != nullptr) return rest_->handle(j);
    const std::string kind = j.name().empty() ? "without a name" : "named \"" + std::string{j.name()} + "\"";
    return {.now = job_outcome::unrecoverable("this worker has no handler for jobs " + kind)};
  }

 private:
  struct any_handler {
    virtual ~any_handler() = default;
    virtual detail::dependent<detail::eventual_outcome, Payload> handle(job<Payload>& j) = 0;
  };
  template <class F>
  struct handler_of final : any_handler {
    explicit handler_of(F&& f) : function(std::move(f)) {}
    explicit handler_of(const F& f) : function(f) {}
    detail::dependent<detail::eventual_outcome, Payload> handle(job<Payload>& j) override {
      using answer = std::invoke_result_t<F&, job<Payload>&>;
      if constexpr (std::is_same_v<answer, detail::eventual_outcome>) {
        return function(j);
      } else if constexpr (std::is_same_v<answer, task<job_outcome>>) {
        return {.later = function(j)};
      } else if constexpr (detail::job_answer_of<answer>::awaited) {
        return {.later = awaited(function(j))};
      } else if constexpr (std::is_void_v<answer>) {
        function(j);
        return {};
      } else {
        return {.now = detail::outcome_of(function(j))};
      }
    }
    F function;
  };

  template <class F>
  static std::shared_ptr<any_handler> shared(F&& f) {
    return std::make_shared<handler_of<std::decay_t<F>>>(std::forward<F>(f));
  }
  template <class Answer>
  static task<job_outcome> awaited(Answer answer) {
    if constexpr (std::is_void_v<typename detail::job_answer_of<Answer>::type>) {
      co_await std::move(answer);
      co_return job_outcome::done();
    } else {
      auto value = co_await std::move(answer);
      co_return detail::outcome_of(std::move(value));
    }
  }

  std::map<std::string, std::shared_ptr<any_handler>, std::less<>> named_;
  std::shared_ptr<any_handler> rest_;
};

}  // namespace penstock::inline v0_1
