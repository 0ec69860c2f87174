// Hubs joined by a channel of Redis. A message is the name of the hub that it comes from, and its text; each hub passes over its own, which it has delivered already.
//
// Lost connections  Redis remembers nothing for who is not there: what others publish while this hub has no connection, its connections do not get. What
//                   is published here meanwhile waits in a channel that drops the oldest when it is full, and is sent when Redis is back; what was on its way
//                   when the connection broke is not sent again. The hub itself goes on.
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/sync/semaphore.hpp>

#include "relay.hpp"

namespace hub {

namespace {

constexpr std::size_t sent_at_once = 64;
constexpr std::size_t kept = 1024;  // messages that wait to be sent
constexpr auto look_every = std::chrono::seconds{1};

penstock::redis_options options_of(const std::string& server, const char* what_for) {
  const std::size_t colon = server.rfind(':');
  unsigned port = 6379;
  if (colon != std::string::npos) {
    const auto [end, error] = std::from_chars(server.data() + colon + 1, server.data() + server.size(), port);
    if (error != std::errc{} || end != server.data() + server.size() || port == 0 || port > 65535)
      throw std::invalid_argument{"--redis is HOST:PORT"};
  }
  penstock::redis_options o;
  o.host = server.substr(0, colon);
  o.port = static_cast<std::uint16_t>(port);
  o.client_name = what_for;
  return o;
}

std::string fresh_name() {
  std::random_device random;
  std::array<char, 17> text{};
  const std::uint64_t number = std::uint64_t{random()} << 32 | random();
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return {text.data(), text.size() - 1};
}

class redis_relay final : public relay {
 public:
  redis_relay(const std::string& server, std::string channel)
      : channel_{std::move(channel)},
        outgoing_{{.capacity = kept, .when_full = penstock::when_full::drop_oldest, .metrics = true}},
        sending_{options_of(server, "hub-sends")},
        receiving_{options_of(server, "hub-receives")} {}
  ~redis_relay() override { stop(); }

  void tell_others(const shared_message& m) override { static_cast<void>(outgoing_.try_push(shared_message{m})); }

  void start(std::function<void(shared_message)> deliver) override {
    deliver_ = std::move(deliver);
    receiver_ = std::jthread{[this](const std::stop_token& stop) { guarded([&] { receive(stop); }); }};
    sender_ = std::jthread{[this](const std::stop_token& stop) { guarded([&] { send(stop); }); }};
  }

  void stop() noexcept override {
    for (std::jthread* t : {&receiver_, &sender_}) {
      if (!t->joinable()) continue;
      t->request_stop();
      t->join();
    }
  }

  void describe_to(penstock::metric_sink& to) const override {
    to.kind("redis_relay");
    to.gauge({"subscribed", "Whether it hears the others."}, subscribed_.load(std::memory_order_relaxed) ? 1 : 0);
    to.gauge(penstock::metrics::depth, outgoing_.size());
    to.counter({"sent", "Messages that Redis has taken."}, sent_.value());
    to.counter({"received", "Messages of other hubs."}, received_.value());
    to.counter({"subscriptions", "Times that it has subscribed."}, subscriptions_.value());
    to.counter(penstock::metrics::dropped, outgoing_.stats().dropped_oldest, {"reason", "redis_is_away"});
    to.counter(penstock::metrics::dropped, unsure_.value(), {"reason", "connection_lost"});
  }

 private:
  template <class F>
  static void guarded(F f) {
    try {
      f();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "the relay to other hubs has ended: %s\n", e.what());
    }
  }

  void send(const std::stop_token& stop) {
    const std::stop_callback interrupting{stop, [this] { sending_.interrupt(); }};
    penstock::redis_commands batch;
    for (;;) {
      auto first = outgoing_.pop(stop);
      if (!first) return;
      batch.clear();
      add(batch, **first);
      while (batch.size() < sent_at_once) {
        auto next = outgoing_.try_pop();
        if (!next) break;
        add(batch, **next);
      }
      auto told = sending_.pipeline(batch);
      // not_connected alone says that nothing was sent. (The connection paces the attempts by a backoff.)
      while (!told && told.error() == penstock::redis_errc::not_connected && !stop.stop_requested())
        told = sending_.pipeline(batch);
      if (stop.stop_requested()) return;
      (told ? sent_ : unsure_).add(batch.size());
    }
  }
  void add(penstock::redis_commands& to, const message& m) const { to.add("PUBLISH", channel_, name_ + std::string{m.body()}); }

  void receive(const std::stop_token& stop) {
    const std::stop_callback interrupting{stop, [this] { receiving_.interrupt(); }};
    bool told = false;
    while (!stop.stop_requested()) {
      const auto subscribed = receiving_.command("SUBSCRIBE", channel_);
      if (!subscribed) {
        if (!stop.stop_requested() && !std::exchange(told, true))
          std::fprintf(stderr, "no Redis (%s): this hub goes on alone until there is\n", receiving_.last_error_text().c_str());
        // Attempts within a command have pauses between them; this one is for what else a server refuses.
        if (subscribed.error() != penstock::redis_errc::not_connected) rest(stop);
        continue;
      }
      if (std::exchange(told, false)) std::fprintf(stderr, "Redis is back\n");
      subscriptions_.add();
      subscribed_.store(true, std::memory_order_relaxed);  // relaxed: a statistic publishes nothing
      for (;;) {
        auto came = receiving_.receive(look_every);
        if (came)
          take(*came);
        else if (came.error() != penstock::errc::timeout)
          break;
      }
      subscribed_.store(false, std::memory_order_relaxed);  // relaxed: as above
    }
  }
  static void rest(const std::stop_token& stop) {
    penstock::semaphore never{0};
    static_cast<void>(never.acquire({.stop = stop, .deadline = penstock::deadline::after(look_every)}));
  }
  void take(const penstock::redis_reply& reply) {
    if (!reply.is_array() || reply.size() != 3 || !reply[0].is_text() || reply[0].text() != "message" || !reply[2].is_text())
      return;
    const std::string& text = reply[2].text();
    if (text.size() < name_.size() || text.starts_with(name_)) return;
    received_.add();
    deliver_(make_message(text.substr(name_.size())));
  }

  const std::string channel_;
  const std::string name_ = fresh_name();
  penstock::channel<shared_message> outgoing_;
  penstock::redis_connection sending_;
  penstock::redis_connection receiving_;
  std::function<void(shared_message)> deliver_;
  std::atomic<bool> subscribed_{false};
  penstock::counter sent_;
  penstock::counter unsure_;
  penstock::counter received_;
  penstock::counter subscriptions_;
  std::jthread receiver_;
  std::jthread sender_;
};

}  // namespace

std::unique_ptr<relay> make_redis_relay(const std::string& server, const std::string& channel) {
  return std::make_unique<redis_relay>(server, channel);
}

}  // namespace hub
