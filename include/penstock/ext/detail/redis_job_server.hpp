// penstock/ext/detail/redis_job_server.hpp: of redis_store, the operations that do not depend on the payload.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/redis_job_admin.hpp>
#include <penstock/ext/detail/redis_job_link.hpp>
#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/detail/redis_lease_scripts.hpp>
#include <penstock/ext/detail/redis_turn_script.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_redis_job_server : public basic_redis_job_link<Sync> {
  using link = basic_redis_job_link<Sync>;
  // Containers of these are compiled by who uses this.
  using text_type = dependent<std::string, Sync>;
  using info_type = dependent<job_info, Sync>;
  using child_type = dependent<job_child, Sync>;
  using group_type = dependent<job_group_info, Sync>;
  using schedule_type = dependent<job_schedule_info, Sync>;

 public:
  using link::base;
  using link::call;
  using link::checked_reply;
  using link::link;
  using link::milliseconds;
  using link::no_job_if_other;
  using link::options;
  using link::server;
  using link::token;
  using typename link::arguments;

  /// Lets leases run out later, by the server's clock.
  result<void> extend(std::span<lease_ticket> tickets, job_time now, job_time until) {
    if (tickets.empty()) return {};
    arguments a{base(), to_redis_ms(now), token(), milliseconds(until - now)};
    std::deque<text_type> texts;
    for (const lease_ticket& t : tickets) {
      a.push_back(texts.emplace_back(t.id.to_string()));
      a.push_back(t.fence);
    }
    auto reply = call(redis_extend_leases(), a);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < tickets.size(); ++i) tickets[i].lost = reply->text().at(i) == '1';
      return {};
    });
  }
  result<void> hand_back(std::span<lease_ticket> tickets, job_time now) {
    if (tickets.empty()) return {};
    arguments a{base(), to_redis_ms(now), "0", "1", token(), "", tickets.size()};
    std::deque<text_type> texts;
    for (const lease_ticket& t : tickets) {
      a.push_back(texts.emplace_back(t.id.to_string()));
      a.insert(a.end(), {t.fence, "0", "released", "", "", "0", "0", "0", "", "0"});
    }
    auto reply = call(redis_turn(), a);
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> {
      for (std::size_t i = 0; i < tickets.size(); ++i) tickets[i].lost = (*reply)[0].text().at(i) == '1';
      return {};
    });
  }
  /// As BullMQ's workers do it: a job that was active at the last look and has no lock now waits again, before the others. Those that stalled too
  /// often (`failed`) do so, too, and fail when somebody fetches them. Looks that come sooner than stalled_interval after one, anybody's, see
  /// nothing.
  result<stalled_jobs> take_back_stalled(job_time now, unsigned max_stalled) {
    const auto reply = call(redis_take_back(), {base(), to_redis_ms(now), milliseconds(options().stalled_interval), max_stalled});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<stalled_jobs> {
      return stalled_jobs{.back = static_cast<std::size_t>((*reply)[0].integer()),
                          .failed = static_cast<std::size_t>((*reply)[1].integer())};
    });
  }

  /// Nothing is fetched until resume(), by BullMQ's workers neither. What runs goes on.
  result<void> pause() { return manage("pause"); }
  result<void> resume() { return manage("resume"); }

  [[nodiscard]] result<job_counts> counts() const {
    static const redis_script script{
        "local n = {redis.call('HEXISTS', KEYS[11], 'paused')}\n"
        "n[2] = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[15]) + redis.call('ZCARD', KEYS[3])\n"
        "n[3], n[4], n[5] = redis.call('ZCARD', KEYS[4]), redis.call('LLEN', KEYS[2]), redis.call('ZCARD', KEYS[6])\n"
        "n[6], n[7], n[8] = redis.call('ZCARD', KEYS[7]), redis.call('ZCARD', KEYS[16]), -1\n"
        "local head = redis.call('LINDEX', KEYS[1], -1) or redis.call('LINDEX', KEYS[15], -1) or redis.call('ZRANGE', KEYS[3], "
        "0, 0)[1]\n"
        "local at = tonumber(redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2])\n"
        "at = at and math.floor(at / 4096)\n"
        "if head then\n"  // as in redis_turn(): known of a first run only
        "  local j = redis.call('HMGET', ARGV[1] .. head, 'timestamp', 'opts', 'ats')\n"
        "  local added, ok, o = not j[3] and tonumber(j[1]), pcall(cjson.decode, j[2] or '{}')\n"
        "  local due = added and added + (ok and type(o) == 'table' and tonumber(o.delay) or 0)\n"
        "  at = due and math.min(due, at or due)\n"
        "end\n"
        "if at then n[8] = at end\n"
        "return n"};
    const auto reply = call(script, {base(), "0"});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<job_counts> {
      const auto n = [&](std::size_t i) { return static_cast<std::size_t>((*reply)[i].integer()); };
      return job_counts{.waiting = n(1),
                        .delayed = n(2),
                        .active = n(3),
                        .completed = n(4),
                        .failed = n(5),
                        .waiting_children = n(6),
                        .paused = n(0) != 0,
                        .next_due = (*reply)[7].integer() >= 0 ? from_redis_ms((*reply)[7].integer()) : no_time};
    });
  }
  /// errc::not_found
  [[nodiscard]] result<info_type> find(const job_id& id) const {
    if (!id) return errc::not_found;
    const std::string text = id.to_string();
    const auto reply = call(redis_find_job(), {base(), "0", text});
    if (!reply) return reply.error();
    if (!reply->is_array()) return errc::not_found;
    return checked_reply([&]() -> result<info_type> { return info_of(*reply); });
  }
  /// `count` of the jobs in a state from the `first` one on: as they will be fetched or become due, or as they came to it.
  [[nodiscard]] result<std::vector<info_type>> list(job_state s, std::size_t first, std::size_t count) const {
    const auto reply = call(redis_list_jobs(), {base(), "0", name_of(s), first, count});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<std::vector<info_type>> {
      std::vector<info_type> all;
      for (const redis_reply& j : reply->items()) all.push_back(info_of(j));
      return all;
    });
  }
  /// errc::not_found
  [[nodiscard]] result<std::vector<text_type>> logs(const job_id& id) const {
    const std::string job = base() + id.to_string();
    const auto there = server().call(redis_commands{}.add("HEXISTS", job, "timestamp"));
    if (!there) return no_job_if_other(there.error());
    const auto lines = server().call(redis_commands{}.add("LRANGE", job + ":logs", 0, -1));
    if (!lines) return lines.error();
    return checked_reply([&]() -> result<std::vector<text_type>> {
      if (there->integer() == 0) return errc::not_found;
      std::vector<text_type> all;
      for (const redis_reply& line : lines->items()) all.push_back(line.text());
      return all;
    });
  }
  /// errc::not_found; errc::busy of an active one; redis_store_errc::tied of one that belongs to a flow or a scheduler and is not over.
  result<void> remove(const job_id& id) { return manage("remove", id.to_string()); }
  result<void> promote(const job_id& id) { return manage("promote", id.to_string()); }
  result<void> redrive(const job_id& id) { return manage("redrive", id.to_string()); }
  /// All but those that belong to flows.
  result<std::size_t> redrive_all(std::size_t most) {
    return in_steps(most, [&](std::size_t n) { return manage_many("redrive_all", std::to_string(n)); });
  }
  /// Ends with redis_store_errc::tied at a job that belongs to a flow or a scheduler.
  result<std::size_t> drain(bool delayed_too) {
    return in_steps(std::size_t(-1), [&](std::size_t) { return manage_many("drain", delayed_too ? "1" : "0"); });
  }
  /// Leaves failed jobs of flows, for which their parents wait.
  result<std::size_t> clean(job_state s, job_time ended_by, std::size_t most) {
    if (s != job_state::completed && s != job_state::failed) return std::size_t{0};
    const std::string by = std::to_string(to_redis_ms(ended_by));
    return in_steps(most, [&](std::size_t n) { return manage_many("clean", name_of(s), by, std::to_string(n)); });
  }
  /// Removes all jobs; what the queue is told of itself (pause, limits) stays. errc::busy while some are active, unless `active_too`;
  /// redis_store_errc::tied if there are some that belong to flows or schedulers of Node's and are not over. Then nothing was removed, or (if they came
  /// meanwhile) some.
  result<void> obliterate(bool active_too) {
    std::size_t looked_at = 0;
    const auto looked = in_steps(std::size_t(-1), [&](std::size_t) {
      const auto n = manage_many("look_before", std::to_string(looked_at), active_too ? "1" : "0");
      looked_at += n.value_or(0);
      return n;
    });
    if (!looked) return looked.error();
    const auto n = in_steps(std::size_t(-1), [&](std::size_t) { return manage_many("obliterate", active_too ? "1" : "0"); });
    if (!n) return n.error();
    return {};
  }

  [[nodiscard]] result<std::vector<child_type>> children(const job_id&) const { return redis_store_errc::no_families; }
  result<void> set_group(std::string_view, const job_group_rule&) { return redis_store_errc::no_groups; }
  [[nodiscard]] result<std::vector<group_type>> groups() const { return redis_store_errc::no_groups; }
  result<void> remove_schedule(std::string_view) { return redis_store_errc::no_schedules; }
  [[nodiscard]] result<std::vector<schedule_type>> schedules() const { return redis_store_errc::no_schedules; }

  result<void> say(const std::string& id, std::uint64_t fence, const char* what, const std::string& text, std::size_t keep) {
    const auto reply = call(redis_say(), {base(), "0", token(), id, fence, what, text, keep});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<void> { return reply->integer() != 0 ? result<void>{} : result<void>{errc::stale}; });
  }
  static const char* name_of(job_state s) noexcept {
    static constexpr std::array<const char*, job_states> names{"wait",      "delayed", "active",
                                                               "completed", "failed",  "waiting-children"};
    return names[static_cast<std::size_t>(s)];
  }

 private:
  template <class... Texts>
  result<std::size_t> manage_many(const char* what, const Texts&... texts) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto reply = call(redis_manage_jobs(), {base(), to_redis_ms(now), what, texts...});
    if (!reply) return reply.error();
    return checked_reply([&]() -> result<std::size_t> {
      const std::int64_t n = reply->integer();
      if (n == -1) return errc::not_found;
      if (n == -2) return errc::busy;
      if (n < 0) return redis_store_errc::tied;
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

  static info_type info_of(const redis_reply& j) {
    const auto text = [&j](std::size_t i) {
      return j[i].is_text() ? std::make_shared<const std::string>(j[i].text()) : job_text{};
    };
    const auto number = [&j](std::size_t i) { return j[i].is_nil() ? std::int64_t{0} : j[i].integer(); };
    const auto time = [&](std::size_t i) { return j[i].is_nil() ? no_time : from_redis_ms(number(i)); };
    info_type info{.id = to_job_id(j[0].text())};
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
};

using redis_job_server = basic_redis_job_server<>;

}  // namespace penstock::inline v0_1::detail
