// penstock/stream/detail/sinks.hpp: where the items of a pipeline go: to a function, to an output iterator, into a channel.
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

template <class Channel>
class channel_sink {
 public:
  channel_sink(Channel& c, bool closes) noexcept : channel_{&c}, closes_{closes} {}

  template <class T>
  bool put(T&& item, pipeline_context& context, stage_meter& meter) {
    typename Channel::value_type moving(std::forward<T>(item));
    result<void> pushed = channel_->try_push(std::move(moving));
    if (pushed) return true;
    if (pushed.error() == errc::full) {
      pushed = meter.waiting_out([&] { return channel_->push(context.limits(), std::move(moving)); });
      if (pushed) return true;
    }
    context.fail(pushed.error());  // without effect if it is only because the pipeline ends
    return false;
  }
  void close() noexcept {
    if (closes_) channel_->close();
  }
  void finish(const pipeline_context& context) noexcept {
    if (closes_) context.close(*channel_);
  }

 private:
  Channel* channel_;
  bool closes_;
};

}  // namespace penstock::inline v0_1::detail
