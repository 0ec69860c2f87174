#include <penstock/stream/sources.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <penstock/channel/channel.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::string_view_literals;
namespace fs = std::filesystem;

// A directory of this test's own.
class scratch {
 public:
  scratch() : path{fs::temp_directory_path() / ("penstock_sources_" + std::to_string(std::random_device{}()))} {
    fs::create_directories(path);
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }

  fs::path file(std::string_view name, std::string_view content) const {
    std::ofstream{path / name, std::ios::binary} << content;
    return path / name;
  }

  const fs::path path;
};

std::vector<std::string> lines_in(const fs::path& p, lines_options o = {}) {
  std::vector<std::string> all;
  for (std::string&& line : lines(p, o)) all.push_back(std::move(line));
  return all;
}

using strings = std::vector<std::string>;

TEST_CASE("lines: what a line is", "[sources]") {
  const scratch dir;
  CHECK(lines_in(dir.file("empty", "")).empty());
  CHECK(lines_in(dir.file("last", "a\nb")) == strings{"a", "b"});
  CHECK(lines_in(dir.file("ended", "a\nb\n")) == strings{"a", "b"});
  CHECK(lines_in(dir.file("hollow", "\n\nx\n\n")) == strings{"", "", "x", ""});
  CHECK(lines_in(dir.file("dos", "a\r\nb\r")) == strings{"a\r", "b\r"});
  CHECK(lines_in(dir.file("zero", "a\0b\n\0"sv)) == strings{std::string{"a\0b"sv}, std::string{"\0"sv}});
}

TEST_CASE("lines: lengths around and above that of the buffer", "[sources]") {
  const scratch dir;
  constexpr std::size_t buffer = std::size_t{64} << 10;
  strings expected;
  std::string content;
  for (const std::size_t n : {buffer - 1, buffer, buffer + 1, std::size_t{0}, 3 * buffer + 7, std::size_t{1}, buffer - 1}) {
    expected.emplace_back(n, static_cast<char>('a' + expected.size()));
    content += expected.back() + '\n';
  }
  CHECK(lines_in(dir.file("long", content)) == expected);
  CHECK(lines_in(dir.file("long and open", content.substr(0, content.size() - 1))) == expected);
}

TEST_CASE("lines: a line is as long as allowed, and not longer", "[sources]") {
  const scratch dir;
  CHECK(lines_in(dir.file("just", "12345\n12345"), {.longest = 5}) == strings{"12345", "12345"});
  auto g = lines(dir.file("over", "1\n123456\n"), {.longest = 5});
  auto it = g.begin();
  CHECK(*it == "1");
  CHECK_THROWS_AS(++it, std::length_error);
  CHECK_THROWS_AS(lines_in(dir.file("endless", std::string(300'000, 'x')), {.longest = 200'000}), std::length_error);
}

TEST_CASE("lines: what cannot be read is named", "[sources]") {
  const scratch dir;
  try {
    static_cast<void>(lines(dir.path / "absent"));
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::no_such_file_or_directory);
    CHECK(std::string_view{e.what()}.find((dir.path / "absent").string()) != std::string_view::npos);
  }
#if defined(__unix__)
  auto directory = lines(dir.path);  // opens, but cannot be read
  try {
    static_cast<void>(directory.begin());
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::is_a_directory);
    CHECK(std::string_view{e.what()}.find(dir.path.string()) != std::string_view::npos);
  }
#endif
}

#if defined(__unix__)
TEST_CASE("lines: of a pipe come as they are written", "[sources]") {
  const scratch dir;
  const fs::path fifo = dir.path / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  channel<std::string> got{1};
  std::jthread reader{[&] {
    for (std::string&& line : lines(fifo)) static_cast<void>(got.push(std::move(line)));
    got.close();
  }};
  std::ofstream writer{fifo, std::ios::binary};
  for (const char* line : {"first", "second"}) {
    writer << line << '\n' << std::flush;
    CHECK(got.pop() == std::string{line});  // although the writer has not closed
  }
  writer.close();
  CHECK(got.pop().error() == errc::closed);
}
#endif

TEST_CASE("chunks: blocks of one size, and the rest", "[sources]") {
  const scratch dir;
  const auto sizes = [&](std::size_t length, std::size_t block) {
    std::string content(length, 'x');
    for (std::size_t i = 0; i < length; ++i) content[i] = static_cast<char>(i * 7);
    std::vector<std::size_t> all;
    std::string joined;
    for (std::vector<std::byte>&& b : chunks(dir.file("data", content), block)) {
      all.push_back(b.size());
      for (const std::byte one : b) joined += static_cast<char>(one);
    }
    CHECK(joined == content);
    return all;
  };
  CHECK(sizes(0, 4).empty());
  CHECK(sizes(3, 4) == std::vector<std::size_t>{3});
  CHECK(sizes(8, 4) == std::vector<std::size_t>{4, 4});
  CHECK(sizes(9, 4) == std::vector<std::size_t>{4, 4, 1});
  CHECK(sizes(200'001, 100'000) == std::vector<std::size_t>{100'000, 100'000, 1});
  CHECK_THROWS_AS(chunks(dir.path / "data", 0), std::invalid_argument);
  CHECK_THROWS_AS(chunks(dir.path / "absent", 1), std::system_error);
}

std::map<std::string, walk_entry> walked(const fs::path& root, walk_options o = {}) {
  std::map<std::string, walk_entry> all;
  for (walk_entry&& e : walk(root, o)) {
    const std::string name = e.path.lexically_relative(root).generic_string();
    REQUIRE(all.count(name) == 0);
    all.emplace(name, std::move(e));
  }
  return all;
}

TEST_CASE("walk: everything below a directory, once", "[sources]") {
  const scratch dir;
  fs::create_directories(dir.path / "a" / "b" / "c");
  fs::create_directories(dir.path / "empty");
  static_cast<void>(dir.file("top", "1"));
  static_cast<void>(dir.file("a/b/deep", "2"));
  const auto all = walked(dir.path);
  strings names;
  for (const auto& [name, entry] : all) {
    names.push_back(name);
    CHECK(!entry.error);
  }
  CHECK(names == strings{"a", "a/b", "a/b/c", "a/b/deep", "empty", "top"});
  CHECK(all.at("top").is_file());
  CHECK(all.at("a").type == fs::file_type::directory);
  CHECK(walked(dir.path / "empty").empty());
}

TEST_CASE("walk: links are followed if asked for, and never in a circle", "[sources]") {
  const scratch dir;
  fs::create_directories(dir.path / "a");
  static_cast<void>(dir.file("a/file", "1"));
  fs::create_directory_symlink("..", dir.path / "a" / "up");
  fs::create_directory_symlink("a", dir.path / "again");
  fs::create_symlink("itself", dir.path / "itself");
  fs::create_symlink("nowhere", dir.path / "dangling");

  const auto plain = walked(dir.path);
  CHECK(plain.size() == 6);
  CHECK(plain.at("again").type == fs::file_type::symlink);
  CHECK(std::none_of(plain.begin(), plain.end(), [](const auto& e) { return e.second.error; }));

  const auto followed = walked(dir.path, {.follow_links = true});
  CHECK(followed.at("again/file").is_file());
  CHECK(followed.at("a/up").error == std::errc::too_many_symbolic_link_levels);
  CHECK(followed.at("again/up").error == std::errc::too_many_symbolic_link_levels);
  CHECK(followed.at("itself").error);
  CHECK(followed.at("dangling").error == std::errc::no_such_file_or_directory);
  CHECK(followed.size() == 8);
}

TEST_CASE("walk: what cannot be read is reported, and the walk goes on", "[sources]") {
  const scratch dir;
  CHECK_THROWS_AS(walk(dir.path / "absent"), std::system_error);
  CHECK_THROWS_AS(walk(dir.file("file", "")), std::system_error);
  for (int i = 0; i < 5; ++i) fs::create_directories(dir.path / ("d" + std::to_string(i)));
  // They vanish while it walks: it has met one of them, or the file, and the names of the others.
  int seen = 0;
  int failed = 0;
  for (walk_entry&& e : walk(dir.path)) {
    if (seen++ == 0) {
      for (int i = 0; i < 5; ++i) fs::remove(dir.path / ("d" + std::to_string(i)));
    }
    failed += e.error == std::errc::no_such_file_or_directory;
  }
  CHECK(seen == 6);
  CHECK(failed >= 4);

#if defined(__unix__)
  if (::geteuid() == 0) return;  // to whom nothing is unreadable
  fs::create_directories(dir.path / "locked" / "inside");
  fs::permissions(dir.path / "locked", fs::perms::none);
  const auto all = walked(dir.path);
  fs::permissions(dir.path / "locked", fs::perms::owner_all);
  CHECK(all.at("locked").error == std::errc::permission_denied);
  CHECK(all.count("file") == 1);
#endif
}

}  // namespace
