// libFuzzer looks for a sequence of calls to a limiter, and of moves of its clock, that a sequential reference answers differently. The reference goes
// from one time at which something may come to the next and knows nothing of timers, locks and waits.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/rate/limiter.hpp>

namespace {

using namespace penstock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class reader {
 public:
  explicit reader(std::span<const std::uint8_t> bytes) : bytes_{bytes} {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  int below(int n) {
    if (bytes_.empty()) return 0;
    const int b = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return b % n;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

void demand(bool right, const char* what) {
  if (!right) throw std::logic_error{what};
}

limiter_options read_options(reader& in) {
  limiter_options o;
  const int asked = in.below(32);
  if ((asked & 1) != 0) o.max_concurrent = 1 + in.below(5);
  if ((asked & 2) != 0) o.min_time = milliseconds{in.below(6)};
  if ((asked & 4) != 0) {
    reservoir_options r;
    r.initial = in.below(6);
    const int ways = in.below(4);
    if ((ways & 1) != 0) {
      r.refresh_interval = milliseconds{1 + in.below(12)};
      r.refresh_amount = in.below(5);
    }
    if ((ways & 2) != 0) {
      r.increase_interval = milliseconds{1 + in.below(7)};
      r.increase_amount = in.below(4);
      if (in.below(2) != 0) r.increase_maximum = in.below(8);
    }
    o.reservoir = r;
  }
  if ((asked & 8) != 0) o.rates.push_back({{1, milliseconds{1 + in.below(5)}}, 1 + in.below(5)});
  if ((asked & 16) != 0) o.rates.push_back({{1, milliseconds{1 + in.below(30)}}, 3 + in.below(9)});
  o.high_water = static_cast<std::size_t>(in.below(5));
  o.strategy = static_cast<limiter_strategy>(in.below(4));
  if (in.below(2) != 0) o.penalty = milliseconds{in.below(9)};
  return o;
}

// The limits alone. Times are nanoseconds.
constexpr std::int64_t millisecond = 1'000'000;
constexpr std::int64_t second = 1'000'000'000;

struct limits {
  limiter_options o;
  std::int64_t now = 0;
  std::int64_t running = 0;
  std::int64_t earliest = 0;  // by min_time
  std::optional<std::int64_t> started_at;
  std::int64_t paused_until = 0;
  std::int64_t window_end = 0;
  std::int64_t window_left = 0;
  std::int64_t level = 0;
  std::int64_t reservoir_since = 0;
  std::vector<std::int64_t> tokens;  // times the period, so that they are integers, but for changes of the period

  [[nodiscard]] std::int64_t period(std::size_t i) const { return static_cast<std::int64_t>(o.rates[i].rate.nanoseconds()); }

  void apply(const limiter_options& next) {
    std::vector<std::int64_t> kept;
    for (std::size_t i = 0; i < next.rates.size(); ++i) {
      const auto new_period = static_cast<std::int64_t>(next.rates[i].rate.nanoseconds());
      const std::int64_t full = next.rates[i].burst * new_period;
      kept.push_back(i < o.rates.size() ? std::min(full, tokens[i] * new_period / period(i)) : full);
    }
    if (next.reservoir) {
      if (!o.reservoir) level = next.reservoir->initial;
      if (!o.reservoir || !same_times(*o.reservoir, *next.reservoir)) reservoir_since = now;
    }
    o = next;
    tokens = kept;
    earliest = started_at ? *started_at + o.min_time.count() : 0;
  }
  static bool same_times(const reservoir_options& a, const reservoir_options& b) {
    return a.refresh_interval == b.refresh_interval && a.refresh_amount == b.refresh_amount &&
           a.increase_interval == b.increase_interval && a.increase_amount == b.increase_amount &&
           a.increase_maximum == b.increase_maximum;
  }
  // To the next time at which something may come: a whole token, the end of the spacing, or a millisecond.
  void tick() {
    std::int64_t step = millisecond - now % millisecond;
    if (now < earliest) step = std::min(step, earliest - now);
    for (std::size_t i = 0; i < tokens.size(); ++i) step = std::min(step, period(i) - tokens[i] % period(i));
    now += step;
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = std::min(tokens[i] + step, o.rates[i].burst * period(i));
    if (!o.reservoir) return;
    const reservoir_options& r = *o.reservoir;
    const std::int64_t since = now - reservoir_since;
    if (r.refresh_interval.count() != 0 && since % r.refresh_interval.count() == 0) level = r.refresh_amount;
    if (r.increase_interval.count() != 0 && since % r.increase_interval.count() == 0 && level < r.increase_maximum) {
      level = std::min(level + r.increase_amount, r.increase_maximum);
    }
  }
  [[nodiscard]] bool can(std::int64_t weight) const {
    if (o.max_concurrent != limiter_options::unlimited && running + weight > o.max_concurrent) return false;
    if (now < earliest || now < paused_until) return false;
    if (now < window_end && window_left < weight) return false;
    if (o.reservoir && level < weight) return false;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < weight * period(i)) return false;
    }
    return true;
  }
  void take(std::int64_t weight) {
    running += weight;
    started_at = now;
    earliest = now + o.min_time.count();
    if (now < window_end) window_left -= weight;
    if (o.reservoir) level -= weight;
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] -= weight * period(i);
  }
  [[nodiscard]] std::int64_t heaviest() const {
    std::int64_t most = o.max_concurrent;
    for (const rate_limit& r : o.rates) most = std::min(most, r.burst);
    return most;
  }
  void hint(const server_hints& h) {
    if (h.retry_after) paused_until = std::max(paused_until, now + h.retry_after->count());
    if (!h.remaining || !h.reset || h.reset->count() <= 0) return;
    const std::int64_t end = now + h.reset->count();
    if (now >= window_end || end > window_end + second) {
      window_end = end;
      window_left = *h.remaining;
    } else if (end >= window_end - second) {
      window_left = std::min(window_left, *h.remaining);
    }
  }
};

enum class state : std::uint8_t { waiting, running, ended, rejected, cancelled, closed };

struct job {
  std::int64_t weight;
  unsigned priority;
  state expected = state::waiting;
  state is = state::waiting;
};

class run {
 public:
  explicit run(reader& in) : l_{read_options(in), {.clock = clock_}} {
    model_.apply(l_.options());
    while (!in.empty()) step(in);
    l_.stop();
    for (job* j : waiting()) j->expected = state::closed;
    for (job& j : jobs_) end(j);
    compare();
  }

 private:
  void step(reader& in) {
    switch (in.below(12)) {
      case 0:
      case 1:
      case 2:
        come(1 + in.below(in.below(3) == 0 ? 5 : 1), static_cast<unsigned>(in.below(10)));
        break;
      case 3:
      case 4:
        advance(1 + in.below(8));
        break;
      case 5:
      case 6:
        if (!jobs_.empty()) end(pick(in));
        break;
      case 7:
        give_up(in);
        break;
      case 8:
        attempt(1 + in.below(3), static_cast<unsigned>(in.below(10)));
        break;
      case 9: {
        server_hints h;
        if (in.below(2) != 0) h.retry_after = milliseconds{in.below(6)};
        if (in.below(2) != 0) h.remaining = in.below(4);
        if (in.below(2) != 0) h.reset = milliseconds{in.below(3) == 0 ? 2000 : in.below(20)};
        l_.on_response(h);
        model_.hint(h);
        serve();
        break;
      }
      case 10: {
        const int n = in.below(5);
        if (in.below(2) != 0) {
          l_.add_to_reservoir(n);
          model_.level += n;
        } else {
          l_.set_reservoir(n);
          model_.level = n;
        }
        serve();
        break;
      }
      default:
        if (in.below(8) == 0) {
          closed_ = true;
          const bool drop = in.below(2) != 0;
          l_.stop(drop ? limiter_stop::drop_waiting : limiter_stop::finish_waiting);
          for (job* j : waiting()) {
            if (drop) j->expected = state::closed;
          }
        } else {
          change(read_options(in));
        }
    }
    compare();
  }

  job& pick(reader& in) { return *std::next(jobs_.begin(), in.below(static_cast<int>(jobs_.size()))); }

  task<> live(job& j) {
    auto turn = l_.async_acquire({.weight = j.weight, .priority = j.priority});
    const result<void> mine = co_await std::move(turn);
    j.is = mine                              ? state::running
           : mine.error() == errc::rejected  ? state::rejected
           : mine.error() == errc::cancelled ? state::cancelled
           : mine.error() == errc::closed    ? state::closed
                                             : state::ended;
  }

  void come(std::int64_t weight, unsigned priority) {
    if (weight > model_.heaviest()) {
      try {
        static_cast<void>(l_.async_acquire({.weight = weight, .priority = priority}));
      } catch (const std::invalid_argument&) {
        return;
      }
      demand(false, "a job that is too heavy was taken");
    }
    job& j = jobs_.emplace_back(job{weight, priority});
    enter(j);
    by_coroutine_.push_back(&j);
    handles_.push_back(spawn(live(j)));
  }
  void enter(job& j) {
    const std::vector<job*> line = waiting(&j);
    if (closed_) {
      j.expected = state::closed;
    } else if (model_.now < blocked_until_) {
      blocked_until_ = model_.now + penalty_;
      drop(j);
    } else if (next(line, &j) == &j && model_.can(j.weight)) {
      start(j, line);
    } else if (line.size() >= model_.o.high_water) {
      make_room(j, line);
    }
    serve();
  }
  void make_room(job& j, std::vector<job*> line) {
    if (model_.o.strategy == limiter_strategy::block) {
      for (job* w : line) drop(*w);
      penalty_ = model_.o.penalty                 ? model_.o.penalty->count()
                 : model_.o.min_time.count() == 0 ? 5 * second
                                                  : 15 * model_.o.min_time.count();
      blocked_until_ = model_.now + penalty_;
      drop(j);
      return;
    }
    const bool by_priority = model_.o.strategy == limiter_strategy::drop_by_priority;
    if (model_.o.strategy != limiter_strategy::reject_newest) {
      while (!line.empty() && line.size() >= model_.o.high_water) {
        // The least urgent, and of these the first that came.
        const auto worst = std::max_element(line.begin(), line.end(), [](job* a, job* b) { return a->priority < b->priority; });
        if (by_priority ? (*worst)->priority <= j.priority : (*worst)->priority < j.priority) break;
        drop(**worst);
        line.erase(worst);
      }
    }
    if (line.size() >= model_.o.high_water) drop(j);
  }
  void attempt(std::int64_t weight, unsigned priority) {
    if (weight > model_.heaviest()) return;
    const result<void> mine = l_.try_acquire({.weight = weight, .priority = priority});
    job j{weight, priority};
    const std::vector<job*> line = waiting();
    if (closed_) {
      demand(mine == errc::closed, "try_acquire of a closed limiter");
    } else if (model_.now < blocked_until_) {
      blocked_until_ = model_.now + penalty_;
      ++dropped_;
      demand(mine == errc::rejected, "try_acquire of a blocked limiter");
    } else if (next(line, &j) == &j && model_.can(weight)) {
      start(j, line);
      jobs_.push_back(j);
      jobs_.back().is = state::running;
      demand(mine.has_value(), "try_acquire did not start what can start");
    } else {
      demand(mine == errc::empty, "try_acquire started what cannot start");
    }
    if (closed_) return;
    // What it tells is what happens if nobody else takes.
    const nanoseconds told = l_.retry_after({.weight = weight});
    limits alone = model_;
    while ((!alone.can(weight) || alone.now < blocked_until_) && alone.now < model_.now + 6 * second) alone.tick();
    const std::int64_t left = alone.now - model_.now;
    const bool may_be_early = alone.o.reservoir && alone.o.reservoir->refresh_interval.count() != 0;
    if (left >= 6 * second) {
      demand(may_be_early || told >= nanoseconds{6 * second}, "retry_after tells a time for what never comes");
    } else {
      demand(may_be_early ? told <= nanoseconds{left} : told == nanoseconds{left}, "retry_after tells another time");
    }
  }
  void end(job& j) {
    if (j.expected != state::running) return;
    j.expected = j.is = state::ended;
    model_.running -= j.weight;
    l_.release(j.weight);
    serve();
  }
  void give_up(reader& in) {
    if (handles_.empty()) return;
    const int at = in.below(static_cast<int>(handles_.size()));
    const std::vector<job*> line = waiting();
    job* const who = came_by_coroutine(at);
    const bool waits = std::find(line.begin(), line.end(), who) != line.end();
    if (waits) {
      who->expected = state::cancelled;
      ++gave_up_;
    }
    std::next(handles_.begin(), at)->request_stop();
    serve();
  }
  job* came_by_coroutine(int at) { return by_coroutine_[static_cast<std::size_t>(at)]; }

  void change(const limiter_options& o) {
    l_.update_settings(o);
    model_.apply(o);
    for (job* j : waiting()) {
      if (j->weight > model_.heaviest()) drop(*j);
    }
    serve();
  }
  void advance(int ms) {
    clock_.advance(milliseconds{ms});
    for (const std::int64_t until = model_.now + ms * millisecond; model_.now < until;) {
      model_.tick();
      serve();
    }
  }

  void drop(job& j) {
    j.expected = state::rejected;
    ++dropped_;
  }
  std::vector<job*> waiting(const job* but = nullptr) {
    std::vector<job*> line;
    for (job& j : jobs_) {
      if (j.expected == state::waiting && &j != but) line.push_back(&j);
    }
    return line;
  }
  // Whose turn it is, if `newcomer` (or nobody) stands behind the line.
  job* next(std::vector<job*> line, job* newcomer) const {
    if (newcomer != nullptr) line.push_back(newcomer);
    job* chosen = nullptr;
    for (unsigned p = 0; p < 10; ++p) {
      const auto first = std::find_if(line.begin(), line.end(), [p](const job* j) { return j->priority == p; });
      if (first == line.end()) continue;
      chosen = *first;
      if (turns_[p] % 16 != 15) break;
    }
    return chosen;
  }
  void start(job& j, const std::vector<job*>& others) {
    // Each priority from the most urgent on to this one had a turn, if somebody waits below it.
    unsigned lowest = j.priority;
    for (const job* o : others) lowest = std::max(lowest, o->priority);
    for (unsigned p = 0; p <= j.priority; ++p) {
      const bool present =
          p == j.priority || std::any_of(others.begin(), others.end(), [p](const job* o) { return o->priority == p; });
      if (present && p < lowest) ++turns_[p];
    }
    model_.take(j.weight);
    j.expected = state::running;
    ++started_;
  }
  void serve() {
    for (;;) {
      std::vector<job*> line = waiting();
      job* const j = next(line, nullptr);
      if (j == nullptr || !model_.can(j->weight)) return;
      line.erase(std::find(line.begin(), line.end(), j));
      start(*j, line);
    }
  }

  void compare() {
    for (job& j : jobs_) demand(j.is == j.expected, "a job is in another state");
    const limiter_counts c = l_.counts();
    demand(c.queued == waiting().size(), "another number waits");
    demand(c.running == model_.running, "something else runs");
    demand(c.started == started_, "another number has started");
    demand(c.dropped == dropped_, "another number was dropped");
    demand(c.gave_up == gave_up_, "another number gave up");
    demand(l_.is_blocked() == (model_.now < blocked_until_), "it is blocked, or not");
    const std::optional<std::int64_t> level = l_.reservoir();
    demand(level.has_value() == model_.o.reservoir.has_value(), "there is a reservoir, or not");
    demand(!level || *level == model_.level, "the reservoir has another level");
    demand(l_.try_wait().has_value() == (waiting().empty() && model_.running == 0), "it is idle, or not");
  }

  manual_clock clock_;
  limiter l_;
  limits model_;
  std::list<job> jobs_;
  std::vector<job*> by_coroutine_;  // as handles_
  std::list<spawned<void>> handles_;
  bool closed_ = false;
  std::int64_t blocked_until_ = -1;
  std::int64_t penalty_ = 0;
  std::uint64_t started_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t gave_up_ = 0;
  unsigned turns_[10] = {};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    reader in{{data, size}};
    run r{in};
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::abort();
  }
  return 0;
}
