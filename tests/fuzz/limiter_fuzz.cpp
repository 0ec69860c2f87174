// libFuzzer looks for a sequence of calls to two limiters, one chained to the other, and of moves of their clock, back too, that a sequential reference
// answers differently. The reference goes from one time at which something may come to the next and knows nothing of timers, locks and waits; only the
// order in which those go on who were served at the same time is that of the trampoline. Where two timers go off at the same time it does not know which
// is first, and gives up.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <iterator>
#include <limits>
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

// `tick` differs, so that the times of the two seldom meet.
limiter_options read_options(reader& in, nanoseconds tick) {
  limiter_options o;
  const int asked = in.below(32);
  if ((asked & 1) != 0) o.max_concurrent = 1 + in.below(5);
  if ((asked & 2) != 0) o.min_time = in.below(6) * tick;
  if ((asked & 4) != 0) {
    reservoir_options r;
    r.initial = in.below(6);
    const int ways = in.below(4);
    if ((ways & 1) != 0) {
      r.refresh_interval = (1 + in.below(12)) * tick;
      r.refresh_amount = in.below(5);
    }
    if ((ways & 2) != 0) {
      r.increase_interval = (1 + in.below(7)) * tick;
      r.increase_amount = in.below(4);
      if (in.below(2) != 0) r.increase_maximum = in.below(8);
    }
    o.reservoir = r;
  }
  if ((asked & 8) != 0) o.rates.push_back({{1, (1 + in.below(5)) * tick}, 1 + in.below(5)});
  if ((asked & 16) != 0) o.rates.push_back({{1, (1 + in.below(30)) * tick}, 3 + in.below(9)});
  o.high_water = static_cast<std::size_t>(in.below(5));
  o.strategy = static_cast<limiter_strategy>(in.below(4));
  if (in.below(2) != 0) o.penalty = in.below(9) * tick;
  return o;
}

// The limits alone. Times are nanoseconds.
constexpr std::int64_t millisecond = 1'000'000;
constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t long_ago = std::numeric_limits<std::int64_t>::min();

struct limits {
  limiter_options o;
  std::int64_t now = 0;  // the latest time that the limiter was told
  std::int64_t running = 0;
  std::int64_t earliest = 0;  // by min_time
  std::optional<std::int64_t> started_at;
  std::int64_t paused_until = 0;
  std::int64_t window_begin = long_ago;
  std::int64_t window_end = 0;
  std::int64_t window_left = 0;
  std::int64_t level = 0;
  std::int64_t reservoir_since = 0;
  std::int64_t refreshed_at = long_ago;
  std::int64_t increased_at = long_ago;
  std::vector<std::int64_t> tokens;  // times the period, so that they are integers, but for changes of the period

  [[nodiscard]] std::int64_t period(std::size_t i) const { return static_cast<std::int64_t>(o.rates[i].rate.nanoseconds()); }
  [[nodiscard]] std::int64_t full(std::size_t i) const { return o.rates[i].burst * period(i); }

  void apply(const limiter_options& next) {
    std::vector<std::int64_t> kept;
    for (std::size_t i = 0; i < next.rates.size(); ++i) {
      const auto new_period = static_cast<std::int64_t>(next.rates[i].rate.nanoseconds());
      const std::int64_t most = next.rates[i].burst * new_period;
      kept.push_back(i < o.rates.size() ? std::min(most, tokens[i] * new_period / period(i)) : most);
    }
    if (next.reservoir) {
      if (!o.reservoir) level = next.reservoir->initial;
      if (!o.reservoir || !same_times(*o.reservoir, *next.reservoir)) {
        reservoir_since = now;
        refreshed_at = increased_at = long_ago;
      }
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
  // The next time at which something may come: a whole token, something for the reservoir, the end of a spacing, a pause or a window.
  [[nodiscard]] std::int64_t next_event() const {
    std::int64_t at = now + second;
    for (const std::int64_t t : {earliest, paused_until, window_end}) {
      if (t > now) at = std::min(at, t);
    }
    for (std::size_t i = 0; i < tokens.size(); ++i)
      at = std::min(at, now + period(i) - (tokens[i] % period(i) + period(i)) % period(i));
    if (!o.reservoir) return at;
    for (const nanoseconds interval : {o.reservoir->refresh_interval, o.reservoir->increase_interval}) {
      if (interval.count() != 0) at = std::min(at, now + interval.count() - (now - reservoir_since) % interval.count());
    }
    return at;
  }
  // Not beyond next_event().
  void go_to(std::int64_t to) {
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = std::min(tokens[i] + (to - now), full(i));
    now = to;
    if (!o.reservoir) return;
    const reservoir_options& r = *o.reservoir;
    const std::int64_t since = now - reservoir_since;
    if (r.refresh_interval.count() != 0 && since % r.refresh_interval.count() == 0) {
      level = r.refresh_amount;
      refreshed_at = now;
    }
    if (r.increase_interval.count() != 0 && since % r.increase_interval.count() == 0) {
      if (level < r.increase_maximum) level = std::min(level + r.increase_amount, r.increase_maximum);
      increased_at = now;
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
  void undo(std::int64_t weight, std::int64_t since) {
    running -= weight;
    if (now < window_end && since > window_begin) window_left += weight;
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = std::min(tokens[i] + weight * period(i), full(i));
    if (!o.reservoir || since < refreshed_at) return;
    const std::int64_t with = level + weight;
    level = since < increased_at ? std::min(with, std::max(level, o.reservoir->increase_maximum)) : with;
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
      window_begin = now;
      window_end = end;
      window_left = *h.remaining;
    } else if (end >= window_end - second) {
      window_left = std::min(window_left, *h.remaining);
    }
  }
};

enum class state : std::uint8_t { waiting, running, ended, rejected, cancelled, closed, timeout };

struct job {
  std::int64_t weight;
  unsigned priority;
  std::size_t first = 0;  // the link that it comes to
  std::optional<std::int64_t> deadline = {};
  std::optional<std::size_t> line = {};  // where it waits
  std::size_t at = 0;                    // the link that decided last
  std::int64_t since = 0;                // its turn in the first link
  state expected = state::waiting;
  state is = state::waiting;
};

// One limiter and what is expected of it.
struct link {
  limiter& real;
  limits model = {};
  bool closed = false;
  std::int64_t blocked_until = long_ago;
  std::int64_t penalty = 0;
  std::uint64_t started = 0;
  std::uint64_t dropped = 0;
  std::uint64_t gave_up = 0;
  unsigned turns[10] = {};
};

class run {
 public:
  explicit run(reader& in)
      : second_{read_options(in, ticks[1]), {.clock = clock_}},
        first_{read_options(in, ticks[0]), {.clock = clock_, .chain = &second_}} {
    for (link& l : links_) l.model.apply(l.real.options());
    while (!in.empty() && !unknown_) step(in);
    for (link& l : links_) stop(l, true);
    if (!unknown_) compare();
    for (job& j : jobs_) {
      if (j.is == state::running) links_[j.first].real.release(j.weight);
    }
  }

 private:
  using jobs = std::vector<job*>;
  static constexpr nanoseconds ticks[] = {nanoseconds{millisecond}, nanoseconds{millisecond + 1009}};

  void step(reader& in) {
    const std::size_t at = in.below(4) == 0 ? 1 : 0;
    link& l = links_[at];
    switch (in.below(13)) {
      case 0:
      case 1:
      case 2:
        come(1 + in.below(in.below(3) == 0 ? 5 : 1), static_cast<unsigned>(in.below(10)), at,
             in.below(3) == 0 ? std::optional{in.below(9)} : std::nullopt);
        break;
      case 3:
      case 4:
        advance((1 + in.below(8)) * millisecond);
        break;
      case 5:
      case 6:
        if (!jobs_.empty()) end(pick(in));
        break;
      case 7:
        if (!handles_.empty()) give_up(static_cast<std::size_t>(in.below(static_cast<int>(handles_.size()))));
        break;
      case 8:
        attempt(1 + in.below(3), static_cast<unsigned>(in.below(10)), at);
        break;
      case 9: {
        server_hints h;
        if (in.below(2) != 0) h.retry_after = in.below(6) * ticks[at];
        if (in.below(2) != 0) h.remaining = in.below(4);
        if (in.below(2) != 0) h.reset = (in.below(3) == 0 ? 2000 : in.below(20)) * ticks[at];
        l.real.on_response(h);
        l.model.hint(h);
        deliver(serve(at));
        break;
      }
      case 10: {
        const int n = in.below(5);
        if (in.below(2) != 0) {
          l.real.add_to_reservoir(n);
          l.model.level += n;
        } else {
          l.real.set_reservoir(n);
          l.model.level = n;
        }
        deliver(serve(at));
        break;
      }
      case 11:
        clock_.advance(-nanoseconds{(1 + in.below(8)) * millisecond});
        raw_ = (clock_.now() - begin_).count();
        break;
      default:
        if (in.below(8) == 0) {
          stop(l, in.below(2) != 0);
        } else {
          change(at, read_options(in, ticks[at]));
        }
    }
    if (!unknown_) compare();
  }

  job& pick(reader& in) { return *std::next(jobs_.begin(), in.below(static_cast<int>(jobs_.size()))); }

  task<> live(job& j) {
    auto turn = links_[j.first].real.async_acquire({.weight = j.weight, .priority = j.priority});
    if (j.deadline) {
      turn.options().deadline = deadline{begin_ + nanoseconds{*j.deadline}, clock_};
    }
    const result<void> mine = co_await std::move(turn);
    j.is = mine                              ? state::running
           : mine.error() == errc::rejected  ? state::rejected
           : mine.error() == errc::cancelled ? state::cancelled
           : mine.error() == errc::closed    ? state::closed
           : mine.error() == errc::timeout   ? state::timeout
                                             : state::ended;
  }

  [[nodiscard]] std::int64_t heaviest(std::size_t first) const {
    std::int64_t most = links_[1].model.heaviest();
    return first == 0 ? std::min(most, links_[0].model.heaviest()) : most;
  }
  void come(std::int64_t weight, unsigned priority, std::size_t first, std::optional<int> patience) {
    if (weight > heaviest(first)) {
      try {
        static_cast<void>(links_[first].real.async_acquire({.weight = weight, .priority = priority}));
      } catch (const std::invalid_argument&) {
        return;
      }
      demand(false, "a job that is too heavy was taken");
    }
    job& j = jobs_.emplace_back(job{weight, priority, first});
    // Each at a time of its own.
    if (patience) j.deadline = raw_ + *patience * millisecond + 7 * static_cast<std::int64_t>(jobs_.size());
    in_item_ = true;
    go_on(j, first);
    run_nested();
    by_coroutine_.push_back(&j);
    handles_.push_back(spawn(live(j)));
  }

  // --- one job on its way through the links

  // What a coroutine does that is started, or was decided: it asks at the next link, and gives back what it had if that is in vain.
  void go_on(job& j, std::size_t from) {
    for (std::size_t at = from; at < 2; ++at) {
      jobs won;
      const std::optional<state> decided = enter(j, at, won);
      deliver(won);
      if (!decided) return;
      j.at = at;
      if (*decided != state::running) {
        fail(j, *decided);
        return;
      }
    }
    j.expected = state::running;
  }
  void fail(job& j, state why) {
    j.expected = why;
    if (j.at == j.first) return;
    links_[0].model.undo(j.weight, j.since);
    --links_[0].started;
    deliver(serve(0));
  }
  // Decided in line: granted there, or not.
  void decided(job& j) {
    if (j.expected == state::waiting) {
      go_on(j, j.at + 1);
    } else {
      fail(j, j.expected);
    }
  }
  // They go on: each at once with all that follows of it, but where somebody goes on already: behind that.
  void deliver(const jobs& won) {
    for (job* const j : won) {
      if (in_item_) {
        nested_.push_back(j);
        continue;
      }
      in_item_ = true;
      decided(*j);
      run_nested();
    }
  }
  void run_nested() {
    while (!nested_.empty()) {
      job& j = *nested_.front();
      nested_.pop_front();
      decided(j);
    }
    in_item_ = false;
  }

  // --- one link

  // Granted (running), refused, or in line: nothing.
  std::optional<state> enter(job& j, std::size_t at, jobs& won) {
    link& l = links_[at];
    if (l.closed) return state::closed;
    const jobs line = waiting(at);
    if (raw_ >= l.blocked_until && next(l, line, &j) == &j && l.model.can(j.weight)) {
      start(j, at, line);
      return state::running;
    }
    if (raw_ < l.blocked_until) {
      l.blocked_until = raw_ + l.penalty;
      ++l.dropped;
      return state::rejected;
    }
    if (j.weight > l.model.heaviest() || (line.size() >= l.model.o.high_water && !make_room(j, at, line, won))) {
      ++l.dropped;
      const jobs served = serve(at);
      won.insert(won.end(), served.begin(), served.end());
      return state::rejected;
    }
    j.line = at;
    lines_.push_back(&j);
    for (job* const s : serve(at)) {
      if (s == &j) return state::running;
      won.push_back(s);
    }
    if (!j.line) return state::running;
    return std::nullopt;
  }
  bool make_room(job& j, std::size_t at, jobs line, jobs& won) {
    link& l = links_[at];
    if (l.model.o.strategy == limiter_strategy::block) {
      for (job* w : by_urgency(at)) drop(*w, won);
      l.penalty = l.model.o.penalty                 ? l.model.o.penalty->count()
                  : l.model.o.min_time.count() == 0 ? 5 * second
                                                    : 15 * l.model.o.min_time.count();
      l.blocked_until = raw_ + l.penalty;
      return false;
    }
    const bool by_priority = l.model.o.strategy == limiter_strategy::drop_by_priority;
    if (l.model.o.strategy != limiter_strategy::reject_newest) {
      while (!line.empty() && line.size() >= l.model.o.high_water) {
        // The least urgent, and of these the first that came.
        const auto worst = std::max_element(line.begin(), line.end(), [](job* a, job* b) { return a->priority < b->priority; });
        if (by_priority ? (*worst)->priority <= j.priority : (*worst)->priority < j.priority) break;
        drop(**worst, won);
        line.erase(worst);
      }
    }
    return line.size() < l.model.o.high_water;
  }
  void leave(job& j, state why) {
    j.at = *j.line;
    j.line.reset();
    lines_.erase(std::find(lines_.begin(), lines_.end(), &j));
    j.expected = why;
  }
  void drop(job& j, jobs& won) {
    ++links_[*j.line].dropped;
    leave(j, state::rejected);
    won.push_back(&j);
  }
  // Its wait was ended from outside.
  void give_up_in_line(job& j, state why) {
    const std::size_t at = *j.line;
    ++links_[at].gave_up;
    leave(j, why);
    deliver(serve(at));
    deliver({&j});
  }
  void attempt(std::int64_t weight, unsigned priority, std::size_t first) {
    if (weight > heaviest(first)) return;
    const result<void> mine = links_[first].real.try_acquire({.weight = weight, .priority = priority});
    job j{weight, priority, first};
    result<void> expected{};
    for (std::size_t at = first; at < 2 && expected; ++at) {
      link& l = links_[at];
      if (l.closed) {
        expected = errc::closed;
      } else if (raw_ < l.blocked_until) {
        l.blocked_until = raw_ + l.penalty;
        ++l.dropped;
        expected = errc::rejected;
      } else if (next(l, waiting(at), &j) != &j || !l.model.can(weight)) {
        expected = errc::empty;
      }
    }
    demand(mine.has_value() == expected.has_value() && (mine || mine.error() == expected.error()),
           "try_acquire says something else");
    if (mine) {
      for (std::size_t at = 2; at-- > first;) start(j, at, waiting(at));
      j.expected = j.is = state::running;
      jobs_.push_back(j);
    }
    if (links_[first].closed || links_[1].closed) return;
    // What it tells is what happens if nobody else takes.
    const nanoseconds told = links_[first].real.retry_after({.weight = weight});
    std::int64_t left = 0;
    bool may_be_early = false;
    for (std::size_t at = first; at < 2; ++at) {
      const link& l = links_[at];
      limits alone = l.model;
      while (!alone.can(weight) && alone.now < l.model.now + 6 * second) alone.go_to(alone.next_event());
      const std::int64_t ready = alone.now == l.model.now ? raw_ : alone.now;
      left = std::max(left, std::max(ready, raw_ < l.blocked_until ? l.blocked_until : ready) - raw_);
      may_be_early = may_be_early || (alone.o.reservoir && alone.o.reservoir->refresh_interval.count() != 0);
    }
    if (left >= 6 * second) {
      demand(may_be_early || told >= nanoseconds{6 * second}, "retry_after tells a time for what never comes");
    } else {
      demand(may_be_early ? told <= nanoseconds{left} : told == nanoseconds{left}, "retry_after tells another time");
    }
  }
  void end(job& j) {
    if (j.expected != state::running) return;
    j.expected = j.is = state::ended;
    jobs won;
    for (std::size_t at = j.first; at < 2; ++at) {
      links_[at].model.running -= j.weight;
      const jobs served = serve(at);
      won.insert(won.end(), served.begin(), served.end());
    }
    deliver(won);
    links_[j.first].real.release(j.weight);
  }
  void give_up(std::size_t at) {
    job& j = *by_coroutine_[at];
    if (j.line) give_up_in_line(j, state::cancelled);
    std::next(handles_.begin(), static_cast<std::ptrdiff_t>(at))->request_stop();
  }
  void stop(link& l, bool drop_all) {
    l.closed = true;
    if (drop_all) {
      const jobs line = by_urgency(static_cast<std::size_t>(&l - links_));
      for (job* const j : line) leave(*j, state::closed);
      deliver(line);
    }
    l.real.stop(drop_all ? limiter_stop::drop_waiting : limiter_stop::finish_waiting);
  }
  void change(std::size_t at, const limiter_options& o) {
    link& l = links_[at];
    l.model.apply(o);
    jobs won;
    for (job* const j : by_urgency(at)) {
      if (j->weight > l.model.heaviest()) drop(*j, won);
    }
    const jobs served = serve(at);
    won.insert(won.end(), served.begin(), served.end());
    deliver(won);
    l.real.update_settings(o);
  }
  void advance(std::int64_t by) {
    const std::int64_t until = raw_ + by;
    while (raw_ < until && !unknown_) {
      raw_ = next_time(until);
      for (link& l : links_) {
        if (raw_ > l.model.now) l.model.go_to(raw_);
      }
      jobs late;
      for (job* const j : lines_) {
        if (j->deadline == raw_) late.push_back(j);
      }
      if (late.size() + (can_serve(0) ? 1 : 0) + (can_serve(1) ? 1 : 0) > 1) unknown_ = true;
      for (job* const j : late) give_up_in_line(*j, state::timeout);
      for (std::size_t at = 0; at < 2; ++at) deliver(serve(at));
    }
    clock_.advance(nanoseconds{by});
    for (link& l : links_) l.real.on_response({});  // it looks at the clock
  }
  [[nodiscard]] std::int64_t next_time(std::int64_t until) const {
    std::int64_t t = until;
    for (const job* const j : lines_) {
      if (j->deadline && *j->deadline > raw_) t = std::min(t, *j->deadline);
    }
    for (const link& l : links_) t = std::min(t, l.model.next_event());
    return t;
  }

  jobs waiting(std::size_t at) const {
    jobs line;
    std::copy_if(lines_.begin(), lines_.end(), std::back_inserter(line), [at](const job* j) { return j->line == at; });
    return line;
  }
  jobs by_urgency(std::size_t at) const {
    jobs line;
    for (unsigned p = 0; p < 10; ++p) {
      std::copy_if(lines_.begin(), lines_.end(), std::back_inserter(line),
                   [at, p](const job* j) { return j->line == at && j->priority == p; });
    }
    return line;
  }
  // Whose turn it is, if `newcomer` (or nobody) stands behind the line.
  static job* next(const link& l, jobs line, job* newcomer) {
    if (newcomer != nullptr) line.push_back(newcomer);
    job* chosen = nullptr;
    for (unsigned p = 0; p < 10; ++p) {
      const auto first = std::find_if(line.begin(), line.end(), [p](const job* j) { return j->priority == p; });
      if (first == line.end()) continue;
      chosen = *first;
      if (l.turns[p] % 16 != 15) break;
    }
    return chosen;
  }
  void start(job& j, std::size_t at, const jobs& others) {
    link& l = links_[at];
    // Each priority from the most urgent on to this one had a turn, if somebody waits below it.
    unsigned lowest = j.priority;
    for (const job* o : others) lowest = std::max(lowest, o->priority);
    for (unsigned p = 0; p <= j.priority; ++p) {
      const bool present =
          p == j.priority || std::any_of(others.begin(), others.end(), [p](const job* o) { return o->priority == p; });
      if (present && p < lowest) ++l.turns[p];
    }
    l.model.take(j.weight);
    if (at == j.first) j.since = l.model.now;
    ++l.started;
  }
  bool can_serve(std::size_t at) const {
    const job* const j = next(links_[at], waiting(at), nullptr);
    return j != nullptr && links_[at].model.can(j->weight);
  }
  jobs serve(std::size_t at) {
    jobs won;
    while (can_serve(at)) {
      jobs line = waiting(at);
      job* const j = next(links_[at], line, nullptr);
      line.erase(std::find(line.begin(), line.end(), j));
      start(*j, at, line);
      leave(*j, state::waiting);
      won.push_back(j);
    }
    return won;
  }

  void compare() {
    for (job& j : jobs_) demand(j.is == j.expected, "a job is in another state");
    for (std::size_t at = 0; at < 2; ++at) {
      const link& l = links_[at];
      const limiter_counts c = l.real.counts();
      demand(c.queued == waiting(at).size(), "another number waits");
      demand(c.running == l.model.running, "something else runs");
      demand(c.started == l.started, "another number has started");
      demand(c.dropped == l.dropped, "another number was dropped");
      demand(c.gave_up == l.gave_up, "another number gave up");
      demand(l.real.is_blocked() == (raw_ < l.blocked_until), "it is blocked, or not");
      const std::optional<std::int64_t> level = l.real.reservoir();
      demand(level.has_value() == l.model.o.reservoir.has_value(), "there is a reservoir, or not");
      demand(!level || *level == l.model.level, "the reservoir has another level");
      demand(l.real.try_wait().has_value() == (waiting(at).empty() && l.model.running == 0), "it is idle, or not");
    }
  }

  manual_clock clock_;
  const manual_clock::time_point begin_ = clock_.now();
  limiter second_;
  limiter first_;
  link links_[2] = {{first_}, {second_}};
  std::int64_t raw_ = 0;  // what the clock says; the limits go by the latest time
  bool unknown_ = false;
  std::list<job> jobs_;
  jobs lines_;         // who waits, in the order of their coming to where they wait
  jobs by_coroutine_;  // as handles_
  std::list<spawned<void>> handles_;
  bool in_item_ = false;
  std::deque<job*> nested_;
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
