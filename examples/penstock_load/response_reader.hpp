// Reads the answers of an HTTP/1.1 server (RFC 9112) from the pieces in which they arrive: where they end, what they say of the connection. Bodies
// are thrown away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace load {

class response_reader {
 public:
  /// Before each answer. `without_body`: it answers HEAD.
  void begin(bool without_body) noexcept {
    state_ = state::head;
    without_body_ = without_body;
    head_.clear();
  }

  /// Takes what belongs to this answer from the beginning of `data`, and returns how much that was: less than all once it is done() or broken().
  std::size_t feed(std::string_view data);
  /// The peer has closed the connection. True: the answer is whole, because that was how it ends.
  bool end() noexcept;

  [[nodiscard]] bool done() const noexcept { return state_ == state::done; }
  /// What came is no HTTP/1.1, or no HTTP that this understands.
  [[nodiscard]] bool broken() const noexcept { return state_ == state::broken; }
  /// 200 to 599; valid when done().
  [[nodiscard]] int status() const noexcept { return status_; }
  /// Whether the connection may be used again after this answer.
  [[nodiscard]] bool keeps_alive() const noexcept { return keeps_alive_; }

 private:
  enum class state : std::uint8_t {
    head,
    counted,
    chunk_size,
    chunk_extension,
    chunk,
    chunk_end,
    trailer,
    until_close,
    done,
    broken
  };
  static constexpr std::size_t longest_head = std::size_t{64} << 10;

  std::size_t feed_head(std::string_view data);
  std::size_t feed_chunk_size(std::string_view data) noexcept;
  std::size_t feed_line_end(std::string_view data) noexcept;
  bool understand(std::string_view head);
  bool understand_field(std::string_view name, std::string_view value);
  void begin_body() noexcept;

  state state_ = state::head;
  bool without_body_ = false;
  bool keeps_alive_ = true;
  bool chunked_ = false;
  bool has_length_ = false;
  bool line_is_empty_ = true;  // of the trailer
  unsigned digits_ = 0;        // of a chunk's size
  int status_ = 0;
  std::uint64_t left_ = 0;  // bytes of the body, or of the chunk
  std::string head_;        // what has come of a head that is not whole yet
};

}  // namespace load
