// How an index is divided among files, its shards, and which of them a path belongs to.
//
// Files    FILE is shard 0, FILE.1, FILE.2, ... are the others. Each is a database of its own, see store.hpp. FILE also says how many there are; an index
//          that is not divided is a FILE that says nothing of it.
// Routing  by a consistent-hash ring over the numbers of the shards: with one more of them, only what that one takes has to move (see reshard.hpp). The
//          mapping is the same on every machine and in every version (penstock/route/hash_ring.hpp), so the files can be copied anywhere.
#pragma once

#include <penstock/route/hash_ring.hpp>

#include <cstddef>
#include <string>
#include <string_view>

#include "sqlite.hpp"

namespace fulltext {

inline constexpr std::size_t most_shards = 32;

struct shard_layout {
  std::size_t files = 1;   // that have, or may have, something in them
  std::size_t ring = 1;    // shards that the paths belong to
  std::size_t before = 1;  // the ring whose places the paths are being moved from; 0: not known any more

  /// Whether some may not be where they belong, because they are being moved, or that was interrupted.
  [[nodiscard]] bool moving() const noexcept { return before != ring; }

  friend bool operator==(const shard_layout&, const shard_layout&) = default;
};

[[nodiscard]] constexpr shard_layout divided_among(std::size_t shards) noexcept { return {shards, shards, shards}; }

/// The ring of so many shards.
using shard_ring = penstock::hash_ring<std::size_t>;
[[nodiscard]] shard_ring ring_of(std::size_t shards);

/// The shard that a path belongs to.
[[nodiscard]] inline std::size_t owner_of(const shard_ring& ring, std::string_view path) { return *ring.find(path); }

/// The file of a shard, where `path` is that of the index. Throws what database_file() does.
[[nodiscard]] std::string shard_file(const std::string& path, std::size_t number);

/// What FILE says, over a connection to it; in a transaction this holds its lock. Throws database_error.
[[nodiscard]] shard_layout read_layout(database& db);
/// Has FILE say so. In a transaction of the caller's.
void write_layout(database& db, const shard_layout& layout);
/// Has a file say which shard it is (not 0). In a transaction of the caller's.
void write_shard_number(database& db, std::size_t number);
/// Throws std::runtime_error unless the file is that shard of an index (0: FILE itself).
void check_shard_number(database& db, const std::string& file, std::size_t number);

/// How many files FILE.1, FILE.2, ... say, one after the other, that they are shards.
[[nodiscard]] std::size_t shards_beside(const std::string& path);
/// Removes those that come after the index's own: what a reshard left behind that was interrupted at its very end, or beginning.
void remove_shards_beyond(const std::string& path, std::size_t files);

}  // namespace fulltext
