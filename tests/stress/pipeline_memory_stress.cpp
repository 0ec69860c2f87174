// A file of any size flows through `lines | parallel_map | to` in the same memory: the peak of a run over a large file lies at most 10 MB above that
// of a run over one a twentieth its size, and nowhere above 64 MB, whether the lines are short or long. Quick: 8 MB and 160 MB; long: 100 MB and 2 GB.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <system_error>
#include <utility>

#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/pipeline.hpp>
#include <penstock/stream/sources.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::size_t megabyte = 1'000'000;
constexpr std::size_t allowed = 10 * megabyte;
constexpr std::size_t at_most = 64 * megabyte;

// The most memory that this process ever had in use, in bytes. 0: the system does not tell.
std::size_t peak_memory() {
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return 0;
}

// Removes its file.
struct large_file {
  fs::path path = fs::temp_directory_path() / ("penstock_memory_" + std::to_string(std::random_device{}()));
  std::uint64_t lines = 0;

  large_file(std::size_t size, stress::random r, std::size_t longest = 2000) {
    std::ofstream out{path, std::ios::binary};
    std::string block;
    for (std::size_t written = 0; written < size; written += block.size()) {
      block.clear();
      while (block.size() < megabyte) {
        block.append(r.below(longest), static_cast<char>('a' + r.below(26)));
        block += '\n';
        ++lines;
      }
      out << block;
    }
  }
  large_file(const large_file&) = delete;
  large_file& operator=(const large_file&) = delete;
  ~large_file() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

// As in examples/large_file.cpp.
penstock::generator<std::string> blocks(penstock::generator<std::string> lines) {
  std::string block;
  for (const std::string& line : lines) {
    block += line;
    block += '\n';
    if (block.size() < (std::size_t{128} << 10)) continue;
    co_yield std::move(block);
    block.clear();
  }
  if (!block.empty()) co_yield std::move(block);
}

std::size_t peak_of(stress::context& c, std::size_t size) {
  const large_file file{size, c.generator(size)};
  penstock::worker_pool pool{{.threads = 2}};
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;
  auto p = penstock::from(penstock::lines(file.path)) | penstock::buffer(256) |
           penstock::parallel_map(pool, 64,
                                  [](std::string line) {
                                    for (char& ch : line) ch = static_cast<char>(ch ^ 32);
                                    return line;
                                  }) |
           penstock::to([&](const std::string& line) {
             ++lines;
             bytes += line.size() + 1;
           });
  p.run().value();
  c.check(lines == file.lines, "lines were lost");
  c.check(bytes == fs::file_size(file.path), "bytes were lost");
  const std::size_t peak = peak_memory();
  std::printf("stress %s: %zu MB: peak %.1f MB\n", c.name().c_str(), size / megabyte,
              static_cast<double>(peak) / static_cast<double>(megabyte));
  if (stress::current_tier() == stress::tier::long_) std::printf("%s", to_string(p.report()).c_str());
  return peak;
}

}  // namespace

int main() {
  stress::run run{"pipeline_memory"};
  run.scenario("a file twenty times as large takes no more memory", 600ms, [](stress::context& c) {
    const bool is_long = stress::current_tier() == stress::tier::long_;
    const std::size_t small = (is_long ? 100 : stress::sanitized ? 1 : 8) * megabyte;
    const std::size_t before = peak_of(c, small);
    const std::size_t after = peak_of(c, 20 * small);
    if (stress::sanitized || before == 0) return;  // their own memory would be measured
    c.check(after <= before + allowed, "memory grows with the file");
    c.check(after <= at_most, "much memory, whatever the file");
  });
  run.scenario("nor do long lines, where they go in blocks", 300ms, [](stress::context& c) {
    const large_file file{(stress::sanitized ? 4 : 64) * megabyte, c.generator(1), 100'000};
    penstock::worker_pool pool{{.threads = 2}};
    std::uint64_t lines = 0;
    auto p =
        penstock::from(blocks(penstock::lines(file.path))) |
        penstock::parallel_map(pool, 16, [](const std::string& block) { return std::count(block.begin(), block.end(), '\n'); }) |
        penstock::to([&](std::ptrdiff_t n) { lines += static_cast<std::uint64_t>(n); });
    p.run().value();
    c.check(lines == file.lines, "lines were lost");
    const std::size_t peak = peak_memory();
    std::printf("stress %s: peak %.1f MB\n", c.name().c_str(), static_cast<double>(peak) / static_cast<double>(megabyte));
    if (!stress::sanitized) c.check(peak <= at_most, "much memory for long lines");
  });
  return run.finish();
}
