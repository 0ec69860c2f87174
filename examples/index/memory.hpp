// The memory of this process.
#pragma once

#include <cstddef>

namespace fulltext {

/// Has the allocator give large buffers back as soon as they are freed, before any thread starts. glibc's otherwise keeps what one
/// stage of the pipeline allocates and another one frees, and --max-memory would mean little.
void keep_little_freed_memory() noexcept;

/// How --max-memory is divided; in bytes. The rest is for the program itself, its threads, and what the allocator keeps.
struct memory_budget {
  std::size_t pieces = 0;  // on their way through the pipeline
  std::size_t merge = 0;   // what FTS5 collects before it writes, for each shard; it takes about three times as much
};

/// What each shard beyond the first takes on top of what is allowed, at the most: two connections and a thread, and what FTS5 collects beyond its share:
/// as much as one piece, which takes 16 times its size if no word is there twice.
inline constexpr std::size_t another_shard = std::size_t{5} << 20;

/// `threads` fold text, and `readers` read files; the shards share what there is to collect.
[[nodiscard]] memory_budget divide_memory(std::size_t allowed, std::size_t threads, std::size_t readers,
                                          std::size_t shards = 1) noexcept;

/// What a piece of so many bytes takes: the bytes; while it is folded, also a copy of them in UTF-8, where each may have become
/// two, and as much again for the words.
[[nodiscard]] constexpr std::size_t piece_cost(std::size_t size) noexcept { return 5 * size + 1024; }

/// The greatest resident size so far, in bytes; 0 if the system does not tell.
[[nodiscard]] std::size_t peak_resident_bytes();

}  // namespace fulltext
