// Senders under races: stop requests by any kind of token against what is waited for and against start(), on semaphores, chained limiters, channels and
// tasks. Each operation completes once, in a frame that its receiver frees at once; permits and items are conserved.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/execution.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
namespace execution = penstock::execution;

struct other_token {
  std::stop_token of;
  [[nodiscard]] bool stop_requested() const noexcept { return of.stop_requested(); }
  [[nodiscard]] bool stop_possible() const noexcept { return of.stop_possible(); }
  template <class F>
  struct callback_type {
    callback_type(const other_token& t, F f) : callback{t.of, std::move(f)} {}
    std::stop_callback<F> callback;
  };
};

enum class ended { not_yet, value, stopped, error };

/// What everybody shares of one operation; the operation itself is freed by its receiver.
struct record {
  std::atomic<ended> how{ended::not_yet};
  std::atomic<int> times{0};
  std::stop_source stop;
  void (*free)(void*) noexcept = nullptr;
  void* operation = nullptr;
};

template <class Token>
struct receiver {
  using receiver_concept = execution::receiver_tag;
  struct environment {
    [[nodiscard]] Token query(const execution::get_stop_token_t&) const noexcept { return {token}; }
    std::stop_token token;
  };
  std::shared_ptr<record> to;

  void set_value(const penstock::result<void>& r) noexcept { tell(r ? ended::value : ended::error); }
  void set_value(const penstock::result<int>& r) noexcept { tell(r ? ended::value : ended::error); }
  void set_value() noexcept { tell(ended::value); }
  void set_error(const std::exception_ptr&) noexcept { tell(ended::error); }
  void set_stopped() noexcept { tell(ended::stopped); }
  [[nodiscard]] environment get_env() const noexcept { return {to->stop.get_token()}; }

 private:
  void tell(ended how) noexcept {
    const std::shared_ptr<record> r = std::move(to);
    if (r->free != nullptr) r->free(r->operation);  // *this is gone
    ++r->times;
    r->how = how;  // the last touch
  }
};

template <class Token, class Sender>
std::shared_ptr<record> start(Sender s) {
  using operation = decltype(std::move(s).connect(std::declval<receiver<Token>>()));
  auto r = std::make_shared<record>();
  auto* const o = new operation(std::move(s).connect(receiver<Token>{r}));
  r->operation = o;
  r->free = [](void* what) noexcept { delete static_cast<operation*>(what); };
  return r;
}
template <class Token, class Sender>
void run(const std::shared_ptr<record>& r) {
  using operation = decltype(std::declval<Sender>().connect(std::declval<receiver<Token>>()));
  static_cast<operation*>(r->operation)->start();
}

/// Begins a wait that another thread stops meanwhile, and gives how it ended.
template <class Token, class Sender>
ended race(stress::context& c, stress::random& random, Sender s) {
  const std::shared_ptr<record> r = start<Token>(std::move(s));
  std::jthread stopper;
  if (random.one_in(2)) {
    stopper = std::jthread{[r, spins = random.below(200)] {
      for (int i = 0; i < spins; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);  // not to be left out
      r->stop.request_stop();
    }};
  }
  run<Token, Sender>(r);
  if (!stopper.joinable() && random.one_in(2)) r->stop.request_stop();
  while (r->how == ended::not_yet) std::this_thread::yield();
  if (stopper.joinable()) stopper.join();
  c.check(r->times == 1, "an operation completed twice");
  c.check(r->how != ended::error, "an operation failed");
  return r->how;
}

template <class Token>
void permits(stress::context& c) {
  penstock::semaphore s{1};
  penstock::limiter inner{penstock::limiter_options{.max_concurrent = 1}};
  penstock::limiter outer{penstock::limiter_options{.max_concurrent = 1}, penstock::limiter_setup{.chain = &inner}};
  stress::start_line line{2};
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      stress::random random = c.generator(t);
      line.wait();
      while (c.time_left() && !c.failed()) {
        if (race<Token>(c, random, s.async_acquire()) == ended::value) {
          if (random.one_in(4)) std::this_thread::yield();
          s.release();
        }
        if (race<Token>(c, random, outer.async_acquire()) == ended::value) outer.release();
      }
    });
  }
  threads.clear();
  c.check(s.available() == 1 && s.waiters() == 0, "a permit is lost, or somebody is left in the line");
  c.check(static_cast<bool>(outer.try_acquire()), "a turn is lost");
}

penstock::task<penstock::result<int>> pop(penstock::channel<int>& from) { co_return co_await from.async_pop(); }

template <class Token>
void items(stress::context& c) {
  penstock::worker_pool pool{{.threads = 1}};
  penstock::channel<int> channel{1};
  std::atomic<long> given{0};
  long taken = 0;
  std::jthread giver{[&] {
    while (channel.push(1)) ++given;
  }};
  stress::random random = c.generator(7);
  while (c.time_left() && !c.failed()) {
    if (race<Token>(c, random, channel.async_pop()) == ended::value) ++taken;
    if (race<Token>(c, random, channel.async_pop() | penstock::via(pool)) == ended::value) ++taken;
    if (race<Token>(c, random, pop(channel)) == ended::value) ++taken;
    race<Token>(c, random, pool.schedule());
  }
  channel.close();
  giver.join();
  while (channel.try_pop()) ++taken;
  c.check(given == taken, "an item is lost");
}

}  // namespace

int main() {
  stress::run run{"execution"};
  run.scenario("permits, a std::stop_token", 300ms, permits<std::stop_token>);
  run.scenario("permits, another token", 300ms, permits<other_token>);
  run.scenario("items, a std::stop_token", 300ms, items<std::stop_token>);
  run.scenario("items, another token", 300ms, items<other_token>);
  return run.finish();
}
