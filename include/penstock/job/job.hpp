// penstock/job/job.hpp: what a handler sees of the job that it runs, and how it says how that went.
//
//   void send(penstock::job<mail>& j) {
//     j.progress(0.1);
//     if (!known(j.payload().to)) throw penstock::job_error{penstock::job_outcome::unrecoverable("no such address")};   // is not tried again
//     deliver(j.payload(), j.get_stop_token());                                                             // what it throws is a failed attempt
//   }
//   penstock::task<penstock::job_outcome> fetch(penstock::job<page>& j) {                                      // or a coroutine, and by value
//     auto r = co_await get(j.payload().url);
//     if (r.status == 429) co_return penstock::job_outcome::rate_limited(r.retry_after);
//     co_return penstock::job_outcome::done(r.size);                                                          // a value, for who waits for it
//   }
//
// Thread safety  a job belongs to the run of its handler, which may use it on several threads if it joins them.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

/// How a run went. A handler may also give nothing, a value (job_codec.hpp), or a result of either, and throw.
class job_outcome {
 public:
  enum class kind : std::uint8_t { done, failed, unrecoverable, retry_after, rate_limited, wait_for_children };

  [[nodiscard]] static job_outcome done() noexcept { return {}; }
  /// With a value, by its job_codec: it is kept with the job, and goes to who waits for it (job_queue::submit()). These throw std::bad_alloc, and what
  /// the codec throws.
  template <job_encodable T>
    requires(!std::same_as<T, std::string>)
  [[nodiscard]] static job_outcome done(const T& value) {
    return done(job_codec<T>::encode(value));
  }
  template <class = void>
  [[nodiscard]] static job_outcome done(std::string value) {
    job_outcome o;
    o.text_ = std::make_shared<const std::string>(std::move(value));
    return o;
  }
  /// A failed attempt: tried again as the job's options say, if attempts are left.
  template <class = void>
  [[nodiscard]] static job_outcome failed(std::string_view why) {
    return {kind::failed, {}, why};
  }
  /// Failed for good, whatever attempts are left.
  template <class = void>
  [[nodiscard]] static job_outcome unrecoverable(std::string_view why) {
    return {kind::unrecoverable, {}, why};
  }
  /// A failed attempt; if others are left, the next one is due in `delay`, whatever the backoff says.
  template <class = void>
  [[nodiscard]] static job_outcome retry_after(std::chrono::nanoseconds delay, std::string_view why = "to be retried") {
    return {kind::retry_after, delay, why};
  }
  /// No attempt: whom the handler calls wants to be left alone. The job is handed back, and this worker fetches nothing for so long.
  [[nodiscard]] static job_outcome rate_limited(std::chrono::nanoseconds pause) noexcept {
    job_outcome o;
    o.what_ = kind::rate_limited;
    o.delay_ = pause;
    return o;
  }

  /// Not over, and no attempt: the job waits for its children, those of job::add_child() too, and then is run again, with job::children(). At once, if it has
  /// none that are not over.
  [[nodiscard]] static job_outcome wait_for_children() noexcept {
    job_outcome o;
    o.what_ = kind::wait_for_children;
    return o;
  }

  // What is left to say of a failure if there is no memory for a reason; not for users.
  [[nodiscard]] static job_outcome failed_without_memory() noexcept {
    job_outcome o;
    o.what_ = kind::failed;
    return o;
  }

  [[nodiscard]] kind what() const noexcept { return what_; }
  [[nodiscard]] std::chrono::nanoseconds delay() const noexcept { return delay_; }
  /// Of a failure.
  [[nodiscard]] job_text why() const noexcept { return what_ != kind::done ? text_ : nullptr; }
  /// Of what is done; null: none.
  [[nodiscard]] job_text value() const noexcept { return what_ == kind::done ? text_ : nullptr; }

 private:
  job_outcome() noexcept = default;
  template <class = void>
  job_outcome(kind what, std::chrono::nanoseconds delay, std::string_view why)
      : what_{what}, delay_{delay}, text_{std::make_shared<const std::string>(why)} {}

  kind what_ = kind::done;
  std::chrono::nanoseconds delay_{0};
  job_text text_;  // why, or the value
};

/// An outcome to be thrown.
class job_error : public std::runtime_error {
 public:
  explicit job_error(job_outcome outcome)
      : std::runtime_error{outcome.why() != nullptr ? *outcome.why() : std::string{"penstock::job_error"}},
        outcome_{std::move(outcome)} {}
  [[nodiscard]] const job_outcome& outcome() const noexcept { return outcome_; }

 private:
  job_outcome outcome_;
};

/// What a future of a job that failed for good throws.
class job_failed : public std::runtime_error {
 public:
  explicit job_failed(const std::string& why) : std::runtime_error{why} {}
};

/// What a future throws whose job has completed with something else than the value that was asked for: none, or a text that its codec does not know.
class job_value_error : public std::system_error {
 public:
  using std::system_error::system_error;
};

namespace detail {

/// What a job asks of the worker that runs it.
template <class Payload>
class job_run {
 public:
  virtual const Payload& payload() const noexcept = 0;
  virtual job_id id() const noexcept = 0;
  virtual std::string_view name() const noexcept = 0;
  virtual unsigned attempt() const noexcept = 0;
  virtual std::uint64_t fence() const noexcept = 0;
  virtual result<void> progress(double done) = 0;
  virtual result<void> log(std::string line) = 0;
  virtual std::stop_token get_stop_token() = 0;
  virtual result<void> enqueue(Payload&& payload, const enqueue_options& o, bool child) = 0;
  virtual result<std::vector<job_child>> children() const = 0;

 protected:
  ~job_run() = default;
};

}  // namespace detail

template <class Payload>
class job {
 public:
  using payload_type = Payload;

  explicit job(detail::job_run<Payload>& run) noexcept : run_{&run} {}
  job(const job&) = delete;
  job& operator=(const job&) = delete;

  [[nodiscard]] const Payload& payload() const noexcept { return run_->payload(); }
  [[nodiscard]] job_id id() const noexcept { return run_->id(); }
  /// What kind of job it is: enqueue_options::name. It lives as long as the job's run.
  [[nodiscard]] std::string_view name() const noexcept { return run_->name(); }
  /// Which run it is, counted from 1. One that was handed back or stalled does not count.
  [[nodiscard]] unsigned attempt() const noexcept { return run_->attempt(); }
  /// Greater for each lease of this job: who is given it can refuse what comes from a run that was given up.
  [[nodiscard]] std::uint64_t fence() const noexcept { return run_->fence(); }

  /// Tells the store. errc::stale: the job was taken from this run, and what it does does not count.
  result<void> progress(double done) { return run_->progress(done); }
  result<void> log(std::string line) { return run_->log(std::move(line)); }

  /// Adds a job in the step that settles this run, if it completes or waits for its children: then both have happened, or neither. What it adds
  /// if it fails, or its lease is lost, is dropped. There is room for it in any case, and no id yet: name it (enqueue_options::job_id) to find it.
  /// errc::unsupported of one with a parent, if the store has no families. Throws std::invalid_argument of options out of their ranges, std::bad_alloc, and
  /// with a store that writes payloads down what the codec throws.
  result<void> enqueue(Payload payload, const enqueue_options& o = {}) { return run_->enqueue(std::move(payload), o, false); }
  /// The same, and it is a child of this job if that waits for its children (job_outcome::wait_for_children()); else of nobody. errc::unsupported: the store
  /// has no families.
  result<void> add_child(Payload payload, const enqueue_options& o = {}) { return run_->enqueue(std::move(payload), o, true); }
  /// Those that it has waited for, and how they ended, in the order in which they were added; none in the first run of one that was added without.
  [[nodiscard]] result<detail::dependent<std::vector<job_child>, Payload>> children() const { return run_->children(); }

  /// Stop is requested when the job's timeout has passed, when it is cancelled, when its lease is lost, and when the worker gives up waiting for it.
  [[nodiscard]] std::stop_token get_stop_token() { return run_->get_stop_token(); }

 private:
  detail::job_run<Payload>* run_;
};

}  // namespace penstock::inline v0_1
