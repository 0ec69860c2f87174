// A pipeline whose N-th thread cannot be created ends those that were, throws and leaves nothing behind (hazard-20). This program defines
// pthread_create in front of the real one.
#include <cstddef>
#include <optional>
#include <system_error>
#include <thread>

#include <penstock/channel/channel.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/pipeline.hpp>

#include "support/catch.hpp"

#if defined(__linux__)

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>

// Where a sanitizer is linked statically its own pthread_create goes by this name, and must not be left out.
extern "C" [[gnu::weak]] int __interceptor_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

namespace {

std::size_t until_failure = 0;  // 0: all succeed; n: the n-th from now on fails

}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  if (until_failure != 0 && --until_failure == 0) return EAGAIN;
  if (__interceptor_pthread_create != nullptr) return __interceptor_pthread_create(thread, attributes, start, argument);
  using function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  const auto next = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "pthread_create"));
  return next(thread, attributes, start, argument);
}

TEST_CASE("pipeline: the N-th thread cannot be created", "[fault]") {
  penstock::worker_pool pool{{.threads = 2}};
  constexpr std::size_t threads = 5;  // two buffers, two that merge feeds on, one that feeds the pool
  for (std::size_t nth = 1; nth <= threads + 1; ++nth) {
    penstock::channel<int> out{2000};
    // Without an end: a thread that is not told to stop would not be joined.
    auto p = penstock::from([i = 0]() mutable { return std::optional{i++}; }) | penstock::buffer(3) |
             penstock::merge(penstock::from([n = 0]() mutable { return std::optional{--n}; })) | penstock::buffer(40) |
             penstock::parallel_map(pool, 4, [](int i) { return i; }) | penstock::to([&, n = 0](int i) mutable {
               if (++n == 1000) out.close();
               static_cast<void>(i);
             });
    std::stop_source stop;
    if (nth <= threads) {
      until_failure = nth;
      CHECK_THROWS_AS(p.run(), std::system_error);
      CHECK(until_failure == 0);
    } else {
      auto end = penstock::from(out) | penstock::to([](int) {});
      std::jthread watch{[&] {
        end.run().value();
        stop.request_stop();
      }};
      until_failure = nth;
      CHECK(p.run(stop.get_token()).error() == penstock::errc::cancelled);
      CHECK(until_failure == 1);
      until_failure = 0;
    }
  }
}

#endif
