// What every store of jobs does, written once: a test of a store calls these for it.
//
//   TEST_CASE("my_store: runs jobs in their order", "[my_store]") { store_conformance::order<my_bench>(); }
//
// `Bench` is default constructible and has `store()`, a penstock::job_store of int with room for eight jobs that keeps the newest two of those that have
// completed, and the newest three of those that have failed. Time is what a test says it is. What is looked at are texts: few assertions, and a failure tells much.
// A store that does something differently has a bench that says so, in one of these (the usual is true, of the last two false); what it cannot do is to be
// refused, with std::errc::operation_not_supported and a text of its own:
//   static constexpr bool families, groups, schedules;
//   static constexpr bool lifo_with_priority;  before the others of a priority
//   static constexpr bool bounded;             room for eight, then errc::full
//   static constexpr bool tells_later;         watches and listeners are told from a thread of the store's, as events of BullMQ's names
//   static constexpr bool fails_stalled_later; what stalled too often fails when it is fetched
// and one whose leases run out by another clock has `pass(duration)`, for that clock; `look_again()` lets it look for stalled jobs now.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/job/job_store.hpp>
#include <penstock/job/job_time_zone.hpp>
#include <penstock/sync/event.hpp>

#include "catch.hpp"

namespace store_conformance {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::job_id;
using penstock::job_state;
using penstock::settle_as;

[[gnu::noinline]] inline void same(const std::string& got, const std::string& wanted,
                                   std::source_location where = std::source_location::current()) {
  INFO(where.file_name() << ":" << where.line());
  CHECK(got == wanted);
}
/// One after the other: the operands of + have no order.
struct part {  // out of line, as there are hundreds of them
  [[gnu::noinline]] part(const char* s) : text{s} {}
  [[gnu::noinline]] part(std::string s) : text{std::move(s)} {}
  [[gnu::noinline]] ~part() = default;
  std::string text;
};
[[gnu::noinline]] inline std::string seq(std::initializer_list<part> parts) {
  std::string all;
  for (const part& p : parts) all += p.text;
  return all;
}
/// "ok", or the error's text.
template <class Result>
std::string how(const Result& r) {
  return r ? "ok" : r.error().message();
}
inline std::string text(errc e) { return make_error_code(e).message(); }
/// "no ", or what was not refused as it should be.
template <class Result>
std::string refused(const Result& r) {
  return !r && r.error() == std::errc::operation_not_supported ? "no " : how(r);
}

template <class Bench>
constexpr bool has_groups() {
  if constexpr (requires { Bench::groups; }) return Bench::groups;
  return true;
}
template <class Bench>
constexpr bool has_schedules() {
  if constexpr (requires { Bench::schedules; }) return Bench::schedules;
  return true;
}
template <class Bench>
constexpr bool has_lifo_with_priority() {
  if constexpr (requires { Bench::lifo_with_priority; }) return Bench::lifo_with_priority;
  return true;
}
template <class Bench>
constexpr bool is_bounded() {
  if constexpr (requires { Bench::bounded; }) return Bench::bounded;
  return true;
}
template <class Bench>
constexpr bool knows_later_dues() {  // since when a further run was due
  return !requires { requires Bench::first_dues_only; };
}
template <class Bench>
constexpr bool tells_later() {
  return requires { requires Bench::tells_later; };
}
template <class Bench>
constexpr bool fails_stalled_later() {
  return requires { requires Bench::fails_stalled_later; };
}

/// Notes when it was told.
struct noted_watch final : penstock::job_watch {
  void over(job_state s, const penstock::job_text& reason) noexcept override {
    state = s;
    said = reason != nullptr ? *reason : "";
    ++calls;  // last: from another thread, then the others may be read
  }
  void forgotten() noexcept override {
    said = "forgotten";
    ++calls;
  }
  std::atomic<int> calls = 0;
  job_state state = job_state::waiting;
  std::string said;
};

struct noted_listener final : penstock::store_listener {
  void work_ready() noexcept override { ++ready; }
  void room_made() noexcept override { ++room; }
  [[nodiscard]] bool wants_events() const noexcept override { return true; }
  void happened(std::span<const penstock::job_event> all) noexcept override {
    static constexpr const char* names[] = {"added",   "delayed",  "started",          "completed",         "failed",
                                            "retried", "released", "stalled",          "promoted",          "redriven",
                                            "removed", "progress", "waiting_children", "retries_exhausted", "duplicate",
                                            "drained", "paused",   "resumed"};
    for (const auto& e : all) {
      events += std::string{events.empty() ? "" : " "} + names[static_cast<int>(e.what)];
      if (e.value != nullptr) events += "=" + *e.value;
      if (e.progress != 0) events += "=" + std::to_string(static_cast<int>(e.progress * 100));
      ++heard;  // last
    }
  }
  std::atomic<int> ready = 0;
  std::atomic<int> room = 0;
  std::atomic<int> heard = 0;
  std::string events;
};

template <class Bench>
struct user {
  using store_type = std::remove_cvref_t<decltype(std::declval<Bench&>().store())>;
  using lease = typename store_type::lease_type;

  penstock::result<job_id> try_add(int payload, const penstock::enqueue_options& o = {}, penstock::job_watch* watch = nullptr) {
    penstock::job_added added;
    const penstock::job_entry<int> one{&payload, &o, watch};
    if (auto r = store.add({&one, 1}, now, {&added, 1}); !r) return r.error();
    duplicate = added.duplicate;
    if (!duplicate) {
      ids[payload] = added.id;
      payloads[added.id.to_string()] = payload;
    }
    return added.id;
  }
  job_id add(int payload, const penstock::enqueue_options& o = {}) { return try_add(payload, o).value(); }
  struct member {
    [[gnu::noinline]] member(int p, std::size_t place = penstock::job_entry<int>::no_entry, penstock::enqueue_options o = {})
        : payload{p}, parent{place}, options{std::move(o)} {}
    [[gnu::noinline]] member(const member&) = default;
    [[gnu::noinline]] ~member() = default;
    int payload;
    std::size_t parent;  // its place
    penstock::enqueue_options options;
  };
  static std::vector<penstock::job_entry<int>> entries(std::vector<member>& all) {
    std::vector<penstock::job_entry<int>> list;
    for (member& m : all) list.push_back({.payload = &m.payload, .options = &m.options, .parent = m.parent});
    return list;
  }
  /// "ok" or the error; with a "d" for each duplicate.
  std::string add_all(std::vector<member> all) {
    std::vector<penstock::job_added> added(all.size());
    if (const auto r = store.add(entries(all), now, added); !r) return r.error().message();
    std::string how = "ok";
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (added[i].duplicate) {
        how += "d";
      } else {
        ids[all[i].payload] = added[i].id;
        payloads[added[i].id.to_string()] = all[i].payload;
      }
    }
    return how;
  }

  /// The payloads, and with "#2" the number of a further attempt.
  std::string fetch(std::size_t most = 1, std::chrono::nanoseconds lease_for = 30s) {
    std::vector<lease> got;
    fetched = store.fetch({.worker = "tester", .most = most, .now = now, .lease_until = now + lease_for}, {}, got).value();
    std::string all;
    for (lease& l : got) {
      all += (all.empty() ? "" : " ") + std::to_string(l.payload());
      if (l.attempt() != 1) all += "#" + std::to_string(l.attempt());
      const int payload = l.payload();
      leases.insert_or_assign(payload, std::move(l));
    }
    return all;
  }
  lease take(int payload) {
    lease l = std::move(leases.at(payload));
    leases.erase(payload);
    return l;
  }
  /// "ok" or "stale". What an odd one gives is itself a hundredfold, others give nothing.
  std::string settle(lease&& l, settle_as as = settle_as::completed, penstock::job_time at = {}) {
    penstock::job_settlement<lease> s{.lease = &l, .how = as, .at = at, .why = std::make_shared<const std::string>("why")};
    if (as == settle_as::completed && l.payload() % 2 != 0)
      s.value = std::make_shared<const std::string>(std::to_string(100 * l.payload()));
    store.settle({&s, 1}, now).value();
    return s.stale ? "stale" : "ok";
  }
  std::string settle(int payload, settle_as as = settle_as::completed, penstock::job_time at = {}) {
    return settle(take(payload), as, at);
  }

  /// With what it gives, and jobs that are added with it.
  std::string finish(int payload, settle_as as, const char* value, std::vector<member> then = {}) {
    lease l = take(payload);
    const auto list = entries(then);
    penstock::job_settlement<lease> s{.lease = &l,
                                      .how = as,
                                      .why = std::make_shared<const std::string>(value),
                                      .value = std::make_shared<const std::string>(value),
                                      .then = list};
    store.settle({&s, 1}, now).value();
    return s.stale ? "stale" : "ok";
  }
  /// "2 completed two, 3 waiting"; a "?" for one that was added by a settlement.
  std::string children(int payload) {
    static constexpr const char* names[] = {"waiting", "delayed", "active", "completed", "failed", "waiting_children"};
    std::string all;
    const std::vector<penstock::job_child> family = store.children(ids.at(payload)).value();
    for (const auto& c : family) {
      const auto known = payloads.find(c.id.to_string());
      all += (all.empty() ? "" : ", ") + (known != payloads.end() ? std::to_string(known->second) : "?") +
             (c.name != nullptr ? *c.name : "") + " " + names[static_cast<int>(c.state)] +
             (c.text != nullptr ? " " + *c.text : "");
    }
    return all;
  }
  std::string why(int payload) {
    const auto text = store.find(ids.at(payload)).value().why;
    return text != nullptr ? *text : "";
  }

  std::string in(job_state s, std::size_t first = 0, std::size_t count = 100) {
    std::string all;
    const std::vector<penstock::job_info> jobs = store.list(s, first, count).value();
    for (const auto& i : jobs) {
      all += (all.empty() ? "" : " ") + std::to_string(payloads.at(i.id.to_string()));
    }
    return all;
  }
  std::string counts() {
    const penstock::job_counts c = store.counts().value();
    return "waiting " + std::to_string(c.waiting) + ", delayed " + std::to_string(c.delayed) + ", active " +
           std::to_string(c.active) + ", completed " + std::to_string(c.completed) + ", failed " + std::to_string(c.failed) +
           (c.waiting_children != 0 ? ", for children " + std::to_string(c.waiting_children) : "") + (c.paused ? ", paused" : "");
  }
  /// Since when a job that was fetched had been due, or the next one has: in seconds from the beginning; "?": nobody knows.
  std::string since(int payload) { return seconds(leases.at(payload).due_since()); }
  std::string next() {
    const penstock::job_counts c = store.counts().value();
    return c.next_due == penstock::no_time && c.waiting == 0 ? "-" : seconds(c.next_due);
  }
  std::string seconds(penstock::job_time t) const { return t == penstock::no_time ? "?" : std::to_string((t - begun) / 1s); }
  /// Time passes, for the store and for its leases.
  void pass(std::chrono::nanoseconds d) {
    now += d;
    if constexpr (requires { bench.pass(d); }) bench.pass(d);
  }
  /// How many were taken back, and how many of them failed.
  std::string take_back(unsigned max_stalled) {
    penstock::stalled_jobs all{};
    if constexpr (requires { bench.look_again(); }) {  // it takes what it has seen active before, too
      bench.look_again();
      all = store.take_back_stalled(now, max_stalled).value();
      bench.look_again();
    }
    const penstock::stalled_jobs some = store.take_back_stalled(now, max_stalled).value();
    return std::to_string(all.back + some.back) + std::to_string(all.failed + some.failed);
  }
  /// Until `so`, where the store tells it later.
  template <class Condition>
  static void until(Condition so) {
    if constexpr (tells_later<Bench>()) {
      for (int i = 0; i < 20'000 && !so(); ++i) static_cast<void>(penstock::event{}.try_wait_for(1ms));
    }
  }
  penstock::lease_ticket ticket(int payload) { return {.id = leases.at(payload).id(), .fence = leases.at(payload).fence()}; }
  std::string extend(penstock::lease_ticket t, std::chrono::nanoseconds by) {
    store.extend({&t, 1}, now, now + by).value();
    return t.lost ? "lost" : "ok";
  }

  Bench bench;
  store_type& store = bench.store();
  penstock::job_time now = [] {
    if constexpr (requires { Bench::begin(); }) {
      return penstock::job_time{Bench::begin()};  // of a store that needs the system's time
    } else {
      return penstock::job_time{1h};
    }
  }();
  const penstock::job_time begun = now;
  bool duplicate = false;
  penstock::job_fetched fetched;
  std::map<int, job_id> ids;
  std::map<std::string, int> payloads;
  std::map<int, lease> leases;  // before the store goes, they go
};

template <class Bench>
void order() {
  user<Bench> u;
  for (const int p : {1, 2}) u.add(p);
  u.add(10, {.priority = 5});
  u.add(11, {.priority = 1});
  u.add(12, {.priority = 5});
  u.add(3, {.lifo = true});
  constexpr bool all = has_lifo_with_priority<Bench>();
  const auto last = u.try_add(13, {.priority = 5, .lifo = true});
  same(all ? how(last) : refused(last), all ? "ok" : "no ");
  same(u.in(job_state::waiting), all ? "3 1 2 11 13 10 12" : "3 1 2 11 10 12");
  same(seq({u.in(job_state::waiting, 2, 3), "|", u.in(job_state::waiting, 1, 2), "|", u.in(job_state::waiting, 9, 5)}),
       all ? "2 11 13|1 2|" : "2 11 10|1 2|");
  same(u.fetch(2), "3 1");
  same(std::to_string(u.fetched.more), "1");
  same(u.fetch(0), "");
  same(u.fetch(10), all ? "2 11 13 10 12" : "2 11 10 12");
  same(std::to_string(u.fetched.more), "0");
  same(u.counts(),
       all ? "waiting 0, delayed 0, active 7, completed 0, failed 0" : "waiting 0, delayed 0, active 6, completed 0, failed 0");

  // What is settled with the fetch is settled before: a retry that is due at once is fetched again.
  std::vector<typename user<Bench>::lease> again;
  auto one = u.take(1);
  auto two = u.take(2);
  penstock::job_settlement<typename user<Bench>::lease> both[] = {{.lease = &one, .how = settle_as::retry}, {.lease = &two}};
  u.store.fetch({.most = 5, .now = u.now, .lease_until = u.now + 30s}, both, again).value();
  same(seq({std::to_string(again.size()), ": ", std::to_string(again.at(0).payload()), "#",
            std::to_string(again.at(0).attempt())}),
       "1: 1#2");
}

template <class Bench>
void delays() {
  user<Bench> u;
  u.add(1, {.delay = 10s});
  u.add(2, {.delay = 5s});
  u.add(3, {.priority = 2, .delay = 5s});
  u.add(4, {.delay = 5s});
  same(u.in(job_state::delayed), "2 3 4 1");
  same(u.fetch(9), "");
  same(std::to_string((u.fetched.next_due - u.now) / 1s), "5");
  u.now += 5s - 1ns;
  same(u.fetch(9), "");
  u.now += 1ns;
  same(u.fetch(9), "2 4 3");
  same(seq({how(u.store.promote(u.ids[1])), how(u.store.promote(u.ids[1])), how(u.store.promote(u.ids[2]))}),
       "ok" + text(errc::not_found) + text(errc::not_found));
  same(u.fetch(9), "1");
  same(std::to_string(u.fetched.next_due == penstock::no_time), "1");
}

template <class Bench>
[[gnu::noinline]] void due_times_of_turns() {
  constexpr std::size_t none = penstock::job_entry<int>::no_entry;
  user<Bench> u;
  // A parent since its last child was over; if that one was removed, nobody knows.
  same(u.add_all({{1, none}, {2, 0}, {3, 0}, {4, none, {.delay = 1s}}, {5, 3}}), "ok");
  same(u.fetch(9), "2 3 5");
  u.now += 2s;
  same(seq({u.settle(2), u.settle(5)}), "okok");
  u.now += 1s;
  same(seq({u.settle(3), u.fetch(9), u.since(1), u.since(4)}), "ok4 132");
  same(u.add_all({{6, none}, {7, 0}}), "ok");
  same(seq({how(u.store.remove(u.ids[7])), u.next(), u.fetch(9), u.since(6)}), "ok?6?");
  // The next one is the one of the group whose turn it is.
  u.add(10, {.group = "a"});
  u.now += 1s;
  u.add(11, {.group = "b"});
  same(seq({u.next(), u.fetch(), u.next(), u.fetch(), u.next(), u.since(10), u.since(11)}), "310411-34");
  u.store.set_group("a", {.concurrency = 1}).value();
  u.add(12, {.group = "a"});
  same(seq({u.next(), u.settle(10), u.next()}), "?ok4");  // it may not start, then it may
}
template <class Bench>
void due_times() {
  user<Bench> u;
  constexpr bool all = knows_later_dues<Bench>();
  same(u.next(), "-");
  u.add(1, {.attempts = 3});
  u.add(2, {.delay = 5s});
  u.now += 2s;
  same(seq({u.next(), u.fetch(), u.since(1), u.next()}), "0105");
  u.now += 4s;
  same(seq({u.next(), u.fetch(), u.since(2), u.next()}), "525-");
  // Tried again at once, and handed back for later.
  same(seq({u.settle(1, settle_as::retry), u.settle(2, settle_as::released, u.now + 3s)}), "okok");
  same(u.next(), all ? "6" : "?");
  u.now += 1s;
  same(seq({u.fetch(), u.since(1), u.next()}), all ? "1#269" : "1#2?9");
  u.now += 3s;
  same(seq({u.fetch(), u.since(2)}), all ? "29" : "2?");
  // Taken back.
  u.pass(40s);
  same(u.take_back(1), "20");
  u.now += 1s;
  same(seq({u.fetch(2), u.since(1), u.since(2)}), all ? "1#2 25050" : "1#2 2??");
  // Of a dead letter that is redriven nobody knows it. Of one that need not wait for its time that is its due time all the same.
  same(seq({u.settle(2, settle_as::failed), how(u.store.redrive(u.ids[2])), u.next(), u.fetch(), u.since(2)}), "okok?2?");
  u.add(3, {.delay = 10s});
  same(seq({how(u.store.promote(u.ids[3])), u.next(), u.fetch(), u.since(3)}), "ok61361");
  u.add(4, {.priority = 2});
  u.now += 1s;
  u.add(5, {.priority = 1});
  same(seq({u.next(), u.fetch(), u.next()}), "52551");
  if constexpr (has_groups<Bench>()) due_times_of_turns<Bench>();
}

template <class Bench>
void settling() {
  user<Bench> u;
  for (const int p : {1, 2, 3, 4, 5}) u.add(p);
  u.add(6, {.priority = 1});
  same(u.fetch(6), "1 2 3 4 5 6");
  u.now += 1s;
  u.settle(1);
  u.settle(2, settle_as::failed);
  u.settle(3, settle_as::retry, u.now + 5s);
  u.add(7);
  u.settle(4, settle_as::retry);  // at once: behind who waits
  u.settle(6, settle_as::released);
  u.settle(5, settle_as::released);  // before the others: it had its turn
  same(u.counts(), "waiting 4, delayed 1, active 0, completed 1, failed 1");
  same(u.fetch(4), "5 7 4#2 6");
  u.now += 5s;
  same(u.fetch(), "3#2");
  const auto failed = u.store.find(u.ids[2]).value();
  same(seq({*failed.why, std::to_string(failed.attempts_made), std::to_string((failed.ended_at - failed.added_at) / 1s)}),
       "why11");
  u.settle(5, settle_as::released, u.now + 1s);
  same(u.in(job_state::delayed), "5");
  same(seq({u.in(job_state::failed), "|", u.in(job_state::completed), "|", u.in(job_state::active)}), "2|1|7 4 6 3");
}

template <class Bench>
void fencing() {
  user<Bench> u;
  u.add(1);
  same(u.fetch(1, 10s), "1");
  same(u.extend(u.ticket(1), 20s), "ok");
  u.pass(19s);
  same(u.take_back(1), "00");
  u.pass(1s);
  same(u.take_back(1), "10");
  // Whoever stood still so long comes back: what he says is refused, and he can read what he works on.
  auto former = u.take(1);
  same(u.fetch(1, 10s), "1");  // not an attempt more: nobody knows how far that one came
  CHECK(u.leases.at(1).fence() > former.fence());
  same(seq({how(u.store.progress(former, 0.5)), how(u.store.log(former, "x"))}), text(errc::stale) + text(errc::stale));
  same(u.extend({.id = former.id(), .fence = former.fence()}, 10s), "lost");
  penstock::lease_ticket t{.id = former.id(), .fence = former.fence()};
  u.store.hand_back({&t, 1}, u.now).value();
  same(std::to_string(t.lost), "1");
  same(u.settle(std::move(former)), "stale");
  same(u.counts(), "waiting 0, delayed 0, active 1, completed 0, failed 0");
  same(how(u.store.progress(u.leases.at(1), 0.5)), "ok");
  same(std::to_string(u.leases.at(1).payload()), "1");

  // Handed back over its head: before the others, and no attempt.
  u.add(2);
  t = u.ticket(1);
  u.store.hand_back({&t, 1}, u.now).value();
  same(seq({std::to_string(t.lost), u.settle(1, settle_as::failed)}), "0stale");
  same(u.fetch(2, 10s), "1 2");

  // The second loss is one too many; the first one leaves a job before those who wait.
  u.add(3);
  u.pass(10s);
  same(seq({u.take_back(1), u.settle(1), u.settle(2)}), "11stalestale");
  if constexpr (fails_stalled_later<Bench>()) {
    same(seq({u.fetch(2), "|", u.in(job_state::failed)}), "2 3|1");
  } else {
    same(seq({u.in(job_state::failed), "|", u.in(job_state::waiting), "|", u.fetch()}), "1|2 3|2");
  }
  // A lease of a job that was removed, and one that is dropped; of one that came again in its place, at the same time.
  same(seq({how(u.store.obliterate(false)), how(u.store.obliterate(true))}), text(errc::busy) + "ok");
  same(seq({std::to_string(u.leases.at(2).payload()), u.settle(2)}), "2stale");
  u.add(4, {.job_id = "again"});
  same(u.fetch(), "4");
  auto removed = u.take(4);
  u.store.obliterate(true).value();
  u.add(4, {.job_id = "again"});
  same(seq({u.fetch(), u.settle(std::move(removed)), how(u.store.progress(u.leases.at(4), 0.5)), u.settle(4)}), "4staleokok");
  u.add(3);
  same(u.fetch(), "3");
  u.leases.clear();
  same(u.counts(), "waiting 0, delayed 0, active 1, completed 1, failed 0");
  if constexpr (!fails_stalled_later<Bench>()) {
    u.store.obliterate(true).value();

    // What was lost together waits again in its order, but for one that has failed.
    for (const int p : {1, 2, 3, 4, 5}) u.add(p);
    same(seq({u.fetch(1, 1s), u.fetch(3, 1s)}), "12 3 4");
    penstock::lease_ticket early = u.ticket(2);
    u.now += 1s;
    same(std::to_string(u.store.take_back_stalled(u.now, 1).value().back), "4");
    same(seq({u.in(job_state::waiting), "|", u.fetch(2, 1s), "|", u.extend(early, 1s)}), "1 2 3 4 5|1 2|lost");
    u.now += 1s;
    same(u.fetch(2, 0s), "3 4");
    const auto some = u.store.take_back_stalled(u.now, 1).value();
    same(seq({std::to_string(some.back), std::to_string(some.failed), u.in(job_state::failed), "|", u.in(job_state::waiting)}),
         "042 3 4|5");
  }
}

template <class Bench>
void names() {
  user<Bench> u;
  const job_id a = u.add(1, {.job_id = "a"});
  same(a.to_string(), "a");
  same(seq({std::to_string(u.add(2, {.job_id = "a"}) == a), std::to_string(u.duplicate)}), "11");
  same(u.fetch(), "1");
  same(seq({std::to_string(u.store.find(job_id{"a"}).value().id == a), u.leases.at(1).id().to_string()}), "1a");
  u.add(2, {.job_id = "a"});
  u.settle(1);
  u.add(2, {.job_id = "a"});
  same(u.counts(), "waiting 0, delayed 0, active 0, completed 1, failed 0");  // kept: still a duplicate
  same(seq({how(u.store.remove(job_id{"a"})), how(u.store.find(a))}), "ok" + text(errc::not_found));
  u.add(3, {.job_id = "a"});
  same(seq({std::to_string(u.duplicate), u.in(job_state::waiting)}), "03");

  // In one step: the first of them counts.
  int payloads[] = {4, 5, 6};
  const penstock::enqueue_options b{.job_id = "b"};
  const penstock::enqueue_options none;
  const penstock::job_entry<int> batch[] = {{&payloads[0], &b}, {&payloads[1], &b}, {&payloads[2], &none}};
  penstock::job_added added[3];
  u.store.add(batch, u.now, added).value();
  same(seq({std::to_string(added[0].duplicate), std::to_string(added[1].duplicate), std::to_string(added[1].id == added[0].id)}),
       "011");
  same(u.fetch(9), "3 4 6");
}

template <class Bench>
[[gnu::noinline]] void deduplication_ends() {
  using penstock::deduplication;
  user<Bench> u;
  // Who is kept away by the ttl of one that has ended learns how it ended; or that nobody knows any more.
  const penstock::enqueue_options often{.deduplicate = deduplication{.id = "o", .ttl = 10s}};
  noted_watch completed, failed, gone, run;
  u.add(1, often);
  same(seq({u.fetch(), u.settle(1)}), "1ok");
  static_cast<void>(u.try_add(2, often, &completed).value());
  u.now += 10s;
  u.add(3, often);
  same(seq({u.fetch(), u.settle(3, settle_as::failed)}), "3ok");
  static_cast<void>(u.try_add(4, often, &failed).value());
  same(how(u.store.redrive(u.ids[3])), "ok");
  static_cast<void>(u.try_add(4, often, &run).value());
  same(seq({std::to_string(run.calls), u.fetch(), u.settle(3), how(u.store.remove(u.ids[3]))}), "03okok");
  static_cast<void>(u.try_add(5, often, &gone).value());
  same(seq({completed.said, "|", failed.said, std::to_string(failed.state == job_state::failed), "|", run.said, "|", gone.said}),
       "100|why1|300|forgotten");

  // A dead letter that is redriven guards its key again, unless another one does.
  const penstock::enqueue_options one{.deduplicate = deduplication{.id = "k"}};
  u.add(6, one);
  same(seq({u.fetch(), u.settle(6, settle_as::failed), how(u.store.redrive(u.ids[6]))}), "6okok");
  same(std::to_string(u.add(7, one) == u.ids[6]), "1");
  same(seq({u.fetch(), u.settle(6, settle_as::failed)}), "6ok");
  u.add(7, one);
  same(seq({std::to_string(u.duplicate), how(u.store.redrive(u.ids[6])), std::to_string(u.add(8, one) == u.ids[7])}), "0ok1");
  same(seq({u.fetch(2), u.settle(7)}), "7 6ok");
  u.add(8, one);
  same(seq({std::to_string(u.duplicate), u.fetch(), u.settle(8), u.settle(6, settle_as::failed), u.counts()}),
       "08okokwaiting 0, delayed 0, active 0, completed 2, failed 1");
  same(std::to_string(u.store.redrive_all(9).value()), "1");
  u.add(9, one);
  same(seq({std::to_string(u.duplicate), how(u.store.remove(u.ids[6]))}), "1ok");
  u.add(9, one);
  same(std::to_string(u.duplicate), "0");
}
template <class Bench>
void deduplication() {
  if constexpr (!tells_later<Bench>()) deduplication_ends<Bench>();
  using penstock::deduplication;
  constexpr std::size_t none = penstock::job_entry<int>::no_entry;
  user<Bench> u;
  // Until it is over.
  u.add(1, {.deduplicate = deduplication{.id = "k"}});
  u.add(2, {.deduplicate = deduplication{.id = "k"}});
  same(seq({std::to_string(u.duplicate), u.fetch(9)}), "11");
  u.add(2, {.deduplicate = deduplication{.id = "k"}});
  u.settle(1);
  u.add(3, {.deduplicate = deduplication{.id = "k"}});
  same(u.fetch(9), "3");
  // For so long, whatever becomes of it.
  u.add(4, {.deduplicate = deduplication{.id = "t", .ttl = 10s}});
  same(seq({u.fetch(), u.settle(4)}), "4ok");
  u.pass(9s);
  u.add(5, {.deduplicate = deduplication{.id = "t", .ttl = 10s}});
  u.pass(1s);
  u.add(6, {.deduplicate = deduplication{.id = "t", .ttl = 10s, .extend = true}});
  u.pass(9s);
  u.add(7, {.deduplicate = deduplication{.id = "t", .ttl = 10s, .extend = true}});
  u.pass(9s);
  u.add(8, {.deduplicate = deduplication{.id = "t", .ttl = 10s, .extend = true}});
  same(u.fetch(9), "6");
  // In place of one that is delayed still: a debounce.
  for (const int p : {20, 21, 22}) {
    u.add(p, {.delay = 5s, .deduplicate = deduplication{.id = "d", .ttl = 5s, .extend = true, .replace = true}});
    u.pass(4s);
  }
  same(u.in(job_state::delayed), "22");
  u.pass(1s);
  same(u.fetch(9), "22");
  int payloads[] = {30, 31};
  const penstock::enqueue_options r{.delay = 5s, .deduplicate = deduplication{.id = "r", .replace = true}};
  const penstock::job_entry<int> batch[] = {{&payloads[0], &r}, {&payloads[1], &r}};
  u.store.add(batch, u.now).value();
  u.now += 5s;
  same(u.fetch(9), "31");
  // A name that is free again within the step.
  const deduplication d{.id = "e", .replace = true};
  same(u.add_all({{40, none, {.delay = 5s, .job_id = "n", .deduplicate = d}},
                  {41, none, {.delay = 5s, .deduplicate = d}},
                  {42, none, {.delay = 5s, .job_id = "n"}}}),
       "ok");
  same(u.in(job_state::delayed), "41 42");
}

template <class Bench>
void bounds() {
  user<Bench> u;
  for (int p = 0; p < 6; ++p) u.add(p, {.job_id = "n" + std::to_string(p)});
  int payloads[] = {10, 11, 12};
  const penstock::enqueue_options o;
  const penstock::job_entry<int> three[] = {{&payloads[0], &o}, {&payloads[1], &o}, {&payloads[2], &o}};
  constexpr bool bounded = is_bounded<Bench>();
  if constexpr (bounded) {
    same(how(u.store.add(three, u.now)), text(errc::full));  // none of them
    same(u.counts(), "waiting 6, delayed 0, active 0, completed 0, failed 0");
  }
  same(how(u.store.add(std::span{three}.first(2), u.now)), "ok");
  if constexpr (bounded) same(how(u.try_add(9)), text(errc::full));
  same(how(u.try_add(9, {.job_id = "n3"})), "ok");  // a duplicate needs no room

  // Of those that are over the newest are kept, with what they had; dead letters need room to be redriven.
  same(u.fetch(6), "0 1 2 3 4 5");
  for (const int p : {0, 1, 2}) u.settle(p);
  same(seq({u.in(job_state::completed), "|", how(u.store.find(u.ids[0])), how(u.try_add(0, {.job_id = "n0"}))}),
       "1 2|" + text(errc::not_found) + "ok");
  for (const int p : {3, 4, 5}) u.settle(p, settle_as::failed);
  u.add(20, {.remove_on_complete = true, .remove_on_fail = true});
  u.add(21, {.remove_on_complete = true, .remove_on_fail = true});
  same(u.fetch(9), "10 11 0 20 21");
  u.settle(20), u.settle(21, settle_as::failed);
  same(seq({u.in(job_state::completed), "|", u.in(job_state::failed)}), "1 2|3 4 5");
  for (int p = 30; p < 34; ++p) u.add(p);
  same(how(u.store.redrive(u.ids[4])), "ok");
  if constexpr (bounded) {
    same(how(u.store.redrive(u.ids[5])), text(errc::full));
    same(std::to_string(u.store.redrive_all(9).value()), "0");
  }
  same(seq({u.fetch(4), "|", u.fetch()}), "30 31 32 33|4");  // with all its attempts
  u.settle(30), u.settle(31);
  same(seq({how(u.store.redrive(u.ids[30])), std::to_string(u.store.redrive_all(9).value())}), text(errc::not_found) + "2");
  CHECK_THROWS_AS(u.try_add(1, {.attempts = 0}), std::invalid_argument);
  CHECK_THROWS_AS(u.try_add(1, {.priority = 2'097'152}), std::invalid_argument);
}

template <class Bench>
void by_hand() {
  user<Bench> u;
  for (const int p : {1, 2, 3}) u.add(p);
  u.add(4, {.priority = 1});
  u.add(5, {.delay = 1s});
  u.store.pause().value();
  same(seq({u.fetch(9), u.counts()}), "waiting 4, delayed 1, active 0, completed 0, failed 0, paused");
  u.store.resume().value();
  same(u.fetch(), "1");
  same(seq({how(u.store.remove(u.ids[1])), how(u.store.remove(u.ids[2])), how(u.store.remove(u.ids[2]))}),
       text(errc::busy) + "ok" + text(errc::not_found));
  same(seq({how(u.store.progress(u.leases.at(1), 0.25)), how(u.store.log(u.leases.at(1), "a")),
            how(u.store.log(u.leases.at(1), "b"))}),
       "okokok");
  const auto info = u.store.find(u.ids[1]).value();
  same(seq({std::to_string(static_cast<int>(info.progress * 100)), u.store.logs(u.ids[1]).value().at(1)}), "25b");
  same(std::to_string((info.leased_until - u.now) / 10s), "3");
  if constexpr (requires { u.store.cancel(u.ids[1]); }) {  // who has not begun, and only he
    u.add(7);
    same(seq({how(u.store.cancel(u.ids[1])), how(u.store.cancel(u.ids[7])), how(u.store.cancel(u.ids[7]))}),
         text(errc::busy) + "ok" + text(errc::not_found));
  }
  same(seq({std::to_string(u.store.drain(false).value()), std::to_string(u.store.drain(true).value())}), "21");
  u.settle(1, settle_as::failed);
  if constexpr (requires { u.store.cancel(u.ids[1]); }) same(how(u.store.cancel(u.ids[1])), text(errc::stale));
  u.now += 1s;
  u.add(6);
  same(seq({u.fetch(), u.settle(6, settle_as::failed)}), "6ok");
  same(seq({std::to_string(u.store.clean(job_state::failed, u.now - 1s, 9).value()), u.in(job_state::failed)}), "16");
  same(seq({how(u.store.obliterate(false)), u.counts()}), "okwaiting 0, delayed 0, active 0, completed 0, failed 0");
  same(seq({how(u.store.find(job_id{12345})), how(u.store.find(job_id{})), how(u.store.logs(u.ids[1]))}),
       text(errc::not_found) + text(errc::not_found) + text(errc::not_found));
}

// Room is told of if somebody was refused for want of it, once there is enough.
template <class Bench>
[[gnu::noinline]] void telling_of_room(user<Bench>& u, noted_listener& listener) {
  for (int p = 10; p < 18; ++p) u.add(p);
  int payloads[] = {20, 21};
  const penstock::enqueue_options o;
  const penstock::job_entry<int> two[] = {{&payloads[0], &o}, {&payloads[1], &o}};
  u.store.remove(u.ids[10]).value();
  same(std::to_string(listener.room), "0");
  u.add(10);
  same(how(u.store.add(two, u.now)), text(errc::full));
  u.store.remove(u.ids[10]).value();
  same(std::to_string(listener.room), "0");
  u.store.remove(u.ids[11]).value();
  u.store.remove(u.ids[12]).value();
  same(std::to_string(listener.room), "1");
  CHECK_THROWS_AS(u.store.add(std::vector<penstock::job_entry<int>>(9, two[0]), u.now), std::invalid_argument);
}

template <class Bench>
void telling() {
  user<Bench> u;
  const auto listener = std::make_shared<noted_listener>();
  u.store.subscribe(listener);
  noted_watch done, dead, removed, twin, late;
  static_cast<void>(u.try_add(1, {.job_id = "one"}, &done).value());
  static_cast<void>(u.try_add(9, {.job_id = "one"}, &twin).value());
  static_cast<void>(u.try_add(2, {.name = "second", .attempts = 2}, &dead).value());
  static_cast<void>(u.try_add(3, {.delay = 1s}, &removed).value());
  constexpr bool later = tells_later<Bench>();
  if constexpr (!later) same(std::to_string(listener->ready), "3");
  same(u.fetch(9), "1 2");
  same(std::to_string(done.calls), "0");
  u.settle(1);
  u.settle(2, settle_as::failed);
  u.store.remove(u.ids[3]).value();
  u.until([&] { return done.calls + twin.calls + dead.calls + removed.calls == 4; });
  static_cast<void>(u.try_add(9, {.job_id = "one"}, &late).value());
  same(seq({std::to_string(done.calls), done.said, std::to_string(twin.calls), std::to_string(late.calls), late.said,
            std::to_string(dead.calls), dead.said, std::to_string(removed.calls)}),
       "1100111001why1");
  const auto first = u.store.find(u.ids[1]).value();
  const auto second = u.store.find(u.ids[2]).value();
  same(seq({*first.value, std::to_string(first.name == nullptr), *second.name, std::to_string(second.value == nullptr)}),
       "1001second1");
  same(seq({std::to_string(done.state == job_state::completed), std::to_string(late.state == job_state::completed),
            std::to_string(dead.state == job_state::failed),
            std::to_string(removed.state == (later ? job_state::waiting : job_state::delayed))}),
       "1111");
  listener->ready = 0;
  u.store.redrive(u.ids[2]).value();
  if constexpr (!later) same(std::to_string(listener->ready), "1");
  same(u.fetch(), "2");
  penstock::lease_ticket t = u.ticket(2);
  u.store.hand_back({&t, 1}, u.now).value();
  same(u.fetch(1, 1s), "2");
  u.pass(1s);
  same(u.take_back(1), "10");
  same(seq({u.fetch(), u.settle(2, settle_as::retry, u.now + 1s)}), "2ok");
  u.store.promote(u.ids[2]).value();
  u.add(5);
  same(seq({u.fetch(), std::string{u.leases.at(2).name()}, how(u.store.progress(u.leases.at(2), 0.5)),
            u.settle(2, settle_as::failed)}),
       "2#2secondokok");
  same(seq({u.fetch(), u.settle(5)}), "5ok");
  u.store.pause().value();
  u.store.pause().value();
  u.store.resume().value();
  if constexpr (later) {
    u.until([&] { return listener->heard == 31; });
    same(listener->events,
         "added duplicate added added delayed started started completed=100 failed drained removed duplicate "
         "redriven started retried started retried stalled started delayed promoted added started progress=50 failed "
         "retries_exhausted "
         "started completed=500 drained paused resumed");
  } else {
    same(listener->events,
         "added duplicate added delayed started started completed=100 failed drained removed duplicate "
         "redriven started released started stalled started retried promoted added started progress=50 failed retries_exhausted "
         "started completed=500 drained paused resumed");
  }
  if constexpr (is_bounded<Bench>()) telling_of_room(u, *listener);
  u.store.unsubscribe(*listener);
  u.store.pause().value();
  listener->ready = 0;
  u.store.resume().value();
  same(std::to_string(listener->ready), "0");
}

template <class Bench>
[[gnu::noinline]] void families_order() {
  constexpr std::size_t none = penstock::job_entry<int>::no_entry;
  user<Bench> u;
  const auto listener = std::make_shared<noted_listener>();
  u.store.subscribe(listener);
  // A parent is run when all below it are over, with what they gave, in its own order, and not before its own time.
  same(u.add_all({{1, none, {.priority = 1, .job_id = "film"}}, {2, 0, {.name = "cut", .job_id = "a"}}, {3, 0}, {4, 2}}), "ok");
  same(u.counts(), "waiting 2, delayed 0, active 0, completed 0, failed 0, for children 2");
  same(seq({std::to_string(u.store.find(u.ids[3]).value().parent == u.ids[1]),
            std::to_string(u.store.find(u.ids[1]).value().children), "|", u.in(job_state::waiting_children)}),
       "12|1 3");
  same(seq({u.add_all({{5, none, {.job_id = "film"}}, {6, 0}, {7, 1}}), u.fetch(9)}), "okddd2 4");
  same(seq({u.finish(2, settle_as::completed, "two"), u.finish(4, settle_as::completed, "four"), u.children(1)}),
       "okok2cut completed two, 3 waiting");
  same(listener->events,
       "waiting_children added waiting_children added duplicate started started completed=two completed=four promoted");
  u.store.unsubscribe(*listener);
  u.add(9);
  same(seq({u.fetch(1), u.finish(3, settle_as::completed, ""), u.fetch(9), "|", u.children(3)}), "3ok9 1|4 completed four");
  same(seq({u.settle(1), u.settle(9), u.children(1)}), "okok2cut completed two, 3 completed ");  // whatever became of them
  same(u.add_all({{1, none, {.delay = 5s}}, {2, 0}, {3, none, {.delay = 1s}}, {4, 2}}), "ok");
  same(seq({u.fetch(9), u.settle(2), u.in(job_state::delayed)}), "2 4ok1");
  u.now += 1s;
  same(seq({u.settle(4), u.fetch(9)}), "ok3");
  u.now += 4s;
  same(seq({u.fetch(9), u.settle(1), u.settle(3)}), "1okok");
}
template <class Bench>
[[gnu::noinline]] void families_failures() {
  using penstock::child_failure;
  user<Bench> u;
  // Who fails for good: the parent fails, too, and those above it; a dead letter that is redriven has them wait again.
  same(u.add_all({{1}, {2, 0}, {3, 1}, {4, 0}}), "ok");
  same(seq({u.fetch(1), u.finish(3, settle_as::retry, ""), u.fetch(2), u.finish(3, settle_as::failed, "bad")}), "3ok4 3#2ok");
  same(seq({u.in(job_state::failed), "|", u.why(2), "|", u.why(1)}),
       "3 2 1|child " + u.ids[3].to_string() + " has failed: bad|child " + u.ids[2].to_string() + " has failed: bad");
  same(seq({u.children(1), how(u.store.redrive(u.ids[3])), u.counts()}),
       "2 failed " + u.why(2) + ", 4 activeokwaiting 1, delayed 0, active 1, completed 0, failed 0, for children 2");
  same(seq({u.fetch(), u.settle(3), u.fetch(), u.finish(2, settle_as::failed, "itself"), u.why(1),
            how(u.store.redrive(u.ids[2]))}),
       "3ok2okchild " + u.ids[2].to_string() + " has failed: itselfok");
  same(seq({u.fetch(), u.settle(2), u.settle(4), u.fetch(), u.settle(1)}), "2okok1ok");
  same(u.add_all({{1}, {2, 0}, {3, 0}}), "ok");
  same(seq({u.fetch(9), u.settle(2, settle_as::failed), u.settle(3, settle_as::failed), how(u.store.redrive(u.ids[2]))}),
       "2 3okokok");
  same(seq({u.in(job_state::failed), "|", how(u.store.redrive(u.ids[1])), u.in(job_state::waiting_children)}), "1 3|ok1");
  same(seq({u.fetch(), u.settle(2), u.fetch(), u.children(1), u.settle(1), how(u.store.remove(u.ids[3]))}),
       "2ok12 completed, 3 failed whyokok");
  // It is run without waiting any longer, and sees who failed; or does not mind.
  same(u.add_all({{1}, {2, 0, {.on_failure = child_failure::continue_parent}}, {3, 0, {.on_failure = child_failure::ignore}}}),
       "ok");
  same(seq({u.fetch(9), u.settle(2, settle_as::failed), u.fetch(), u.children(1)}), "2 3ok12 failed why, 3 active");
  same(seq({u.settle(1, settle_as::waiting_children), u.fetch(), u.settle(3, settle_as::failed), u.fetch(), u.settle(1)}),
       "okok1ok");
}
template <class Bench>
[[gnu::noinline]] void families_settling() {
  constexpr std::size_t none = penstock::job_entry<int>::no_entry;
  constexpr std::size_t settled = penstock::job_entry<int>::settled_job;
  user<Bench> u;
  // A run adds children, waits for them, and goes on: no attempt; or adds jobs as it completes. What is stale adds nothing.
  u.add(1);
  same(seq({u.fetch(), u.finish(1, settle_as::waiting_children, "", {{2, settled, {.name = "part"}}, {3}, {4, 1}}), u.counts()}),
       "1okwaiting 2, delayed 0, active 0, completed 0, failed 0, for children 2");
  same(seq({u.children(1), "|", u.fetch(9), u.finish(2, settle_as::completed, "two"), u.settle(4), u.fetch(9), u.children(1)}),
       "?part waiting|2 4okok1 3?part completed two");
  same(seq({u.settle(3), u.settle(1, settle_as::waiting_children), u.fetch(),
            u.finish(1, settle_as::completed, "", {{5}, {6, settled}})}),
       "okok1ok");
  same(seq({u.fetch(9), u.settle(5), u.fetch(9, 1s)}), "5 6ok");
  u.now += 30s;
  same(std::to_string(u.store.take_back_stalled(u.now, 1).value().back), "1");
  same(seq({u.finish(6, settle_as::waiting_children, "", {{7, settled}}), u.fetch(9), u.settle(6)}), "stale6ok");
  u.add(1, {.delay = 1s, .deduplicate = penstock::deduplication{.id = "d"}});
  u.now += 1s;
  const penstock::enqueue_options again{.delay = 5s, .deduplicate = penstock::deduplication{.id = "e", .replace = true}};
  same(seq({u.fetch(), u.finish(1, settle_as::waiting_children, "", {{2, settled, again}}), u.in(job_state::waiting_children)}),
       "1ok1");
  auto another = again;
  another.parent = u.ids[1];
  same(seq({how(u.try_add(3, another)), u.children(1), u.in(job_state::waiting_children), how(u.store.remove(u.ids[3]))}),
       "ok3 delayed1ok");
  same(seq({u.in(job_state::waiting), u.fetch(),
            u.finish(1, settle_as::completed, "", {{4, none, {.deduplicate = penstock::deduplication{.id = "d"}}}}), u.fetch(),
            u.settle(4)}),
       "11ok4ok");
  same(seq({u.add_all({{1}, {2, 0}}), u.fetch()}), "ok2");  // the last one may bring another
  same(seq({u.finish(2, settle_as::completed, "", {{3, none, {.parent = u.ids[1]}}}), u.in(job_state::waiting_children),
            u.fetch()}),
       "ok13");
  same(seq({u.settle(3), u.fetch(), u.settle(1)}), "ok1ok");
}
template <class Bench>
[[gnu::noinline]] void families_room() {
  constexpr std::size_t settled = penstock::job_entry<int>::settled_job;
  user<Bench> u;
  // There is room for it in any case.
  for (int p = 10; p < 18; ++p) u.add(p);
  same(seq({u.fetch(), u.finish(10, settle_as::waiting_children, "", {{1, settled}, {2, settled}}), how(u.try_add(3))}),
       "10ok" + text(errc::full));
  same(u.counts(), "waiting 9, delayed 0, active 0, completed 0, failed 0, for children 1");
  u.store.obliterate(false).value();

  same(seq({u.add_all({{1}, {2, 0}, {3, 1}}), u.fetch(), u.settle(3, settle_as::failed)}), "ok3ok");
  for (int p = 10; p < 16; ++p) u.add(p);
  same(seq({how(u.store.redrive(u.ids[3])), how(u.store.remove(u.ids[10])), how(u.store.redrive(u.ids[3])), how(u.try_add(9))}),
       text(errc::full) + "okok" + text(errc::full));
  same(seq({u.in(job_state::waiting_children), "|", u.fetch(9), how(u.store.obliterate(true)), u.counts()}),
       "2 1|11 12 13 14 15 3okwaiting 0, delayed 0, active 0, completed 0, failed 0");
  u.leases.clear();
}
template <class Bench>
[[gnu::noinline]] void families_by_hand() {
  user<Bench> u;
  // To one that is run, or waits: what happened before it waits counts then. Not to others.
  u.add(1), u.add(2);
  same(u.fetch(), "1");
  const penstock::enqueue_options under{.parent = u.ids[1]};
  same(seq({how(u.try_add(3, under)), how(u.try_add(4, under)), how(u.try_add(5, {.parent = u.ids[2]})),
            how(u.try_add(5, {.parent = job_id{"none"}}))}),
       "okok" + text(errc::stale) + text(errc::not_found));
  same(seq({u.fetch(2), u.fetch(9), u.settle(3, settle_as::failed), u.settle(1, settle_as::waiting_children),
            u.in(job_state::failed)}),
       "2 34ok"
       "ok3 1");
  u.settle(2), u.settle(4);
  same(seq({how(u.try_add(5, under)), std::to_string(u.store.find(u.ids[1]).value().children)}), text(errc::stale) + "0");
  u.store.obliterate(false).value();

  // By hand: a child that goes is not waited for; a parent takes those below it along, unless one is run.
  same(u.add_all({{1}, {2, 0}, {3, 1}, {4, 1}, {5, 0}}), "ok");
  same(seq({u.fetch(1), how(u.store.remove(u.ids[1])), how(u.store.remove(u.ids[4])), u.settle(3), u.in(job_state::waiting)}),
       "3" + text(errc::busy) + "okok5 2");
  same(seq({how(u.store.remove(u.ids[5])), u.children(1), how(u.store.remove(u.ids[1])), u.counts()}),
       "ok2 waitingokwaiting 0, delayed 0, active 0, completed 1, failed 0");
  same(u.add_all({{1}, {2, 0}, {3, 1, {.priority = 1}}, {4}, {5, 3}}), "ok");
  same(seq({u.fetch(1), std::to_string(u.store.drain(false).value()), u.settle(5), u.fetch(9), u.settle(4)}), "53ok4ok");
}
template <class Bench>
[[gnu::noinline]] void families_duplicates() {
  constexpr std::size_t settled = penstock::job_entry<int>::settled_job;
  user<Bench> u;
  // Children that are there already are waited for, unless they are another's, or wait for it.
  u.add(1, {.job_id = "x"});
  same(u.add_all({{2}, {3, 0, {.job_id = "x"}}, {4, 0}, {5}, {6, 3, {.job_id = "x"}}}), "okdd");
  same(seq({u.in(job_state::waiting), "|", u.fetch(2), u.children(2), how(u.try_add(9, {.job_id = "x", .parent = u.ids[4]}))}),
       "1 4 5|1 41 active, 4 activeok");
  same(seq({u.settle(1), u.settle(4), u.fetch(9), u.settle(5), u.settle(2)}), "okok5 2okok");
  u.add(1, {.job_id = "y"});
  same(seq({u.fetch(), u.finish(1, settle_as::waiting_children, "", {{2, settled, {.job_id = "z"}}}), u.fetch()}), "1ok2");
  same(seq({u.finish(2, settle_as::waiting_children, "", {{9, settled, {.job_id = "y"}}}), u.fetch(), u.settle(2), u.fetch(),
            u.settle(1)}),
       "ok2ok1ok");
  u.add(1, {.job_id = "w"});
  same(seq({u.fetch(), u.settle(1), u.add_all({{2}, {3, 0, {.job_id = "w"}}, {4, 0}}), u.fetch(9), u.settle(4), u.fetch(),
            u.children(2)}),
       "1okokd4ok21 completed 100, 4 completed");
  std::vector<typename user<Bench>::member> wrong{{1, 1}, {2}};
  CHECK_THROWS_AS(u.store.add(u.entries(wrong), u.now), std::invalid_argument);
}
/// Parents, and those that they wait for. In parts: compilers with sanitizers take long for one.
template <class Bench>
void families() {
  if constexpr (requires { requires !Bench::families; }) {
    user<Bench> u;
    u.add(1);
    std::vector<typename user<Bench>::member> family{{2}, {3, 0}};
    same(seq({refused(u.store.add(u.entries(family), u.now)), refused(u.try_add(2, {.parent = u.ids[1]})),
              refused(u.store.children(u.ids[1]))}),
         "no no no ");
    same(u.fetch(9), "1");
    typename user<Bench>::lease l = u.take(1);
    int payload = 2;
    const penstock::enqueue_options o;
    const penstock::job_entry<int> then{.payload = &payload, .options = &o, .parent = penstock::job_entry<int>::settled_job};
    penstock::job_settlement<typename user<Bench>::lease> s{.lease = &l, .then = {&then, 1}};
    // The run has failed, rather than go on for ever.
    same(seq({how(u.store.settle({&s, 1}, u.now)), u.counts()}), "okwaiting 0, delayed 0, active 0, completed 0, failed 1");
  } else {
    families_order<Bench>();
    families_failures<Bench>();
    families_settling<Bench>();
    families_room<Bench>();
    families_by_hand<Bench>();
    families_duplicates<Bench>();
  }
}

template <class Bench>
void groups() {
  user<Bench> u;
  if constexpr (!has_groups<Bench>()) {
    same(seq({refused(u.store.set_group("a", {})), refused(u.store.groups()), refused(u.try_add(1, {.group = "a"})), u.counts()}),
         "no no no waiting 0, delayed 0, active 0, completed 0, failed 0");
  } else {
    const auto seen = [&u] {
      std::string all;
      const std::vector<penstock::job_group_info> known = u.store.groups().value();
      for (const auto& g : known) {
        all += g.group + ":" + std::to_string(g.rule.weight) + "/" + std::to_string(g.waiting) + "/" + std::to_string(g.active) +
               " ";
      }
      return all;
    };
    // By their weights, whoever has more jobs.
    u.store.set_group("b", {.weight = 4}).value();
    u.store.set_group("c", {.weight = 2}).value();
    const char* const names[] = {"a", "b", "c"};
    for (int p = 0; p < 6; ++p) u.add(p, {.group = names[p % 3]});
    u.add(6, {.group = "c"});
    same(seen(), "a:1/2/0 b:4/2/0 c:2/3/0 ");
    int started[3] = {};
    for (int i = 0; i < 70; ++i) {
      const int p = std::stoi(u.fetch());
      const int g = p == 6 ? 2 : p % 3;
      ++started[g];
      u.settle(p);
      u.add(p, {.group = names[g]});
    }
    for (int g = 0; g < 3; ++g) {
      const int share = g == 0 ? 10 : g == 1 ? 40 : 20;
      same(std::to_string(started[g] >= share - 1 && started[g] <= share + 1), "1");
    }
    // Without jobs and with the usual rule a group is none.
    same(std::to_string(u.store.drain(false).value()), "7");
    u.store.set_group("b", {}).value();
    same(seen(), "c:2/0/0 ");

    // Who is full, or has had his starts, keeps nobody else waiting; within a group by priority, then in order.
    u.store.set_group("a", {.concurrency = 2}).value();
    u.store.set_group("c", {.max = 2, .duration = 10s}).value();
    for (int p = 10; p < 13; ++p) u.add(p, {.group = "a"});
    u.add(13, {.priority = 1, .group = "c"});
    for (int p = 14; p < 16; ++p) u.add(p, {.group = "c"});
    u.add(17);
    const std::string first = u.fetch(9);
    same(seq({std::to_string(first.size()), u.counts(), "|", std::to_string(u.fetched.more)}),
         "14waiting 2, delayed 0, active 5, completed 2, failed 0|0");
    same(std::to_string(first.find("12") == std::string::npos && first.find("14") < first.find("15")), "1");
    same(std::to_string((u.fetched.next_due - u.now) / 1s), "10");
    const auto listener = std::make_shared<noted_listener>();
    u.store.subscribe(listener);
    u.settle(10, settle_as::retry, u.now + 1s);
    same(seq({std::to_string(listener->ready > 0), u.fetch(9)}), "112");
    u.now += 1s;
    same(u.fetch(9), "");  // due, and its group is full
    penstock::lease_ticket t = u.ticket(12);
    u.store.hand_back({&t, 1}, u.now).value();
    same(u.fetch(9), "12");
    u.settle(11, settle_as::failed);
    same(u.fetch(9), "10#2");
    u.settle(10), u.store.redrive(u.ids[11]).value();
    same(seq({u.fetch(9), "|", *u.store.find(u.ids[11]).value().group, seen()}), "11|a:1/0/1 a:1/0/2 c:1/1/2 ");
    u.now += 9s - 1ns;
    same(u.fetch(9), "");
    u.now += 1ns;
    same(u.fetch(9), "13");
    u.store.set_group("c", {.weight = 3}).value();
    same(seen(), ":1/0/1 a:1/0/2 c:3/0/3 ");
    u.now += 30s;
    same(seq({std::to_string(u.store.take_back_stalled(u.now, 1).value().back), seen()}), "6:1/1/0 a:1/2/0 c:3/3/0 ");
    u.store.unsubscribe(*listener);
    CHECK_THROWS_AS(u.store.set_group("a", {.weight = 0}), std::invalid_argument);
    CHECK_THROWS_AS(u.store.set_group("a", {.max = 3}), std::invalid_argument);
  }
}

/// Few bytes, for few instructions where a test has many of them.
struct plan {
  const char* id = "";
  std::chrono::nanoseconds every{0};
  const char* when = "";
  std::chrono::nanoseconds start{0};
  std::chrono::nanoseconds end = penstock::no_time;
  std::uint64_t limit = 1'000'000;
  bool overlap = true;
};
[[gnu::noinline]] inline penstock::job_schedule_options options_of(const plan& p, const penstock::enqueue_options& o = {}) {
  return {.id = p.id,
          .every = p.every,
          .when = p.when,
          .start = p.start,
          .end = p.end,
          .limit = p.limit,
          .overlap = p.overlap,
          .options = o};
}

template <class Bench>
void schedules() {
  user<Bench> u;
  if constexpr (!has_schedules<Bench>()) {
    same(seq({refused(u.store.put_schedule({.id = "s", .every = 1s}, 1, u.now)), refused(u.store.remove_schedule("s")),
              refused(u.store.schedules())}),
         "no no no ");
  } else {
    u.now = 1000s;
    // "name: jobs until now, the next one in so many seconds".
    const auto seen = [&u] {
      std::string all;
      const std::vector<penstock::job_schedule_info> known = u.store.schedules().value();
      for (const auto& i : known) {
        all += i.options.id + ":" + std::to_string(i.made) + "," +
               (i.next_at == penstock::no_time ? "never" : std::to_string((i.next_at - u.now) / 1s)) + " ";
      }
      return all;
    };
    const auto run = [&u] {
      const std::string got = u.fetch(9);
      while (!u.leases.empty()) u.settle(u.leases.begin()->first);
      return got;
    };
    const auto put = [&u](const plan& p, int payload, const penstock::enqueue_options& o = {}) {
      return how(u.store.put_schedule(options_of(p, o), payload, u.now));
    };
    const auto listener = std::make_shared<noted_listener>();
    u.store.subscribe(listener);
    // At once, and then so often, whenever somebody asks; what nobody asked for is one job.
    same(seq({put({.id = "e", .every = 10s}, 1), seen(), std::to_string(listener->ready)}), "oke:0,0 1");
    same(seq({run(), seen(), std::to_string((u.fetched.next_due - u.now) / 1s), run()}), "1e:1,10 10");
    u.now += 10s - 1ns;
    same(run(), "");
    u.now += 37s;
    same(seq({run(), seen()}), "1e:2,3 ");
    // Put again, it goes on; with other times it begins anew, but for the count.
    const penstock::enqueue_options o{.priority = 3, .group = has_groups<Bench>() ? "g" : ""};
    same(seq({put({.id = "e", .every = 10s, .limit = 4}, 2, o), seen()}), "oke:2,3 ");
    u.now += 3s + 1ns;
    same(seq({run(), seen()}), "2e:3,10 ");
    same(std::to_string(u.store.find(u.store.schedules().value().at(0).last).value().priority), "3");
    same(seq({put({.id = "e", .every = 5s, .limit = 4}, 3), run(), seen()}), "ok3e:4,never ");
    u.now += 1h;
    same(seq({run(), how(u.store.remove_schedule("e")), how(u.store.remove_schedule("e")), seen()}),
         "ok" + text(errc::not_found));

    // From a start on, to an end; those before it was put are not missed. By the calendar.
    u.now = 5000s;
    same(seq({put({.id = "a", .every = 10s, .start = 4995s, .end = 5015s}, 1),
              put({.id = "b", .when = "*/2 * * * *", .start = 5101s}, 2), seen()}),
         "okoka:0,5 b:0,160 ");
    u.now = 5015s;
    same(seq({run(), seen()}), "1b:0,145 a:1,never ");
    u.now = 5160s;
    same(seq({run(), seen()}), "2b:1,120 a:1,never ");
    u.store.obliterate(false).value();
    same(seen(), "");

    // Without overlap: a time at which the last one was not over is left out, also if nobody asked then.
    same(seq({put({.id = "o", .every = 10s, .overlap = false}, 1), u.fetch(9)}), "ok1");
    u.now += 12s;
    same(seq({u.fetch(9), seen()}), "o:1,8 ");
    u.now += 9s;
    same(seq({u.settle(1), u.fetch(9), seen()}), "oko:1,9 ");
    u.now += 9s;
    same(seq({u.fetch(9), u.settle(1, settle_as::failed), u.fetch(9), seen()}), "1oko:2,10 ");
    u.now += 10s;
    same(u.fetch(9), "1");
    u.now += 1s;
    u.settle(1, settle_as::retry, u.now + 60s);
    u.now += 59s;
    same(seq({u.fetch(9), seen()}), "o:3,10 ");
    u.now += 1s;
    const job_id last = u.store.schedules().value().at(0).last;
    same(seq({u.fetch(9), u.settle(1, settle_as::failed), how(u.store.redrive(last))}), "1#2okok");
    u.now += 9s;  // it is not over any more
    same(seq({u.fetch(9), seen(), u.settle(1, settle_as::released), how(u.store.remove(last))}), "1o:3,10 okok");
    u.now += 10s;
    same(seq({u.fetch(9), seen(), u.settle(1)}), "1o:4,10 ok");

    // None while the store is paused, or full; then one.
    u.store.obliterate(false).value();
    same(seq({put({.id = "f", .every = 10s}, 1), run()}), "ok1");
    for (int p = 10; p < 18; ++p) u.add(p, {.delay = 1h});
    u.now += 25s;
    same(seq({u.fetch(9), std::to_string(u.fetched.next_due - u.now > 10min)}), "1");
    listener->ready = 0;
    u.store.remove(u.ids[10]).value();
    same(seq({std::to_string(listener->ready > 0), run(), seen()}), "11f:2,5 ");
    u.store.pause().value();
    u.now += 25s;
    same(seq({u.fetch(9), std::to_string(u.fetched.next_due - u.now > 10min)}), "1");
    listener->ready = 0;
    u.store.resume().value();
    same(seq({std::to_string(listener->ready > 0), run(), seen()}), "11f:3,10 ");
    // What its options keep away is left out, and not counted.
    same(seq({put({.id = "f", .every = 10s}, 1, {.job_id = "one"}), seen()}), "okf:3,10 ");
    u.now += 10s;
    same(u.fetch(9), "1");
    u.now += 10s;
    same(seq({u.fetch(9), seen()}), "f:4,10 ");
    u.store.unsubscribe(*listener);
    CHECK_THROWS_AS(put({.id = "x"}, 1), std::invalid_argument);
    CHECK_THROWS_AS(put({.id = "x", .every = 1s, .when = "* * * * *"}, 1), std::invalid_argument);
    CHECK_THROWS_AS(put({.id = "x", .when = "60 * * * *"}, 1), std::invalid_argument);
    CHECK_THROWS_AS(put({.every = 1s}, 1), std::invalid_argument);
  }
}

/// What a bench that is asked for zones() gives its store: "east" is an hour ahead of UTC, two from the second day on; "none" is no zone; others are UTC.
inline std::shared_ptr<const penstock::job_time_zone> time_zones(std::string_view name) {
  using std::chrono::sys_seconds;
  struct zone final : penstock::job_time_zone {
    explicit zone(std::chrono::seconds by) noexcept : ahead{by} {}
    [[nodiscard]] period at(sys_seconds t) const override {
      const sys_seconds change{24h};
      if (t < change) return {sys_seconds::min(), change, ahead};
      return {change, sys_seconds::max(), 2 * ahead};
    }
    std::chrono::seconds ahead;
  };
  if (name == "none") throw std::invalid_argument{"there is no zone \"none\""};
  return std::make_shared<const zone>(name == "east" ? 1h : 0h);
}
/// Schedules by the clocks of a place.
template <class Bench>
void zones() {
  user<Bench> u;
  u.now = 9h;
  const auto put = [&u](const char* id, const char* when, const char* zone, int payload, bool overlap = true) {
    penstock::job_schedule_options o{.id = id, .when = when, .time_zone = zone};
    o.overlap = overlap;
    return how(u.store.put_schedule(o, payload, u.now));
  };
  const auto seen = [&u] {  // the next one in so many minutes
    std::string all;
    const std::vector<penstock::job_schedule_info> known = u.store.schedules().value();
    for (const auto& i : known) {
      all += i.options.id + "@" + i.options.time_zone + ":" + std::to_string(i.made) + "," +
             std::to_string((i.next_at - u.now) / 1min) + " ";
    }
    return all;
  };
  same(seq({put("b", "30 10 * * *", "east", 2), put("c", "30 9 * * *", "", 3), put("a", "30 10 * * *", "east", 1),
            put("d", "0 0 2 1 *", "west", 4), seen()}),
       "okokokoka@east:0,30 b@east:0,30 c@:0,30 d@west:0,900 ");
  u.now += 30min - 1ns;
  same(seq({u.fetch(9), std::to_string((u.fetched.next_due - u.now) / 1ns)}), "1");
  u.now += 1ns;
  same(seq({u.fetch(9), seen()}), "1 2 3d@west:0,870 a@east:1,1380 b@east:1,1380 c@:1,1440 ");  // clocks go forward at night
  // Put again it keeps its time, but not in another zone. Its zone is not asked of the others.
  same(seq({put("b", "30 10 * * *", "west", 2), put("a", "30 10 * * *", "east", 1), seen()}),
       "okokb@west:1,60 d@west:0,870 a@east:1,1380 c@:1,1440 ");
  CHECK_THROWS_AS(put("x", "@daily", "none", 1), std::invalid_argument);
  same(std::to_string(u.store.schedules().value().size()), "4");

  // Due while somebody settles: in the same step. Without overlap a time is left out at which the last one was not over.
  for (const char* id : {"b", "c", "d"}) u.store.remove_schedule(id).value();
  same(seq({put("a", "15,45 * * * *", "east", 1, false), seen(), u.settle(1), u.settle(2)}), "oka@east:1,15 okok");
  auto three = u.take(3);
  penstock::job_settlement<typename user<Bench>::lease> s{.lease = &three};
  std::vector<typename user<Bench>::lease> got;
  u.now += 15min;
  u.store.fetch({.most = 9, .now = u.now, .lease_until = u.now + 9h}, {&s, 1}, got).value();
  same(seq({std::to_string(got.size()), seen()}), "1a@east:2,30 ");
  u.now += 31min;
  same(seq({u.fetch(9), seen(), u.settle(std::move(got.at(0))), u.fetch(9)}), "a@east:2,29 ok");
  u.now += 29min;
  same(seq({u.fetch(9), seen()}), "1a@east:3,30 ");
}

}  // namespace store_conformance
