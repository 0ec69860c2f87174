// penstock/stream/detail/fused_stages.hpp: stages that run on the thread of who takes from them.
//
// Each one pulls from the stage before it, a member of known type, so that a chain of them compiles into one loop.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/stage_meter.hpp>

namespace penstock::inline v0_1::detail {

template <class Up>
concept timed_stage =
    requires(Up& up, std::optional<typename Up::value_type>& out, const deadline& until) { up.next_until(out, until); };

template <class Up>
class fused_stage {
 public:
  using input = typename Up::value_type;

  void start(pipeline_context& c) {
    context_ = &c;
    up_.start(c);
  }
  void finish(const pipeline_context& c) noexcept { up_.finish(c); }
  void describe(report_builder& b) const {
    up_.describe(b);
    b.add(meter_.read(stage_kind::step), b.given());
  }
  [[nodiscard]] bool would_deadlock() const noexcept { return up_.would_deadlock(); }

 protected:
  fused_stage(Up&& up, std::string&& name) : up_{std::move(up)}, meter_{std::move(name)} {}

  Up up_;
  pipeline_context* context_ = nullptr;
  stage_meter meter_;
};

template <class Up, class F>
class map_stage : public fused_stage<Up> {
 public:
  using typename fused_stage<Up>::input;
  static_assert(std::invocable<F&, input>, "map: the function cannot be called with the items of the stage before it");
  using value_type = std::remove_cvref_t<std::invoke_result_t<F&, input>>;
  static_assert(!std::is_void_v<value_type>, "map: the function returns nothing; tee() and to() take such functions");

  map_stage(Up&& up, std::string&& name, F&& f) : fused_stage<Up>{std::move(up), std::move(name)}, f_(std::move(f)) {}

  flow next(std::optional<value_type>& out) {
    std::optional<input> in;
    const flow f = this->up_.next(in);
    if (f != flow::item) return f;
    this->meter_.work([&] { out.emplace(std::invoke(f_, *std::move(in))); });
    this->meter_.count_out();
    return f;
  }

 private:
  F f_;
};

template <class Up, class P>
class filter_stage : public fused_stage<Up> {
 public:
  using value_type = typename Up::value_type;
  static_assert(std::predicate<P&, const value_type&>, "filter: not a predicate of the items of the stage before it");

  filter_stage(Up&& up, std::string&& name, P&& p) : fused_stage<Up>{std::move(up), std::move(name)}, p_(std::move(p)) {}

  flow next(std::optional<value_type>& out) {
    for (;;) {
      const flow f = this->up_.next(out);
      if (f != flow::item) return f;
      if (this->meter_.work([&] { return static_cast<bool>(std::invoke(p_, std::as_const(*out))); })) break;
    }
    this->meter_.count_out();
    return flow::item;
  }

 private:
  P p_;
};

template <class Up, class F>
class flat_map_stage : public fused_stage<Up> {
 public:
  using typename fused_stage<Up>::input;
  static_assert(std::invocable<F&, input>, "flat_map: the function cannot be called with the items of the stage before it");
  using range = std::remove_cvref_t<std::invoke_result_t<F&, input>>;
  static_assert(std::ranges::input_range<range>, "flat_map: the function does not return a range");
  using value_type = std::ranges::range_value_t<range>;

  flat_map_stage(Up&& up, std::string&& name, F&& f) : fused_stage<Up>{std::move(up), std::move(name)}, f_(std::move(f)) {}
  // Before it begins there is no range.
  flat_map_stage(flat_map_stage&& other) : fused_stage<Up>{std::move(other)}, f_(std::move(other.f_)) {}

  flow next(std::optional<value_type>& out) {
    for (;;) {
      if (this->context_->stopped()) return flow::stopped;
      if (!range_) {
        const flow f = this->up_.next(in_);
        if (f != flow::item) return f;
      }
      if (this->meter_.work([&] { return advance(out); })) break;
      drop();
    }
    this->meter_.count_out();
    return flow::item;
  }

  void finish(const pipeline_context& c) noexcept {
    drop();
    fused_stage<Up>::finish(c);
  }

 private:
  bool advance(std::optional<value_type>& out) {
    if (at_) {
      ++*at_;
    } else {
      range_.emplace(std::invoke(f_, *std::move(in_)));
      at_.emplace(std::ranges::begin(*range_));
    }
    if (*at_ == std::ranges::end(*range_)) return false;
    if constexpr (std::ranges::view<range> && std::ranges::forward_range<range>) {
      out.emplace(**at_);  // of elements that may be somebody else's
    } else {
      out.emplace(std::ranges::iter_move(*at_));
    }
    return true;
  }
  void drop() noexcept {
    at_.reset();
    range_.reset();
    in_.reset();
  }

  F f_;
  std::optional<input> in_;  // the range may refer to it
  std::optional<range> range_;
  std::optional<std::ranges::iterator_t<range>> at_;
};

/// `Linger` says until when a batch that has begun waits for more; never, if there is nothing to wait for.
template <class Up, class Linger>
class batch_stage : public fused_stage<Up> {
 public:
  using typename fused_stage<Up>::input;
  using value_type = std::vector<input>;

  batch_stage(Up&& up, std::string&& name, std::size_t size, Linger linger)
      : fused_stage<Up>{std::move(up), std::move(name)}, size_{size}, linger_{std::move(linger)} {}

  flow next(std::optional<value_type>& out) {
    if (end_ != flow::item) return end_;
    std::optional<input> in;
    end_ = this->up_.next(in);
    if (end_ != flow::item) return end_;
    std::vector<input>& items = out.emplace();
    items.reserve(size_ < longest_reserve ? size_ : longest_reserve);
    items.push_back(*std::move(in));
    for (const deadline until = linger_(); items.size() < size_;) {
      in.reset();
      const flow f = more(in, until);
      if (f == flow::timeout) break;
      if (f == flow::stopped) {
        out.reset();
        return end_ = f;
      }
      if (f == flow::ended) {
        end_ = f;
        break;
      }
      items.push_back(*std::move(in));
    }
    this->meter_.count_out();
    return flow::item;
  }

 private:
  static constexpr std::size_t longest_reserve = 4096;

  flow more(std::optional<input>& in, const deadline& until) {
    if constexpr (timed_stage<Up>) {
      return this->up_.next_until(in, until);
    } else {
      return this->up_.next(in);
    }
  }

  std::size_t size_;
  Linger linger_;
  flow end_ = flow::item;
};

template <class Up, class Limiter>
class throttle_stage : public fused_stage<Up> {
 public:
  using value_type = typename Up::value_type;

  throttle_stage(Up&& up, std::string&& name, Limiter& l) : fused_stage<Up>{std::move(up), std::move(name)}, limiter_{&l} {}

  flow next(std::optional<value_type>& out) {
    const flow f = this->up_.next(out);
    if (f != flow::item) return f;
    const result<void> turn = this->meter_.work([&] { return limiter_->acquire(this->context_->limits()); });
    if (!turn) {
      out.reset();
      this->context_->fail(turn.error());  // without effect if it is only because the pipeline ends
      return flow::stopped;
    }
    this->meter_.count_out();
    return f;
  }

 private:
  Limiter* limiter_;
};

/// `Sink` takes a const item and tells whether to go on.
template <class Up, class Sink>
class tee_stage : public fused_stage<Up> {
 public:
  using value_type = typename Up::value_type;

  tee_stage(Up&& up, std::string&& name, Sink&& sink) : fused_stage<Up>{std::move(up), std::move(name)}, sink_(std::move(sink)) {}

  flow next(std::optional<value_type>& out) {
    const flow f = this->up_.next(out);
    // At once, for what reads from it may be a part of the same pipeline. If the pipeline fails, finish() closes, with the reason.
    if (f == flow::ended && !this->context_->stopped()) sink_.close();
    if (f != flow::item) return f;
    if (!sink_.put(std::as_const(*out), *this->context_, this->meter_)) return flow::stopped;
    this->meter_.count_out();
    return f;
  }
  void finish(const pipeline_context& c) noexcept {
    sink_.finish(c);
    fused_stage<Up>::finish(c);
  }

 private:
  Sink sink_;
};

/// The end of a pipeline.
template <class Up, class Sink>
class sink_stage : public fused_stage<Up> {
 public:
  sink_stage(Up&& up, std::string&& name, Sink&& sink)
      : fused_stage<Up>{std::move(up), std::move(name)}, sink_(std::move(sink)) {}

  /// Runs the pipeline on this thread, to its end or until it is stopped.
  void drain() {
    std::optional<typename Up::value_type> item;
    for (;;) {
      const flow f = this->up_.next(item);
      if (f == flow::ended) return this->context_->complete();
      if (f == flow::stopped || !sink_.put(*std::move(item), *this->context_, this->meter_)) {
        return this->context_->fail(errc::cancelled);  // without effect: who stopped has said why
      }
      item.reset();
    }
  }
  void finish(const pipeline_context& c) noexcept {
    sink_.finish(c);
    fused_stage<Up>::finish(c);
  }
  void describe(report_builder& b) const {
    this->up_.describe(b);
    b.add(this->meter_.read(stage_kind::sink), b.given());
  }

 private:
  Sink sink_;
};

}  // namespace penstock::inline v0_1::detail
