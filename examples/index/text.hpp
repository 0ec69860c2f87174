// What the bytes of a file mean: whether they are text, which characters they stand for, and which words each line has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fulltext {

/// How much of a file's beginning looks_binary() needs.
inline constexpr std::size_t binary_sample = 8192;

/// Whether a file that begins like this is no text: it has a NUL byte (the rule of git), or three of ten bytes are neither UTF-8
/// nor printable.
[[nodiscard]] bool looks_binary(std::string_view beginning) noexcept;

/// How many bytes at the beginning are UTF-8.
[[nodiscard]] std::size_t utf8_length(std::string_view bytes) noexcept;
[[nodiscard]] inline bool is_utf8(std::string_view bytes) noexcept { return utf8_length(bytes) == bytes.size(); }

/// The text as UTF-8: `bytes` itself where it is that already; else a copy in `buffer`, in which each byte that is no part of a
/// UTF-8 sequence stands for its Latin-1 character. Line ends stay where they are.
[[nodiscard]] std::string_view as_utf8(std::string_view bytes, std::string& buffer);

/// Tells contents apart, for the detection of changes (64-bit FNV-1a; not against an adversary).
[[nodiscard]] std::uint64_t content_hash(std::string_view bytes) noexcept;

/// Cuts text into words: runs of letters, digits and underscores in any script, in lower case and without diacritics, as SQLite's
/// tokenizer unicode61 sees them (it does the work). Words of more than 255 bytes are data, and left out. Belongs to one thread.
class word_splitter {
 public:
  /// Throws std::runtime_error if this SQLite lacks FTS5.
  word_splitter();
  ~word_splitter();
  word_splitter(const word_splitter&) = delete;
  word_splitter& operator=(const word_splitter&) = delete;

  /// The words of each line, every word once, separated by spaces; a line's end for a line's end, up to the last line that has
  /// words. This is what the index stores, see folded_lines in fts.hpp. `text` is UTF-8 of less than 2 GiB.
  [[nodiscard]] std::string fold_lines(std::string_view text);

  /// The different words of a text, in the order of their first appearance.
  [[nodiscard]] std::vector<std::string> words(std::string_view text);

 private:
  struct tokenizer;
  std::unique_ptr<tokenizer> tokenizer_;
};

}  // namespace fulltext
