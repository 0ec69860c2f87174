// The memory of this process.
#pragma once

#include <cstddef>

namespace fulltext {

/// Has the allocator give large buffers back as soon as they are freed, before any thread starts. glibc's otherwise keeps what one
/// stage of the pipeline allocates and another one frees, and --max-memory would mean little.
void keep_little_freed_memory() noexcept;

/// The greatest resident size so far, in bytes; 0 if the system does not tell.
[[nodiscard]] std::size_t peak_resident_bytes();

}  // namespace fulltext
