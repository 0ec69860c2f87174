// The longest line and the number of words of a file of any size, in about 10 MB of memory: one thread reads, a pool counts, this one adds up. (Each
// task gets some lines, 128 KiB of them or one that is longer; so lines of megabytes take more, 16 of them at a time.)
//
//   large_file FILE        without a file: of one that it makes, and removes
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/stream/pipeline.hpp>
#include <penstock/stream/sources.hpp>

namespace fs = std::filesystem;

struct tally {
  std::size_t lines = 0;
  std::size_t words = 0;
  std::size_t longest = 0;
};

// Whole lines, so many that a task on the pool is worth its while. A batch of a number of lines would be as long as the lines are.
static penstock::generator<std::string> blocks(penstock::generator<std::string> lines) {
  constexpr std::size_t enough = std::size_t{128} << 10;
  std::string block;
  for (const std::string& line : lines) {
    block += line;
    block += '\n';
    if (block.size() < enough) continue;
    co_yield std::move(block);
    block.clear();
  }
  if (!block.empty()) co_yield std::move(block);
}

static tally count(std::string_view block) {
  tally t;
  while (!block.empty()) {
    const std::string_view line = block.substr(0, block.find('\n'));
    block.remove_prefix(line.size() + 1);
    ++t.lines;
    bool inside = false;
    for (const char c : line) {
      const bool letter = c != ' ' && c != '\t' && c != '\r';
      t.words += letter && !inside;
      inside = letter;
    }
    t.longest = line.size() > t.longest ? line.size() : t.longest;
  }
  return t;
}

int main(int argc, char** argv) try {
  const fs::path path = argc > 1 ? fs::path{argv[1]} : fs::temp_directory_path() / "penstock_large_file_example.txt";
  if (argc <= 1) {
    std::ofstream out{path};
    for (int i = 0; i < 200'000; ++i) out << "line " << i << " of a file that is read in parallel\n";
  }

  penstock::worker_pool pool;
  tally all;
  auto p = penstock::from(blocks(penstock::lines(path)))                        //
           | penstock::named("count", penstock::parallel_map(pool, 16, count))  // at most 16 blocks on their way
           | penstock::to([&](const tally& t) {
               all.lines += t.lines;
               all.words += t.words;
               all.longest = t.longest > all.longest ? t.longest : all.longest;
             });
  p.run().value();

  std::cout << all.lines << " lines, " << all.words << " words, the longest line has " << all.longest << " bytes\n" << p.report();
  if (argc <= 1) fs::remove(path);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
