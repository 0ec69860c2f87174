// penstock/ext/redis_store.hpp: jobs on a Redis server, beside those of BullMQ.
//
//   penstock::redis_store<std::string> store{{.host = "10.0.0.7"}, {.queue = "mails"}};
//   penstock::job_queue<std::string, penstock::redis_store<std::string>> mails{store, {.clock = store.clock()}};
//   penstock::job_worker sender{mails, pool, [](penstock::job<std::string>& j) { send(j.payload()); }, {.concurrency = 50}};
//   mails.add(R"({"to":"ann"})", {.name = "welcome", .attempts = 5});        // run here, or by a worker of BullMQ 6 in Node
//
// A job_store (job_store.hpp says what its parts mean) in the layout of BullMQ 6, so that producers and workers of both kinds share a queue. A payload goes as the
// text that job_codec<Payload> makes, which workers in Node parse as JSON: a std::string is such a text. docs/redis.md has what is supported.
//
// Invariants     each operation is one script on the server, which happens wholly or not at all, however many jobs it is about; those by hand that go over many
//                jobs (drain, clean, obliterate, redrive_all) one for each thousand.
// Time           the system's, in ms: give the queue clock(). Hosts that differ let delayed jobs begin early or late by as much.
// Lost replies   what was certainly not done is tried again within `retry_within`. An add() that ended with redis_errc::connection_lost or timeout may have added:
//                adding again then adds twice, unless the jobs have ids of your own (job_id). Jobs that were fetched by a reply that got lost are active and nobody's
//                until the lock runs out and a worker has looked twice (stalled_interval). What was settled by one is stale the second time.
// Leases         BullMQ's locks, "<token of this store>:<fence>". They run out by the server's clock; the fence is made of the time of adding and the number of the fetch.
// Capacity       the server's: errc::full never; redis_errc::out_of_memory, and nothing is added.
// Not there      errc::unsupported: groups, schedules, parents, backoff that is linear, decorrelated or by another factor than 2, lifo with a priority. Jobs
//                of flows and schedulers that others added are not fetched: redis_store_errc::flows.
// Listening      a thread waits for BullMQ's marker while a worker here is idle; another one reads BullMQ's stream of events once somebody wants them: submit() does,
//                and queue.events(), from the next operation of this store on. They tell what workers in Node do, too. An attempt's number is not in them.
// Thread safety  every member may be called concurrently, but for construction and destruction. Leases are values.
// Destruction    ends the thread that waits for work. Jobs stay.
// Cost           one round trip an operation, on one of `connections` connections; on the server some fifteen commands a job.
// Fork           a child must not use it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/redis_caller.hpp>
#include <penstock/ext/detail/redis_job_admin.hpp>
#include <penstock/ext/detail/redis_job_events.hpp>
#include <penstock/ext/detail/redis_job_scripts.hpp>
#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/detail/redis_waiter.hpp>
#include <penstock/ext/redis_lease.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class redis_store {
  static_assert(job_encodable<Payload>, "the payload of a job on a server has a job_codec");
  using arguments = std::vector<redis_argument>;
  using listeners = std::vector<std::shared_ptr<store_listener>>;

 public:
  using payload_type = Payload;
  using options_type = redis_store_options;
  using lease_type = redis_lease<Payload>;
  using settlement = job_settlement<lease_type>;
  static constexpr bool blocks = true;
  /// Jobs that one add() takes.
  static constexpr std::size_t most_at_a_time = 65'536;

  /// Does not connect yet. Throws std::invalid_argument of options out of their ranges.
  redis_store(redis_options server, redis_store_options o)
      : options_{checked(std::move(o))},
        base_{options_.prefix + ":" + options_.queue + ":"},
        token_{fresh_token()},
        keep_completed_{detail::to_redis_keep(options_.keep_completed)},
        keep_failed_{detail::to_redis_keep(options_.keep_failed)},
        listeners_{std::make_shared<const listeners>()},
        server_{server, options_.connections, options_.retry_within},
        events_{server, base_ + "events", [this](std::span<const job_event> all) { tell_events(all); },
                [this](const std::string& id) { return ended(id); }},
        waiter_{std::move(server), base_ + "marker", options_.poll_interval, [this] { tell_ready(); }} {
    keys_.reserve(detail::redis_job_keys.size());
    for (const char* key : detail::redis_job_keys) keys_.push_back(key_names_.emplace_back(base_ + key));
  }
  redis_store(const redis_store&) = delete;
  redis_store& operator=(const redis_store&) = delete;

  /// The system's clock: for job_queue_options::clock.
  [[nodiscard]] static any_clock clock() {
    static std::chrono::system_clock system;
    return any_clock{system};
  }

  /// Adds all of them, or none. Throws std::invalid_argument of options out of their ranges, of a job_id that is a number or has a ':' in it, of more than
  /// most_at_a_time.
  result<void> add(std::span<const job_entry<Payload>> entries, job_time now, std::span<job_added> added = {}) {
    assert(added.empty() || added.size() == entries.size());
    if (entries.size() > most_at_a_time) {
      throw std::invalid_argument{"penstock::redis_store: " + std::to_string(entries.size()) + " jobs at a time"};
    }
    if (!is_system_time(now)) return redis_store_errc::wrong_clock;
    if (entries.empty()) return {};
    arguments a{base_, detail::to_redis_ms(now), entries.size(), "0"};
    bool watched = false;
    std::deque<std::string> texts;
    for (const auto& e : entries) {
      if (auto can = put_job(e, now, a, texts); !can) return can;
      watched = watched || e.watch != nullptr;
    }
    if (!added.empty() || watched) a[3] = "1";
    std::optional<detail::redis_job_events::expecting> expecting;
    if (watched) {
      if (auto started = events_.start(); !started) return started;
      expecting.emplace(events_);
    }
    auto reply = call(detail::redis_add_jobs(), a);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < added.size(); ++i) {
        added[i] = {.id = detail::to_job_id((*reply)[2 * i].text()), .duplicate = (*reply)[2 * i + 1].integer() != 0};
      }
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].watch == nullptr) continue;
        events_.watch((*reply)[2 * i].text(), *entries[i].watch);
        if ((*reply)[2 * i + 1].integer() != 0) events_.look_at((*reply)[2 * i].text());
      }
      return {};
    });
  }

  /// Settles `first`, then leases up to `most` jobs, in one step.
  result<job_fetched> fetch(const fetch_request& r, std::span<settlement> first, std::vector<lease_type>& leases) {
    if (!is_system_time(r.now)) return redis_store_errc::wrong_clock;
    leases.reserve(leases.size() + r.most);
    auto reply = turn(r, first);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<job_fetched> {
      mark_stale(first, *reply);
      job_fetched answer{.more = (*reply)[1].integer() != 0};
      const std::int64_t due = (*reply)[2].integer();
      if (due >= 0) answer.next_due = detail::from_redis_ms(due);
      if ((*reply)[3].integer() != 0) answer.next_due = r.now;  // asked again, without anything to settle, the error can be given
      const std::size_t before = leases.size();
      std::vector<std::pair<lease_type, job_text>> unreadable;
      for (std::size_t i = 4; i < reply->size(); ++i) take_lease((*reply)[i], leases, unreadable);
      if (!unreadable.empty()) refuse(unreadable, r.now);
      if (r.most != 0 && leases.size() == before) waiter_.idle();
      return answer;
    });
  }

  /// Each settlement says afterwards whether it counts or was `stale`.
  result<void> settle(std::span<settlement> settlements, job_time now) {
    if (settlements.empty()) return {};
    auto reply = turn({.most = 0, .now = now, .lease_until = now}, settlements);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      mark_stale(settlements, *reply);
      return {};
    });
  }

  /// Lets leases run out later, by the server's clock.
  result<void> extend(std::span<lease_ticket> tickets, job_time now, job_time until) {
    if (tickets.empty()) return {};
    arguments a{base_, detail::to_redis_ms(now), token_, milliseconds(until - now)};
    std::deque<std::string> texts;
    for (const lease_ticket& t : tickets) {
      a.push_back(texts.emplace_back(t.id.to_string()));
      a.push_back(t.fence);
    }
    auto reply = call(detail::redis_extend_leases(), a);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < tickets.size(); ++i) tickets[i].lost = reply->text().at(i) == '1';
      return {};
    });
  }
  result<void> hand_back(std::span<lease_ticket> tickets, job_time now) {
    if (tickets.empty()) return {};
    arguments a{base_, detail::to_redis_ms(now), "0", "1", token_, "", tickets.size()};
    std::deque<std::string> texts;
    for (const lease_ticket& t : tickets) {
      a.push_back(texts.emplace_back(t.id.to_string()));
      a.insert(a.end(), {t.fence, "0", "released", "", "", "0", "0", "0", "", "0"});
    }
    auto reply = call(detail::redis_turn(), a);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < tickets.size(); ++i) tickets[i].lost = (*reply)[0].text().at(i) == '1';
      return {};
    });
  }
  /// As BullMQ's workers do it: a job that was active at the last look and has no lock now waits again, before the others. Those that stalled too often
  /// (`failed`) do so, too, and fail when somebody fetches them. Looks that come sooner than stalled_interval after one, anybody's, see nothing.
  result<stalled_jobs> take_back_stalled(job_time now, unsigned max_stalled) {
    const auto reply =
        call(detail::redis_take_back(), {base_, detail::to_redis_ms(now), milliseconds(options_.stalled_interval), max_stalled});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<stalled_jobs> {
      return stalled_jobs{.back = static_cast<std::size_t>((*reply)[0].integer()),
                          .failed = static_cast<std::size_t>((*reply)[1].integer())};
    });
  }

  /// errc::stale, of both, if the lease was lost.
  result<void> progress(const lease_type& lease, double done) { return say(lease, "progress", job_codec<double>::encode(done)); }
  result<void> log(const lease_type& lease, std::string line) { return say(lease, "log", line); }

  /// Nothing is fetched until resume(), by BullMQ's workers neither. What runs goes on.
  result<void> pause() { return manage("pause"); }
  result<void> resume() { return manage("resume"); }

  [[nodiscard]] result<job_counts> counts() const {
    redis_commands c;
    static const redis_script script{
        "local n = {redis.call('HEXISTS', KEYS[11], 'paused')}\n"
        "n[2] = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[15]) + redis.call('ZCARD', KEYS[3])\n"
        "n[3], n[4], n[5] = redis.call('ZCARD', KEYS[4]), redis.call('LLEN', KEYS[2]), redis.call('ZCARD', KEYS[6])\n"
        "n[6], n[7] = redis.call('ZCARD', KEYS[7]), redis.call('ZCARD', KEYS[16])\n"
        "return n"};
    const auto reply = call(script, {});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<job_counts> {
      const auto n = [&](std::size_t i) { return static_cast<std::size_t>((*reply)[i].integer()); };
      return job_counts{.waiting = n(1),
                        .delayed = n(2),
                        .active = n(3),
                        .completed = n(4),
                        .failed = n(5),
                        .waiting_children = n(6),
                        .paused = n(0) != 0};
    });
  }
  /// errc::not_found
  [[nodiscard]] result<job_info> find(const job_id& id) const {
    if (!id) return errc::not_found;
    const std::string text = id.to_string();
    const auto reply = call(detail::redis_find_job(), {base_, "0", text});
    if (!reply) return reply.error();
    if (!reply->is_array()) return errc::not_found;
    return checked_reply([&]() -> result<job_info> { return info_of(*reply); });
  }
  /// `count` of the jobs in a state from the `first` one on: as they will be fetched or become due, or as they came to it.
  [[nodiscard]] result<std::vector<job_info>> list(job_state s, std::size_t first, std::size_t count) const {
    const auto reply = call(detail::redis_list_jobs(), {base_, "0", name_of(s), first, count});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<std::vector<job_info>> {
      std::vector<job_info> all;
      for (const redis_reply& j : reply->items()) all.push_back(info_of(j));
      return all;
    });
  }
  /// errc::not_found
  [[nodiscard]] result<std::vector<std::string>> logs(const job_id& id) const {
    const std::string job = base_ + id.to_string();
    const auto there = server_.call(redis_commands{}.add("EXISTS", job));
    if (!there) return there.error();
    const auto lines = server_.call(redis_commands{}.add("LRANGE", job + ":logs", 0, -1));
    if (!lines) return lines.error();
    return checked_reply([&]() -> result<std::vector<std::string>> {
      if (there->integer() == 0) return errc::not_found;
      std::vector<std::string> all;
      for (const redis_reply& line : lines->items()) all.push_back(line.text());
      return all;
    });
  }
  /// errc::not_found; what decoding it gives.
  [[nodiscard]] result<Payload> payload(const job_id& id) {
    const auto data = server_.call(redis_commands{}.add("HGET", base_ + id.to_string(), "data"));
    if (!data) return data.error();
    if (data->is_nil()) return errc::not_found;
    return checked_reply([&]() -> result<Payload> { return job_codec<Payload>::decode(data->text()); });
  }

  /// errc::not_found; errc::busy of an active one; errc::unsupported of one that belongs to a flow.
  result<void> remove(const job_id& id) { return manage("remove", id.to_string()); }
  result<void> promote(const job_id& id) { return manage("promote", id.to_string()); }
  result<void> redrive(const job_id& id) { return manage("redrive", id.to_string()); }
  result<std::size_t> redrive_all(std::size_t most) {
    return in_steps(most, [&](std::size_t n) { return manage_many("redrive_all", std::to_string(n)); });
  }
  result<std::size_t> drain(bool delayed_too) {
    return in_steps(std::size_t(-1), [&](std::size_t) { return manage_many("drain", delayed_too ? "1" : "0"); });
  }
  result<std::size_t> clean(job_state s, job_time ended_by, std::size_t most) {
    if (s != job_state::completed && s != job_state::failed) return std::size_t{0};
    const std::string by = std::to_string(detail::to_redis_ms(ended_by));
    return in_steps(most, [&](std::size_t n) { return manage_many("clean", name_of(s), by, std::to_string(n)); });
  }
  /// Removes all jobs; what the queue is told of itself (pause, limits) stays. errc::busy while some are active, unless `active_too`.
  result<void> obliterate(bool active_too) {
    const auto n = in_steps(std::size_t(-1), [&](std::size_t) { return manage_many("obliterate", active_too ? "1" : "0"); });
    if (!n) return n.error();
    return {};
  }

  [[nodiscard]] result<std::vector<job_child>> children(const job_id&) const { return errc::unsupported; }
  result<void> set_group(std::string_view, const job_group_rule&) { return errc::unsupported; }
  [[nodiscard]] result<std::vector<job_group_info>> groups() const { return errc::unsupported; }
  result<void> put_schedule(const job_schedule_options&, const Payload&, job_time) { return errc::unsupported; }
  result<void> remove_schedule(std::string_view) { return errc::unsupported; }
  [[nodiscard]] result<std::vector<job_schedule_info>> schedules() const { return errc::unsupported; }

  /// Throws std::bad_alloc.
  void subscribe(std::shared_ptr<store_listener> listener) {
    std::scoped_lock guard{listening_};
    auto changed = std::make_shared<listeners>(*listeners_);
    changed->push_back(std::move(listener));
    listeners_ = std::move(changed);
  }
  /// Without memory for the change, the listener stays until the next one.
  void unsubscribe(const store_listener& listener) noexcept {
    std::scoped_lock guard{listening_};
    try {
      auto changed = std::make_shared<listeners>(*listeners_);
      std::erase_if(*changed, [&](const auto& l) { return l.get() == &listener; });
      listeners_ = std::move(changed);
    } catch (const std::bad_alloc&) {
    }
  }

 private:
  static redis_store_options checked(redis_store_options&& o) {
    const auto refuse = [](const std::string& what) { throw std::invalid_argument{"penstock::redis_store: " + what}; };
    if (o.queue.empty() || o.queue.find(':') != std::string::npos) refuse("queue is \"" + o.queue + "\"");
    if (o.prefix.empty()) refuse("prefix is empty");
    if (o.connections == 0) refuse("connections is 0");
    if (o.stalled_interval < std::chrono::milliseconds{1}) refuse("stalled_interval is below 1 ms");
    if (o.poll_interval < std::chrono::milliseconds{1}) refuse("poll_interval is below 1 ms");
    if (o.keep_completed.age.count() < 0 || o.keep_failed.age.count() < 0) refuse("a keep_rule's age is negative");
    return std::move(o);
  }
  static std::string fresh_token() {
    std::random_device random;
    std::string token;
    for (int i = 0; i < 4; ++i) token += std::to_string(random()) + (i < 3 ? "-" : "");
    return token;
  }
  /// Of a clock that began with the machine it is not: then jobs would be due decades ago.
  static bool is_system_time(job_time t) noexcept { return t >= std::chrono::hours{24 * 365 * 30}; }
  static std::int64_t milliseconds(std::chrono::nanoseconds d) noexcept {
    return std::max<std::int64_t>(detail::to_redis_ms_up(d), 1);
  }
  static const char* name_of(job_state s) noexcept {
    static constexpr std::array<const char*, job_states> names{"wait",      "delayed", "active",
                                                               "completed", "failed",  "waiting-children"};
    return names[static_cast<std::size_t>(s)];
  }

  result<redis_reply> call(const redis_script& script, const arguments& a) const {
    if (!events_wanted_.load(std::memory_order_relaxed)) want_events();  // relaxed: a hint
    redis_commands command;
    command.add_script(script, keys_, a);
    std::string text;
    auto reply = server_.call(command, &text);
    if (reply) return reply;
    if (text.starts_with("PENSTOCK_MAJOR")) return redis_store_errc::other_major;
    if (text.starts_with("PENSTOCK_FLOWS")) return redis_store_errc::flows;
    return reply;
  }
  /// A server decides what comes: what is no answer to the question is an error.
  template <class F>
  static auto checked_reply(F read) -> decltype(read()) {
    try {
      return read();
    } catch (const std::system_error& e) {
      return e.code();
    } catch (const std::out_of_range&) {
      return make_error_code(redis_errc::unexpected_reply);
    }
  }

  result<void> put_job(const job_entry<Payload>& e, job_time now, arguments& a, std::deque<std::string>& texts) const {
    const enqueue_options& o = *e.options;
    detail::check(o);
    detail::check_redis_id(o.job_id);
    if (!detail::redis_can(o) || e.parent != job_entry<Payload>::no_entry) return errc::unsupported;
    static const std::string unnamed = "__default__";
    a.push_back(o.name.empty() ? unnamed : o.name);
    a.push_back(texts.emplace_back(job_codec<Payload>::encode(*e.payload)));
    a.push_back(texts.emplace_back(detail::redis_opts(o)));
    if (o.delay.count() == 0 && o.priority == 0 && !o.lifo && o.job_id.empty() && !o.deduplicate) {
      a.push_back("0");
      return {};
    }
    const std::int64_t due = detail::to_redis_ms_up(job_time{detail::saturating_add(now.count(), o.delay.count())});
    const std::int64_t delay = o.delay.count() == 0 ? 0 : std::max<std::int64_t>(due - detail::to_redis_ms(now), 1);
    a.insert(a.end(), {"1", o.job_id, delay, o.priority, o.lifo ? "1" : "0"});
    if (o.deduplicate) {
      const deduplication& d = *o.deduplicate;
      a.push_back(d.id);
      a.push_back(d.ttl.count() == 0 ? 0 : milliseconds(d.ttl));
      a.push_back(d.extend ? (d.replace ? "b" : "e") : (d.replace ? "r" : "n"));
    } else {
      a.insert(a.end(), {"", "0", "n"});
    }
    return {};
  }

  result<redis_reply> turn(const fetch_request& r, std::span<settlement> settlements) {
    arguments a{base_,    detail::to_redis_ms(r.now), r.most, milliseconds(r.lease_until - r.now), token_,
                r.worker, settlements.size()};
    std::deque<std::string> texts;
    for (const settlement& s : settlements) {
      if (auto can = put_settlement(s, r.now, a, texts); !can) return can.error();
    }
    return call(detail::redis_turn(), a);
  }
  result<void> put_settlement(const settlement& s, job_time now, arguments& a, std::deque<std::string>& texts) const {
    static const std::string none = "null";
    const lease_type& l = *s.lease;
    const auto keep = [&](const detail::redis_keep& k) { a.insert(a.end(), {k.count, k.age, k.limit, l.guard_}); };
    const auto failure = [&](const char* how) {
      std::string why = s.why != nullptr ? *s.why : std::string{};
      if (l.options_ != nullptr && !l.options_->unknown_backoff.empty()) {
        why += " (not tried again: penstock does not know the backoff type \"" + l.options_->unknown_backoff + "\")";
      }
      std::string stack = "[";
      detail::append_json(stack, why);
      a.push_back(how);
      a.push_back(texts.emplace_back(std::move(why)));
      a.push_back(texts.emplace_back(stack += ']'));
    };
    const auto again = [&] { a.insert(a.end(), {s.at > now ? detail::to_redis_ms_up(s.at) : 0, "0", "0", ""}); };
    a.push_back(l.key_);
    a.push_back(l.fence_);
    a.push_back(l.attempt_);
    switch (s.how) {
      case settle_as::completed:
        a.insert(a.end(), {"completed", s.value != nullptr ? *s.value : none, ""});
        keep(l.options_ != nullptr ? l.options_->keep_completed.value_or(keep_completed_) : keep_completed_);
        break;
      case settle_as::failed:
        failure(l.attempt_ >= l.policy().attempts ? "exhausted" : "failed");
        keep(l.options_ != nullptr ? l.options_->keep_failed.value_or(keep_failed_) : keep_failed_);
        break;
      case settle_as::retry:
        failure(l.options_ != nullptr && l.options_->lifo ? "retry_first" : "retry");
        again();
        break;
      case settle_as::released:
        a.insert(a.end(), {"released", "", ""});
        again();
        break;
      case settle_as::waiting_children:
        return errc::unsupported;
    }
    a.push_back(s.then.size());
    for (const auto& e : s.then) {
      if (auto can = put_job(e, now, a, texts); !can) return can;
    }
    return {};
  }
  static void mark_stale(std::span<settlement> settlements, const redis_reply& reply) {
    for (std::size_t i = 0; i < settlements.size(); ++i) settlements[i].stale = reply[0].text().at(i) == '1';
  }
  void take_lease(const redis_reply& j, std::vector<lease_type>& leases,
                  std::vector<std::pair<lease_type, job_text>>& unreadable) const {
    result<Payload> payload = job_codec<Payload>::decode(j[3].text());
    const bool readable = payload.has_value();
    lease_type l{readable ? std::move(*payload) : Payload{}};
    l.key_ = j[0].text();
    l.id_ = detail::to_job_id(l.key_);
    l.fence_ = static_cast<std::uint64_t>(j[1].integer());
    if (j[2].text() != "__default__") l.name_ = j[2].text();
    l.attempt_ = static_cast<unsigned>(j[4].integer()) + 1;
    l.guard_ = j[5].text();
    if (j[6].is_array()) {
      auto options = std::make_shared<detail::redis_job_options>(j[6].items());
      if (!options->unknown_backoff.empty()) options->policy.attempts = l.attempt_;
      l.options_ = std::move(options);
    }
    if (readable) {
      leases.push_back(std::move(l));
    } else {
      unreadable.emplace_back(std::move(l),
                              std::make_shared<const std::string>("the payload cannot be read: " + payload.error().message()));
    }
  }
  // Jobs whose payload says nothing to us fail for good, whatever attempts are left. If the server cannot be told, their locks run out.
  void refuse(std::vector<std::pair<lease_type, job_text>>& unreadable, job_time now) {
    std::vector<settlement> all;
    for (auto& [lease, why] : unreadable) all.push_back({.lease = &lease, .how = settle_as::failed, .why = why});
    static_cast<void>(settle(all, now));
  }

  result<void> say(const lease_type& l, const char* what, const std::string& text) {
    const std::size_t keep = l.options_ != nullptr ? l.options_->keep_logs : enqueue_options{}.keep_logs;
    const auto reply = call(detail::redis_say(), {base_, "0", token_, l.key_, l.fence_, what, text, keep});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> { return reply->integer() != 0 ? result<void>{} : result<void>{errc::stale}; });
  }
  template <class... Texts>
  result<std::size_t> manage_many(const char* what, const Texts&... texts) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto reply = call(detail::redis_manage_jobs(), {base_, detail::to_redis_ms(now), what, texts...});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<std::size_t> {
      const std::int64_t n = reply->integer();
      if (n == -1) return errc::not_found;
      if (n == -2) return errc::busy;
      if (n < 0) return errc::unsupported;
      return static_cast<std::size_t>(n);
    });
  }
  template <class... Texts>
  result<void> manage(const char* what, const Texts&... texts) {
    const auto n = manage_many(what, texts...);
    if (!n) return n.error();
    return {};
  }
  template <class Step>
  static result<std::size_t> in_steps(std::size_t most, Step step) {
    constexpr std::size_t at_a_time = 1000;
    std::size_t all = 0;
    while (all < most) {
      const std::size_t wanted = std::min(at_a_time, most - all);
      const result<std::size_t> n = step(wanted);
      if (!n) return n.error();
      all += *n;
      if (*n == 0) break;
    }
    return all;
  }

  static job_info info_of(const redis_reply& j) {
    const auto text = [&j](std::size_t i) {
      return j[i].is_text() ? std::make_shared<const std::string>(j[i].text()) : job_text{};
    };
    const auto number = [&j](std::size_t i) { return j[i].is_nil() ? std::int64_t{0} : j[i].integer(); };
    const auto time = [&](std::size_t i) { return j[i].is_nil() ? no_time : detail::from_redis_ms(number(i)); };
    job_info info{.id = detail::to_job_id(j[0].text())};
    const std::string& state = j[1].text();
    for (std::size_t s = 0; s < job_states; ++s) {
      if (state == name_of(static_cast<job_state>(s))) info.state = static_cast<job_state>(s);
    }
    if (j[2].is_text() && j[2].text() != "__default__") info.name = text(2);
    info.added_at = time(3);
    info.priority = static_cast<std::uint32_t>(number(4));
    info.started_at = time(5);
    info.ended_at = time(6);
    info.why = text(7);
    info.value = text(8);
    info.attempts_made = static_cast<unsigned>(number(9));
    info.stalled = static_cast<unsigned>(number(10));
    if (j[11].is_text()) info.progress = job_codec<double>::decode(j[11].text()).value_or(0.0);
    if (number(12) >= 0)
      info.leased_until = std::chrono::system_clock::now().time_since_epoch() + std::chrono::milliseconds{number(12)};
    if (!j[13].is_nil()) info.due_at = time(13);
    info.children = static_cast<std::size_t>(number(14));
    return info;
  }

  std::shared_ptr<const listeners> all_listeners() const {
    std::scoped_lock guard{listening_};
    return listeners_;
  }
  void tell_ready() noexcept {
    for (const auto& l : *all_listeners()) l->work_ready();
  }
  void tell_events(std::span<const job_event> events) {
    if (events.empty()) return;
    for (const auto& l : *all_listeners()) {
      if (l->wants_events()) l->happened(events);
    }
  }
  // A listener cannot say when it begins to want them: the next operation of this store finds out.
  void want_events() const {
    for (const auto& l : *all_listeners()) {
      if (l->wants_events() && events_.start()) events_wanted_.store(true, std::memory_order_relaxed);  // relaxed: a hint
    }
  }
  std::optional<std::pair<job_state, job_text>> ended(const std::string& id) const {
    const auto fields =
        server_.call(redis_commands{}.add("HMGET", base_ + id, "timestamp", "finishedOn", "returnvalue", "failedReason"));
    if (!fields) return std::nullopt;
    const redis_reply& f = *fields;
    if (f[0].is_nil()) return std::pair{job_state::waiting, job_text{}};
    if (f[1].is_nil()) return std::nullopt;
    const bool completed = !f[2].is_nil();
    const redis_reply& text = f[completed ? 2 : 3];
    return std::pair{completed ? job_state::completed : job_state::failed,
                     text.is_nil() ? job_text{} : std::make_shared<const std::string>(text.text())};
  }

  const redis_store_options options_;
  const std::string base_;
  const std::string token_;
  const detail::redis_keep keep_completed_;
  const detail::redis_keep keep_failed_;
  std::deque<std::string> key_names_;
  std::vector<redis_argument> keys_;  // refer to key_names_
  mutable std::mutex listening_;
  std::shared_ptr<const listeners> listeners_;  // guarded by listening_
  mutable detail::redis_caller server_;
  mutable std::atomic<bool> events_wanted_{false};
  // Last: their threads use the others.
  mutable detail::redis_job_events events_;
  detail::redis_waiter waiter_;
};

}  // namespace penstock::inline v0_1
