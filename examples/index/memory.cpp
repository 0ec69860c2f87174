#include "memory.hpp"

#include <algorithm>
#include <fstream>
#include <string>

#include "file_reader.hpp"

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

memory_budget divide_memory(std::size_t allowed, std::size_t threads, std::size_t readers, std::size_t shards) noexcept {
  // Measured: the program with an empty index, and what each thread adds to it while it works.
  constexpr std::size_t program = std::size_t{8} << 20;
  constexpr std::size_t folding_thread = std::size_t{64} << 10;
  constexpr std::size_t reading_thread = std::size_t{16} << 10;
  const std::size_t fixed = program + threads * folding_thread + readers * reading_thread;
  const std::size_t third = allowed > fixed ? (allowed - fixed) / 3 : 0;
  constexpr std::size_t most = std::size_t{256} << 20;  // FTS5 counts in an int, and gains nothing from more
  return {.pieces = std::max(third, piece_cost(piece_size)),
          .merge = std::clamp(third / 3 / shards, (std::size_t{256} << 10) / shards, most)};
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
