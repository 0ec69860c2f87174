#include "../support/catch.hpp"

#include "file_reader.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "text.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

#include <unistd.h>

using namespace fulltext;
using namespace std::string_literals;

namespace {

// A file that is removed at the end of the test.
class temporary_file {
 public:
  explicit temporary_file(std::string_view content)
      : path_{(std::filesystem::temp_directory_path() / ("penstock-parts-" + std::to_string(::getpid()))).string()} {
    std::ofstream{path_, std::ios::binary} << content;
  }
  ~temporary_file() { std::filesystem::remove(path_); }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The pieces of a content, each checked to lie where it says.
std::vector<std::string> pieces_of(const std::string& content, std::size_t most) {
  const temporary_file file{content};
  file_reader reader{file.path()};
  std::vector<std::string> pieces;
  std::string so_far;
  while (!reader.at_end()) {
    pieces.push_back(reader.next(most));
    REQUIRE(pieces.back().size() <= most);
    REQUIRE(reader.position().offset == so_far.size());
    REQUIRE(reader.position().first_line == static_cast<std::uint64_t>(std::count(so_far.begin(), so_far.end(), '\n')));
    so_far += pieces.back();
  }
  REQUIRE(so_far == content);
  return pieces;
}

}  // namespace

TEST_CASE("text: what has a NUL early on or little that is text is binary", "[index]") {
  REQUIRE_FALSE(looks_binary(""));
  REQUIRE_FALSE(looks_binary("plain text\r\n\twith \x1b[1mcolours\f"));
  REQUIRE_FALSE(
      looks_binary("Gr\xfc\xdf"
                   "e aus M\xfcnchen, in Latin-1"));
  REQUIRE(looks_binary("text\0"s));
  REQUIRE(looks_binary("\x01\x02\x03 abc"));
  REQUIRE_FALSE(looks_binary(std::string(binary_sample, 'x') + '\0'));
}

TEST_CASE("text: UTF-8 is recognised by the standard's table and everything else becomes Latin-1", "[index]") {
  std::string buffer;
  const std::string good = "aé€\U0001F600z";
  REQUIRE(utf8_length(good) == good.size());
  REQUIRE(as_utf8(good, buffer).data() == good.data());
  for (const char* bad : {"\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8", "\x80", "\xe2\x82"}) {
    INFO(bad);
    REQUIRE(utf8_length("ok"s + bad) == 2);
    REQUIRE(is_utf8(as_utf8("long enough for eight bytes at a time "s + bad + "é", buffer)));
  }
  REQUIRE(as_utf8("caf\xe9 €\xff", buffer) == "café €ÿ");
}

TEST_CASE("text: folding keeps every word of a line once, and the line's number", "[index]") {
  word_splitter splitter;
  REQUIRE(splitter.fold_lines("") == "");
  REQUIRE(splitter.fold_lines("The the THE\n\n--\ncafé Cafe other_word x2\n") == "the\n\n\ncafe other_word x2");
  REQUIRE(splitter.fold_lines("\n\nlast") == "\n\nlast");
  std::string long_words(255, 'a');  // built in steps: g++ 12 warns of the sums without cause
  long_words.append(1, ' ').append(256, 'b').append(" c");
  std::string folded(255, 'a');
  folded.append(" c");
  REQUIRE(splitter.fold_lines(long_words) == folded);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "w" + std::to_string(i) + " ";
  REQUIRE(splitter.fold_lines(many + many + "\n" + many) ==
          many.substr(0, many.size() - 1) + "\n" + many.substr(0, many.size() - 1));
  REQUIRE(splitter.words("std::vector<int> Vector") == std::vector<std::string>{"std", "vector", "int"});
}

TEST_CASE("file_reader: pieces end after a line, else between words, and make up the file", "[index]") {
  REQUIRE(pieces_of("", 10) == std::vector<std::string>{""});
  REQUIRE(pieces_of("0123456789", 10) == std::vector<std::string>{"0123456789"});
  REQUIRE(pieces_of("one\ntwo\nthree\n", 9) == std::vector<std::string>{"one\ntwo\n", "three\n"});
  REQUIRE(pieces_of("word another", 9) == std::vector<std::string>{"word ", "another"});
  REQUIRE(pieces_of("abcdefghijkl", 5) == std::vector<std::string>{"abcde", "fghij", "kl"});
}

TEST_CASE("file_reader: looking at the beginning loses nothing", "[index]") {
  const temporary_file file{"first line\nsecond line\n"};
  file_reader reader{file.path()};
  REQUIRE(reader.unread(8) == 8);
  REQUIRE(reader.beginning(8) == "first li");
  REQUIRE(reader.remaining() == 23);
  REQUIRE(reader.unread(15) == 7);
  REQUIRE(reader.unread(100) == 15);
  REQUIRE(reader.next(15) == "first line\n");
  REQUIRE(reader.bytes_read() == 15);
  REQUIRE(reader.unread(3) == 0);  // of what was read with the piece before
  REQUIRE(reader.next(15) == "second line\n");
  REQUIRE(reader.at_end());
}

TEST_CASE("file_reader: any part can be read, between the pieces", "[index]") {
  const temporary_file file{"first line\nsecond line\n"};
  file_reader reader{file.path()};
  REQUIRE(reader.next(15) == "first line\n");
  REQUIRE(reader.read_at(6, 4) == "line");
  REQUIRE(reader.read_at(18, 100) == "line\n");
  REQUIRE(reader.read_at(100, 4).empty());
  REQUIRE(reader.next(15) == "second line\n");
}

TEST_CASE("file_reader: a file that was changed just now is young, and tells its time all the same", "[index]") {
  const temporary_file file{"text\n"};
  const auto now = std::filesystem::file_time_type::clock::now;
  const auto young = [&](std::filesystem::file_time_type changed) {
    std::filesystem::last_write_time(file.path(), changed);
    return file_reader{file.path()}.young();
  };
  bool seen = false;
  for (int i = 0; i < 1000 && !seen; ++i) seen = young(now());  // this thread may have to wait for a processor
  REQUIRE(seen);
  REQUIRE_FALSE(young(now() - std::chrono::seconds{1}));
  REQUIRE_FALSE(young(now() + std::chrono::hours{1}));
  const std::int64_t before = file_reader{file.path()}.modified_ns();
  std::filesystem::last_write_time(file.path(), std::filesystem::last_write_time(file.path()) + std::chrono::seconds{1});
  REQUIRE(file_reader{file.path()}.modified_ns() == before + 1'000'000'000);
}

TEST_CASE("file_reader: what is no regular file is refused", "[index]") {
  REQUIRE_THROWS_AS(file_reader{"/"}, std::system_error);
  REQUIRE_THROWS_AS(file_reader{"/nowhere/at/all"}, std::system_error);
}

TEST_CASE("options: a read rate is a size, and a second; there is none unless one is asked for", "[index]") {
  const auto parsed = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"build", "tree", "--db", "file"});
    return std::get<build_options>(parse_command_line(more)).max_read_rate;
  };
  REQUIRE(parsed({}) == 0);
  REQUIRE(parsed({"--max-read-rate", "50MiB/s"}) == std::size_t{50} << 20);
  REQUIRE(parsed({"--max-read-rate=50MiB"}) == std::size_t{50} << 20);
  REQUIRE(parsed({"--max-read-rate", "1/s"}) == 1);
  REQUIRE(parsed({"--max-read-rate", "64G/s"}) == std::size_t{64} << 30);
  for (const char* wrong :
       {"0", "0/s", "/s", "", "-1", "1/h", "1/s/s", "1MB/s", "1.5MiB/s", "s", "65GiB/s", "99999999999999999999"}) {
    INFO(wrong);
    REQUIRE_THROWS_AS(parsed({"--max-read-rate", wrong}), usage_error);
  }
}

TEST_CASE("memory: threads cost some of what is allowed, and there is always room for a piece", "[index]") {
  constexpr std::size_t mib = std::size_t{1} << 20;
  REQUIRE(divide_memory(32 * mib, 256, 256).pieces >= piece_cost(piece_size));
  REQUIRE(divide_memory(32 * mib, 256, 256).pieces < divide_memory(32 * mib, 2, 4).pieces);
  for (const std::size_t allowed : {32 * mib, 64 * mib, 1024 * mib}) {
    const memory_budget b = divide_memory(allowed, 2, 4);
    REQUIRE(b.pieces + 3 * b.merge + 8 * mib < allowed);
    REQUIRE(b.pieces + 3 * b.merge > allowed / 2 - 8 * mib);
  }
  REQUIRE(divide_memory(64 * 1024 * mib, 2, 4).merge == 256 * mib);
}
