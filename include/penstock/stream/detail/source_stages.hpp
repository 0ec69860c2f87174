// penstock/stream/detail/source_stages.hpp: where a pipeline's items come from.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/stream/detail/ends.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/stage_meter.hpp>

namespace penstock::inline v0_1::detail {

class source_base {
 public:
  void start(pipeline_context& c) noexcept { context_ = &c; }
  void finish(const pipeline_context&) noexcept {}
  template <class = void>
  void describe(report_builder& b) const {
    b.add(meter_.read(stage_kind::source), 0);
  }
  [[nodiscard]] bool would_deadlock() const noexcept { return false; }

 protected:
  explicit source_base(const char* name) : meter_{name} {}

  pipeline_context* context_ = nullptr;
  stage_meter meter_;
};

/// `Owned`: the elements are the pipeline's own, and are moved out.
template <class View, bool Owned>
class range_source : public source_base {
 public:
  using value_type = std::ranges::range_value_t<View>;

  explicit range_source(View view) : source_base{"from range"}, view_{std::move(view)} {}

  flow next(std::optional<value_type>& out) {
    if (context_->stopped()) return flow::stopped;
    const bool there = meter_.work([&] {
      if (at_) {
        ++*at_;
      } else {
        at_.emplace(std::ranges::begin(*view_));
      }
      if (*at_ == std::ranges::end(*view_)) return false;
      if constexpr (Owned) {
        out.emplace(std::ranges::iter_move(*at_));
      } else {
        out.emplace(**at_);
      }
      return true;
    });
    if (!there) return flow::ended;
    meter_.count_out();
    return flow::item;
  }
  // A generator ends, a file is closed, when the pipeline has ended and not when it is destroyed.
  void finish(const pipeline_context&) noexcept {
    at_.reset();
    view_.reset();
  }

 private:
  std::optional<View> view_;
  std::optional<std::ranges::iterator_t<View>> at_;
};

/// `Source` is a reference, or the pipeline's own handle.
template <class Source>
class channel_source : public source_base {
  using source = std::remove_reference_t<Source>;

 public:
  using value_type = typename popped<source>::value_type;

  channel_source(Source&& s, bool closes) : source_base{"from channel"}, source_{std::forward<Source>(s)}, closes_{closes} {}

  flow next(std::optional<value_type>& out) { return next_until(out, {}); }
  flow next_until(std::optional<value_type>& out, const deadline& until) {
    if (context_->stopped()) return flow::stopped;
    source& from = *source_.get();
    if constexpr (requires { from.try_pop(); }) {
      if (result<value_type> item = from.try_pop(); item || item.error() != errc::empty) return give(std::move(item), out, {});
    }
    return give(meter_.waiting_in([&] {
      if (until.is_never()) return from.pop(context_->limits());
      return from.pop(wait_limits{.stop = context_->limits().stop, .deadline = until});
    }),
                out, until);
  }
  // Whoever pushes would wait for ever.
  void finish(const pipeline_context& context) noexcept {
    if (closes_ && context.failed()) context.close(*source_.get());
    source_.release();
  }

 private:
  flow give(result<value_type>&& item, std::optional<value_type>& out, const deadline& until) {
    if (item) {
      out.emplace(*std::move(item));
      meter_.count_out();
      return flow::item;
    }
    if (item.error() == errc::timeout && !until.is_never()) return flow::timeout;
    return context_->no_more(item.error());
  }

  held<Source> source_;
  bool closes_;
};

template <class F>
concept optional_source = std::invocable<F&> && requires(F& f) {
  { f().has_value() } -> std::same_as<bool>;
  *f();
};
template <class F>
concept stoppable_source = std::invocable<F&, std::stop_token> && requires(F& f, std::stop_token t) {
  { f(t).has_value() } -> std::same_as<bool>;
  *f(t);
};

template <class F>
class function_source : public source_base {
  static auto ask(F& f, const std::stop_token& stop) {
    if constexpr (stoppable_source<F>) {
      return f(stop);
    } else {
      return f();
    }
  }

 public:
  using value_type = std::remove_cvref_t<decltype(*ask(std::declval<F&>(), {}))>;

  explicit function_source(F f) : source_base{"from function"}, f_(std::move(f)) {}

  flow next(std::optional<value_type>& out) {
    if (context_->stopped()) return flow::stopped;
    auto item = meter_.work([&] { return ask(f_, context_->limits().stop); });
    if (!item.has_value()) return no_more(item);
    out.emplace(*std::move(item));
    meter_.count_out();
    return flow::item;
  }

 private:
  template <class Item>
  flow no_more(const Item& item) {
    if constexpr (requires { item.error(); }) {
      using error = std::remove_cvref_t<decltype(item.error())>;
      static_assert(std::convertible_to<error, std::error_code> || std::same_as<error, std::exception_ptr>,
                    "from: the function's errors are neither a std::error_code nor a std::exception_ptr");
      if constexpr (std::convertible_to<error, std::error_code>) {
        return context_->no_more(item.error());
      } else {
        context_->fail(item.error());
        return flow::stopped;
      }
    } else {
      return flow::ended;
    }
  }

  F f_;
};

}  // namespace penstock::inline v0_1::detail
