// penstock/stream/detail/parallel_stage.hpp: a function of a pipeline that runs on a pool, for several items at a time.
//
// A cell is the place of one item from the moment it is taken from the stage before until its result is taken: n cells are n items in flight. The
// feeder, a thread of the pipeline's, takes a free cell, fills it and posts a job {stage, cell, claim}, which fits into the pool's queue without an
// allocation. In order: the feeder also queues the cell for the taker, which waits for the event in the cell. As they finish: the
// task queues the cell. Both queues have room for every cell there is, so a task never waits: a pool of one thread serves any number
// of stages.
//
// Each cell has a claim: the feeder raises it when it posts the job, and whoever takes it down decides what becomes of the item: the worker that
// runs the job, the pool that drops it without having run it (request_stop(); the pipeline fails then), or finish(), by which a pipeline that has
// failed does not wait for jobs that lie in the queue of a busy pool. Only a job that was claimed refers to the stage, and for those finish() waits;
// one that lies in the queue longer than that finds its claim taken. The claims belong to the jobs and the stage together.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/stage_meter.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1::detail {

template <class Up, class F>
class parallel_stage {
  using pool_type = dependent<worker_pool, Up>;
  using flag = dependent<bool, Up>;

 public:
  using input = typename Up::value_type;
  static_assert(std::invocable<F&, input>, "parallel_map: the function cannot be called with the items of the stage before it");
  using value_type = std::remove_cvref_t<std::invoke_result_t<F&, input>>;
  static_assert(!std::is_void_v<value_type>, "parallel_map: the function returns nothing");

  parallel_stage(Up&& up, std::string&& name, pool_type& pool, std::size_t n, F&& f, bool ordered)
      : up_{std::move(up)}, meter_{std::move(name)}, pool_{&pool}, places_{n}, f_(std::move(f)), ordered_{ordered} {}
  // Before it begins.
  parallel_stage(parallel_stage&& other)
      : up_{std::move(other.up_)},
        meter_{std::move(other.meter_)},
        pool_{other.pool_},
        places_{other.places_},
        f_(std::move(other.f_)),
        ordered_{other.ordered_} {}

  void start(pipeline_context& c) {
    context_ = &c;
    cells_ = std::make_unique<cell[]>(places_);
    claims_.reset(new std::atomic<flag>[places_] {});
    free_ = std::make_unique<channel<cell*>>(places_);
    filled_ = std::make_unique<channel<cell*>>(places_);
    for (std::size_t i = 0; i < places_; ++i) static_cast<void>(free_->try_push(&cells_[i]));
    up_.start(c);
    c.start_thread([this] { feed(); });
  }

  flow next(std::optional<value_type>& out) { return next_until(out, {}); }
  flow next_until(std::optional<value_type>& out, const deadline& until) {
    if (context_->stopped()) return flow::stopped;
    const wait_limits limited{.stop = until.is_never() ? std::stop_token{} : context_->limits().stop, .deadline = until};
    const wait_limits& limits = until.is_never() ? context_->limits() : limited;
    if (next_ == nullptr) {
      const auto pop = [&] { return filled_->pop(limits); };
      const bool waits = filled_->empty() && !filled_->is_closed();
      const result<cell*> c = waits ? meter_.waiting_in(pop) : pop();
      if (!c) {
        if (c.error() == errc::timeout) return flow::timeout;
        return c.error() == errc::closed && !context_->stopped() ? flow::ended : flow::stopped;
      }
      next_ = *c;
    }
    if (ordered_ && !next_->done.is_set()) {
      const result<void> done = meter_.waiting_in([&] { return next_->done.wait(limits); });
      if (!done) return done.error() == errc::timeout ? flow::timeout : flow::stopped;
    }
    if (!next_->out) return flow::stopped;  // its task failed, or did not run
    out.emplace(*std::move(next_->out));
    next_->out.reset();
    if (ordered_) next_->done.reset();
    static_cast<void>(free_->try_push(std::exchange(next_, nullptr)));
    meter_.count_out();
    return flow::item;
  }

  void finish(const pipeline_context& c) noexcept {
    if (claims_ != nullptr) {
      for (std::size_t i = 0; i < places_; ++i) {
        if (taken(claims_.get()[i])) tasks_.done();
      }
    }
    tasks_.done();
    tasks_.wait();
    next_ = nullptr;
    filled_.reset();
    free_.reset();
    cells_.reset();
    up_.finish(c);
  }
  void describe(report_builder& b) const {
    up_.describe(b);
    const std::uint64_t in = b.given();
    b.next_group();
    b.add(meter_.read(stage_kind::queue), in, places_ < pool_->threads() ? places_ : pool_->threads());
    b.next_group();
  }
  [[nodiscard]] bool would_deadlock() const noexcept { return pool_->running_here() || up_.would_deadlock(); }

 private:
  struct cell {
    std::optional<input> in;
    std::optional<value_type> out;
    event done;  // in order only
  };

  // relaxed: decides between claimants. The item came to the worker through the queue's lock, and to finish() by the feeder's end.
  static bool taken(std::atomic<bool>& claim) noexcept { return claim.exchange(false, std::memory_order_relaxed); }

  /// What lies in the pool's queue.
  class job {
   public:
    job(parallel_stage& stage, cell& c, std::shared_ptr<std::atomic<flag>> claim) noexcept
        : stage_{&stage}, cell_{&c}, claim_{std::move(claim)} {}
    job(job&&) noexcept = default;
    job& operator=(job&&) = delete;
    ~job() {
      if (claim_ != nullptr && taken(*claim_)) stage_->dropped(*cell_);
    }
    void operator()() noexcept {
      if (!taken(*std::exchange(claim_, nullptr))) return;
      stage_->compute(*cell_);
      stage_->end(*cell_);
    }

   private:
    parallel_stage* stage_;
    cell* cell_;
    std::shared_ptr<std::atomic<flag>> claim_;  // null: moved from, or run
  };

  void feed() noexcept {
    feeder_ = std::this_thread::get_id();
    try {
      while (cell* const c = free_cell()) {
        if (up_.next(c->in) != flow::item) break;
        tasks_.add();
        if (ordered_) {
          static_cast<void>(filled_->try_push(c));
        } else {
          unfinished_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the feeder's own count keeps it above zero
        }
        posting_ = c;
        std::atomic<bool>& claim = claims_[c - cells_.get()];
        claim.store(true, std::memory_order_relaxed);  // relaxed: see taken()
        const result<void> posted = pool_->post(context_->limits(), job{*this, *c, {claims_, &claim}});
        posting_ = nullptr;
        if (!posted) {
          fail(posted.error(), "penstock::parallel_map: the pool refused a task");
          end(*c);
          break;
        }
      }
    } catch (...) {
      context_->fail(std::current_exception());
    }
    if (ordered_) {
      filled_->close();
    } else {
      one_less();
    }
  }

  cell* free_cell() {
    result<cell*> c = free_->try_pop();
    if (!c) c = meter_.waiting_out([&] { return free_->pop(context_->limits()); });
    return c ? *c : nullptr;
  }

  void compute(cell& c) noexcept {
    if (context_->stopped()) return;
    try {
      meter_.work_shared([&] { c.out.emplace(std::invoke(f_, *std::move(c.in))); });
      c.in.reset();
    } catch (...) {
      context_->fail(std::current_exception());
    }
  }

  // Its job was destroyed without having run, and has claimed it. If post() refuses it the feeder, inside post() just now, will see to the rest.
  void dropped(cell& c) noexcept {
    if (std::this_thread::get_id() == feeder_ && posting_ == &c) return;
    fail(errc::cancelled, "penstock::parallel_map: the pool dropped a task");
    end(c);
  }

  void end(cell& c) noexcept {
    if (ordered_) {
      c.done.set();
    } else {
      static_cast<void>(filled_->try_push(&c));
      one_less();
    }
    tasks_.done();  // the last touch
  }
  void one_less() noexcept {
    // acq_rel: orders what the tasks queued before the closing
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) filled_->close();
  }

  void fail(std::error_code why, const char* what) noexcept {
    try {
      throw std::system_error{why, what};
    } catch (...) {  // or what memory that cannot be had throws
      context_->fail(std::current_exception());
    }
  }

  Up up_;
  stage_meter meter_;
  pool_type* pool_;
  std::size_t places_;
  F f_;
  bool ordered_;
  pipeline_context* context_ = nullptr;
  std::unique_ptr<cell[]> cells_;
  std::shared_ptr<std::atomic<flag>[]> claims_;  // of the cells
  std::unique_ptr<channel<cell*>> free_;
  std::unique_ptr<channel<cell*>> filled_;
  cell* next_ = nullptr;                    // of the taker: queued in order, and perhaps not done yet
  std::thread::id feeder_;                  // written before the first task is posted
  cell* posting_ = nullptr;                 // of the feeder's thread
  std::atomic<std::size_t> unfinished_{1};  // tasks, and the feeder; not used in order
  wait_group tasks_{1};                     // and the stage itself, until finish()
};

}  // namespace penstock::inline v0_1::detail
