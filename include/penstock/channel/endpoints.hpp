// penstock/channel/endpoints.hpp: a channel that is owned by those who use it, and ends when one side has gone.
//
//   auto [requests_in, requests] = penstock::make_channel<request>(1024);
//   std::jthread reader{[in = std::move(requests_in)]() mutable { while (auto r = read()) if (!in.push(*std::move(r))) break; }};
//   for (request& r : requests) serve(r);   // until the last sender has gone, and everything is served
//
// Ownership      the handles share the channel; copying one counts. When the last sender has gone, the channel is closed: receivers drain it and
//                then get errc::closed. When the last receiver has gone, it is aborted: pushes get errc::closed and keep their item, and what
//                was inside is destroyed.
// Thread safety  as the channel; one handle belongs to one thread at a time, as a shared_ptr does. A wait or an operation that is begun through a
//                handle must end before that handle does.
// Allocation     one, for the channel, and the channel's own.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <stop_token>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class Channel>
struct owned_channel {
  template <class Argument>
  explicit owned_channel(Argument&& argument) : channel{std::forward<Argument>(argument)} {}

  void senders_gone() noexcept { channel.close(); }
  void receivers_gone() noexcept {
    channel.abort_into([](typename Channel::value_type&&) {});  // what was inside is destroyed
  }

  Channel channel;
  std::atomic<std::size_t> senders{1};
  std::atomic<std::size_t> receivers{1};
};

/// Counts as one while it lives.
template <class Channel, std::atomic<std::size_t> owned_channel<Channel>::* Count,
          void (owned_channel<Channel>::*Gone)() noexcept>
class endpoint {
 public:
  endpoint(const endpoint& other) noexcept : owned_{other.owned_} {
    // relaxed: who copies a handle keeps the count above zero meanwhile
    if (owned_ != nullptr) ((*owned_).*Count).fetch_add(1, std::memory_order_relaxed);
  }
  endpoint(endpoint&&) noexcept = default;
  endpoint& operator=(endpoint other) noexcept {
    std::swap(owned_, other.owned_);
    return *this;
  }
  ~endpoint() {
    // acq_rel: what was done through the other handles of this side comes before its end
    if (owned_ != nullptr && ((*owned_).*Count).fetch_sub(1, std::memory_order_acq_rel) == 1) ((*owned_).*Gone)();
  }

  /// The channel itself, for select and for what a handle does not offer. It lives as long as a handle of either side. Not after a move
  /// from this handle.
  [[nodiscard]] Channel& channel() const noexcept { return owned_->channel; }
  [[nodiscard]] bool is_closed() const noexcept { return channel().is_closed(); }
  [[nodiscard]] std::size_t size() const noexcept { return channel().size(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return channel().capacity(); }

 protected:
  explicit endpoint(std::shared_ptr<owned_channel<Channel>> owned) noexcept : owned_{std::move(owned)} {}

 private:
  std::shared_ptr<owned_channel<Channel>> owned_;
};

template <class Channel>
using sending_end = endpoint<Channel, &owned_channel<Channel>::senders, &owned_channel<Channel>::senders_gone>;
template <class Channel>
using receiving_end = endpoint<Channel, &owned_channel<Channel>::receivers, &owned_channel<Channel>::receivers_gone>;

}  // namespace detail

template <class T, channel_policy Policy = channel_policy::mpmc>
struct channel_ends;

/// Pushes, as the channel does.
template <class T, channel_policy Policy = channel_policy::mpmc>
class sender : public detail::sending_end<channel<T, Policy>> {
 public:
  using value_type = T;

  result<void> push(T&& item) const { return this->channel().push(std::move(item)); }
  result<void> push(const std::stop_token& stop, T&& item) const { return this->channel().push(stop, std::move(item)); }
  result<void> push(const wait_limits& limits, T&& item) const { return this->channel().push(limits, std::move(item)); }
  result<void> try_push(T&& item) const { return this->channel().try_push(std::move(item)); }
  template <class Rep, class Period>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, T&& item) const {
    return this->channel().try_push_for(timeout, std::move(item));
  }
  result<void> try_push_until(deadline until, T&& item) const { return this->channel().try_push_until(until, std::move(item)); }
  auto async_push(T&& item) const { return this->channel().async_push(std::move(item)); }

  /// A copy.
  result<void> push(const T& item) const
    requires std::copy_constructible<T>
  {
    return this->channel().push(item);
  }
  result<void> push(const std::stop_token& stop, const T& item) const
    requires std::copy_constructible<T>
  {
    return this->channel().push(stop, item);
  }
  result<void> push(const wait_limits& limits, const T& item) const
    requires std::copy_constructible<T>
  {
    return this->channel().push(limits, item);
  }
  result<void> try_push(const T& item) const
    requires std::copy_constructible<T>
  {
    return this->channel().try_push(item);
  }
  auto async_push(const T& item) const
    requires std::copy_constructible<T> && (alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__)
  {
    return this->channel().async_push(item);
  }

  template <std::ranges::input_range Range>
    requires std::same_as<std::ranges::range_value_t<Range>, T>
  range_result push_range(Range&& range, const wait_limits& limits = {}) const {
    return this->channel().push_range(std::forward<Range>(range), limits);
  }
  auto reserve(std::size_t places = 1, std::size_t weight = 0) const { return this->channel().reserve(places, weight); }
  auto reserve(const wait_limits& limits, std::size_t places = 1, std::size_t weight = 0) const {
    return this->channel().reserve(limits, places, weight);
  }
  auto try_reserve(std::size_t places = 1, std::size_t weight = 0) const { return this->channel().try_reserve(places, weight); }
  auto async_reserve(std::size_t places = 1, std::size_t weight = 0) const {
    return this->channel().async_reserve(places, weight);
  }

 private:
  friend channel_ends<T, Policy>;
  explicit sender(const std::shared_ptr<detail::owned_channel<channel<T, Policy>>>& owned) noexcept
      : detail::sending_end<channel<T, Policy>>{owned} {}
};

/// Pops, as the channel does.
template <class T, channel_policy Policy = channel_policy::mpmc>
class receiver : public detail::receiving_end<channel<T, Policy>> {
 public:
  using value_type = T;

  result<T> pop() const { return this->channel().pop(); }
  result<T> pop(const std::stop_token& stop) const { return this->channel().pop(stop); }
  result<T> pop(const wait_limits& limits) const { return this->channel().pop(limits); }
  result<T> try_pop() const { return this->channel().try_pop(); }
  template <class Rep, class Period>
  result<T> try_pop_for(std::chrono::duration<Rep, Period> timeout) const {
    return this->channel().try_pop_for(timeout);
  }
  result<T> try_pop_until(deadline until) const { return this->channel().try_pop_until(until); }
  auto async_pop() const { return this->channel().async_pop(); }

  template <std::output_iterator<T> Out>
  range_result pop_n(Out out, std::size_t most, const wait_limits& limits = {}) const {
    return this->channel().pop_n(std::move(out), most, limits);
  }
  range_result pop_n(std::vector<T>& into, std::size_t most, const wait_limits& limits = {}) const {
    return this->channel().pop_n(into, most, limits);
  }
  [[nodiscard]] auto begin() const { return this->channel().begin(); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend channel_ends<T, Policy>;
  explicit receiver(const std::shared_ptr<detail::owned_channel<channel<T, Policy>>>& owned) noexcept
      : detail::receiving_end<channel<T, Policy>>{owned} {}
};

/// Both ends of a new channel: `auto [in, out] = make_channel<T>(…)`.
template <class T, channel_policy Policy>
struct channel_ends {
  template <class Argument>
  explicit channel_ends(Argument&& argument)
      : channel_ends{from, std::make_shared<detail::owned_channel<channel<T, Policy>>>(std::forward<Argument>(argument))} {}

  penstock::sender<T, Policy> sender;
  penstock::receiver<T, Policy> receiver;

 private:
  static constexpr struct tag {
  } from{};
  channel_ends(tag, const std::shared_ptr<detail::owned_channel<channel<T, Policy>>>& owned) : sender{owned}, receiver{owned} {}
};

/// Throws what the channel's constructors throw.
template <class T, channel_policy Policy = channel_policy::mpmc>
[[nodiscard]] channel_ends<T, Policy> make_channel(std::size_t capacity) {
  return channel_ends<T, Policy>{capacity};
}
template <class T, channel_policy Policy = channel_policy::mpmc>
[[nodiscard]] channel_ends<T, Policy> make_channel(channel_options<T> options) {
  return channel_ends<T, Policy>{std::move(options)};
}

}  // namespace penstock::inline v0_1
