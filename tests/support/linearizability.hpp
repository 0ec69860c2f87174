// Is a recorded history of concurrent calls explained by *some* order of them, one at a time, that respects real time?
//
// Threads record what they called and what they got, with a stamp before and after (recorder). check() then searches for an order in which
// a sequential model gives the same answers: the algorithm of Wing and Gong (1993) with Lowe's memoisation (2017): operations that are
// minimal in real time are tried one after another, and a pair (set of operations done, state of the model) is tried once.
// Exponential at worst; right histories of a few hundred operations by a few threads take milliseconds. A wrong one that is hard to refute
// ends at a bound on the effort, and is then said to be undecided, which counts as a failure like a counterexample.
//
// For queues, check_queue_values() looks at single values and pairs of values instead. That is P-compositionality as far as a FIFO allows it:
// what holds for the whole history holds for what concerns two of its values, so a violation there is one, and names two operations
// (Henzinger, Sezgin, Vafeiadis 2013). O(n log n), for histories of any length; it does not see wrong answers of "empty" and "full".
//
// A model:  struct model { using operation = ...; bool apply(const operation&); bool operator==(const model&) const; std::size_t hash() const; };
//           std::string to_string(const operation&);
// apply() tells whether the operation may answer as it did in this state, and if so moves on; otherwise it leaves the state as it was.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace linearizability {

using stamp = std::uint64_t;
inline constexpr stamp no_response = std::numeric_limits<stamp>::max();  // the call never returned

template <class Operation>
struct call {
  int thread = 0;
  stamp invoked = 0;
  stamp responded = no_response;
  Operation operation{};
};

template <class Operation>
using history = std::vector<call<Operation>>;

/// Stamps calls. One recorder for all threads of a history, one log for each thread.
///
/// The stamps come from one counter, changed by sequentially consistent steps: a clock that is read before a store has left the processor
/// would call a correct queue wrong. The counter's barriers may hide a missing one in the code under test: those are the model checker's part.
template <class Operation>
class recorder {
 public:
  explicit recorder(int threads) : logs_(static_cast<std::size_t>(threads)) {}

  /// Calls `f(operation)`, which makes the call and writes the answer into the operation.
  template <class F>
  void operator()(int thread, Operation operation, F f) {
    const stamp invoked = next_.fetch_add(1);
    f(operation);
    const stamp responded = next_.fetch_add(1);
    logs_[static_cast<std::size_t>(thread)].calls.push_back({thread, invoked, responded, std::move(operation)});
  }

  /// When the threads have ended.
  [[nodiscard]] history<Operation> take() {
    history<Operation> all;
    for (log& l : logs_) {
      for (auto& c : l.calls) all.push_back(std::move(c));
      l.calls.clear();
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.invoked < b.invoked; });
    return all;
  }

 private:
  struct alignas(64) log {
    history<Operation> calls;
  };
  std::atomic<stamp> next_{0};
  std::vector<log> logs_;
};

/// Empty: the history is linearizable. Otherwise the counterexample, as text. It tries `effort` states at most.
template <class Model>
class checker {
 public:
  using operation = typename Model::operation;

  [[nodiscard]] static std::optional<std::string> check(const history<operation>& calls, Model initial, std::size_t effort) {
    return checker{calls, std::move(initial), effort}.search();
  }

 private:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  // The invocations and responses in the order of time, as a list from which a call can be lifted and put back.
  struct event {
    std::size_t call = none;
    bool response = false;
    std::size_t partner = none;  // of an invocation: its response
    std::size_t previous = none;
    std::size_t next = none;
  };
  struct done_set {
    std::vector<std::uint64_t> words;
    void flip(std::size_t i) { words[i / 64] ^= std::uint64_t{1} << (i % 64); }
    bool operator==(const done_set&) const = default;
  };
  struct step {
    std::size_t event;
    Model before;
  };

  checker(const history<operation>& calls, Model initial, std::size_t effort)
      : calls_{calls}, state_{std::move(initial)}, effort_{effort} {
    std::vector<std::pair<stamp, event>> sorted;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      sorted.push_back({calls[i].invoked, event{.call = i, .response = false}});
      sorted.push_back({calls[i].responded, event{.call = i, .response = true}});
    }
    // Equal stamps do not tell an order: the calls count as overlapping.
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return std::tuple{a.first, a.second.response, a.second.call} < std::tuple{b.first, b.second.response, b.second.call};
    });
    events_.resize(sorted.size() + 1);  // the first one is the head of the list
    std::vector<std::size_t> invocation(calls.size());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      event& e = events_[i + 1] = sorted[i].second;
      e.previous = i;
      events_[i].next = i + 1;
      if (e.response) {
        events_[invocation[e.call]].partner = i + 1;
      } else {
        invocation[e.call] = i + 1;
      }
    }
    done_.words.resize(calls.size() / 64 + 1);
  }

  std::optional<std::string> search() {
    std::size_t at = events_[0].next;
    while (at != none) {
      event& e = events_[at];
      if (e.response) {
        // A call that has returned was not placed: what was placed before it is wrong.
        if (calls_[e.call].responded == no_response)
          return std::nullopt;  // only calls that never returned are left, and need not have happened
        if (path_.size() >= best_.size()) {
          best_.clear();
          for (const step& s : path_) best_.push_back(events_[s.event].call);
          stuck_ = e.call;
        }
        if (path_.empty()) return counterexample();
        at = path_.back().event;
        state_ = std::move(path_.back().before);
        path_.pop_back();
        done_.flip(events_[at].call);
        put_back(at);
        at = events_[at].next;
        continue;
      }
      Model after = state_;
      if (after.apply(calls_[e.call].operation)) {
        done_.flip(e.call);
        if (seen_.size() == effort_) return "undecided after " + std::to_string(effort_) + " states. So far " + counterexample();
        if (is_new(after)) {
          path_.push_back({at, std::move(state_)});
          state_ = std::move(after);
          lift(at);
          at = events_[0].next;
          continue;
        }
        done_.flip(e.call);
      }
      at = e.next;
    }
    return std::nullopt;
  }

  bool is_new(const Model& m) {
    std::size_t h = m.hash();
    for (const std::uint64_t w : done_.words) h = (h ^ w) * 0x9e3779b97f4a7c15 + (h >> 29);
    auto [from, to] = seen_.equal_range(h);
    for (; from != to; ++from) {
      if (from->second.first == done_ && from->second.second == m) return false;
    }
    seen_.emplace(h, std::pair{done_, m});
    return true;
  }

  void unlink(std::size_t i) {
    events_[events_[i].previous].next = events_[i].next;
    if (events_[i].next != none) events_[events_[i].next].previous = events_[i].previous;
  }
  void relink(std::size_t i) {
    events_[events_[i].previous].next = i;
    if (events_[i].next != none) events_[events_[i].next].previous = i;
  }
  void lift(std::size_t invocation) {
    unlink(invocation);
    unlink(events_[invocation].partner);
  }
  void put_back(std::size_t invocation) {
    relink(events_[invocation].partner);
    relink(invocation);
  }

  std::string line(std::size_t i) const {
    const auto& c = calls_[i];
    const std::string until = c.responded == no_response ? "never" : std::to_string(c.responded);
    return "  [" + std::to_string(c.invoked) + ", " + until + "] thread " + std::to_string(c.thread) + ": " +
           to_string(c.operation) + "\n";
  }

  // The longest order that was found, its end at least, and all that could have come next.
  std::string counterexample() const {
    constexpr std::size_t shown = 12;
    std::string text = "not linearizable. The longest order that explains the answers places " + std::to_string(best_.size()) +
                       " of " + std::to_string(calls_.size()) + " calls";
    text += best_.size() > shown ? ", at last:\n" : ":\n";
    for (std::size_t i = best_.size() > shown ? best_.size() - shown : 0; i < best_.size(); ++i) text += line(best_[i]);
    text += "none of these can come next, though the first one had returned:\n" + line(stuck_);
    std::vector<bool> placed(calls_.size());
    for (const std::size_t i : best_) placed[i] = true;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (!placed[i] && i != stuck_ && calls_[i].invoked < calls_[stuck_].responded) text += line(i);
    }
    return text;
  }

  const history<operation>& calls_;
  Model state_;
  std::size_t effort_;
  std::vector<event> events_;
  done_set done_;
  std::vector<step> path_;
  std::unordered_multimap<std::size_t, std::pair<done_set, Model>> seen_;
  std::vector<std::size_t> best_;
  std::size_t stuck_ = 0;
};

template <class Model>
[[nodiscard]] std::optional<std::string> check(const history<typename Model::operation>& calls, Model initial,
                                               std::size_t effort = 1'000'000) {
  return checker<Model>::check(calls, std::move(initial), effort);
}

/// What a call was answered.
enum class answer : std::uint8_t { ok, empty, full, closed, gave_up };  // gave_up: it timed out, or was stopped

inline const char* to_string(answer a) {
  constexpr const char* names[] = {"ok", "empty", "full", "closed", "gave up"};
  return names[static_cast<std::size_t>(a)];
}

// A bounded FIFO queue of numbers.
struct queue_operation {
  enum class kind : std::uint8_t { push, pop, close } what = kind::push;
  int value = 0;  // pushed, or popped
  answer got = answer::ok;
  bool others_come_first =
      false;  // a push beside one that waits, or has a place reserved: it may find no room although the queue is not full
};

inline std::string to_string(const queue_operation& o) {
  using kind = queue_operation::kind;
  if (o.what == kind::close) return "close()";
  if (o.what == kind::push) return "push(" + std::to_string(o.value) + ") -> " + to_string(o.got);
  return "pop() -> " + (o.got == answer::ok ? std::to_string(o.value) : std::string{to_string(o.got)});
}

struct queue_model {
  using operation = queue_operation;

  explicit queue_model(std::size_t room) : capacity{room} {}

  bool apply(const operation& o) {
    using kind = queue_operation::kind;
    if (o.what == kind::close) {
      closed = true;
      return true;
    }
    if (o.got == answer::gave_up) return true;
    if (o.what == kind::push) {
      if (o.got == answer::closed) return closed;
      if (o.got == answer::full) return !closed && (items.size() == capacity || o.others_come_first);
      if (o.got != answer::ok || closed || items.size() == capacity) return false;
      items.push_back(o.value);
      return true;
    }
    if (o.got == answer::closed) return closed && items.empty();
    if (o.got == answer::empty) return !closed && items.empty();
    if (o.got != answer::ok || items.empty() || items.front() != o.value) return false;
    items.pop_front();
    return true;
  }
  bool operator==(const queue_model&) const = default;
  [[nodiscard]] std::size_t hash() const {
    std::size_t h = closed ? 1 : 0;
    for (const int i : items) h = h * 31 + static_cast<std::size_t>(i);
    return h;
  }

  std::size_t capacity;
  std::deque<int> items;
  bool closed = false;
};

/// The conditions on single values and on pairs, of a history in which every value is pushed at most once.
[[nodiscard]] inline std::optional<std::string> check_queue_values(const history<queue_operation>& calls) {
  using kind = queue_operation::kind;
  struct life {
    const call<queue_operation>* push = nullptr;
    const call<queue_operation>* pop = nullptr;
  };
  std::unordered_map<int, life> values;
  const auto show = [](const call<queue_operation>* c) {
    return c == nullptr ? std::string{"  (never)\n"}
                        : "  [" + std::to_string(c->invoked) + ", " + std::to_string(c->responded) + "] thread " +
                              std::to_string(c->thread) + ": " + to_string(c->operation) + "\n";
  };
  for (const auto& c : calls) {
    if (c.operation.got != answer::ok || c.operation.what == kind::close) continue;
    life& l = values[c.operation.value];
    auto& end = c.operation.what == kind::push ? l.push : l.pop;
    if (end != nullptr) return "a value appears twice:\n" + show(end) + show(&c);
    end = &c;
  }
  std::vector<life> pushed;
  for (const auto& [value, l] : values) {
    if (l.push == nullptr) return "a value was popped that nobody pushed:\n" + show(l.pop);
    if (l.pop != nullptr && l.pop->responded < l.push->invoked)
      return "a value was popped before it was pushed:\n" + show(l.pop) + show(l.push);
    pushed.push_back(l);
  }
  // a before b, wholly, when pushed; b before a, wholly, when popped: in the order in which pushes begin, the pop that begins last among the
  // pushes that ended before this one began must not begin after this one's pop has ended.
  std::vector<life> by_end = pushed;
  std::sort(pushed.begin(), pushed.end(), [](const life& a, const life& b) { return a.push->invoked < b.push->invoked; });
  std::sort(by_end.begin(), by_end.end(), [](const life& a, const life& b) { return a.push->responded < b.push->responded; });
  const auto popped_from = [](const life& l) { return l.pop == nullptr ? no_response : l.pop->invoked; };
  const life* last = nullptr;
  std::size_t ended = 0;
  for (const life& b : pushed) {
    for (; ended < by_end.size() && by_end[ended].push->responded < b.push->invoked; ++ended) {
      if (last == nullptr || popped_from(by_end[ended]) > popped_from(*last)) last = &by_end[ended];
    }
    if (last != nullptr && b.pop != nullptr && b.pop->responded < popped_from(*last)) {
      return "two values changed places:\n" + show(last->push) + show(b.push) + show(b.pop) + show(last->pop);
    }
  }
  return std::nullopt;
}

// A counting semaphore.
struct semaphore_operation {
  enum class kind : std::uint8_t { acquire, release, close } what = kind::acquire;
  std::int64_t permits = 1;
  answer got = answer::ok;
  bool overtaking_forbidden =
      false;  // an acquire that did not wait, while somebody waited: it may find nothing although permits are free
};

inline std::string to_string(const semaphore_operation& o) {
  using kind = semaphore_operation::kind;
  if (o.what == kind::close) return "close()";
  const std::string call = (o.what == kind::acquire ? "acquire(" : "release(") + std::to_string(o.permits) + ")";
  return o.what == kind::release ? call : call + " -> " + to_string(o.got);
}

struct semaphore_model {
  using operation = semaphore_operation;

  explicit semaphore_model(std::int64_t permits) : free{permits} {}

  bool apply(const operation& o) {
    using kind = semaphore_operation::kind;
    if (o.what == kind::close) {
      closed = true;
      return true;
    }
    if (o.what == kind::release) {
      free += o.permits;
      return true;
    }
    if (o.got == answer::gave_up) return true;
    if (o.got == answer::closed) return closed;
    if (o.got == answer::empty) return !closed && (free < o.permits || o.overtaking_forbidden);
    if (o.got != answer::ok || closed || free < o.permits) return false;
    free -= o.permits;
    return true;
  }
  bool operator==(const semaphore_model&) const = default;
  [[nodiscard]] std::size_t hash() const { return static_cast<std::size_t>(free) * 2 + (closed ? 1 : 0); }

  std::int64_t free;
  bool closed = false;
};

}  // namespace linearizability
