// Replaces operator new in the program that includes this, in one of its sources, and counts. Under the address and thread sanitizers, which
// replace it themselves, nothing is counted, both numbers stay 0, and nothing fails.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace counting_new {

inline std::atomic<long> made{0};            // by all threads, since the program began
inline std::atomic<long> living{0};          // made and not freed
inline thread_local long until_failure = 0;  // n: the n-th allocation of this thread from now on throws std::bad_alloc

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool counts = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool counts = false;
#else
#define PENSTOCK_TEST_COUNTING_NEW
#endif
#else
#define PENSTOCK_TEST_COUNTING_NEW
#endif

}  // namespace counting_new

#if defined(PENSTOCK_TEST_COUNTING_NEW)

namespace counting_new {

inline constexpr bool counts = true;

inline void* allocate(std::size_t size, std::size_t alignment) {
  if (until_failure > 0 && --until_failure == 0) throw std::bad_alloc{};
  // aligned_alloc() wants a multiple of the alignment, malloc() gives that of max_align_t
  void* const p = alignment <= alignof(std::max_align_t)
                      ? std::malloc(size == 0 ? 1 : size)
                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc{};
  made.fetch_add(1, std::memory_order_relaxed);
  living.fetch_add(1, std::memory_order_relaxed);
  return p;
}
inline void release(void* p) noexcept {
  if (p == nullptr) return;
  living.fetch_sub(1, std::memory_order_relaxed);
  std::free(p);
}

}  // namespace counting_new

void* operator new(std::size_t size) { return counting_new::allocate(size, 1); }
void* operator new[](std::size_t size) { return counting_new::allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t a) { return counting_new::allocate(size, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t size, std::align_val_t a) { return counting_new::allocate(size, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { counting_new::release(p); }
void operator delete[](void* p) noexcept { counting_new::release(p); }
void operator delete(void* p, std::size_t) noexcept { counting_new::release(p); }
void operator delete[](void* p, std::size_t) noexcept { counting_new::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { counting_new::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { counting_new::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { counting_new::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { counting_new::release(p); }

#endif
