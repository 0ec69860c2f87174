#include "../support/catch.hpp"

#include "file_reader.hpp"
#include "layout.hpp"
#include "options.hpp"
#include "reshard.hpp"
#include "store.hpp"
#include "text.hpp"

#include <penstock/route/ring_diff.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include <unistd.h>

using namespace fulltext;

namespace {

// A folder for one index, that is removed at the end of the test.
class temporary_index {
 public:
  temporary_index() : folder_{std::filesystem::temp_directory_path() / ("penstock-shards-" + std::to_string(::getpid()))} {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  ~temporary_index() { std::filesystem::remove_all(folder_); }
  temporary_index(const temporary_index&) = delete;
  temporary_index& operator=(const temporary_index&) = delete;
  std::string path() const { return (folder_ / "index").string(); }
  std::size_t files() const {
    const std::filesystem::directory_iterator all{folder_};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

 private:
  std::filesystem::path folder_;
};

std::string name_of(int i) { return "/tree/file " + std::to_string(i); }

// Every file has its own words, with empty lines among them, and every tenth two pieces.
std::string words_of(int i, std::uint32_t ordinal) {
  return "common all\n\n\n" + std::to_string(i) + " own common\n\nlast" + std::to_string(ordinal);
}

// Writes without reading files: what fold_lines() would give.
void fill(const std::string& path, std::size_t shards, int files) {
  const auto writers = open_writers(path, shards);
  const shard_ring ring = ring_of(writers.size());
  for (const auto& writer : writers) writer->begin_run({});
  for (int i = 0; i < files; ++i) {
    indexed_file file{.path = name_of(i), .size = 100 + i, .modified_ns = 1'000 + i};
    index_writer& writer = *writers[owner_of(ring, file.path)];
    const std::uint32_t pieces = i % 10 == 0 ? 2 : 1;
    for (std::uint32_t p = 0; p < pieces; ++p) {
      writer.write(
          file, {.ordinal = p, .last = p + 1 == pieces, .position = {p * 50u, p * 7u}, .hash = 77u + p, .words = words_of(i, p)});
    }
  }
  for (const auto& writer : writers) {
    writer->commit();
    writer->finish({});
  }
}

std::map<std::string, std::set<std::size_t>> places(const std::string& path) {
  std::map<std::string, std::set<std::size_t>> found;
  for (std::size_t shard = 0; shard < most_shards && std::filesystem::exists(shard_file(path, shard)); ++shard) {
    database db{shard_file(path, shard), SQLITE_OPEN_READONLY};
    statement files{db, "SELECT path FROM file"};
    while (files.step()) found[std::string{files.bytes(0)}].insert(shard);
  }
  return found;
}

// All that the index has of each file, wherever it is: what is said of it, and the lines of its words.
using account = std::set<std::tuple<std::string, std::string, std::string>>;

account everything(const std::string& path) {
  account all;
  for (std::size_t shard = 0; shard < most_shards && std::filesystem::exists(shard_file(path, shard)); ++shard) {
    database db{shard_file(path, shard)};
    prepare_index(db, path);
    db.run("INSERT INTO words(words) VALUES('integrity-check')");
    db.run("CREATE VIRTUAL TABLE temp.postings USING fts5vocab(main, words, instance)");
    statement files{
        db,
        "SELECT path, size || ' ' || modified || ' ' || young || ' ' || binary, group_concat(ordinal || ' ' || offset || ' ' || "
        "first_line || ' ' || hash) FROM file LEFT JOIN piece ON piece.file = file.id GROUP BY file.id"};
    while (files.step()) all.emplace(files.bytes(0), files.bytes(1), files.bytes(2));
    statement words{db,
                    "SELECT path, ordinal || ' ' || postings.offset, term FROM temp.postings JOIN piece ON piece.id = doc JOIN "
                    "file ON file.id = "
                    "piece.file"};
    while (words.step()) all.emplace(words.bytes(0), words.bytes(1), words.bytes(2));
  }
  return all;
}

reshard_report reshard_now(const std::string& path, std::size_t shards) {
  return reshard({.database = path, .shards = shards, .batch = 5000}, std::stop_token{});
}

constexpr int files = 300;

}  // namespace

TEST_CASE("reshard: what moves is what the diff of the rings says, no more and no less, and it stays what it was", "[index]") {
  const temporary_index index;
  fill(index.path(), 2, files);
  const account before = everything(index.path());
  REQUIRE(before.size() > 4 * files);

  std::size_t shards = 2;
  auto placed = places(index.path());
  for (const std::size_t next : {3u, 4u, 7u, 5u, 1u, 2u}) {
    INFO(shards << " to " << next);
    const shard_ring old_ring = ring_of(shards);
    const shard_ring new_ring = ring_of(next);
    const auto plan = penstock::diff(old_ring, new_ring);
    std::map<std::string, std::set<std::size_t>> expected;
    std::uint64_t moving = 0;
    for (const auto& [path, where] : placed) {
      const std::uint64_t hash = penstock::hash_of(path);
      expected[path] = where;
      for (const auto& range : plan) {
        if (hash < range.first || hash > range.last) continue;
        REQUIRE(where == std::set{*range.from});
        expected[path] = {*range.to};
        ++moving;
      }
      REQUIRE(expected[path] == std::set{owner_of(new_ring, path)});
    }
    const reshard_report report = reshard_now(index.path(), next);
    placed = places(index.path());
    REQUIRE(placed == expected);
    REQUIRE(report.files_moved == moving);
    REQUIRE(report.files == files);
    REQUIRE(everything(index.path()) == before);
    REQUIRE(index.files() == next);
    for (const shard_move& move : report.moves) REQUIRE((next > shards ? move.to >= shards : move.from >= next));
    shards = next;
  }
}

TEST_CASE("reshard: one that is stopped leaves every file in one shard, and says so; a build waits for the next one", "[index]") {
  const temporary_index index;
  fill(index.path(), 1, files);
  const account before = everything(index.path());
  std::stop_source stop;
  stop.request_stop();
  REQUIRE(reshard({.database = index.path(), .shards = 3}, stop.get_token()).interrupted);
  REQUIRE(interrupted_reshard(index.path()) == 3u);
  REQUIRE(everything(index.path()) == before);
  REQUIRE_THROWS_AS(open_writers(index.path(), 0), std::runtime_error);

  const reshard_report other = reshard_now(index.path(), 2);  // somebody changed their mind
  REQUIRE(other.resumed);
  REQUIRE(other.before == 0);
  REQUIRE(everything(index.path()) == before);
  REQUIRE(index.files() == 2);
  REQUIRE_FALSE(interrupted_reshard(index.path()).has_value());
  REQUIRE(open_writers(index.path(), 2).size() == 2);
}

TEST_CASE("reshard: a file that is in its place already is not written over by one that was left behind", "[index]") {
  const temporary_index index;
  fill(index.path(), 2, files);
  const account before = everything(index.path());
  const shard_ring ring = ring_of(2);
  {
    index_writer writer{index.path(), 0, 0};
    writer.begin_run({});
    for (int i = 0; i < files; ++i) {
      indexed_file stale{.path = name_of(i)};
      if (owner_of(ring, stale.path) == 1) writer.write(stale, {.last = true, .words = "stale"});
    }
    writer.finish({});
  }
  REQUIRE(everything(index.path()) != before);
  REQUIRE(reshard_now(index.path(), 2).files_moved > 0);
  REQUIRE(everything(index.path()) == before);
}

TEST_CASE("shards: the place of a path is the same on every machine and in every version", "[index]") {
  const shard_ring two = ring_of(2);
  const shard_ring seven = ring_of(7);
  std::string of_two;
  std::string of_seven;
  for (int i = 0; i < 32; ++i) {
    of_two += std::to_string(owner_of(two, name_of(i)));
    of_seven += std::to_string(owner_of(seven, name_of(i)));
  }
  REQUIRE(of_two == "10000000011101011101101000101110");
  REQUIRE(of_seven == "50600006612405643364621520641343");
}

TEST_CASE("options: reshard takes a number of shards, and build one for a new index", "[index]") {
  const auto parsed = [](const std::vector<std::string>& more) { return std::get<reshard_options>(parse_command_line(more)); };
  REQUIRE(parsed({"reshard", "3", "--db", "x"}).shards == 3);
  REQUIRE(parsed({"reshard", "--dry-run", "--batch", "1M", "32", "--db", "x"}).batch == std::size_t{1} << 20);
  for (const char* wrong : {"0", "33", "", "x", "-1", "1.5"}) {
    INFO(wrong);
    REQUIRE_THROWS_AS(parsed({"reshard", wrong, "--db", "x"}), usage_error);
  }
  REQUIRE_THROWS_AS(parsed({"reshard", "3"}), usage_error);
  REQUIRE_THROWS_AS(parsed({"reshard", "3", "4", "--db", "x"}), usage_error);
  REQUIRE(std::get<build_options>(parse_command_line({"build", "tree", "--db", "x", "--shards", "5"})).shards == 5);
}
