// penstock/channel/select.hpp: waits for several channels, timers and stop requests at once; exactly one of them happens.
//
//   select(on_pop(requests, [&](result<request> r) { r ? serve(*r) : finish(); }),
//          on_push(replies, std::move(next), [&](result<void> r) { … }),
//          on_timeout(50ms, [&] { flush(); }),
//          on_stop(token, [&] { leave(); }));
//
//   auto s = co_await async_select(pop_case(requests), push_case(replies, std::move(next)), timeout_case(50ms));
//   if (!s) co_return s.error();                      // the coroutine was stopped
//   if (s->index() == 0) serve(s->get<0>());          // a result<request>
//
// Invariants     one case happens, the others leave no trace: no item is taken, pushed or moved from for them, and whoever was to be woken
//                by a wake that reached them is woken. A closed channel is an event that its case gets, as errc::closed.
// Precedence     1. stop that was requested before the call. 2. Whatever a channel offers, also when a deadline has passed meanwhile. Among channels
//                that offer something the look begins at a random one, so of n cases none is passed over with more than (n-1)/n
//                probability each time. 3. Deadlines and stop requests. 4. otherwise.
// Fairness       who selects stands in the line of each channel, and keeps its place there while others disturb it in vain.
// Thread safety  as the channels'. Selects over the same channels, in any order of the cases, do not deadlock: one lock is held at a time.
// Cancellation   on_stop, stop_case; a coroutine's own stop token and with_timeout end the wait with an error, and nothing happened then.
// Cost           n channels: up to n looks; to wait, one lock per channel to enter its line and one to leave it. A timeout costs a clock reading
//                only when nothing is there at once, and no timer in a thread on the steady clock. Waiting does not allocate.
// Algorithm      after Go's selectgo (pass over, enqueue on all, park, dequeue from all), without its lock of all channels at a time: a
//                channel here says "look again" and hands nothing over, so several may do so and the surplus is passed on.
#pragma once

#include <cassert>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/channel/detail/select_waits.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class C>
concept selectable_channel = requires {
  typename C::sync;
  typename C::value_type;
  typename C::push_node;
  typename C::pop_node;
};
// What owns a channel that others pop from, such as a ticker.
template <class C>
concept has_channel = requires(C& c) {
  { c.channel() } -> std::same_as<typename C::channel_type&>;
} && selectable_channel<typename C::channel_type>;

template <class C>
  requires selectable_channel<C> || has_channel<C>
auto& channel_of(C& c) noexcept {
  if constexpr (selectable_channel<C>) {
    return c;
  } else {
    return c.channel();
  }
}
template <class C>
using channel_in = std::remove_reference_t<decltype(channel_of(std::declval<C&>()))>;
template <class C>
using item_of = typename C::value_type;

/// A case of select(), with what it calls.
template <class Spec, class F>
struct select_branch {
  using spec_type = Spec;
  Spec spec;
  F call;
};
template <class B>
inline constexpr bool is_branch = false;
template <class Spec, class F>
inline constexpr bool is_branch<select_branch<Spec, F>> = true;

template <class S>
inline constexpr bool is_awaited_case = false;
template <class C>
inline constexpr bool is_awaited_case<pop_spec<C>> = alignof(item_of<C>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__;
template <class C>
inline constexpr bool is_awaited_case<push_spec<C>> = true;
template <class C>
inline constexpr bool is_awaited_case<push_copy_spec<C>> = alignof(item_of<C>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__;
template <>
inline constexpr bool is_awaited_case<stop_spec<std_sync>> = true;
template <>
inline constexpr bool is_awaited_case<time_spec<std_sync>> = true;

template <class... Specs>
void check_enabled(const Specs&... specs) {
  if (!(specs.enabled || ...)) throw std::invalid_argument{"penstock::select: every case is switched off by when(false, ...)"};
}

template <class Case, class F>
void call_branch(Case& happened, F& f) {
  if constexpr (Case::kind == case_kind::channel) {
    static_cast<void>(std::invoke(std::move(f), happened.take_result()));
  } else {
    static_cast<void>(std::invoke(std::move(f)));
  }
}

}  // namespace detail

/// Pops from a channel, or from what has one: `f` takes the result<T>, errc::closed once the channel is closed and drained.
template <class C, std::invocable<result<typename detail::channel_in<C>::value_type>> F>
[[nodiscard]] detail::select_branch<detail::pop_spec<detail::channel_in<C>>, F> on_pop(C& from, F f) {
  return {{&detail::channel_of(from)}, std::move(f)};
}
/// Pushes `item`, which is moved from only if this is what happens, and successfully: `f` takes the result<void>, errc::closed if the channel is closed.
template <detail::selectable_channel C, std::invocable<result<void>> F>
[[nodiscard]] detail::select_branch<detail::push_spec<C>, F> on_push(C& to, detail::item_of<C>&& item, F f) {
  return {{&to, &item}, std::move(f)};
}
/// The same with a copy of `item`, which is made even if another case happens.
template <detail::selectable_channel C, std::invocable<result<void>> F>
  requires std::copy_constructible<detail::item_of<C>>
[[nodiscard]] detail::select_branch<detail::push_copy_spec<C>, F> on_push(C& to, const detail::item_of<C>& item, F f) {
  return {{&to, &item}, std::move(f)};
}
/// Calls `f` when nothing else happened for `timeout`. Zero and less: at once, if no channel offers something. What overflows means never.
template <class Rep, class Period, std::invocable F>
[[nodiscard]] detail::select_branch<detail::time_spec<detail::std_sync>, F> on_timeout(std::chrono::duration<Rep, Period> timeout,
                                                                                       F f) {
  return {{.timeout = detail::saturating_nanoseconds(timeout)}, std::move(f)};
}
/// The same by a given clock, which must outlive the call.
template <class Rep, class Period, clock Clock, std::invocable F>
[[nodiscard]] detail::select_branch<detail::time_spec<detail::std_sync>, F> on_timeout(std::chrono::duration<Rep, Period> timeout,
                                                                                       Clock& c, F f) {
  return {{.timeout = detail::saturating_nanoseconds(timeout), .timers = &detail::timers_of(c)}, std::move(f)};
}
/// Calls `f` at a point in time.
template <std::invocable F>
[[nodiscard]] detail::select_branch<detail::time_spec<detail::std_sync>, F> on_deadline(deadline at, F f) {
  return {{.at = at}, std::move(f)};
}
/// Calls `f` when stop is requested. Comes before everything else if it was before the call.
template <std::invocable F>
[[nodiscard]] detail::select_branch<detail::stop_spec<detail::std_sync>, F> on_stop(std::stop_token stop, F f) {
  return {{std::move(stop)}, std::move(f)};
}
/// Calls `f` if nothing else happens at once: a select with this does not wait.
template <std::invocable F>
[[nodiscard]] detail::select_branch<detail::otherwise_spec, F> otherwise(F f) {
  return {{}, std::move(f)};
}

/// The branch or the case as it is, or one that does not happen: `when(a_is_open, on_pop(a, f))`, `when(a_is_open, pop_case(a))`. A channel that was
/// found closed would happen again each time; this leaves it out.
template <class Branch>
  requires detail::is_branch<Branch>
[[nodiscard]] Branch when(bool condition, Branch branch) {
  branch.spec.enabled = branch.spec.enabled && condition;
  return branch;
}
template <class Case>
  requires detail::is_awaited_case<Case>
[[nodiscard]] Case when(bool condition, Case which) {
  which.enabled = which.enabled && condition;
  return which;
}

/// Waits until one of the branches can happen, lets it happen, calls its function and returns its index. The function runs when the select is
/// over: no lock is held, nothing is linked, and it may select again. What it throws passes; so does what moving an item throws, and what
/// starting a timer throws (then nothing happened). Throws std::invalid_argument if every branch is switched off.
template <class... Branches>
  requires(sizeof...(Branches) > 0 && (detail::is_branch<std::remove_cvref_t<Branches>> && ...))
std::size_t select(Branches&&... branches) {
  detail::check_enabled(branches.spec...);
  detail::blocking_selection<detail::std_sync, typename std::remove_cvref_t<Branches>::spec_type...> selection{branches.spec...};
  const std::size_t happened = selection.run();
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    static_cast<void>(((I == happened && (detail::call_branch(selection.template at<I>(), branches.call), true)) || ...));
  }(std::index_sequence_for<Branches...>{});
  return happened;
}

/// The cases of async_select(). They refer to the channel, and push_case to the item, which live until the select is over.
template <class C>
[[nodiscard]] detail::pop_spec<detail::channel_in<C>> pop_case(C& from) noexcept {
  return {&detail::channel_of(from)};
}
template <detail::selectable_channel C>
[[nodiscard]] detail::push_spec<C> push_case(C& to, detail::item_of<C>&& item) noexcept {
  return {&to, &item};
}
/// A copy is pushed; it is made when the select is awaited.
template <detail::selectable_channel C>
  requires std::copy_constructible<detail::item_of<C>>
[[nodiscard]] detail::push_copy_spec<C> push_case(C& to, const detail::item_of<C>& item) noexcept {
  return {&to, &item};
}
template <class Rep, class Period>
[[nodiscard]] detail::time_spec<detail::std_sync> timeout_case(std::chrono::duration<Rep, Period> timeout) noexcept {
  return {.timeout = detail::saturating_nanoseconds(timeout)};
}
template <class Rep, class Period, clock Clock>
[[nodiscard]] detail::time_spec<detail::std_sync> timeout_case(std::chrono::duration<Rep, Period> timeout, Clock& c) {
  return {.timeout = detail::saturating_nanoseconds(timeout), .timers = &detail::timers_of(c)};
}
[[nodiscard]] inline detail::time_spec<detail::std_sync> deadline_case(deadline at) noexcept { return {.at = at}; }
[[nodiscard]] inline detail::stop_spec<detail::std_sync> stop_case(std::stop_token stop) noexcept { return {std::move(stop)}; }

/// Which case of an async_select() happened, and with what: a result<T> for pop_case, a result<void> for the others.
template <class... Results>
class selected {
 public:
  template <std::size_t I, class R>
  selected(std::in_place_index_t<I> which, R&& r) : result_{which, std::forward<R>(r)} {}

  [[nodiscard]] std::size_t index() const noexcept { return result_.index(); }
  /// Precondition: I == index().
  template <std::size_t I>
  [[nodiscard]] auto& get() & noexcept {
    return assert(index() == I), *std::get_if<I>(&result_);
  }
  template <std::size_t I>
  [[nodiscard]] auto&& get() && noexcept {
    return assert(index() == I), std::move(*std::get_if<I>(&result_));
  }

 private:
  std::variant<Results...> result_;
};

namespace detail {

template <class... Specs>
class select_awaiter : public awaiting<completion_selection<std_sync, any_scheduler, Specs...>> {
 public:
  using base = completion_selection<std_sync, any_scheduler, Specs...>;
  using value = selected<typename case_of<Specs>::result_type...>;
  using awaiting<base>::awaiting;

  result<value> await_resume() {
    this->disarm();
    if (this->chosen() == base::stopped) return errc::cancelled;
    if (this->chosen() == base::timed_out) return errc::timeout;
    return value_of<0>();
  }

 private:
  template <std::size_t I>
  result<value> value_of() {
    if constexpr (I + 1 < sizeof...(Specs)) {
      if (this->chosen() != I) return value_of<I + 1>();
    }
    return result<value>{std::in_place, std::in_place_index<I>, this->template at<I>().take_result()};
  }
};

/// A select that has not begun: await it, once. Dropping it does nothing.
template <class... Specs>
class [[nodiscard]] async_select_operation : public sending<async_select_operation<Specs...>> {
 public:
  explicit async_select_operation(Specs... specs) : specs_{std::move(specs)...} {
    std::apply([](const Specs&... s) { check_enabled(s...); }, specs_);
  }

  select_awaiter<Specs...> operator co_await() && {
    return std::apply([this](const Specs&... specs) { return select_awaiter<Specs...>{options_, specs...}; }, specs_);
  }

  [[nodiscard]] wait_options& options() noexcept { return options_; }

 private:
  std::tuple<Specs...> specs_;
  wait_options options_;
};

}  // namespace detail

/// `co_await async_select(…)` is a `result<selected<…>>`: the case that happened; errc::cancelled if stop was requested of the coroutine,
/// errc::timeout at the limit of `| with_timeout`, `| with_deadline`; then nothing happened. `| with_stop` and `| via` work as for every wait.
/// Throws std::invalid_argument if every case is switched off. Items of a stricter alignment than operator new gives are refused, as by async_pop().
template <class... Specs>
  requires(sizeof...(Specs) > 0 && sizeof...(Specs) + 2 <= detail::most_cases && (detail::is_awaited_case<Specs> && ...))
auto async_select(Specs... cases) {
  return detail::async_select_operation<Specs...>{std::move(cases)...};
}

}  // namespace penstock::inline v0_1
