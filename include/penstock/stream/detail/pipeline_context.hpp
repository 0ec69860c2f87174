// penstock/stream/detail/pipeline_context.hpp: what the stages of one running pipeline share: how it ends, and its threads.
//
// The first failure counts: an exception, or an error (stopped, timed out, an end that was closed). It requests stop, and every wait of the
// pipeline listens to that; what fails afterwards is a consequence. A pipeline that has come to its end requests stop too, so that sources
// which were not needed to their end do not hold it up.
//
// A stage is a class with
//   value_type
//   flow next(std::optional<value_type>& out)        item: `out` holds it. Otherwise there is none, and next() is not called again
//   void start(pipeline_context&)                    begins; from now on the stage does not move
//   void finish(const pipeline_context&) noexcept    all threads have ended: drops the items that are on their way, closes what is at an end
//   void describe(report_builder&) const             any thread, any time
//   bool would_deadlock() const                      whether the calling thread is one that the stage needs
// and, where it can wait for a limited time,
//   flow next_until(std::optional<value_type>& out, const deadline&)
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/stream/detail/ends.hpp>

namespace penstock::inline v0_1::detail {

enum class flow : unsigned char {
  item,
  ended,
  stopped,  ///< the pipeline fails, or was stopped; why is in the context
  timeout,  ///< next_until() only
};

class pipeline_context {
 public:
  using sync = std_sync;

  pipeline_context() = default;
  pipeline_context(const pipeline_context&) = delete;
  pipeline_context& operator=(const pipeline_context&) = delete;

  [[nodiscard]] bool stopped() const noexcept {
    return stopped_.load(std::memory_order_acquire);
  }  // acquire: pairs with decide()
  /// What every wait inside the pipeline takes.
  [[nodiscard]] const wait_limits& limits() const noexcept { return limits_; }

  void fail(std::exception_ptr why) noexcept {
    {
      std::scoped_lock guard{lock_};
      if (!decide()) return;
      exception_ = std::move(why);
    }
    stop_.request_stop();
  }
  void fail(std::error_code why) noexcept {
    {
      std::scoped_lock guard{lock_};
      if (!decide()) return;
      error_ = why;
    }
    stop_.request_stop();
  }
  /// What a stage says whose source has no more: errc::closed is the regular end, every other error fails the pipeline. (Without effect if
  /// it is only because the pipeline ends.)
  flow no_more(std::error_code why) noexcept {
    if (why == errc::closed) return flow::ended;
    fail(why);
    return flow::stopped;
  }
  /// What a timer calls.
  void interrupt(outcome) noexcept { fail(errc::timeout); }

  /// The sink has everything: what happens from now on does not count.
  void complete() noexcept {
    {
      std::scoped_lock guard{lock_};
      if (!decide()) return;
    }
    stop_.request_stop();
  }

  /// Runs body() on a thread of the pipeline's; what it throws fails the pipeline. Throws std::system_error if there is no thread to be had.
  template <class F>
  void start_thread(F body) {
    threads_.emplace_back([this, body]() mutable {
      try {
        body();
      } catch (...) {
        fail(std::current_exception());
      }
    });
  }
  /// By the thread that starts them.
  void join() noexcept {
    for (std::thread& t : threads_) t.join();
    threads_.clear();
  }

  /// After join(), as what follows.
  [[nodiscard]] bool failed() const noexcept { return exception_ != nullptr || error_; }
  /// Closes what is at an end, for the reason for which the pipeline has failed. Who reads from it shall not take a stream that was cut off for a
  /// whole one, so errc::closed, of some other channel, becomes errc::cancelled.
  template <class End>
  void close(End& end) const noexcept {
    close_end(end, exception_, error_ == errc::closed ? make_error_code(errc::cancelled) : error_);
  }
  /// Last: throws the exception, or tells the error.
  [[nodiscard]] std::error_code outcome_of_run() {
    if (exception_ != nullptr) std::rethrow_exception(std::exchange(exception_, nullptr));
    return error_;
  }

 private:
  // With lock_ held, so that whoever comes too late to decide sees stopped(), and takes what follows for no regular end. False: it is decided.
  bool decide() noexcept {
    return !stopped_.exchange(true, std::memory_order_release);  // release: pairs with the acquire in stopped()
  }

  std::stop_source stop_;
  const wait_limits limits_{.stop = stop_.get_token()};
  std::atomic<bool> stopped_{false};
  std::mutex lock_;
  std::exception_ptr exception_;  // guarded by lock_, as the next is, until join()
  std::error_code error_;
  std::vector<std::thread> threads_;
};

}  // namespace penstock::inline v0_1::detail
