// penstock/combine/detail/combination.hpp: children that run at the same time until enough of them have ended well, or too many badly.
//
// One mechanism for all combinators; what makes them differ is the goal:
//
//                     successes needed   failures allowed
//   when_all          all                0
//   when_all_settled  all                all
//   when_any          1                  all but one
//   race              1                  0                  whoever ends first decides, one way or the other
//   quorum(k)         k                  all but k
//
// The child whose end decides (reaches the goal, or puts it out of reach) requests stop of the others; nothing more begins. A request from above
// does the same without deciding. Whoever has begun is waited for.
//
// States      A child is made (its frame exists, in the line of those to begin), begun, ended. Its frame is destroyed before it counts as ended:
//             what it refers to need only live until join().
// Outcomes    linked in the order of the ends: successes, failures. A child that ends with errc::cancelled after stop was requested has complied and
//             is in neither list, nor is one that never began. So if the goal was neither reached nor put out of reach when all have ended, a stop
//             from above cut it short.
// Limit       whoever ends begins the next in line before it counts as ended itself: as many as begin() began are under way until the line is empty.
//             When it is over, those in line are spared, but for what has begun elsewhere (a future, a spawned coroutine): that is joined, and is begun
//             here, all at once, in order to be told; also by a request from above, for what runs may wait for one that stands in line.
// Lifetime    join_ counts the children under way, and a request from above. The count never falls to zero while one is about to begin another, and
//             nothing is touched after end_one(); whoever was joined may destroy the object.
// Locks       lock_ guards the decision, the lists and the line. No child begins, stops or is destroyed under it.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/settled.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/root.hpp>

namespace penstock::inline v0_1::detail {

/// How a child ended, but for its value. Written by the child, read once it has ended.
struct child_outcome {
  enum class state : std::uint8_t {
    cancelled,
    succeeded,
    failed
  };  // one that never began, or complied with a stop request, was cancelled

  [[nodiscard]] bool says_cancelled() const noexcept { return (exception ? code_of(exception) : error) == errc::cancelled; }
  /// As an exception; gives it away.
  [[nodiscard]] std::exception_ptr take_exception() noexcept {
    return exception ? std::move(exception) : std::make_exception_ptr(std::system_error{error});
  }

  state ended = state::cancelled;
  bool has_error = false;  // it gave a result that holds `error`
  std::error_code error;
  std::exception_ptr exception;
  std::size_t index = 0;
  child_outcome* next = nullptr;  // in the list of its kind
};

struct goal {
  std::size_t successes_needed;
  std::size_t failures_allowed;
};

template <class Sync>
class basic_combination;
using combination = basic_combination<std_sync>;

/// The coroutine that awaits one child. Its frame frees itself at its end.
class combined_child {
 public:
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;

  class promise_type : public coroutine_result<void>, public root_promise {
   public:
    combined_child get_return_object() noexcept { return combined_child{handle::from_promise(*this)}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    template <class>
    friend class basic_combination;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      template <class = void>
      [[gnu::noinline]] void await_suspend(handle ended) const noexcept {
        ended.promise().end(ended);
      }
      void await_resume() const noexcept {}
    };
    template <class All = combination>
    void end(handle self) noexcept;

    combination* all_ = nullptr;
    child_outcome* outcome_ = nullptr;
    bool has_begun_ = false;  // what it awaits: it is joined in any case
    handle next_;             // in the line of those to begin
  };

 private:
  template <class>
  friend class basic_combination;
  explicit combined_child(handle frame) noexcept : frame_{frame} {}
  handle frame_;
};

template <class Sync>
class basic_combination {
 public:
  enum class verdict : std::uint8_t { undecided, reached, failed };

  basic_combination(goal g, std::size_t children) : goal_{g}, left_{children} {
    if (g.successes_needed == 0) decided_ = verdict::reached;
    if (g.successes_needed > children) decided_ = verdict::failed;
  }
  basic_combination(const basic_combination&) = delete;
  basic_combination& operator=(const basic_combination&) = delete;
  ~basic_combination() { drop_line(); }

  /// The next child in line; nothing begins. Before begin().
  void add(combined_child child, child_outcome& outcome, std::size_t index, bool has_begun) noexcept {
    outcome.index = index;
    auto& promise = child.frame_.promise();
    promise.all_ = this;
    promise.outcome_ = &outcome;
    promise.has_begun_ = has_begun;
    (last_ ? last_.promise().next_ : first_) = child.frame_;
    last_ = child.frame_;
  }

  /// Begins the children, at most that many at a time.
  void begin(limit most, any_scheduler where, std::stop_token parent) noexcept {
    where_ = where;
    parent_.emplace(std::move(parent), stop_children{this});
    for (std::size_t begun = 0; begun < most.most; ++begun) {
      if (!begin_next()) break;
    }
  }

  /// `co_await join()` goes on when those that began have ended. Then finish(), before anything else.
  [[nodiscard]] auto join() noexcept { return wait_awaiter<basic_join<Sync>, plain_node<Sync>>{uncancelled, join_}; }

  /// Destroys those that never began; from now on nobody else knows of this object.
  void finish() noexcept {
    parent_.reset();
    drop_line();
  }

  // After finish().
  [[nodiscard]] verdict decided() const noexcept { return decided_; }
  [[nodiscard]] child_outcome* first_success() const noexcept { return successes_.first; }
  [[nodiscard]] child_outcome* first_failure() const noexcept { return failures_.first; }

  /// The failures, in their order; once.
  [[nodiscard]] combined_error take_error() {
    std::vector<combined_error::failure> failures;
    failures.reserve(failures_.size);
    for (child_outcome* f = failures_.first; f != nullptr; f = f->next) failures.push_back({f->index, f->take_exception()});
    return combined_error{std::move(failures)};
  }

 private:
  friend combined_child::promise_type;
  struct stop_children {
    basic_combination* all;
    void operator()() const noexcept { all->stop_all(); }
  };
  struct outcomes {
    void push_back(child_outcome& o) noexcept {
      (last != nullptr ? last->next : first) = &o;
      last = &o;
      ++size;
    }
    child_outcome* first = nullptr;
    child_outcome* last = nullptr;
    std::size_t size = 0;
  };

  // From above. It counts as a child until everybody was told: whoever ends meanwhile is not the last one, and *this stays.
  void stop_all() noexcept {
    join_.begin_one();
    stop_.request_stop();
    begin_next();
    join_.end_one();  // the last touch: *this may be gone
  }

  // The next one; when it is over, all that have begun elsewhere, and no others. False: nobody is left.
  bool begin_next() noexcept {
    for (;;) {
      combined_child::handle child;
      bool over;
      {
        std::scoped_lock guard{lock_};
        // It is decided a moment before whoever decided requests stop, so both are looked at.
        over = decided_ != verdict::undecided || stop_.stop_requested();
        while (over && first_ && !first_.promise().has_begun_) spare_first();
        if (!first_) return false;
        child = first_;
        first_ = child.promise().next_;
      }
      join_.begin_one();
      child.promise().begin(child, where_, stop_.get_token());
      if (!over) return true;
    }
  }
  void spare_first() noexcept {
    const combined_child::handle spared = first_;
    first_ = spared.promise().next_;
    spared.promise().next_ = spared_;
    spared_ = spared;
  }

  void ended(child_outcome& outcome) noexcept {
    const bool failed = outcome.ended == child_outcome::state::failed;
    if (failed && stop_.stop_requested() && outcome.says_cancelled()) outcome.ended = child_outcome::state::cancelled;
    if (decides(outcome)) stop_.request_stop();
    begin_next();
    join_.end_one();  // the last touch: *this may be gone
  }
  // True: this end decided it, and there are others to be stopped.
  bool decides(child_outcome& outcome) noexcept {
    std::scoped_lock guard{lock_};
    --left_;
    if (outcome.ended == child_outcome::state::cancelled) return false;
    (outcome.ended == child_outcome::state::succeeded ? successes_ : failures_).push_back(outcome);
    if (decided_ != verdict::undecided) return false;
    if (successes_.size >= goal_.successes_needed) {
      decided_ = verdict::reached;
    } else if (failures_.size > goal_.failures_allowed) {
      decided_ = verdict::failed;
    }
    return decided_ != verdict::undecided && left_ > 0;
  }

  void drop_line() noexcept {
    for (combined_child::handle* line : {&first_, &spared_}) {
      while (*line) {
        const combined_child::handle child = *line;
        *line = child.promise().next_;
        child.destroy();
      }
    }
  }

  basic_join<Sync> join_;
  any_scheduler where_;
  std::stop_source stop_;
  const goal goal_;
  std::mutex lock_;
  std::size_t left_;  // those that have not ended; guarded by lock_, as are the next six
  verdict decided_ = verdict::undecided;
  outcomes successes_;
  outcomes failures_;
  combined_child::handle first_;   // the line of those to begin
  combined_child::handle spared_;  // those that were in it when it was over
  combined_child::handle last_;    // only for add()
  std::optional<std::stop_callback<stop_children>> parent_;
};

template <class All>
inline void combined_child::promise_type::end(handle self) noexcept {
  All& all = *all_;
  child_outcome& outcome = *outcome_;
  outcome.exception = exception();
  outcome.ended = outcome.exception || outcome.has_error ? child_outcome::state::failed : child_outcome::state::succeeded;
  self.destroy();  // first: what the frame holds may refer to what lives only until the combination is joined. *this is gone
  all.ended(outcome);
}

}  // namespace penstock::inline v0_1::detail
