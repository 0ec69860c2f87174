#include "memory.hpp"

#include <fstream>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace fulltext {

void keep_little_freed_memory() noexcept {
#if defined(__GLIBC__)
  ::mallopt(M_MMAP_THRESHOLD, 64 << 10);  // half the size from which it is adapted, which setting it ends
  ::mallopt(M_TRIM_THRESHOLD, 256 << 10);
  ::mallopt(M_ARENA_MAX, 4);
#endif
}

std::size_t peak_resident_bytes() {
  // Not getrusage(): its figure is at least that of the program that started this one.
  std::ifstream status{"/proc/self/status"};
  for (std::string key; status >> key; status.ignore(256, '\n')) {
    std::size_t kib = 0;
    if (key == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

}  // namespace fulltext
