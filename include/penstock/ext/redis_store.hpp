// penstock/ext/redis_store.hpp: jobs on a Redis server, beside those of BullMQ.
//
//   penstock::redis_store<std::string> store{{.host = "10.0.0.7"}, {.queue = "mails"}};
//   penstock::job_queue<std::string, penstock::redis_store<std::string>> mails{store, {.clock = store.clock()}};
//   penstock::job_worker sender{mails, pool, [](penstock::job<std::string>& j) { send(j.payload()); }, {.concurrency = 50}};
//   mails.add(R"({"to":"ann"})", {.name = "welcome", .attempts = 5});        // run here, or by a worker of BullMQ 6 in Node
//
// A job_store (job_store.hpp says what its parts mean) in the layout of BullMQ 6, so that producers and workers of both kinds share a queue. A
// payload goes as the text that job_codec<Payload> makes, which workers in Node parse as JSON: a std::string is such a text. docs/jobs.md has what is
// supported.
//
// Invariants     each operation is one script on the server, which happens wholly or not at all, however many jobs it is about; those by hand that go
//                over many jobs (drain, clean, obliterate, redrive_all) one for each thousand.
// Time           the system's, in ms: give the queue clock(). Hosts that differ let delayed jobs begin early or late by as much.
// Lost replies   what was certainly not done is tried again within `retry_within`. An add() that ended with redis_errc::connection_lost or timeout
//                may have added: adding again then adds twice, unless the jobs have ids of your own (job_id). Jobs that were fetched by a reply that
//                got lost are active and nobody's until the lock runs out and a worker has looked twice (stalled_interval). What was settled by one
//                is stale the second time.
// Leases         BullMQ's locks, "<token of this store>:<fence>". They run out by the server's clock; fences are numbers of the queue (its key
//                "penstock:fence"), greater for each lease of any job, also where the server lost its data.
// Capacity       the server's: errc::full never; redis_errc::out_of_memory, and nothing is added.
// Not there      redis_store_errc says what, and what to do instead (all are std::errc::operation_not_supported): groups, schedules, parents, backoff
//                that is linear, decorrelated or by another factor than 2, lifo with a priority. Jobs of flows and schedulers that others added are
//                neither fetched (redis_store_errc::flows) nor removed (tied).
// Listening      a thread waits for BullMQ's marker while a worker here is idle; another one reads BullMQ's stream of events once somebody wants
//                them: submit() does, and queue.events(), from the next operation of this store on. They tell what workers in Node do, too. An
//                attempt's number is not in them.
// Thread safety  every member may be called concurrently, but for construction and destruction. Leases are values.
// Destruction    ends the thread that waits for work. Jobs stay.
// Cost           one round trip an operation, on one of `connections` connections; on the server some fifteen commands a job, fewer where many are
//                settled or fetched together, as by the runs of a worker (which share their calls). What several threads add at a time shares one, too.
// Fork           a child must not use it.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/redis_job_records.hpp>
#include <penstock/ext/detail/redis_job_server.hpp>
#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/detail/redis_turn_script.hpp>
#include <penstock/ext/redis_lease.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class redis_store : private detail::dependent<detail::redis_job_server, Payload> {
  using server_type = detail::dependent<detail::redis_job_server, Payload>;
  using events_type = detail::dependent<detail::redis_job_events, Payload>;
  using server_type::add_jobs;
  using server_type::base;
  using server_type::call;
  using server_type::checked_reply;
  using server_type::events;
  using server_type::is_system_time;
  using server_type::milliseconds;
  using server_type::say;
  using server_type::token;
  using server_type::waiter;
  using typename server_type::arguments;
  static_assert(job_encodable<Payload>, "the payload of a job on a server has a job_codec");

 public:
  using payload_type = Payload;
  using options_type = redis_store_options;
  using lease_type = redis_lease<Payload>;
  using settlement = job_settlement<lease_type>;
  static constexpr bool blocks = true;
  static constexpr bool families = false;
  /// Jobs that one add() takes.
  static constexpr std::size_t most_at_a_time = 65'536;

  /// Does not connect yet. Throws std::invalid_argument of options out of their ranges.
  redis_store(redis_options server, redis_store_options o)
      : server_type{std::move(server), std::move(o)},
        keep_completed_{detail::to_redis_keep(this->options().keep_completed)},
        keep_failed_{detail::to_redis_keep(this->options().keep_failed)} {}
  redis_store(const redis_store&) = delete;
  redis_store& operator=(const redis_store&) = delete;

  /// Adds all of them, or none. Throws std::invalid_argument of options out of their ranges, of a job_id that is a number, has a ':' in it or is a name
  /// that BullMQ has for a part of the queue, of more than most_at_a_time.
  result<void> add(std::span<const job_entry<Payload>> entries, job_time now, std::span<job_added> added = {}) {
    assert(added.empty() || added.size() == entries.size());
    if (entries.size() > most_at_a_time) {
      throw std::invalid_argument{"penstock::redis_store: " + std::to_string(entries.size()) + " jobs at a time"};
    }
    if (!is_system_time(now)) return redis_store_errc::wrong_clock;
    if (entries.empty()) return {};
    arguments records;
    bool watched = false;
    std::deque<std::string> texts;
    for (const auto& e : entries) {
      if (const std::error_code no = detail::redis_refusal(e)) return no;
      detail::put_redis_job(e, now, records, texts);
      watched = watched || e.watch != nullptr;
    }
    std::optional<typename events_type::expecting> expecting;
    if (watched) {
      if (auto started = events().start(); !started) return started;
      expecting.emplace(events());
    }
    const auto answers = add_jobs(records, entries.size(), detail::to_redis_ms(now), !added.empty() || watched);
    if (!answers) return answers.error();
    constexpr std::size_t each = detail::redis_add_line::answers_each;
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < added.size(); ++i) {
        added[i] = {.id = detail::to_job_id(answers->at(each * i).text()), .duplicate = answers->at(each * i + 1).integer() != 0};
      }
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].watch == nullptr) continue;
        const std::string& id = answers->at(each * i).text();
        events().watch(*expecting, id, answers->at(each * i + 2).text(), *entries[i].watch);
        if (answers->at(each * i + 1).integer() != 0) events().look_at(id);
      }
      return {};
    });
  }

  /// Settles `first`, then leases up to `most` jobs, in one step.
  result<job_fetched> fetch(const fetch_request& r, std::span<settlement> first, std::vector<lease_type>& leases) {
    if (!is_system_time(r.now)) return redis_store_errc::wrong_clock;
    if (r.most == 0 && first.empty()) return job_fetched{};
    leases.reserve(leases.size() + r.most);
    if (r.most != 0 && r.runs > first.size()) waiter().asked();  // for one at least that has ended nothing
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
      if (r.most != 0 && leases.size() - before < r.runs) waiter().idle();
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

  /// errc::stale, of both, if the lease was lost.
  result<void> progress(const lease_type& lease, double done) { return tell(lease, "progress", job_codec<double>::encode(done)); }
  result<void> log(const lease_type& lease, std::string line) { return tell(lease, "log", line); }

  /// errc::not_found; what decoding it gives, or throws.
  [[nodiscard]] result<Payload> payload(const job_id& id) {
    const auto data = this->server().call(redis_commands{}.add("HGET", base() + id.to_string(), "data"));
    if (!data) return server_type::no_job_if_other(data.error());
    if (!data->is_text())
      return data->is_nil() ? make_error_code(errc::not_found) : make_error_code(redis_errc::unexpected_reply);
    return job_codec<Payload>::decode(data->text());  // what it throws is its own
  }

  result<void> put_schedule(const job_schedule_options&, const Payload&, job_time) { return redis_store_errc::no_schedules; }

  // As of any job_store; what is particular of them stands in detail/redis_job_server.hpp.
  using server_type::children;
  using server_type::clean;
  using server_type::clock;
  using server_type::counts;
  using server_type::drain;
  using server_type::extend;
  using server_type::find;
  using server_type::groups;
  using server_type::hand_back;
  using server_type::list;
  using server_type::logs;
  using server_type::obliterate;
  using server_type::pause;
  using server_type::promote;
  using server_type::redrive;
  using server_type::redrive_all;
  using server_type::remove;
  using server_type::remove_schedule;
  using server_type::resume;
  using server_type::schedules;
  using server_type::set_group;
  using server_type::stats;
  using server_type::subscribe;
  using server_type::take_back_stalled;
  using server_type::unsubscribe;

 private:
  result<redis_reply> turn(const fetch_request& r, std::span<settlement> settlements) {
    arguments a{base(),   detail::to_redis_ms(r.now), r.most, milliseconds(r.lease_until - r.now), token(),
                r.worker, settlements.size()};
    std::deque<std::string> texts;
    for (const settlement& s : settlements) put_settlement(s, r.now, a, texts);
    return call(detail::redis_turn(), a);
  }
  // A run whose end the layout has no place for has failed for good: an error instead would come again whenever it is told.
  static bool can_settle(const settlement& s) noexcept {
    bool can = s.how != settle_as::waiting_children;
    for (const auto& e : s.then) {
      const std::string& id = e.options->job_id;
      can = can && !detail::redis_refusal(e) && detail::is_redis_id(id) && !detail::is_redis_part(id);
    }
    return can;
  }
  void put_settlement(const settlement& s, job_time now, arguments& a, std::deque<std::string>& texts) const {
    static const std::string none = "null";
    const lease_type& l = *s.lease;
    const auto keep = [&](const detail::redis_keep& k) { a.insert(a.end(), {k.count, k.age, k.limit, l.guard_}); };
    const bool can = can_settle(s);
    const auto failure = [&](const char* how) {
      std::string why = s.why != nullptr ? *s.why : std::string{};
      if (!can) why += " (what it asked for, children or jobs with unsupported options or ids, cannot be had of redis_store)";
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
    switch (can ? s.how : settle_as::failed) {
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
      case settle_as::waiting_children:  // can_settle() says no
        break;
    }
    a.push_back(can ? s.then.size() : std::size_t{0});
    if (!can) return;
    for (const auto& e : s.then) detail::put_redis_job(e, now, a, texts);
  }
  static void mark_stale(std::span<settlement> settlements, const redis_reply& reply) {
    for (std::size_t i = 0; i < settlements.size(); ++i) settlements[i].stale = reply[0].text().at(i) == '1';
  }
  void take_lease(const redis_reply& j, std::vector<lease_type>& leases,
                  std::vector<std::pair<lease_type, job_text>>& unreadable) const {
    lease_type l;
    std::string why;
    try {
      if (result<Payload> payload = job_codec<Payload>::decode(j[3].text()); payload) {
        l.payload_.emplace(std::move(*payload));
      } else {
        why = payload.error().message();
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& e) {
      why = e.what();
    } catch (...) {
      why = "an exception";
    }
    l.key_ = j[0].text();
    l.id_ = detail::to_job_id(l.key_);
    l.fence_ = static_cast<std::uint64_t>(j[1].integer());
    if (j[2].text() != "__default__") l.name_ = j[2].text();
    l.attempt_ = static_cast<unsigned>(j[4].integer()) + 1;
    l.guard_ = j[5].text();
    if (j[6].integer() >= 0) l.due_since_ = detail::from_redis_ms(j[6].integer());
    if (j[7].is_array()) {
      auto options = std::make_shared<detail::redis_job_options>(j[7].items());
      if (!options->unknown_backoff.empty()) options->policy.attempts = l.attempt_;
      l.options_ = std::move(options);
    }
    if (l.payload_) {
      leases.push_back(std::move(l));
    } else {
      unreadable.emplace_back(std::move(l), std::make_shared<const std::string>("the payload cannot be read: " + why));
    }
  }
  // Jobs whose payload says nothing to us fail for good, whatever attempts are left. If the server cannot be told, their locks run out.
  void refuse(std::vector<std::pair<lease_type, job_text>>& unreadable, job_time now) {
    std::vector<settlement> all;
    for (auto& [lease, why] : unreadable) all.push_back({.lease = &lease, .how = settle_as::failed, .why = why});
    static_cast<void>(settle(all, now));
  }

  result<void> tell(const lease_type& l, const char* what, const std::string& text) {
    return say(l.key_, l.fence_, what, text, l.options_ != nullptr ? l.options_->keep_logs : enqueue_options{}.keep_logs);
  }

  const detail::redis_keep keep_completed_;
  const detail::redis_keep keep_failed_;
};

}  // namespace penstock::inline v0_1
