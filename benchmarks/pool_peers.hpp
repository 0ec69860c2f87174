// The pools that worker_pool_bench.cpp compares, behind one face:
//
//   P pool{workers};
//   pool.post(f)               runs f some time; also from inside a task
//   pool.value(f)              runs f, waits, gives its int                     (optional)
//   pool.post_all(n, f)        posts n times f in as few calls as there are     (optional)
//   pool.submitting(n, f)      runs f, which posts, in n threads at a time      (optional; else n threads of their own, or this one)
//   pool.finish()              the pool's own way to wait for all that was posted (optional)
//   pool.schedule()            what a coroutine awaits to go on in the pool     (optional; else a posted task that resumes it)
//
// Each as its users know it. worker_pool is bounded (1,024 places by default): its submitter waits for room. OpenMP's runtime runs a task at once
// when 64 a thread wait. All others are unbounded. Where the submitter waits as part of the team (tbb::task_group, OpenMP) it is one of the
// workers; with the others there are the workers and the submitter.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#endif
#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/packaged_task.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
#include <boost/asio/execution.hpp>  // its post.hpp does without, and then does not compile
#include <boost/asio/packaged_task.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#endif
#if PENSTOCK_BENCH_HAS_THREAD_POOL
#include <thread_pool/thread_pool.hpp>
#endif
#if PENSTOCK_BENCH_HAS_OPENMP
#include <omp.h>
#endif

#include <penstock/pool/worker_pool.hpp>

namespace pools {

struct penstock_pool {
  explicit penstock_pool(int workers) : pool{{.threads = static_cast<std::size_t>(workers)}} {}
  template <class F>
  void post(F f) {
    static_cast<void>(pool.post(f));
  }
  template <class F>
  int value(F f) {
    return pool.submit(f).get();
  }
  void finish() { static_cast<void>(pool.drain()); }
  auto schedule() { return pool.schedule(); }
  penstock::worker_pool pool;
};

// Many at a time.
struct penstock_post_n : penstock_pool {
  using penstock_pool::penstock_pool;
  template <class F>
  void post_all(int n, F f) {
    static_cast<void>(pool.post_n(static_cast<std::size_t>(n), [f](std::size_t) { f(); }));
  }
};

// What one writes by hand.
struct by_hand {
  explicit by_hand(int workers) {
    for (int i = 0; i < workers; ++i) {
      threads.emplace_back([this] {
        for (;;) {
          std::function<void()> task;
          {
            std::unique_lock guard{lock};
            changed.wait(guard, [&] { return ending || !tasks.empty(); });
            if (tasks.empty()) return;
            task = std::move(tasks.front());
            tasks.pop_front();
          }
          task();
        }
      });
    }
  }
  ~by_hand() {
    {
      std::scoped_lock guard{lock};
      ending = true;
    }
    changed.notify_all();
  }
  template <class F>
  void post(F f) {
    {
      std::scoped_lock guard{lock};
      tasks.emplace_back(f);
    }
    changed.notify_one();
  }
  template <class F>
  int value(F f) {
    auto task = std::make_shared<std::packaged_task<int()>>(f);
    post([task] { (*task)(); });
    return task->get_future().get();
  }
  std::mutex lock;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  bool ending = false;
  std::vector<std::jthread> threads;
};

// A thread for each task.
struct std_async {
  explicit std_async(int) {}
  template <class F>
  int value(F f) {
    return std::async(std::launch::async, f).get();
  }
};

#if PENSTOCK_BENCH_HAS_TBB
// The submitter is one of the workers.
struct tbb_group {
  explicit tbb_group(int workers) : most{most.max_allowed_parallelism, static_cast<std::size_t>(workers)}, arena{workers} {}
  template <class F>
  void post(F f) {
    group.run(f);
  }
  template <class F>
  int value(F f) {
    int result = 0;
    arena.execute([&] {
      group.run([&] { result = f(); });
      group.wait();
    });
    return result;
  }
  template <class F>
  void submitting(int submitters, F f) {
    std::vector<std::jthread> others;
    for (int i = 1; i < submitters; ++i) others.emplace_back([&] { arena.execute(f); });
    arena.execute(f);
  }
  void finish() {
    arena.execute([&] { group.wait(); });
  }
  oneapi::tbb::global_control most;
  oneapi::tbb::task_arena arena;
  oneapi::tbb::task_group group;
};

// It is not.
struct tbb_arena {
  explicit tbb_arena(int workers)
      : most{most.max_allowed_parallelism, static_cast<std::size_t>(workers) + 1}, arena{workers, 0} {}
  template <class F>
  void post(F f) {
    arena.enqueue(f);
  }
  template <class F>
  int value(F f) {
    std::promise<int> result;
    arena.enqueue([&] { result.set_value(f()); });
    return result.get_future().get();
  }
  oneapi::tbb::global_control most;
  oneapi::tbb::task_arena arena;
};
#endif

// The standalone one, or Boost's where that is not installed (they define some of the same names). A member named post would hide the function that argument-dependent lookup finds.
template <class Pool, class F>
auto post_to_asio(Pool& pool, F f) {
  return post(pool, std::move(f));
}
template <class Pool>
struct asio_pool {
  explicit asio_pool(int workers) : pool(static_cast<std::size_t>(workers)) {}
  template <class F>
  void post(F f) {
    post_to_asio(pool, f);
  }
  template <class F>
  int value(F f) {
    return post_to_asio(pool, std::packaged_task<int()>(f)).get();
  }
  Pool pool;
};

#if PENSTOCK_BENCH_HAS_THREAD_POOL
struct rvaser_pool {
  explicit rvaser_pool(int workers) : pool{static_cast<std::size_t>(workers)} {}
  template <class F>
  void post(F f) {
    pool.Submit(f);
  }
  template <class F>
  int value(F f) {
    return pool.Submit(f).get();
  }
  thread_pool::ThreadPool pool;
};
#endif

#if PENSTOCK_BENCH_HAS_OPENMP
// The submitters are workers. The runtime's threads end with it: they would spin a while beside the next one.
struct openmp_tasks {
  explicit openmp_tasks(int workers) : threads{workers} {}
  ~openmp_tasks() { omp_pause_resource_all(omp_pause_soft); }
  template <class F>
  void post(F f) {
#pragma omp task firstprivate(f)
    f();
  }
  template <class F>
  void submitting(int submitters, F f) {
#pragma omp parallel num_threads(threads)
    if (omp_get_thread_num() < submitters) f();
  }
  int threads;
};
#endif

// What is written once for all.

template <class P, class F>
void submitting(P& pool, int submitters, F f) {
  if constexpr (requires { pool.submitting(submitters, f); }) {
    pool.submitting(submitters, f);
  } else {
    std::vector<std::jthread> others;
    for (int i = 1; i < submitters; ++i) others.emplace_back(f);
    f();
  }
}

template <class P>
void finish(P& pool) {
  if constexpr (requires { pool.finish(); }) pool.finish();
}

template <class P>
struct by_a_task {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[gnu::noinline]] void await_suspend(std::coroutine_handle<> waiting) const {
    pool->post([waiting] { waiting.resume(); });
  }
  void await_resume() const noexcept {}
  P* pool;
};
template <class P>
auto schedule(P& pool) {
  if constexpr (requires { pool.schedule(); }) {
    return pool.schedule();
  } else {
    return by_a_task<P>{&pool};
  }
}

// f(type, name) for each of the pools.
template <class F>
void for_each_pool(F f) {
  f(std::type_identity<penstock_pool>{}, "penstock::worker_pool");
  f(std::type_identity<penstock_post_n>{}, "penstock::worker_pool post_n");
#if PENSTOCK_BENCH_HAS_TBB
  f(std::type_identity<tbb_group>{}, "tbb::task_group (the submitter is a worker)");
  f(std::type_identity<tbb_arena>{}, "tbb::task_arena::enqueue");
#endif
#if PENSTOCK_BENCH_HAS_ASIO
  f(std::type_identity<asio_pool<asio::thread_pool>>{}, "asio::thread_pool");
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
  f(std::type_identity<asio_pool<boost::asio::thread_pool>>{}, "boost::asio::thread_pool");
#endif
#if PENSTOCK_BENCH_HAS_THREAD_POOL
  f(std::type_identity<rvaser_pool>{}, "thread_pool");
#endif
#if PENSTOCK_BENCH_HAS_OPENMP
  f(std::type_identity<openmp_tasks>{}, "OpenMP tasks (the submitter is a worker)");
#endif
  f(std::type_identity<by_hand>{}, "mutex and deque of std::function");
  f(std::type_identity<std_async>{}, "std::async");
}

}  // namespace pools
