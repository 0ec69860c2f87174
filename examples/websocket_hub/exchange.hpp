// Where messages come in, from this hub's connections, over HTTP and from other hubs, and what all threads of the hub count.
//
// Two broadcasts follow each other. The threads of the hub are subscribers of `arrivals`, whose policy is slow_subscriber::wait: publishers are held to
// the pace of the hub's own work, and no more than `window` messages wait for it. The connections of a thread are subscribers of a broadcast of that
// thread (hub_thread.hpp), where nobody is waited for: a connection that does not read falls behind there, and is dropped, or loses messages.
#pragma once

#include <cstddef>
#include <functional>

#include <penstock/channel/broadcast.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

#include "message.hpp"

namespace hub {

class exchange {
 public:
  /// `tell_others` gets what is published here; it does not wait.
  explicit exchange(std::function<void(const shared_message&)> tell_others = {})
      : arrivals{window, {.when_slow = penstock::slow_subscriber::wait}}, tell_others_{std::move(tell_others)} {}

  /// To all connections here and, if there are, other hubs. errc::full: the threads have enough to do; errc::closed: the hub ends.
  penstock::result<void> try_publish(const shared_message& m) {
    auto done = arrivals.try_publish(m);
    if (done) published_here(m);
    return done;
  }
  /// Waits for its turn.
  penstock::task<penstock::result<void>> publish(shared_message m) {
    shared_message mine = m;
    auto done = co_await arrivals.async_publish(std::move(mine));
    if (done) published_here(m);
    co_return done;
  }
  /// From another hub: to the connections here. Waits.
  penstock::result<void> deliver(shared_message m) {
    auto done = arrivals.publish(std::move(m));
    if (done) from_others.add();
    return done;
  }

  friend void describe(const exchange& e, penstock::metric_sink& to) {
    to.kind("hub");
    to.gauge({"connections", "Connections that are open."}, e.connections.value());
    to.counter({"opened", "Connections that were opened."}, e.opened.value());
    to.counter({"published", "Messages that were published here."}, e.published.value());
    to.counter({"from_others", "Messages that other hubs have sent."}, e.from_others.value());
    to.counter({"delivered", "Messages that went out, each to one connection."}, e.delivered.value());
    to.counter({"delivered_bytes", "... in bytes."}, e.delivered_bytes.value());
    to.counter(penstock::metrics::dropped, e.too_slow.value(), {"reason", "too_slow"});
    to.counter({"lost", "Messages that connections were too slow for."}, e.lost.value());
    to.times({"delivery", "From when a message came to when the system had taken it for a connection."}, e.delivery.snapshot());
  }

  static constexpr std::size_t window = 16;
  penstock::broadcast<shared_message> arrivals;

  penstock::gauge connections;
  penstock::counter opened;
  penstock::counter published;
  penstock::counter from_others;
  penstock::counter delivered;
  penstock::counter delivered_bytes;
  penstock::counter too_slow;
  penstock::counter lost;
  penstock::histogram delivery;

 private:
  void published_here(const shared_message& m) {
    published.add();
    if (tell_others_) tell_others_(m);
  }

  const std::function<void(const shared_message&)> tell_others_;
};

}  // namespace hub
