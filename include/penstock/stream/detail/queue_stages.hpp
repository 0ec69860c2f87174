// penstock/stream/detail/queue_stages.hpp: stages with a bounded queue, and with a thread of their own for each stage that feeds it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/stage_meter.hpp>

namespace penstock::inline v0_1::detail {

/// The queue: `capacity` items at the most are between those who feed it and the one who takes. Of a roomy one the taker fetches several at
/// a time, without waiting for them, and keeps them at hand; they count.
template <class T>
class stage_queue {
 public:
  stage_queue(std::size_t capacity, std::string&& name)
      : capacity_{capacity},
        fetch_{capacity < 32    ? 1
               : capacity < 128 ? capacity / 4
                                : 32},
        meter_{std::move(name)} {}

  void open(pipeline_context& c) {
    context_ = &c;
    channel_ = std::make_unique<channel<T>>(capacity_ - (fetch_ - 1));
    at_hand_.reserve(fetch_ > 1 ? fetch_ : 0);
  }
  void drop() noexcept {
    channel_.reset();
    at_hand_.clear();
    taken_ = 0;
  }
  void describe(report_builder& b, std::uint64_t in) const { b.add(meter_.read(stage_kind::queue), in); }

  /// Moves all of a stage's items in. On a thread of its own; `feeders` are there, and the last one to end closes.
  template <class Up>
  void feed(Up& up, std::atomic<std::size_t>& feeders) noexcept {
    try {
      for (std::optional<T> item; up.next(item) == flow::item; item.reset()) {
        if (!push(*std::move(item))) break;
      }
    } catch (...) {
      context_->fail(std::current_exception());  // before closing: the taker then sees that this is no regular end
    }
    // acq_rel: orders the feeders' ends before the closing
    if (feeders.fetch_sub(1, std::memory_order_acq_rel) == 1) channel_->close();
  }

  flow take(std::optional<T>& out, const deadline& until) {
    if (context_->stopped()) return flow::stopped;
    if (taken_ == at_hand_.size()) {
      if (const flow f = fetch(out, until); f != flow::item || fetch_ == 1) return f;
    }
    out.emplace(std::move(at_hand_[taken_++]));
    meter_.count_out();
    return flow::item;
  }

 private:
  bool push(T&& item) {
    result<void> pushed = channel_->try_push(std::move(item));
    if (pushed) return true;
    if (pushed.error() == errc::full) {
      pushed = meter_.waiting_out([&] { return channel_->push(context_->limits(), std::move(item)); });
    }
    return pushed.has_value();
  }

  flow fetch(std::optional<T>& out, const deadline& until) {
    const wait_limits limited{.stop = until.is_never() ? std::stop_token{} : context_->limits().stop, .deadline = until};
    const wait_limits& limits = until.is_never() ? context_->limits() : limited;
    const auto pop = [&]() -> std::error_code {
      if (fetch_ > 1) {
        at_hand_.clear();
        taken_ = 0;
        return channel_->pop_n(std::back_inserter(at_hand_), fetch_, limits).error;
      }
      result<T> item = channel_->pop(limits);
      if (!item) return item.error();
      out.emplace(*std::move(item));
      meter_.count_out();
      return {};
    };
    const bool waits = channel_->empty() && !channel_->is_closed();
    const std::error_code error = waits ? meter_.waiting_in(pop) : pop();
    if (!error) return flow::item;
    if (error == errc::timeout) return flow::timeout;
    return error == errc::closed && !context_->stopped() ? flow::ended : flow::stopped;
  }

  std::size_t capacity_;
  std::size_t fetch_;
  stage_meter meter_;
  pipeline_context* context_ = nullptr;
  std::unique_ptr<channel<T>> channel_;
  std::vector<T> at_hand_;
  std::size_t taken_ = 0;  // of those at hand
};

/// One stage or several in front, a thread for each. One: buffer. Several: merge.
template <class... Up>
class queue_stage {
 public:
  using value_type = typename std::tuple_element_t<0, std::tuple<Up...>>::value_type;

  queue_stage(std::size_t capacity, std::string&& name, Up&&... up) : up_{std::move(up)...}, queue_{capacity, std::move(name)} {}
  // Before it begins.
  queue_stage(queue_stage&& other) : up_{std::move(other.up_)}, queue_{std::move(other.queue_)} {}

  void start(pipeline_context& c) {
    queue_.open(c);
    std::apply([&c](Up&... up) { (up.start(c), ...); }, up_);
    std::apply([&](Up&... up) { (c.start_thread([this, &up] { queue_.feed(up, feeders_); }), ...); }, up_);
  }
  void finish(const pipeline_context& c) noexcept {
    queue_.drop();
    std::apply([&c](Up&... up) { (up.finish(c), ...); }, up_);
  }
  void describe(report_builder& b) const {
    std::uint64_t in = 0;
    std::apply([&](const Up&... up) { ((up.describe(b), in += b.given(), b.next_group()), ...); }, up_);
    queue_.describe(b, in);
  }
  [[nodiscard]] bool would_deadlock() const noexcept {
    return std::apply([](const Up&... up) { return (up.would_deadlock() || ...); }, up_);
  }

  flow next(std::optional<value_type>& out) { return queue_.take(out, {}); }
  flow next_until(std::optional<value_type>& out, const deadline& until) { return queue_.take(out, until); }

 private:
  std::tuple<Up...> up_;
  stage_queue<value_type> queue_;
  std::atomic<std::size_t> feeders_{sizeof...(Up)};
};

}  // namespace penstock::inline v0_1::detail
