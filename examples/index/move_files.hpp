// Moves files of the index from one shard to another one, see reshard.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "layout.hpp"
#include "sqlite.hpp"

namespace fulltext {

class file_mover {
 public:
  /// Two different shards of the index at `path`, neither in WAL mode: transactions over both are atomic only without. Throws std::runtime_error.
  file_mover(const std::string& path, std::size_t from, std::size_t to);
  ~file_mover();
  file_mover(const file_mover&) = delete;
  file_mover& operator=(const file_mover&) = delete;

  /// Moves the files of these rows, in transactions of about so many bytes of words. The number of those that have moved when it ended or was stopped.
  /// Throws std::runtime_error; then what was moved is whole all the same.
  std::uint64_t move(const std::vector<std::int64_t>& files, std::size_t batch_bytes, const std::stop_token& stop);

 private:
  struct statements;

  void find_words_of(const std::vector<std::int64_t>& files);
  std::size_t move_one(std::int64_t file);
  void read_words(std::int64_t piece);

  const std::string from_;  // as what the connection knows the shards
  const std::string to_;
  database db_;
  std::unique_ptr<statements> sql_;
  std::int64_t last_run_ = 0;  // of the shard to which they go
  std::string words_;          // of a piece
};

}  // namespace fulltext
