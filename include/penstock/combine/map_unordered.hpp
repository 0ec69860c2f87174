// penstock/combine/map_unordered.hpp: what a function makes of each element of a range, as the results come.
//
//   for (const page& p : penstock::map_unordered(pool, urls, fetch)) index(p);
//
//   auto pages = penstock::map_unordered(pool, urls, fetch, {.ahead = 32, .stop = token});
//   while (auto p = pages.pop()) index(*p);
//
// Who runs what  workers of the pool compute ahead, as many as are free and no more than `ahead` results; these wait in a channel. Who asks for one
//                when there is none computes it itself, if there is an element left, and otherwise waits for those that a thread has begun. So
//                it goes on, and ends, without any worker, too: inside the pool, on a pool of one thread, with a full queue, with the
//                pool shut down. A worker that waits for an element may be what computing that one waits for: so it counts as one inside
//                worker_pool::blocking(), and runs the pool's coroutines if nobody else is free to.
// Order          none. One element after the other is begun, in the order of the range.
// The end        after the last result pop() says errc::closed, and a range-for ends. A result whose move throws is lost, and pop() throws that. After an exception no element is begun; the results that are
//                there still come, then pop() throws what was thrown first. Others go to the pool's error handler and count in its failed(). After a
//                stop request likewise: pop() then says errc::cancelled, unless every element had begun.
// Destruction    begins nothing more, and waits for the elements that a thread has begun; their results are destroyed. Workers that come later
//                find nothing to do. The function and the range live until then: the range in here if it was given as an rvalue.
// Ranges         as for_each's (bulk_options.hpp): what has no random access is walked through, or copied, at the beginning.
// Thread safety  pop() may be called by several threads at a time.
// Coroutines     none of their own: map_concurrent is for functions that are coroutines.
// Memory         one allocation, and room for `ahead` results.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/combine/detail/bulk_range.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/pool_access.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

struct map_unordered_options {
  std::size_t ahead = 0;      ///< results that are computed before anybody asks for them; 0: twice the pool's threads
  std::stop_token stop = {};  ///< asked before each element
};

template <class View, class F>
class unordered_results {
  using pool_type = detail::dependent<worker_pool, View>;

 public:
  using value_type = std::remove_cvref_t<std::invoke_result_t<F&, typename detail::bulk_range<View>::reference>>;
  static_assert(!std::is_void_v<value_type>, "for_each is for functions that return nothing");

  unordered_results(unordered_results&&) noexcept = default;
  unordered_results& operator=(unordered_results&&) = delete;
  ~unordered_results() {
    if (shared_ != nullptr) shared_->leave();
  }

  /// The next result, whichever it is: what is there, or what this thread computes, or what others are about to have computed. errc::closed after the
  /// last, errc::cancelled after a stop request. Throws what the function threw first, after the last.
  result<value_type> pop() { return shared_->pop(); }

  /// An input iterator that pops. A stop request ends it as the last result does.
  class iterator {
   public:
    using value_type = unordered_results::value_type;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(unordered_results& of) : of_{&of} { ++*this; }
    value_type& operator*() const noexcept { return *here_; }
    iterator& operator++() {
      here_.reset();
      if (result<value_type> next = of_->pop(); next) here_.emplace(std::move(*next));
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return !i.here_.has_value(); }

   private:
    unordered_results* of_ = nullptr;
    mutable std::optional<value_type> here_;
  };
  [[nodiscard]] iterator begin() { return iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // For map_unordered().
  template <class Range, class G>
  unordered_results(pool_type& pool, Range&& range, G&& f, const map_unordered_options& options)
      : shared_{std::make_shared<shared>(pool, std::forward<Range>(range), std::forward<G>(f), options)} {
    shared_->call_workers();
  }

 private:
  class shared;
  std::shared_ptr<shared> shared_;
};

// What the consumer and the workers share. A worker that comes late finds it over, and touches neither range nor function.
template <class View, class F>
class unordered_results<View, F>::shared : public std::enable_shared_from_this<shared> {
 public:
  template <class Range, class G>
  shared(pool_type& pool, Range&& range, G&& f, const map_unordered_options& options)
      : pool_{pool},
        ahead_{options.ahead != 0 ? options.ahead : 2 * pool.threads()},
        stop_{options.stop},
        work_{std::in_place, std::forward<Range>(range), std::forward<G>(f), pool.threads()},
        size_{work_->elements.size()},
        results_{ahead_} {}

  result<value_type> pop() {
    for (std::size_t element = 0;;) {
      result<value_type> next = from_channel(false);
      if (next) return next;
      if (next.error() != errc::empty) return at_the_end(next.error());
      if (!claim(element, false)) {
        result<value_type> last = from_channel(true);
        if (!last) return at_the_end(last.error());
        return last;
      }
      bool counted = false;
      try {
        result<value_type> made(work_->call(element));
        finished(false, nullptr);
        counted = true;
        call_for_help();
        return made;
      } catch (...) {
        if (counted) throw;  // on its way to the caller
        finished(false, std::current_exception());
      }
    }
  }

  /// The consumer goes.
  void leave() noexcept {
    {
      std::scoped_lock guard{lock_};
      over_ = true;
    }
    std::size_t none = 0;
    claim(none, false);  // closes, if nobody is at work
    for (bool some = true; some;) {
      try {
        some = wait_for_result().has_value();
      } catch (...) {  // moving the value failed; others are still to come
        detail::pool_access::report(pool_, std::current_exception());
      }
    }
    if (first_failure_ != nullptr && !told_) detail::pool_access::report(pool_, std::move(first_failure_));
    work_.reset();
  }

  /// As many as there are elements for, and room.
  void call_workers() {
    const std::size_t most = std::min({pool_.threads(), size_, ahead_});
    for (std::size_t i = 0; i < most; ++i) call_worker();
  }

 private:
  struct work {
    template <class Range, class G>
    work(Range&& r, G&& g, std::size_t threads)
        : range(std::forward<Range>(r)), f(std::forward<G>(g)), elements{range, 1, threads} {}
    decltype(auto) call(std::size_t element) { return std::invoke(f, *elements.begin_of(element)); }
    View range;
    F f;
    detail::bulk_range<View> elements;
  };

  // A worker that was called, until it has found nothing more to do, or was refused or dropped.
  class visit {
   public:
    explicit visit(std::shared_ptr<shared> s) noexcept : shared_{std::move(s)} {}
    visit(visit&&) noexcept = default;
    visit& operator=(visit&&) = delete;
    ~visit() {
      if (shared_ == nullptr) return;
      std::scoped_lock guard{shared_->lock_};
      --shared_->visits_;
    }
    void operator()() noexcept { std::exchange(shared_, nullptr)->compute_ahead(); }

   private:
    std::shared_ptr<shared> shared_;
  };

  void call_worker() {
    {
      std::scoped_lock guard{lock_};
      ++visits_;
    }
    // If there is no room: whoever asks for a result computes it, and calls again by call_for_help().
    detail::pool_access::invite(pool_, visit{this->shared_from_this()});
  }

  void compute_ahead() noexcept {
    for (std::size_t element = 0; claim(element, true);) {
      std::exception_ptr why;
      try {
        value_type made(work_->call(element));
        [[maybe_unused]] const result<void> put = results_.try_push(std::move(made));
        assert(put && "no room was kept for a result");
      } catch (...) {
        why = std::current_exception();
      }
      finished(true, std::move(why));
    }
  }

  // The next element for the calling thread. False: there is none, or, for a worker, no room for its result, and its visit is over: in the same step,
  // so that who makes room afterwards calls another one.
  bool claim(std::size_t& element, bool is_ahead) noexcept {
    std::unique_lock guard{lock_};
    if (!over_ && begun_ < size_ && stop_.stop_requested()) {
      over_ = true;
      cancelled_ = true;
    }
    const bool none_left = over_ || begun_ == size_;
    if (none_left || (is_ahead && promised_ == ahead_)) {
      if (is_ahead) --visits_;
      if (none_left) close_if_done(guard);
      return false;
    }
    if (is_ahead) ++promised_;
    ++running_;
    element = begun_++;
    return true;
  }

  void finished(bool is_ahead, std::exception_ptr why) noexcept {
    {
      std::unique_lock guard{lock_};
      --running_;
      if (why != nullptr) {
        over_ = true;
        if (is_ahead) --promised_;
        if (first_failure_ == nullptr) std::swap(first_failure_, why);
      }
      close_if_done(guard);
    }
    if (why != nullptr) detail::pool_access::report(pool_, std::move(why));
  }

  void close_if_done(std::unique_lock<std::mutex>& guard) noexcept {
    if (running_ != 0 || !(over_ || begun_ == size_)) return;
    const bool was_cancelled = cancelled_;
    guard.unlock();
    results_.close(was_cancelled ? make_error_code(errc::cancelled) : std::error_code{});
  }

  result<value_type> from_channel(bool waits) {
    struct room {
      ~room() {
        if (of != nullptr) of->free_place();
      }
      shared* of;
    } left{this};  // also by what is lost on the way because moving it throws
    result<value_type> next = waits ? wait_for_result() : results_.try_pop();
    if (!next) left.of = nullptr;
    return next;
  }
  // Looks for coroutines in longer and longer intervals, as a worker does that waits for a stolen job (fork_job.hpp).
  result<value_type> wait_for_result() {
    using namespace std::chrono_literals;
    if (!pool_.running_here()) return results_.pop();
    return pool_.blocking([this] {
      for (auto pause = 100us;; pause = std::min<std::chrono::microseconds>(2 * pause, 5ms)) {
        result<value_type> next = results_.try_pop_for(pause);
        if (next || next.error() != errc::timeout) return next;
        while (detail::pool_access::help_once(pool_)) pause = 50us;
      }
    });
  }
  void free_place() noexcept {
    {
      std::scoped_lock guard{lock_};
      --promised_;
    }
    call_for_help();
  }

  // After the last result comes what was thrown first.
  std::error_code at_the_end(std::error_code why) {
    std::exception_ptr thrown;
    {
      std::scoped_lock guard{lock_};
      thrown = first_failure_;
      if (thrown != nullptr) told_ = true;
    }
    if (thrown != nullptr) std::rethrow_exception(std::move(thrown));
    return why;
  }

  // Workers leave when there is no room, and those that were called may have been refused or dropped.
  void call_for_help() {
    {
      std::scoped_lock guard{lock_};
      if (over_ || begun_ == size_ || promised_ == ahead_ || visits_ >= std::min(pool_.threads(), ahead_)) return;
    }
    call_worker();
  }

  pool_type& pool_;
  const std::size_t ahead_;
  const std::stop_token stop_;
  std::optional<work> work_;  // until the consumer goes
  const std::size_t size_;
  channel<value_type> results_;
  std::mutex lock_;
  // Guarded by lock_:
  std::size_t begun_ = 0;     // elements
  std::size_t running_ = 0;   // of them
  std::size_t promised_ = 0;  // places in the channel: results in it, and those that will go there
  std::size_t visits_ = 0;
  bool over_ = false;  // nothing more begins
  bool cancelled_ = false;
  bool told_ = false;
  std::exception_ptr first_failure_;
};

/// `f(element)` for each element of `range`, which is moved in if it is an rvalue. Throws std::bad_alloc.
template <std::ranges::input_range Range, class F>
  requires std::ranges::viewable_range<Range>
[[nodiscard]] auto map_unordered(worker_pool& pool, Range&& range, F&& f, const map_unordered_options& options = {}) {
  return unordered_results<std::views::all_t<Range>, std::decay_t<F>>{pool, std::views::all(std::forward<Range>(range)),
                                                                      std::forward<F>(f), options};
}

}  // namespace penstock::inline v0_1
