// A store of jobs as a sequential program of vectors and maps, and somebody who asks it and a real store the same things at random and compares them.
//
//   store_model::follow<my_bench>(below, 150);   // below(n): 0 to n - 1, from any generator; throws `difference` with all that was done
//
// `Bench` is as in store_conformance.hpp: room for eight jobs, the newest two of the completed and the newest three of the failed ones are kept. What
// a store may decide otherwise than memory_store is left open: whether jobs of one addition that replace each other need room beside each other, the order
// of events of different jobs in one step, and events that tell no change of state.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/job/job_store.hpp>

namespace store_model {

using penstock::errc;
using penstock::job_id;
using penstock::job_state;
using penstock::job_time;
using penstock::no_time;
using penstock::settle_as;
using event = penstock::job_event::kind;

struct difference : std::runtime_error {
  using runtime_error::runtime_error;
};

inline constexpr std::size_t usual_capacity = 8;
inline constexpr std::size_t kept_completed = 2;
inline constexpr std::size_t kept_failed = 3;

/// A job with its whole life; `serial` is its payload, and nobody else's.
struct job {
  int serial = 0;
  job_id id = {};
  penstock::enqueue_options o = {};
  job_state state = job_state::waiting;
  bool gone = false;
  unsigned attempts_made = 0;
  unsigned stalled = 0;
  double progress = 0;
  std::string why = {};
  std::string value = {};
  [[nodiscard]] const std::string& text(job_state how) const { return how == job_state::completed ? value : why; }
  job_time added_at{0};
  job_time due_at{0};  // or since when it has been
  job_time started_at = no_time;
  job_time ended_at = no_time;
  job_time leased_until{0};
  std::uint64_t fence = 0;  // of the lease that counts; 0: none does
  std::uint64_t last_fence = 0;
  std::vector<std::string> logs = {};
  std::vector<std::size_t> watches = {};
};

/// What a watch was told.
struct telling {
  job_state how;
  std::string text;   // what the job gave, or why it failed
  bool known = true;  // false: the job that counts is over and gone
};

class sequential {
 public:
  // All jobs that there ever were, and where those are that there are.
  std::map<int, job> jobs;
  std::map<std::uint32_t, std::vector<int>> waiting;
  std::vector<int> delayed, active, completed, failed;
  bool paused = false;
  std::size_t capacity = usual_capacity;

  // What the last step was to bring about.
  std::map<int, std::vector<std::pair<event, unsigned>>> happened;
  std::map<std::size_t, telling> told;
  bool work = false;          // something came to wait
  std::map<event, int> said;  // about no job, or about the one that a duplicate is of

  void begin_step() {
    happened.clear();
    told.clear();
    said.clear();
    work = false;
  }
  [[nodiscard]] std::vector<int> in(job_state s) const {
    if (s == job_state::delayed) return delayed;
    if (s == job_state::active) return active;
    if (s == job_state::completed) return completed;
    if (s == job_state::failed) return failed;
    std::vector<int> all;
    for (const auto& [priority, line] : waiting) all.insert(all.end(), line.begin(), line.end());
    return all;
  }
  [[nodiscard]] std::size_t held() const { return in(job_state::waiting).size() + delayed.size() + active.size(); }
  [[nodiscard]] std::size_t room() const { return held() < capacity ? capacity - held() : 0; }
  [[nodiscard]] job_time next_due() const { return delayed.empty() ? no_time : jobs.at(delayed.front()).due_at; }
  [[nodiscard]] bool counts(int serial, std::uint64_t fence) const {
    const job& j = jobs.at(serial);
    return !j.gone && j.state == job_state::active && j.fence == fence;
  }

  /// The job that counts in place of one with these options: its serial, or -1 if it is over and gone.
  struct twin {
    int serial;
    job_id id;
  };
  [[nodiscard]] std::optional<twin> twin_of(const penstock::enqueue_options& o, job_time now) const {
    if (!o.job_id.empty()) {
      for (const auto& [serial, j] : jobs) {
        if (!j.gone && j.o.job_id == o.job_id) return twin{serial, j.id};
      }
    }
    const guard* const g = guarded(o, now);
    if (g == nullptr || (o.deduplicate->replace && g->live && jobs.at(g->job).state == job_state::delayed)) return std::nullopt;
    return twin{jobs.at(g->job).gone ? -1 : g->job, g->of};
  }
  /// True: it was added.
  bool add(int serial, const job_id& id, const penstock::enqueue_options& o, std::optional<std::size_t> watch, job_time now) {
    if (const auto there = twin_of(o, now)) {
      ++said[event::duplicate];
      if (guard* const g = guarded(o, now); g != nullptr && o.deduplicate->extend && o.deduplicate->ttl.count() != 0) {
        g->expires = now + o.deduplicate->ttl;
      }
      if (!watch) return false;
      const job* const j = there->serial >= 0 ? &jobs.at(there->serial) : nullptr;
      if (j == nullptr) {
        told[*watch] = {job_state::waiting, {}, false};
      } else if (j->state == job_state::completed || j->state == job_state::failed) {
        told[*watch] = {j->state, j->text(j->state)};
      } else {
        jobs.at(there->serial).watches.push_back(*watch);
      }
      return false;
    }
    job& j = jobs[serial];
    j.serial = serial;
    j.id = id;
    j.o = o;
    j.added_at = now;
    if (watch) j.watches.push_back(*watch);
    if (o.deduplicate) {
      const guard* const g = guarded(o, now);
      const int replaced = g != nullptr && g->live ? g->job : -1;
      job_time expires = no_time;
      if (o.deduplicate->ttl.count() != 0) {
        expires = g != nullptr && !o.deduplicate->extend ? g->expires : job_time{now + o.deduplicate->ttl};
      }
      guards_[o.deduplicate->id] = {serial, true, id, expires};
      if (replaced >= 0) remove(replaced);
    }
    if (o.delay.count() > 0) {
      note(j, event::delayed, 0);
      delay(j, now + o.delay);
    } else {
      note(j, event::added, 0);
      j.due_at = now;
      wait(j, o.lifo);
    }
    return true;
  }

  void promote_due(job_time now) {
    while (!delayed.empty() && jobs.at(delayed.front()).due_at <= now) promote(delayed.front());
  }
  /// -1: nothing waits.
  int start(job_time now, job_time until) {
    if (paused) return -1;
    for (auto& [priority, line] : waiting) {
      if (line.empty()) continue;
      job& j = jobs.at(line.front());
      line.erase(line.begin());
      j.state = job_state::active;
      j.started_at = now;
      j.leased_until = until;
      active.push_back(j.serial);
      note(j, event::started, j.attempts_made + 1);
      return j.serial;
    }
    return -1;
  }
  /// `text`: what it gives, or why it failed.
  void settle(int serial, settle_as how, job_time at, const std::string& text, job_time now) {
    job& j = jobs.at(serial);
    leave(j);
    if (how == settle_as::completed) {
      j.value = text;
      note(j, event::completed, ++j.attempts_made);
      end(j, job_state::completed, now);
    } else if (how == settle_as::failed) {
      j.why = text;
      note(j, event::failed, ++j.attempts_made);
      if (j.attempts_made >= j.o.attempts) note(j, event::retries_exhausted, j.attempts_made);
      end(j, job_state::failed, now);
    } else {
      if (how == settle_as::retry) {
        j.why = text;
        note(j, event::retried, ++j.attempts_made);
      } else {
        note(j, event::released, j.attempts_made + 1);
      }
      j.due_at = now;
      at > now ? delay(j, at) : wait(j, how == settle_as::released || j.o.lifo);
    }
  }
  /// Those that stalled too often have failed, the oldest run first; then the others wait again, before all others and in the order of their runs.
  penstock::stalled_jobs take_back(job_time now, unsigned max_stalled) {
    penstock::stalled_jobs taken;
    std::vector<int> late;
    for (const int serial : active) {
      if (jobs.at(serial).leased_until <= now) late.push_back(serial);
    }
    for (const int serial : late) {
      job& j = jobs.at(serial);
      note(j, event::stalled, j.attempts_made + 1);
      if (++j.stalled <= max_stalled) continue;
      ++taken.failed;
      leave(j);
      j.why = "stalled more often than allowed";
      note(j, event::failed, j.attempts_made + 1);
      end(j, job_state::failed, now);
    }
    for (auto at = late.rbegin(); at != late.rend(); ++at) {
      job& j = jobs.at(*at);
      if (j.stalled > max_stalled) continue;
      ++taken.back;
      leave(j);
      j.due_at = now;
      wait(j, true);
    }
    return taken;
  }
  void promote(int serial) {
    job& j = jobs.at(serial);
    leave(j);
    note(j, event::promoted, 0);
    wait(j, j.o.lifo);
  }
  void redrive(int serial) {
    job& j = jobs.at(serial);
    leave(j);
    j.attempts_made = j.stalled = 0;
    j.progress = 0;
    j.ended_at = no_time;
    note(j, event::redriven, 0);
    if (j.o.deduplicate) {  // it guards its key again, if nobody else does
      const auto at = guards_.find(j.o.deduplicate->id);
      const bool ours = at != guards_.end() && at->second.job == serial;
      const bool free = at == guards_.end() || (at->second.expires == no_time && !at->second.live);
      if (ours) at->second.live = true;
      if (!ours && free && j.o.deduplicate->ttl.count() == 0) guards_[j.o.deduplicate->id] = {serial, true, j.id, no_time};
    }
    j.due_at = no_time;  // nobody says when
    wait(j, false);
  }
  void remove(int serial) {
    job& j = jobs.at(serial);
    leave(j);
    note(j, event::removed, 0);
    forget(j, j.state);
  }
  /// Of the completed or the failed; how many.
  std::size_t clean(job_state s, job_time ended_by, std::size_t most) {
    std::size_t n = 0;
    for (const int serial : in(s)) {
      if (n == most || jobs.at(serial).ended_at > ended_by) break;
      remove(serial), ++n;
    }
    return n;
  }

 private:
  struct guard {
    int job;
    bool live;  // false: it is over
    job_id of;
    job_time expires;  // no_time: with the job
  };
  [[nodiscard]] const guard* guarded(const penstock::enqueue_options& o, job_time now) const {
    if (!o.deduplicate) return nullptr;
    const auto at = guards_.find(o.deduplicate->id);
    if (at == guards_.end()) return nullptr;
    return (at->second.expires == no_time ? at->second.live : now < at->second.expires) ? &at->second : nullptr;
  }
  [[nodiscard]] guard* guarded(const penstock::enqueue_options& o, job_time now) {
    return const_cast<guard*>(std::as_const(*this).guarded(o, now));
  }
  void note(const job& j, event what, unsigned attempt) { happened[j.serial].emplace_back(what, attempt); }
  void wait(job& j, bool first) {
    j.state = job_state::waiting;
    auto& line = waiting[j.o.priority];
    line.insert(first ? line.begin() : line.end(), j.serial);
    work = true;
  }
  void delay(job& j, job_time due) {
    j.state = job_state::delayed;
    j.due_at = due;
    auto at = delayed.begin();
    while (at != delayed.end() && jobs.at(*at).due_at <= due) ++at;
    delayed.insert(at, j.serial);
  }
  void leave(job& j) {
    j.fence = 0;
    for (auto& [priority, line] : waiting) std::erase(line, j.serial);
    for (auto* line : {&delayed, &active, &completed, &failed}) std::erase(*line, j.serial);
  }
  void end(job& j, job_state how, job_time now) {
    j.ended_at = now;
    if (in(job_state::waiting).empty() && active.empty()) ++said[event::drained];
    if (how == job_state::completed ? j.o.remove_on_complete : j.o.remove_on_fail) return forget(j, how);
    j.state = how;
    over(j, how);
    auto& line = how == job_state::completed ? completed : failed;
    line.push_back(j.serial);
    if (line.size() > (how == job_state::completed ? kept_completed : kept_failed)) remove(line.front());
  }
  void forget(job& j, job_state how) {
    over(j, how);
    j.gone = true;
  }
  void over(job& j, job_state how) {
    for (const std::size_t w : std::exchange(j.watches, {})) told[w] = {how, j.text(how)};
    for (auto& [key, g] : guards_) {
      if (g.job == j.serial) g.live = false;
    }
  }

  std::map<std::string, guard> guards_;
};

/// Asks both.
template <class Bench>
class follower {
  using store_type = std::remove_cvref_t<decltype(std::declval<Bench&>().store())>;
  using lease = typename store_type::lease_type;
  using settlement = penstock::job_settlement<lease>;

 public:
  follower(std::function<int(int)> below, std::size_t capacity)
      : below_{std::move(below)}, bench_{make(capacity)}, store_{bench_->store()} {
    model_.capacity = capacity;
    store_.subscribe(ears_);
  }

  void step() {
    model_.begin_step();
    ears_->ready = 0;
    ears_->events.clear();
    told_.clear();
    const std::size_t room_before = model_.room();
    const job_time due_before = model_.next_due();
    fetches_ = false;
    // The number of times that each stands here is its weight.
    using act = void (follower::*)();
    static constexpr std::array acts{
        &follower::add,       &follower::add,       &follower::add,         &follower::add,       &follower::add,
        &follower::add,       &follower::add,       &follower::fetch,       &follower::fetch,     &follower::fetch,
        &follower::fetch,     &follower::fetch,     &follower::settle,      &follower::settle,    &follower::settle,
        &follower::settle,    &follower::settle,    &follower::pass_time,   &follower::pass_time, &follower::pass_time,
        &follower::take_back, &follower::take_back, &follower::extend,      &follower::hand_back, &follower::drop,
        &follower::talk,      &follower::pause,     &follower::promote,     &follower::redrive,   &follower::redrive_all,
        &follower::remove,    &follower::clear_up,  &follower::add_nonsense};
    const act a = acts[static_cast<std::size_t>(pick(static_cast<int>(acts.size())))];
    (this->*a)();
    compare();
    require(!(model_.work && !model_.paused && !fetches_ && !model_.in(job_state::waiting).empty()) || ears_->ready > 0,
            "listeners hear of work");
    require(fetches_ || model_.next_due() >= due_before || ears_->ready > 0, "listeners hear of what is due earlier");
    if (wanted_ != 0 && model_.room() >= wanted_ && model_.room() > room_before) {
      require(ears_->room > 0, "listeners hear of room");
      wanted_ = 0;
    }
    if (ears_->room > 0) wanted_ = 0;
    ears_->room = 0;
  }

 private:
  struct noted_watch final : penstock::job_watch {
    void over(job_state s, const penstock::job_text& said) noexcept override {
      all->emplace_back(number, telling{s, said != nullptr ? *said : ""});
    }
    void forgotten() noexcept override { all->emplace_back(number, telling{job_state::waiting, {}, false}); }
    std::size_t number = 0;
    std::vector<std::pair<std::size_t, telling>>* all = nullptr;
  };
  struct listener final : penstock::store_listener {
    void work_ready() noexcept override { ++ready; }
    void room_made() noexcept override { ++room; }
    [[nodiscard]] bool wants_events() const noexcept override { return true; }
    void happened(std::span<const penstock::job_event> all) noexcept override {
      events.insert(events.end(), all.begin(), all.end());
    }
    int ready = 0;
    int room = 0;
    std::vector<penstock::job_event> events;
  };
  struct hold {
    lease l;
    int serial;
    std::uint64_t fence;
  };

  static std::unique_ptr<Bench> make(std::size_t capacity) {
    if constexpr (std::is_constructible_v<Bench, std::size_t>) {
      return std::make_unique<Bench>(capacity);
    } else {
      return std::make_unique<Bench>();
    }
  }
  int pick(int n) { return n <= 1 ? 0 : below_(n); }
  bool chance(int in) { return pick(in) == in - 1; }  // seldom; 0, to which a test case shrinks, is no
  std::size_t index(std::size_t n) { return static_cast<std::size_t>(pick(static_cast<int>(n))); }
  job_time seconds(int n) { return std::chrono::seconds{n}; }

  void say(std::string line) { trace_ += line + "\n"; }
  void require(bool holds, const char* what) {
    if (!holds) throw difference{"it does not hold that " + std::string{what} + "; after\n" + trace_};
  }
  template <class A, class B>
  void same(const A& got, const B& wanted, const std::string& what) {
    if (got == static_cast<A>(wanted)) return;
    throw difference{what + " is " + text(got) + " and not " + text(static_cast<A>(wanted)) + "; after\n" + trace_};
  }
  static std::string text(const std::string& s) { return "\"" + s + "\""; }
  static std::string text(job_time t) { return t == no_time ? "never" : std::to_string(t.count()) + " ns"; }
  template <class T>
    requires std::is_arithmetic_v<T>
  static std::string text(T n) {
    return std::to_string(n);
  }
  template <class Result>
  static std::string how(const Result& r) {
    return r ? "" : r.error().message();
  }
  static std::string how(errc e) { return make_error_code(e).message(); }

  // Steps.

  penstock::enqueue_options any_options() {
    penstock::enqueue_options o{.attempts = static_cast<unsigned>(1 + pick(3)), .priority = static_cast<std::uint32_t>(pick(3))};
    if (chance(3)) o.delay = seconds(1 + pick(4));
    o.lifo = chance(4);
    if (chance(6)) o.timeout = seconds(7);
    if (chance(4)) o.name = "kind";
    o.remove_on_complete = chance(6);
    o.remove_on_fail = chance(6);
    if (chance(4)) o.keep_logs = static_cast<std::size_t>(pick(3));
    if (chance(4)) {
      o.job_id = "name " + std::to_string(pick(3));
    } else if (chance(2)) {
      // Each key has the same ttl, if any, every time.
      const int which = pick(3);
      o.deduplicate = penstock::deduplication{
          .id = "key " + std::to_string(which), .ttl = seconds(which == 0 ? 0 : 3), .extend = chance(2), .replace = chance(2)};
    }
    return o;
  }
  void add() {
    const std::size_t n = chance(4) ? 1 + index(1 + model_.capacity / 4) : 1;
    std::vector<penstock::enqueue_options> options;
    for (std::size_t i = 0; i < n; ++i) options.push_back(any_options());
    std::vector<int> serials(n);
    std::vector<int> payloads(n);
    std::vector<penstock::job_entry<int>> entries;
    std::vector<std::optional<std::size_t>> watch(n);
    std::string line = "add";
    std::size_t most = 0;  // of room, that it may take
    for (std::size_t i = 0; i < n; ++i) {
      serials[i] = payloads[i] = ++serial_;
      noted_watch* w = nullptr;
      if (chance(2)) {
        watch[i] = watches_.size();
        w = &watches_.emplace_back();
        w->number = *watch[i];
        w->all = &told_;
      }
      entries.push_back({&payloads[i], &options[i], w});
      if (!model_.twin_of(options[i], now_)) ++most;
      const auto& o = options[i];
      line += " " + std::to_string(serials[i]) + "{attempts " + std::to_string(o.attempts) + ", priority " +
              std::to_string(o.priority) + (o.delay.count() != 0 ? ", delay " + text(o.delay) : "") + (o.lifo ? ", lifo" : "") +
              (o.job_id.empty() ? "" : ", " + o.job_id);
      if (o.deduplicate) {
        line += ", " + o.deduplicate->id + (o.deduplicate->extend ? " extend" : "") + (o.deduplicate->replace ? " replace" : "");
      }
      line +=
          std::string{o.remove_on_complete ? ", remove_on_complete" : ""} + (o.remove_on_fail ? ", remove_on_fail" : "") + "}";
    }
    say(line);
    std::vector<penstock::job_added> added(n);
    const auto r = store_.add(entries, now_, added);
    if (!r) {
      same(r.error().message(), how(errc::full), "the error");
      require(model_.room() < most, "there is no room");
      wanted_ = wanted_ == 0 ? most : std::min(wanted_, most);
      return;
    }
    if (model_.room() < most) {
      sequential trial = model_;
      for (std::size_t i = 0; i < n; ++i) trial.add(serials[i], {}, options[i], {}, now_);
      require(trial.held() <= trial.capacity, "there was room");
    }
    for (std::size_t i = 0; i < n; ++i) {
      const auto there = model_.twin_of(options[i], now_);
      same(added[i].duplicate, there.has_value(), std::to_string(serials[i]) + " as a duplicate");
      if (there) require(added[i].id == there->id, "a duplicate gives the id of the job that is there");
      if (!options[i].job_id.empty()) same(added[i].id.to_string(), options[i].job_id, "an id");
      model_.add(serials[i], added[i].id, options[i], watch[i], now_);
    }
  }
  void add_nonsense() {
    say("add nonsense");
    int payloads[2] = {-1, -2};
    const penstock::enqueue_options good{.job_id = "name 0"};
    penstock::enqueue_options bad = good;
    if (pick(2) == 0)
      bad.attempts = 0;
    else
      bad.priority = penstock::enqueue_options::lowest_priority + 1;
    const penstock::job_entry<int> both[] = {{&payloads[0], &good}, {&payloads[1], &bad}};
    bool threw = false;
    try {
      static_cast<void>(store_.add(both, now_));
    } catch (const std::invalid_argument&) {
      threw = true;
    }
    require(threw, "options out of their ranges are refused");
  }

  /// Up to three of the leases that are held, and how each is settled, as a worker would.
  std::vector<settlement> any_settlements(std::vector<hold>& used) {
    const std::size_t n = held_.empty() ? 0 : 1 + index(std::min<std::size_t>(3, held_.size()));
    for (std::size_t i = 0; i < n; ++i) {
      const auto at = held_.begin() + pick(static_cast<int>(held_.size()));
      used.push_back(std::move(*at));
      held_.erase(at);
    }
    std::vector<settlement> all;
    for (hold& h : used) {
      settlement s{.lease = &h.l,
                   .why = std::make_shared<const std::string>("why " + std::to_string(h.fence)),
                   .value = std::make_shared<const std::string>("value " + std::to_string(h.fence))};
      const int way = pick(6);
      const bool again = h.l.attempt() < h.l.policy().attempts;
      if (way == 2) s.how = settle_as::failed;
      if (way == 3 || way == 4) s.how = again ? settle_as::retry : settle_as::failed;
      if (way == 5) s.how = settle_as::released;
      s.at = chance(2) ? now_ + seconds(pick(4)) : now_;
      all.push_back(std::move(s));
    }
    return all;
  }
  void settled(std::span<const settlement> all, const std::vector<hold>& used) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool counts = model_.counts(used[i].serial, used[i].fence);
      same(all[i].stale, !counts, "what is said of " + std::to_string(used[i].serial) + " as stale");
      if (counts) model_.settle(used[i].serial, all[i].how, all[i].at, texts_[i], now_);
    }
  }
  void announce(const char* what, std::span<const settlement> all, const std::vector<hold>& used) {
    std::string line = what;
    texts_.clear();
    for (std::size_t i = 0; i < all.size(); ++i) {
      static constexpr const char* ways[] = {"completed", "failed", "retry", "released", "waiting_children"};
      line += " " + std::to_string(used[i].serial) + ": " + ways[static_cast<int>(all[i].how)];
      if (all[i].at > now_) line += " in " + text(all[i].at - now_);
      texts_.push_back(all[i].how == settle_as::completed ? *all[i].value : *all[i].why);
    }
    say(line);
  }
  void settle() {
    std::vector<hold> used;
    std::vector<settlement> all = any_settlements(used);
    announce("settle", all, used);
    require(store_.settle(all, now_).has_value(), "settling succeeds");
    settled(all, used);
  }
  void fetch() {
    fetches_ = true;
    std::vector<hold> used;
    std::vector<settlement> first;
    if (chance(3)) first = any_settlements(used);
    announce("fetch, after settling", first, used);
    const std::size_t most = 1 + index(4);
    const job_time until = now_ + seconds(1 + pick(5));
    std::vector<lease> got;
    const auto answer = store_.fetch({.worker = "follower", .most = most, .now = now_, .lease_until = until}, first, got);
    require(answer.has_value(), "fetching succeeds");
    settled(first, used);
    model_.promote_due(now_);
    for (std::size_t i = 0; i < most; ++i) {
      const int serial = model_.start(now_, until);
      if (serial < 0) {
        same(got.size(), i, "the number of leases");
        break;
      }
      require(i < got.size(), "what waits is fetched");
      lease& l = got[i];
      job& j = model_.jobs.at(serial);
      same(l.payload(), serial, "the next job");
      require(l.id() == j.id, "a lease has its job's id");
      require(l.fence() > j.last_fence, "fences grow");
      j.fence = j.last_fence = l.fence();
      same(l.attempt(), j.attempts_made + 1, "the attempt");
      require(l.attempt() <= j.o.attempts, "there are no more runs than attempts");
      same(l.policy().attempts, j.o.attempts, "the attempts in all");
      same(job_time{l.policy().timeout}, job_time{j.o.timeout}, "the timeout");
      same(std::string{l.name()}, j.o.name, "the name");
      held_.push_back({std::move(l), serial, j.fence});
    }
    same(answer->more, !model_.paused && !model_.in(job_state::waiting).empty(), "more");
    require(answer->next_due <= model_.next_due(), "nobody waits longer than until the next one is due");
  }
  void pass_time() {
    const job_time by = seconds(1 + pick(3));
    now_ += by;
    say("pass " + text(by));
  }
  void take_back() {
    const unsigned most = static_cast<unsigned>(pick(3));
    say("take back, stalled at the most " + std::to_string(most));
    const penstock::stalled_jobs wanted = model_.take_back(now_, most);
    const auto r = store_.take_back_stalled(now_, most);
    require(r.has_value(), "taking back succeeds");
    same(r->back, wanted.back, "how many are back");
    same(r->failed, wanted.failed, "how many have failed");
  }
  std::vector<penstock::lease_ticket> any_tickets(std::string line) {
    std::vector<penstock::lease_ticket> all;
    serials_.clear();
    for (std::size_t n = 1 + index(2), i = 0; i < n && !held_.empty(); ++i) {
      const hold& h = held_[index(held_.size())];
      // A forged one, too: the job's, and a fence that it never had.
      all.push_back({.id = h.l.id(), .fence = chance(8) ? h.fence + 1'000'000 : h.fence});
      serials_.push_back(h.serial);
      line += " " + std::to_string(h.serial);
    }
    say(line);
    return all;
  }
  void extend() {
    auto all = any_tickets("extend");
    const job_time until = now_ + seconds(1 + pick(6));
    require(store_.extend(all, now_, until).has_value(), "extending succeeds");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool counts = model_.counts(serials_[i], all[i].fence);
      same(all[i].lost, !counts, "a lost lease");
      if (counts) model_.jobs.at(serials_[i]).leased_until = until;
    }
  }
  void hand_back() {
    auto all = any_tickets("hand back");
    require(store_.hand_back(all, now_).has_value(), "handing back succeeds");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool counts = model_.counts(serials_[i], all[i].fence);
      same(all[i].lost, !counts, "a lost lease");
      if (counts) model_.settle(serials_[i], settle_as::released, now_, {}, now_);
    }
  }
  void drop() {
    if (held_.empty()) return;
    const auto at = held_.begin() + pick(static_cast<int>(held_.size()));
    say("drop " + std::to_string(at->serial));
    held_.erase(at);
  }
  void talk() {
    if (held_.empty()) return;
    const hold& h = held_[index(held_.size())];
    job& j = model_.jobs.at(h.serial);
    const std::string stale = model_.counts(h.serial, h.fence) ? "" : how(errc::stale);
    const int percent = pick(100);
    say("progress and a line of " + std::to_string(h.serial));
    same(how(store_.progress(h.l, percent / 128.0)), stale, "the answer to progress");
    same(how(store_.log(h.l, "line " + std::to_string(percent))), stale, "the answer to a line");
    if (!stale.empty()) return;
    j.progress = percent / 128.0;
    j.logs.push_back("line " + std::to_string(percent));
    if (j.logs.size() > j.o.keep_logs) j.logs.erase(j.logs.begin());
  }
  void pause() {
    say(model_.paused ? "resume" : "pause");
    require((model_.paused ? store_.resume() : store_.pause()).has_value(), "pausing succeeds");
    if (model_.paused) model_.work = true;
    ++model_.said[model_.paused ? event::resumed : event::paused];
    model_.paused = !model_.paused;
  }
  /// Mostly one in that state, or any other, or none: by its number or by its name.
  job_id any_job(job_state mostly, int& serial) {
    std::vector<int> line = model_.in(mostly);
    serial = -1;
    if (chance(4) || line.empty()) {
      line.clear();
      for (const auto& [s, j] : model_.jobs) line.push_back(s);
    }
    if (line.empty()) return job_id{};
    serial = line[line.size() - 1 - index(line.size())];
    const job& j = model_.jobs.at(serial);
    const job_id id = j.id;
    if (j.gone) {
      serial = -1;
    } else if (!j.o.job_id.empty() && chance(2)) {
      return job_id{j.o.job_id};
    }
    return id;
  }
  [[nodiscard]] bool is(int serial, job_state s) const { return serial >= 0 && model_.jobs.at(serial).state == s; }
  void promote() {
    int serial = -1;
    const job_id id = any_job(job_state::delayed, serial);
    say("promote " + std::to_string(serial));
    same(how(store_.promote(id)), is(serial, job_state::delayed) ? "" : how(errc::not_found), "the answer");
    if (is(serial, job_state::delayed)) model_.promote(serial);
  }
  void redrive() {
    int serial = -1;
    const job_id id = any_job(job_state::failed, serial);
    say("redrive " + std::to_string(serial));
    const bool fits = model_.room() != 0;
    same(how(store_.redrive(id)),
         !is(serial, job_state::failed) ? how(errc::not_found)
         : fits                         ? ""
                                        : how(errc::full),
         "the answer");
    if (is(serial, job_state::failed) && fits) model_.redrive(serial);
  }
  void redrive_all() {
    const std::size_t most = index(4);
    say("redrive up to " + std::to_string(most));
    std::size_t n = 0;
    for (; n < most && !model_.failed.empty() && model_.room() != 0; ++n) model_.redrive(model_.failed.front());
    same(store_.redrive_all(most).value(), n, "how many were redriven");
  }
  void remove() {
    static constexpr job_state states[] = {job_state::waiting, job_state::delayed, job_state::active, job_state::completed,
                                           job_state::failed};
    int serial = -1;
    const job_id id = any_job(states[pick(5)], serial);
    say("remove " + std::to_string(serial));
    same(how(store_.remove(id)),
         serial < 0                      ? how(errc::not_found)
         : is(serial, job_state::active) ? how(errc::busy)
                                         : "",
         "the answer");
    if (serial >= 0 && !is(serial, job_state::active)) model_.remove(serial);
  }
  void clear_up() {
    const int what = pick(8);
    if (what < 4) {
      const job_state s = what < 2 ? job_state::completed : what == 2 ? job_state::failed : job_state::waiting;
      const std::size_t most = 1 + index(3);
      const job_time by = now_ - seconds(pick(4));
      say("clean " + std::to_string(most) + " of what ended by " + text(by));
      const std::size_t n = s == job_state::waiting ? 0 : model_.clean(s, by, most);
      same(store_.clean(s, by, most).value(), n, "how many were cleaned");
    } else if (what < 6) {
      const bool delayed_too = what == 5;
      say(delayed_too ? "drain all" : "drain");
      std::size_t n = 0;
      for (const job_state s : {job_state::waiting, job_state::delayed}) {
        if (s == job_state::delayed && !delayed_too) break;
        for (const int serial : model_.in(s)) model_.remove(serial), ++n;
      }
      same(store_.drain(delayed_too).value(), n, "how many were drained");
    } else {
      const bool active_too = what == 7;
      say(active_too ? "obliterate all" : "obliterate");
      const bool busy = !active_too && !model_.active.empty();
      same(how(store_.obliterate(active_too)), busy ? how(errc::busy) : "", "the answer");
      if (busy) return;
      for (auto& [serial, j] : model_.jobs) {
        if (!j.gone) model_.remove(serial);
      }
    }
  }

  // What is looked at after each step.

  void compare() {
    const penstock::job_counts c = store_.counts().value();
    same(c.waiting, model_.in(job_state::waiting).size(), "the number of those that wait");
    same(c.delayed, model_.delayed.size(), "the number of the delayed");
    same(c.active, model_.active.size(), "the number of the active");
    same(c.completed, model_.completed.size(), "the number of the completed");
    same(c.failed, model_.failed.size(), "the number of the failed");
    same(c.paused, model_.paused, "paused");
    for (const job_state s :
         {job_state::waiting, job_state::delayed, job_state::active, job_state::completed, job_state::failed}) {
      const std::vector<int> wanted = model_.in(s);
      const auto got = store_.list(s, 0, 100).value();
      same(got.size(), wanted.size(), "the length of a list");
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (!(got[i].id == model_.jobs.at(wanted[i]).id)) {
          throw difference{"the place of " + got[i].id.to_string() + " in a list is not its own; after\n" + trace_};
        }
        same_job(got[i], model_.jobs.at(wanted[i]));
      }
      if (wanted.empty()) continue;
      const std::size_t from = wanted.size() / 2;
      const auto slice = store_.list(s, from, 1).value();
      require(slice.size() == 1 && slice[0].id == model_.jobs.at(wanted[from]).id, "a part of a list is of the list");
    }
    for (const hold& h : held_) {
      same(h.l.payload(), h.serial, "the payload of a lease");
      same(h.l.fence(), h.fence, "the fence of a lease");
    }
    if (!model_.jobs.empty()) {
      int serial = -1;
      const job_id id = any_job(job_state::active, serial);
      const auto logs = store_.logs(id);
      if (serial < 0) {
        same(how(store_.find(id)), how(errc::not_found), "the answer");
        same(how(logs), how(errc::not_found), "the answer");
      } else {
        same_job(store_.find(id).value(), model_.jobs.at(serial));
        require(logs.value() == model_.jobs.at(serial).logs, "the log's newest lines are there");
      }
    }
    compare_events();
    same(told_.size(), model_.told.size(), "how many watches were told");
    for (const auto& [number, t] : told_) {
      const auto wanted = model_.told.find(number);
      require(wanted != model_.told.end(), "a watch is told when its job is over");
      same(static_cast<int>(t.how), static_cast<int>(wanted->second.how), "what a watch was told");
      same(t.known, wanted->second.known, "whether it is known how a job went");
      if (t.how == job_state::failed || t.how == job_state::completed)
        same(t.text, wanted->second.text, "the text that a watch was told");
    }
  }
  void same_job(const penstock::job_info& got, const job& j) {
    const std::string of = " of " + std::to_string(j.serial);
    same(static_cast<int>(got.state), static_cast<int>(j.state), "the state" + of);
    same(got.priority, j.o.priority, "the priority" + of);
    same(got.attempts_made, j.attempts_made, "attempts_made" + of);
    require(got.attempts_made <= j.o.attempts, "there are no more runs than attempts");
    same(got.stalled, j.stalled, "stalled" + of);
    same(got.progress, j.progress, "the progress" + of);
    same(got.why != nullptr ? *got.why : "", j.why, "the reason" + of);
    same(got.value != nullptr ? *got.value : "", j.value, "the value" + of);
    same(got.name != nullptr ? *got.name : "", j.o.name, "the name" + of);
    same(got.added_at, j.added_at, "added_at" + of);
    same(got.due_at, j.due_at, "due_at" + of);
    same(got.started_at, j.started_at, "started_at" + of);
    same(got.ended_at, j.ended_at, "ended_at" + of);
    same(got.leased_until, j.state == job_state::active ? j.leased_until : no_time, "leased_until" + of);
  }
  void compare_events() {
    std::map<int, std::vector<std::pair<event, unsigned>>> got;
    std::map<event, int> said;
    for (const penstock::job_event& e : ears_->events) {
      if (e.what == event::progress) continue;  // it tells no change
      if (e.what == event::drained || e.what == event::paused || e.what == event::resumed || e.what == event::duplicate) {
        ++said[e.what];
        continue;
      }
      int of = -1;
      for (auto at = model_.jobs.rbegin(); at != model_.jobs.rend() && of < 0; ++at) {
        if (at->second.id == e.id) of = at->first;
      }
      require(of >= 0, "events are about jobs");
      const bool about_no_run = e.what == event::added || e.what == event::delayed || e.what == event::promoted ||
                                e.what == event::redriven || e.what == event::removed;
      got[of].emplace_back(e.what, about_no_run ? 0 : e.attempt);
      const job& j = model_.jobs.at(of);
      if (e.what == event::completed) same(e.value != nullptr ? *e.value : "", j.value, "the value that is told");
      if (e.what == event::failed || e.what == event::retried) same(e.why != nullptr ? *e.why : "", j.why, "why, as is told");
    }
    for (const event what : {event::drained, event::paused, event::resumed, event::duplicate}) {
      same(said[what], model_.said[what], "how often event " + std::to_string(static_cast<int>(what)) + " is told");
    }
    if (got == model_.happened) return;
    const auto all = [](const auto& by_job) {
      std::string line;
      for (const auto& [serial, what] : by_job) {
        line += " " + std::to_string(serial) + ":";
        for (const auto& [kind, attempt] : what)
          line += " " + std::to_string(static_cast<int>(kind)) + "/" + std::to_string(attempt);
      }
      return line;
    };
    throw difference{"the events are" + all(got) + " and not" + all(model_.happened) + "; after\n" + trace_};
  }

  std::function<int(int)> below_;
  std::vector<std::pair<std::size_t, telling>> told_;
  std::deque<noted_watch> watches_;  // they outlive the store, which may still tell them
  std::shared_ptr<listener> ears_ = std::make_shared<listener>();
  std::unique_ptr<Bench> bench_;
  store_type& store_;
  std::vector<hold> held_;
  sequential model_;
  job_time now_ = std::chrono::hours{1};
  int serial_ = 0;
  std::size_t wanted_ = 0;  // the room that somebody was refused; 0: nobody was
  bool fetches_ = false;
  std::vector<std::string> texts_;
  std::vector<int> serials_;
  std::string trace_;
};

/// `steps` random ones. Throws `difference`. Another capacity is for a bench that is made with it.
template <class Bench>
void follow(std::function<int(int)> below, int steps, std::size_t capacity = usual_capacity) {
  follower<Bench> f{std::move(below), capacity};
  for (int i = 0; i < steps; ++i) f.step();
}

}  // namespace store_model
