// penstock/batch/detail/batch_run.hpp: a batch, from its keys to the outcomes of its flights: the batch function is called, once or, where it fails
// and is told so, again for halves of the keys.
//
// The function gives an answer for each key, in order: a vector (or another random access range) of values, or of result<Value>; or a map, in which a
// key that is missing is not found; or something to await that gives one of these.
#pragma once

#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/batch/batcher_options.hpp>
#include <penstock/batch/detail/batcher_core.hpp>
#include <penstock/batch/detail/inside_batch.hpp>
#include <penstock/batch/wrong_batch_size.hpp>
#include <penstock/core/detail/carried_context.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

template <class R>
struct batch_answers {
  using type = R;
  static constexpr bool are_awaited = false;
};
template <class R>
  requires awaitable<R>
struct batch_answers<R> {
  using type = std::remove_cvref_t<await_result<R>>;
  static constexpr bool are_awaited = true;
};

template <class A, class Key>
concept answers_by_key = requires(const A& a, const Key& key) {
  typename A::mapped_type;
  a.find(key)->second;
  a.end();
};
template <class A>
concept answers_in_order = requires(A& a, std::size_t i) {
  { a.size() } -> std::convertible_to<std::size_t>;
  a[i];
};

/// One answer. What making the value throws is that key's outcome. (It may be the second one: of a batch that failed half way and was split.)
template <class Flight, class A>
void answer(Flight& f, A&& a) noexcept {
  f.failed = {};
  f.failure = nullptr;
  try {
    if constexpr (is_result<std::remove_cvref_t<A>>) {
      if (a.has_value()) {
        f.emplace(*std::forward<A>(a));
      } else {
        f.failed = a.error() ? a.error() : make_error_code(errc::broken_promise);
      }
    } else {
      f.emplace(std::forward<A>(a));
    }
  } catch (...) {
    f.failure = std::current_exception();
  }
}

template <class Core, class Key>
class batch_work {
 public:
  using flight_type = typename Core::flight_type;

  /// Throws what copying the keys throws.
  batch_work(Core& core, flight_type* first, std::size_t count) : core_{core}, single_{first} {
    todo_[0] = {0, count};
    if (count == 1) return;  // an idle batcher's: nothing is copied
    flights_.reserve(count);
    keys_.reserve(count);
    for (flight_type* f = first; f != nullptr; f = f->after) {
      flights_.push_back(f);
      keys_.push_back(f->key);
    }
  }
  batch_work(const batch_work&) = delete;
  batch_work& operator=(const batch_work&) = delete;

  [[nodiscard]] bool has_more() const noexcept { return left_ != 0; }

  /// The keys of the next call.
  [[nodiscard]] std::span<const Key> begin_call() noexcept {
    now_ = todo_[--left_];
    began_ = core_.time();
    runs_ = true;
    core_.called(flights(), began_);
    if (observers::trace()) [[unlikely]]
      begin_span();
    if (keys_.empty()) return {&single_->key, 1};
    return std::span<const Key>{keys_}.subspan(now_.first, now_.count);
  }

  /// Throws wrong_batch_size, before it has looked at an answer.
  template <class A>
  void answered(A&& answers) {
    returned();
    const std::span<flight_type* const> asked = flights();
    if constexpr (answers_by_key<std::remove_cvref_t<A>, Key>) {
      for (flight_type* const f : asked) {
        // Copied, where that can be: two keys of ours may be one for the map.
        const auto found = answers.find(f->key);
        if (found == answers.end()) {
          f->failed = errc::not_found;
        } else if constexpr (std::is_lvalue_reference_v<A> ||
                             std::is_copy_constructible_v<std::remove_cvref_t<decltype(found->second)>>) {
          answer(*f, std::as_const(found->second));
        } else {
          answer(*f, std::move(found->second));
        }
      }
    } else {
      static_assert(answers_in_order<std::remove_cvref_t<A>>,
                    "a batch function gives a vector of values or results in the order of the keys, or a map by key");
      if (answers.size() != asked.size()) throw wrong_batch_size{asked.size(), static_cast<std::size_t>(answers.size())};
      for (std::size_t i = 0; i < asked.size(); ++i) {
        if constexpr (std::is_lvalue_reference_v<A>) {
          answer(*asked[i], answers[i]);  // what somebody keeps stays whole
        } else {
          answer(*asked[i], std::move(answers[i]));
        }
      }
    }
    end_span(trace_outcome::completed);
    core_.land(asked, false, left_ == 0);
  }

  /// The call failed.
  void failed(std::exception_ptr why) noexcept {
    returned();
    end_span(trace_outcome::failed, why);
    if (core_.options().split_failed_batches && now_.count > 1) {
      const std::size_t half = now_.count / 2;
      todo_[left_++] = {now_.first + half, now_.count - half};
      todo_[left_++] = {now_.first, half};
      return core_.was_split();
    }
    const std::span<flight_type* const> asked = flights();
    for (flight_type* const f : asked) f->failure = why;
    why = nullptr;
    core_.land(asked, true, left_ == 0);
  }

 private:
  struct range {
    std::size_t first;
    std::size_t count;
  };

  [[nodiscard]] std::span<flight_type* const> flights() const noexcept {
    if (flights_.empty()) return {&single_, 1};
    return std::span<flight_type* const>{flights_}.subspan(now_.first, now_.count);
  }

  [[gnu::cold]] void begin_span() noexcept {
    const std::span<flight_type* const> asked = flights();
    span_.emplace(traced::batch, &core_, std::string_view{}, asked.front()->trace).begin();
    for (const flight_type* const f : asked.subspan(1)) span_->link(f->trace);
  }
  void end_span(trace_outcome how, const std::exception_ptr& why = {}) noexcept {
    if (!span_) [[likely]]
      return;
    span_->end(how, why);
    span_.reset();
  }
  void returned() noexcept {
    if (std::exchange(runs_, false)) core_.returned(began_);
  }

  Core& core_;
  flight_type* const single_;  // of a batch of one, which has no need of the next two
  std::vector<flight_type*> flights_;
  std::vector<Key> keys_;
  // Each call leaves one half behind at the most, and halves have halves. Not initialised: that is a kilobyte, and mostly one is used.
  std::array<range, 65> todo_;
  std::size_t left_ = 1;
  range now_{};
  nanoseconds_point began_ = 0;
  std::optional<dependent<open_span, Key>> span_;  // of the call that runs
  bool runs_ = false;                              // the function, and nobody has noted yet how long
};

/// Callers of a batch who go on on this thread do so when all have been told and the next batch has been sent; but within this one: they may destroy
/// the batcher, which is not to wait for it then.
template <class Core>
class after_batch {
 public:
  after_batch() noexcept {
    if (trampoline::innermost() == nullptr) here_.emplace();
  }

 private:
  std::optional<dependent<trampoline, Core>> here_;
};

/// Begins at once, where it is called, which is on the executor; goes on there; nobody waits for it, and its frame goes at its end.
class batch_coroutine {
 public:
  class promise_type : public traced_promise {
   public:
    template <class Core, class... Rest>
    explicit promise_type(Core* core, Rest*...) : scheduler_{core->where()}, stop_{core->token()} {}
    batch_coroutine get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    [[nodiscard]] any_scheduler get_scheduler() const noexcept { return scheduler_; }
    [[nodiscard]] const std::stop_token& get_stop_token() const noexcept { return stop_; }

   private:
    any_scheduler scheduler_;
    std::stop_token stop_;
  };
};

// Owns a share of the core, and `work`. Throws only if its frame cannot be had; then it has not begun.
template <class Key, class Core, class F>
batch_coroutine run_batch_coroutine(Core* core, F* f, batch_work<Core, Key>* work) {
  {
    const std::unique_ptr<batch_work<Core, Key>> owned{work};
    while (owned->has_more()) {
      const std::span<const Key> keys = owned->begin_call();
      std::exception_ptr failure;
      try {
        auto answers = co_await (*f)(keys);
        const inside_batch guard{core->identity()};
        const after_batch<Core> later;
        owned->answered(std::move(answers));
      } catch (...) {
        failure = std::current_exception();
      }
      if (failure != nullptr) {
        const inside_batch guard{core->identity()};
        const after_batch<Core> later;
        owned->failed(std::move(failure));
      }
    }
  }
  core->gone();
}

template <class Key, class Core, class F>
void run_batch(Core& core, F& f, typename Core::flight_type* first, std::size_t count) noexcept {
  using work_type = batch_work<Core, Key>;
  const inside_batch guard{core.identity()};
  std::exception_ptr failure;
  if constexpr (batch_answers<std::invoke_result_t<F&, std::span<const Key>>>::are_awaited) {
    try {
      auto work = std::make_unique<work_type>(core, first, count);
      run_batch_coroutine<Key>(&core, &f, work.get());
      static_cast<void>(work.release());  // the coroutine's, if it has begun
      return;
    } catch (...) {
      failure = std::current_exception();
    }
  } else {
    try {
      work_type work{core, first, count};
      while (work.has_more()) {
        const std::span<const Key> keys = work.begin_call();
        std::exception_ptr thrown;
        try {
          work.answered(f(keys));
        } catch (...) {
          thrown = std::current_exception();
        }
        if (thrown != nullptr) work.failed(std::move(thrown));
      }
    } catch (...) {
      failure = std::current_exception();  // of the first line: nothing came of the batch yet
    }
  }
  // There was no memory for the batch, or a key could not be copied.
  while (failure != nullptr && first != nullptr) {
    auto* const f_now = std::exchange(first, first->after);
    f_now->failure = failure;
    core.land({&f_now, 1}, true, first == nullptr);
  }
  core.gone();
}

}  // namespace penstock::inline v0_1::detail
