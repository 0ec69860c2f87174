// Checksums of files, at most eight of them open at a time. A file that cannot be read spoils nothing: the others are summed, and it is reported.
//
//   all_settled FILE...
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/penstock.hpp>

using namespace penstock;

namespace {

struct sum {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a
  std::uintmax_t bytes = 0;
};

task<sum> checksum(std::string path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) throw std::system_error{errno, std::generic_category()};
  const std::stop_token stop = co_await this_task::get_stop_token();
  sum s;
  std::vector<char> chunk(64 * 1024);
  while (file.good() && !stop.stop_requested()) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    for (std::streamsize i = 0; i < file.gcount(); ++i) {
      s.hash = (s.hash ^ static_cast<unsigned char>(chunk[static_cast<std::size_t>(i)])) * 1099511628211ULL;
    }
    s.bytes += static_cast<std::uintmax_t>(file.gcount());
  }
  if (!file.eof())
    throw std::system_error{std::make_error_code(stop.stop_requested() ? std::errc::operation_canceled : std::errc::io_error)};
  co_return s;
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> paths{arguments + 1, arguments + count};
  if (paths.empty()) paths = {arguments[0], "no such file"};  // this program, and a failure

  std::vector<task<sum>> sums;
  for (const std::string& path : paths) sums.push_back(checksum(path));

  worker_pool pool;
  const auto settled = sync_wait(when_all_settled(std::move(sums), limit(8)) | via(pool));

  std::size_t failed = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (settled[i]) {
      std::printf("%016llx %12ju %s\n", static_cast<unsigned long long>(settled[i]->hash), settled[i]->bytes, paths[i].c_str());
    } else {
      ++failed;
      std::printf("%-29s %s: %s\n", "-", paths[i].c_str(), settled[i].error().message().c_str());
    }
  }
  std::printf("%zu of %zu files summed\n", paths.size() - failed, paths.size());
  return count > 1 && failed > 0 ? 1 : 0;
}
