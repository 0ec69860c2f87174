#include "layout.hpp"

#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "store.hpp"

namespace fulltext {

shard_ring ring_of(std::size_t shards) {
  shard_ring ring{{.virtual_nodes = 1024}};  // the shares of the shards differ by some 3 %; part of the format, like the numbers
  for (std::size_t i = 0; i < shards; ++i) ring.insert(i);
  return ring;
}

std::string shard_file(const std::string& path, std::size_t number) {
  // The file that a link leads to, as SQLite has it: the shards lie beside that one.
  const std::string file = std::filesystem::weakly_canonical(database_file(path)).string();
  return number == 0 ? file : file + '.' + std::to_string(number);
}

shard_layout read_layout(database& db) {
  if (db.integer("PRAGMA user_version") != divided_version) return {};
  statement layout{db, "SELECT files, ring, before FROM shards"};
  if (!layout.step()) throw std::runtime_error{"the index does not say how it is divided"};
  const auto number = [&](int column) { return static_cast<std::size_t>(layout.integer(column)); };
  const shard_layout found{number(0), number(1), number(2)};
  layout.reset();
  if (found.files < 1 || found.files > most_shards || found.ring < 1 || found.ring > found.files || found.before > most_shards) {
    throw std::runtime_error{"the index says that it is divided in a way that cannot be"};
  }
  return found;
}

void write_layout(database& db, const shard_layout& layout) {
  db.run("DROP TABLE IF EXISTS shards");
  const bool divided = layout != shard_layout{};
  db.run("PRAGMA user_version = " + std::to_string(divided ? divided_version : whole_version));
  if (!divided) return;
  db.run("CREATE TABLE shards(files INTEGER NOT NULL, ring INTEGER NOT NULL, before INTEGER NOT NULL)");
  const auto number = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  statement{db, "INSERT INTO shards VALUES(?1, ?2, ?3)"}.run(number(layout.files), number(layout.ring), number(layout.before));
}

void write_shard_number(database& db, std::size_t number) {
  db.run("PRAGMA user_version = " + std::to_string(divided_version) +
         "; CREATE TABLE shard(number INTEGER NOT NULL); INSERT INTO shard VALUES(" + std::to_string(number) + ")");
}

void check_shard_number(database& db, const std::string& file, std::size_t number) {
  const bool is_part = db.integer("SELECT count(*) FROM sqlite_schema WHERE name = 'shard'") != 0;
  if (number == 0 && is_part)
    throw std::runtime_error{file + " is a part of an index: name the index, which is the file without the number"};
  if (number != 0 && !(is_part && db.integer("SELECT number FROM shard") == static_cast<std::int64_t>(number))) {
    throw std::runtime_error{file + " is in the place of a part of the index, and is something else"};
  }
}

std::size_t shards_beside(const std::string& path) {
  std::size_t found = 0;
  for (std::size_t number = 1; number < most_shards; ++number) {
    const std::string file = shard_file(path, number);
    if (!std::filesystem::exists(file)) break;
    try {
      database db{file, SQLITE_OPEN_READONLY};
      prepare_index(db, file);
      check_shard_number(db, file, number);
    } catch (const std::runtime_error&) {
      break;
    }
    found = number;
  }
  return found;
}

void remove_shards_beyond(const std::string& path, std::size_t files) {
  for (std::size_t number = shards_beside(path); number >= files && number > 0; --number) {
    for (const std::string& file : files_of_database(shard_file(path, number))) std::filesystem::remove(file);
  }
}

}  // namespace fulltext
