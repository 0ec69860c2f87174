// penstock/rate/detail/huge_page_allocator.hpp: memory for tables that are looked into at random.
//
// Each look into a table of many megabytes misses the cache, and on pages of 4 KiB also the processor's table of pages, whose entry must then
// be fetched from memory first. On Linux the system is asked for pages of 2 MiB where whole ones are to be had; all that this changes is the speed.
#pragma once

#include <cstddef>
#include <limits>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// Begins on a cache line, and on a huge page if it is as long as one.
template <class T>
struct huge_page_allocator {
  using value_type = T;

  huge_page_allocator() noexcept = default;
  template <class U>
  huge_page_allocator(const huge_page_allocator<U>&) noexcept {}

  [[nodiscard]] T* allocate(std::size_t n) {
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length{};
    void* const memory = ::operator new(n * sizeof(T), alignment(n));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: whatever the answer is, the memory is there.
    if (n * sizeof(T) >= huge_page) static_cast<void>(::madvise(memory, n * sizeof(T) / huge_page * huge_page, MADV_HUGEPAGE));
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t n) noexcept { ::operator delete(memory, n * sizeof(T), alignment(n)); }

  friend bool operator==(const huge_page_allocator&, const huge_page_allocator&) noexcept { return true; }

 private:
  static constexpr std::size_t huge_page = std::size_t{1} << 21;
  static constexpr std::align_val_t alignment(std::size_t n) noexcept {
    return std::align_val_t{n * sizeof(T) >= huge_page ? huge_page : alignof(T) > cache_line ? alignof(T) : cache_line};
  }
};

}  // namespace penstock::inline v0_1::detail
