// penstock/batch/detail/load_wait.hpp: somebody waits for a key, and may give up: a coroutine (what async_load() returns), or a thread with limits.
//
// Who gives up lets go of the key, and it is not loaded unless somebody else wants it or it has left. Everything lies in the waiter's frame.
#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <system_error>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/sync/detail/future_state.hpp>

namespace penstock::inline v0_1::detail {

/// A share in a flight that is given up unless it is done.
template <class Core>
class wanted_flight {
 public:
  using flight_type = typename Core::flight_type;

  explicit wanted_flight(Core& core) noexcept : core_{core} {}
  wanted_flight(const wanted_flight&) = delete;
  wanted_flight& operator=(const wanted_flight&) = delete;
  ~wanted_flight() { give_up(); }

  template <class K>
  bool join(const K& key, const void* within, std::error_code& why) {
    flight_ = core_.join(key, {.within = within, .held = false}, why);
    return flight_ != nullptr;
  }
  void give_up() noexcept {
    if (flight_ != nullptr) core_.abandon(*std::exchange(flight_, nullptr));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return flight_ != nullptr; }
  flight_type* operator->() const noexcept { return flight_; }

  /// Of one that is ready: a copy of the value, or the error; throws the exception. Touches the batcher no more, which may be gone.
  template <class Value>
  [[nodiscard]] result<Value> take() {
    const state_ref<flight_type> mine{std::exchange(flight_, nullptr)};
    if (mine->failed) return mine->failed;
    return mine->peek();
  }

 private:
  Core& core_;
  flight_type* flight_ = nullptr;
};

template <class Core, class Sync = dependent<std_sync, Core>>
using flight_wait = wait_awaiter<basic_one_shot<Sync>, plain_node<Sync>>;

template <class Core, class K, class Value>
class load_awaiter {
 public:
  load_awaiter(const wait_options& options, Core& core, K&& key)
      : options_{options}, core_{core}, key_{std::forward<K>(key)}, wanted_{core} {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }

  template <class Promise>
  [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> waiting) {
    const std::stop_token stop = options_.stop ? *options_.stop : std::stop_token{stop_token_of(waiting.promise())};
    return join(stop) && wait_->await_suspend(waiting);  // the last touch
  }
  /// As that of `awaiting` (core/detail/async_wait.hpp).
  template <class Waiter>
  [[nodiscard]] bool begin(Waiter& waiter, const std::stop_token& stop) {
    return join(options_.stop ? *options_.stop : stop) && wait_->begin(waiter, stop);  // the last touch
  }

  result<Value> await_resume() {
    if (wait_) {
      const result<void> ended = wait_->await_resume();
      if (!ended) {
        wanted_.give_up();
        return ended.error();
      }
    }
    if (!wanted_) return refused_;
    return wanted_.template take<Value>();
  }

 private:
  // Whether there is something to wait for.
  bool join(const std::stop_token& stop) {
    if (stop.stop_requested()) {
      refused_ = errc::cancelled;
      return false;
    }
    if (!wanted_.join(key_, stop == core_.token() ? &core_.token() : nullptr, refused_)) return false;
    if (wanted_->ready().is_set() && !options_.scheduler) return false;
    wait_.emplace(options_, wanted_->ready());
    return true;
  }

  const wait_options& options_;
  Core& core_;
  K key_;
  wanted_flight<Core> wanted_;
  std::error_code refused_;
  std::optional<flight_wait<Core>> wait_;
};

/// Lazy: nothing is asked for before it is awaited, once.
template <class Core, class K, class Value>
class [[nodiscard]] load_operation : public sending<load_operation<Core, K, Value>> {
 public:
  load_operation(Core& core, K key) : core_{&core}, key_{std::move(key)} {}
  load_awaiter<Core, K, Value> operator co_await() && { return {options_, *core_, std::move(key_)}; }
  [[nodiscard]] wait_options& options() noexcept { return options_; }

 private:
  Core* core_;
  K key_;
  wait_options options_;
};

template <class Value, class Core, class K>
result<Value> load_until(Core& core, const K& key, const std::stop_token& stop, const deadline& limit) {
  if (stop.stop_requested()) return errc::cancelled;
  std::error_code refused;
  wanted_flight<Core> wanted{core};
  if (!wanted.join(key, nullptr, refused)) return refused;
  wanted->assist(waiter_kind::thread);
  blocking_wait<basic_one_shot<>, plain_node<std_sync>> wait{wanted->ready()};
  const outcome how = wait.run(stop, limit);
  if (how != outcome::granted) return to_result(how).error();
  return wanted.template take<Value>();
}

}  // namespace penstock::inline v0_1::detail
