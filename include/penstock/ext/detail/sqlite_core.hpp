// penstock/ext/detail/sqlite_core.hpp: what a sqlite_store is without its payload's type: steps in one line to one connection, looks over another
// one, and who is told.
//
// A step is done by whoever leads the line (commit_line.hpp), many in a transaction. If one of them fails, or the commit, the transaction is undone,
// and each is done again in one of its own: only those fail that have a reason to. What follows from a step is handed to its caller, who tells.
//
// Guarded by the leadership  the connection that writes, jobs_, watches_, wanted_room_.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <stop_token>
#include <system_error>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/commit_line.hpp>
#include <penstock/ext/detail/sqlite_jobs.hpp>
#include <penstock/ext/detail/sqlite_reader.hpp>
#include <penstock/ext/detail/store_listeners.hpp>
#include <penstock/ext/sqlite_error.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_core {
  using statement = dependent<sqlite_statement, Database>;
  using jobs_type = basic_sqlite_jobs<Database>;
  using reader_type = basic_sqlite_reader<Database>;
  using effects_type = dependent<sqlite_effects, Database>;
  using listeners_type = dependent<store_listeners, Database>;

 public:
  basic_sqlite_core(const std::string& path, const sqlite_store_options& o)
      : db_{open(path, o)},
        jobs_{*db_, o, static_cast<std::int64_t>(fresh_seed() >> 2) + 1},
        reader_{path, o},
        poll_interval_{o.poll_interval} {
    if (o.poll_interval != std::chrono::nanoseconds::max()) {
      poller_ = std::jthread{[this](const std::stop_token& stop) { poll(stop); }};
    }
  }
  basic_sqlite_core(const basic_sqlite_core&) = delete;
  basic_sqlite_core& operator=(const basic_sqlite_core&) = delete;
  ~basic_sqlite_core() {
    if (poller_.joinable()) {
      poller_.request_stop();
      poller_.join();
    }
    for (auto& [job, first] : watches_) {
      for (job_watch* w = first; w != nullptr;) {
        job_watch* const next = w->next;
        w->over(job_state::waiting, nullptr);
        w = next;
      }
    }
  }

  /// f(jobs, effects) in a transaction, and what follows from it. Its answer, or the error of the file. Throws what f throws besides. `watches`: how
  /// many it brings at the most.
  template <class F>
  auto change(F f, std::size_t watches = 0) -> std::invoke_result_t<F&, jobs_type&, effects_type&> {
    typed_step<F> mine{f};
    mine.watches = watches;
    line_.pass(mine, [this](commit_line::step* first) noexcept { do_all(static_cast<step*>(first)); });
    if (mine.error) return mine.error;
    if (mine.failure) std::rethrow_exception(std::move(mine.failure));
    tell(mine);
    return std::move(mine.answer);
  }

  /// f(reader), or the error of the file.
  template <class F>
  auto look(F f) -> std::invoke_result_t<F&, reader_type&> {
    try {
      return f(reader_);
    } catch (const std::system_error& e) {
      if (e.code().category() != sqlite_error_category()) throw;
      return e.code();
    }
  }

  /// What other processes did: jobs of theirs that somebody here waits for are over, there is room.
  result<void> look_around() {
    return change([](jobs_type& jobs, effects_type& e) -> result<void> {
      jobs.look_for_endings(e);
      return {};
    });
  }

  [[nodiscard]] listeners_type& listeners() noexcept { return listeners_; }
  [[nodiscard]] sqlite_store_stats stats() const noexcept {
    // relaxed, both: counts
    return {.steps = steps_.load(std::memory_order_relaxed),
            .commits = commits_.load(std::memory_order_relaxed),
            .in_line = line_.size()};
  }
  [[nodiscard]] std::chrono::nanoseconds poll_interval() const noexcept { return poll_interval_; }
  /// When the next job of a schedule is due, as the last transaction of this process left it.
  [[nodiscard]] job_time next_schedule() const noexcept {
    return job_time{next_schedule_.load(std::memory_order_relaxed)};  // relaxed: a time, and nothing behind it
  }

 private:
  using watch_map = std::unordered_map<std::uint64_t, dependent<job_watch, Database>*>;

  struct step : commit_line::step {
    virtual void run(jobs_type&) = 0;
    effects_type effects;
    std::error_code error;
    std::exception_ptr failure;  // any other
    std::size_t watches = 0;
    job_watch* told = nullptr;  // to be called, linked by `next`
    bool events = false;        // some are on their way
    bool room = false;

   protected:
    ~step() = default;
  };
  template <class F>
  struct typed_step final : step {
    explicit typed_step(F& f) noexcept : what{f} {}
    void run(jobs_type& jobs) override {
      this->effects.clear();
      answer = what(jobs, this->effects);
    }
    F& what;
    std::invoke_result_t<F&, jobs_type&, effects_type&> answer{errc::cancelled};
  };
  static step* after(const step& s) noexcept { return static_cast<step*>(static_cast<commit_line::step*>(s.after)); }

  static std::unique_ptr<Database> open(const std::string& path, const sqlite_store_options& o) {
    auto db = std::make_unique<Database>(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, o.vfs);
    set_up(*db, o);
    return db;
  }

  // By the leader.

  void do_all(step* first) noexcept {
    if (!begin(first, nullptr) || do_together(first, nullptr) || after(*first) == nullptr) return;
    for (step* s = first; s != nullptr; s = after(*s)) {
      s->error.clear();
      if (begin(s, after(*s))) static_cast<void>(do_together(s, after(*s)));
    }
  }
  /// False: it could not even begin, and all have the reason.
  bool begin(step* from, step* to) noexcept {
    try {
      begin_.run();
      return true;
    } catch (...) {
      fail(from, to);
      return false;
    }
  }
  /// False: nothing has happened, and all have the reason.
  bool do_together(step* from, step* to) noexcept {
    try {
      jobs_.load();
      jobs_.recording = listeners_.record();
      std::size_t watches = 0;
      for (step* s = from; s != to; s = after(*s)) {
        s->run(jobs_);
        if (jobs_.group_released()) s->effects.ready = true;
        watches += s->watches;
      }
      if (watches != 0) prepare(watches);
      if (jobs_.feed_schedules()) from->effects.ready = true;
      static_cast<void>(jobs_.save());
      commit_.run();
    } catch (...) {
      fail(from, to);
      roll_back();
      return false;
    }
    next_schedule_.store(jobs_.now.next_schedule().count(), std::memory_order_relaxed);  // relaxed: see next_schedule()
    std::uint64_t steps = 0;
    for (step* s = from; s != to; s = after(*s), ++steps) conclude(*s);
    steps_.fetch_add(steps, std::memory_order_relaxed);  // relaxed, both: counts
    commits_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  static void fail(step* from, step* to) noexcept {
    std::error_code why;
    try {
      throw;
    } catch (const std::system_error& e) {
      why = e.code();
    } catch (...) {
      // Of one alone: of several each is tried again. An exception that two threads throw is shared by them.
      if (after(*from) == to) from->failure = std::current_exception();
    }
    for (step* s = from; s != to; s = after(*s)) s->error = why;
  }
  void roll_back() noexcept {
    if (!db_->in_transaction()) return;  // some errors undo it themselves
    try {
      roll_back_.run();
    } catch (...) {
      // What follows cannot begin, and says so.
    }
  }
  /// So that conclude() does not allocate.
  void prepare(std::size_t watches) {
    watches_.reserve(watches_.size() + watches);
    while (spare_.size() < watches) {
      watch_map one;
      one.emplace(0, nullptr);
      spare_.push_back(one.extract(one.begin()));
    }
  }
  void conclude(step& s) noexcept {
    if (s.effects.endings_seen >= 0) jobs_.saw_endings(s.effects.endings_seen);
    for (auto& n : s.effects.notices) {
      if (n.watch == nullptr) {
        if (auto gone = watches_.extract(n.job)) {
          for (job_watch* w = gone.mapped(); w != nullptr;) over(s, *std::exchange(w, w->next), n);
        }
      } else if (n.job == 0) {
        over(s, *n.watch, n);
      } else {
        n.watch->next = nullptr;
        if (const auto there = watches_.find(n.job); there != watches_.end()) {
          n.watch->next = std::exchange(there->second, n.watch);
        } else {
          auto node = std::move(spare_.back());
          spare_.pop_back();
          node.key() = n.job;
          node.mapped() = n.watch;
          watches_.insert(std::move(node));
        }
      }
    }
    if (!jobs_.now.something_ready() && jobs_.now.of(job_state::delayed) == 0 && jobs_.now.next_schedule() == no_time &&
        job_time{jobs_.now.rests_until} == no_time) {
      s.effects.ready = false;
    }
    if (s.effects.wanted_room != 0) {
      wanted_room_ = wanted_room_ == 0 ? s.effects.wanted_room : std::min(wanted_room_, s.effects.wanted_room);
    } else if (wanted_room_ != 0 && jobs_.room_for(wanted_room_)) {
      wanted_room_ = 0;
      s.room = true;
    }
    const bool polls = !watches_.empty() || wanted_room_ != 0;
    if (polls && !polls_.exchange(polls)) wake_poller_.set();
    if (!polls) polls_.store(false);
    s.events = listeners_.recorded(s.effects.events);
  }
  static void over(step& s, job_watch& w, const typename effects_type::notice& n) noexcept {
    w.how = n.how;
    w.why = n.text;
    w.known = n.known;
    w.next = s.told;
    s.told = &w;
  }
  // By the step's caller.

  void tell(step& s) {
    for (job_watch* w = s.told; w != nullptr;) {
      job_watch* const next = w->next;  // read first: it may destroy itself
      w->tell();
      w = next;
    }
    if (s.events) listeners_.deliver();
    if (s.effects.ready || s.room) listeners_.tell(s.effects.ready, s.room);
  }

  // By the poller.

  void poll(const std::stop_token& stop) noexcept {
    std::int64_t seen = -1;
    while (!stop.stop_requested()) {
      wait_limits until{.stop = stop};
      if (polls_.load()) until.deadline = deadline::after(poll_interval_);
      static_cast<void>(wake_poller_.wait(until));
      if (stop.stop_requested() || !polls_.load()) continue;
      try {
        const std::int64_t version = reader_.tallies().version;
        if (seen != version && look_around()) seen = version;
      } catch (...) {
        // Looked at again in a while; who asks the store himself gets the error.
      }
    }
  }

  std::unique_ptr<Database> db_;
  statement begin_{*db_, "BEGIN IMMEDIATE"};
  statement commit_{*db_, "COMMIT"};
  statement roll_back_{*db_, "ROLLBACK"};
  jobs_type jobs_;
  watch_map watches_;
  std::vector<typename watch_map::node_type> spare_;
  std::size_t wanted_room_ = 0;  // the least that somebody asked for in vain, since listeners were told; 0: nobody did
  commit_line line_;
  reader_type reader_;
  listeners_type listeners_;
  std::atomic<std::uint64_t> steps_{0};
  std::atomic<std::uint64_t> commits_{0};
  std::atomic<std::int64_t> next_schedule_{0};
  const std::chrono::nanoseconds poll_interval_;
  std::atomic<bool> polls_{false};  // there is something to poll for
  auto_reset_event wake_poller_;
  std::jthread poller_;
};

using sqlite_core = basic_sqlite_core<>;

}  // namespace penstock::inline v0_1::detail
