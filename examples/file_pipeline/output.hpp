// What was found out, in one SQLite file: a row of `file` for each, and beside it what its kind has (image with the thumbnail, text, archive and member).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "../index/sqlite.hpp"
#include "facts.hpp"

namespace files {

class output {
 public:
  /// Makes the file if there is none. Throws fulltext::database_error.
  explicit output(const std::string& path);
  ~output();
  output(const output&) = delete;
  output& operator=(const output&) = delete;

  /// In one transaction. One thread at a time. What it throws means that none of them was written.
  void write(std::span<const finished_file> some);
  /// Whether it is there as it is now. Any thread.
  [[nodiscard]] bool has(const std::string& path, std::int64_t bytes, std::int64_t modified_ns);

 private:
  struct statements;
  void put(const finished_file& f);

  fulltext::database db_;
  std::unique_ptr<statements> sql_;
  std::mutex lock_;          // guards what follows
  fulltext::database look_;  // a connection of its own, which waits for no writer
  fulltext::statement known_;
};

}  // namespace files
