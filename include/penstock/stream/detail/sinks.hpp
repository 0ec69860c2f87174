// penstock/stream/detail/sinks.hpp: where the items of a pipeline go: to a function, to an output iterator, into a channel or a broadcast.
//
// put(item, context, meter) is called with an rvalue at the end of a pipeline, with a const lvalue by tee. False: it cannot go on, and has told the
// context why. close() says that nothing will be put any more, for this is the regular end; finish(context), when all has ended, that it has, in
// whatever way.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/stream/detail/ends.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/stage_meter.hpp>

namespace penstock::inline v0_1::detail {

template <class F>
class function_sink {
 public:
  explicit function_sink(F f) : f_(std::move(f)) {}

  template <class T>
  bool put(T&& item, pipeline_context&, stage_meter& meter) {
    meter.work([&] { static_cast<void>(std::invoke(f_, std::forward<T>(item))); });
    return true;
  }
  void close() noexcept {}
  void finish(const pipeline_context&) noexcept {}

 private:
  F f_;
};

template <class Out>
class iterator_sink {
 public:
  explicit iterator_sink(Out out) : out_{std::move(out)} {}

  template <class T>
  bool put(T&& item, pipeline_context&, stage_meter& meter) {
    meter.work([&] { *out_++ = std::forward<T>(item); });
    return true;
  }
  void close() noexcept {}
  void finish(const pipeline_context&) noexcept {}

 private:
  Out out_;
};

/// `Target` is a reference, or the pipeline's own handle.
template <class Target>
class channel_sink {
  using target = std::remove_reference_t<Target>;
  using moved = typename target::value_type;

 public:
  channel_sink(Target&& t, bool closes) : target_{std::forward<Target>(t)}, closes_{closes} {}

  template <class T>
  bool put(T&& item, pipeline_context& context, stage_meter& meter) {
    moved moving(std::forward<T>(item));
    result<void> went_in = put_now(moving);
    if (!went_in && went_in.error() == errc::full) {
      went_in = meter.waiting_out([&] { return put_when_possible(moving, context.limits()); });
    }
    if (went_in) return true;
    context.fail(went_in.error());  // without effect if it is only because the pipeline ends
    return false;
  }
  void close() noexcept {
    if (!closes_) return;
    // One's own handle is no more than given up: others may have one, too.
    if (std::is_lvalue_reference_v<Target> && target_.get() != nullptr) close_end(*target_.get(), nullptr, errc::closed);
    target_.release();
  }
  void finish(const pipeline_context& context) noexcept {
    if (!context.failed()) {
      close();
    } else if (closes_ && target_.get() != nullptr) {
      context.close(*target_.get());
    }
    target_.release();
  }

 private:
  result<void> put_now(moved& item) {
    if constexpr (requires(target& t) { t.try_push(std::move(item)); }) {
      return target_.get()->try_push(std::move(item));
    } else if constexpr (requires(target& t) { t.try_publish(std::move(item)); }) {
      return target_.get()->try_publish(std::move(item));
    } else {
      return errc::full;
    }
  }
  result<void> put_when_possible(moved& item, const wait_limits& limits) {
    if constexpr (pushable<target>) {
      return target_.get()->push(limits, std::move(item));
    } else {
      return target_.get()->publish(limits, std::move(item));
    }
  }

  held<Target> target_;
  bool closes_;
};

}  // namespace penstock::inline v0_1::detail
