#include "text.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "fts.hpp"
#include "sqlite.hpp"

namespace fulltext {

namespace {

// The length of the UTF-8 sequence that `s` begins with, by table 3-7 of the Unicode standard; 0 if it begins with none.
std::size_t sequence_length(std::string_view s) noexcept {
  const auto byte = [s](std::size_t i) { return static_cast<unsigned char>(i < s.size() ? s[i] : 0); };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return s.empty() ? 0 : 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned char least = lead == 0xE0 ? 0xA0 : 0x80;  // no overlong forms
    const unsigned char most = lead == 0xED ? 0x9F : 0xBF;   // no surrogates
    return byte(1) >= least && byte(1) <= most && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned char least = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char most = lead == 0xF4 ? 0x8F : 0xBF;  // nothing beyond U+10FFFF
    return byte(1) >= least && byte(1) <= most && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// How many bytes at the beginning are ASCII; eight at a time, since most text is nothing else.
std::size_t ascii_length(std::string_view s) noexcept {
  std::size_t i = 0;
  for (std::uint64_t word = 0; i + sizeof word <= s.size(); i += sizeof word) {
    std::memcpy(&word, s.data() + i, sizeof word);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < s.size() && static_cast<unsigned char>(s[i]) < 0x80) ++i;
  return i;
}

// Remembers which words the current line had: a hash table that a new line empties by having a new number.
class words_of_line {
 public:
  // Whether `word` is new in the line. Words are remembered by where they stand in `text`, at `position`.
  bool insert(const std::string& text, std::string_view word, std::size_t position) {
    if (used_ * 2 >= slots_.size()) grow(text);
    const std::uint64_t full = content_hash(word);
    const auto hash = static_cast<std::uint32_t>(full ^ (full >> 32));
    slot& s = find(text, word, hash);
    if (s.line == line_) return false;
    s = {line_, hash, static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(word.size())};
    ++used_;
    return true;
  }
  void next_line() noexcept {
    ++line_;
    used_ = 0;
  }

 private:
  struct slot {
    std::uint32_t line = 0;
    std::uint32_t hash = 0;
    std::uint32_t position = 0;
    std::uint32_t size = 0;
  };

  slot& find(const std::string& text, std::string_view word, std::uint32_t hash) noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = hash & mask;
    while (slots_[i].line == line_ &&
           (slots_[i].hash != hash || std::string_view{text}.substr(slots_[i].position, slots_[i].size) != word)) {
      i = (i + 1) & mask;
    }
    return slots_[i];
  }
  void grow(const std::string& text) {
    std::vector<slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const slot& s : old) {
      if (s.line == line_) find(text, std::string_view{text}.substr(s.position, s.size), s.hash) = s;
    }
  }

  std::vector<slot> slots_ = std::vector<slot>(64);
  std::uint32_t line_ = 1;
  std::size_t used_ = 0;
};

}  // namespace

bool looks_binary(std::string_view beginning) noexcept {
  const std::string_view s = beginning.substr(0, binary_sample);
  std::size_t odd = 0;
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (c == 0) return true;
    const std::size_t n = sequence_length(s.substr(i));
    const bool control = c < 0x20 && (c < '\b' || c > '\r') && c != 0x1B;  // what terminals and printers take is text
    if (n == 0 || control) ++odd;
    i += std::max<std::size_t>(n, 1);
  }
  return odd * 10 > s.size() * 3;
}

std::size_t utf8_length(std::string_view bytes) noexcept {
  std::size_t i = 0;
  while (i < bytes.size()) {
    i += ascii_length(bytes.substr(i));
    const std::size_t n = sequence_length(bytes.substr(i));
    if (n == 0) break;
    i += n;
  }
  return i;
}

std::string_view as_utf8(std::string_view bytes, std::string& buffer) {
  std::size_t good = utf8_length(bytes);
  if (good == bytes.size()) return bytes;
  buffer.clear();
  buffer.reserve(2 * bytes.size());  // more is never needed
  for (;;) {
    buffer.append(bytes.substr(0, good));
    if (good == bytes.size()) return buffer;
    const auto latin1 = static_cast<unsigned char>(bytes[good]);
    buffer.push_back(static_cast<char>(0xC0 | (latin1 >> 6)));
    buffer.push_back(static_cast<char>(0x80 | (latin1 & 0x3F)));
    bytes.remove_prefix(good + 1);
    good = utf8_length(bytes);
  }
}

std::uint64_t content_hash(std::string_view bytes) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// unicode61 itself. It comes with a connection, here one to an empty database in memory, so that no thread shares another's.
struct word_splitter::tokenizer {
  static constexpr std::size_t longest_word = 255;

  tokenizer() {
    fts5_api& api = fts5_of(connection);
    void* data = nullptr;
    std::array arguments{"tokenchars", "_", "remove_diacritics", "2"};
    if (api.xFindTokenizer(&api, "unicode61", &data, &functions) != SQLITE_OK ||
        functions.xCreate(data, arguments.data(), static_cast<int>(arguments.size()), &instance) != SQLITE_OK) {
      throw std::runtime_error{"SQLite's tokenizer unicode61 cannot be had"};
    }
  }
  ~tokenizer() { functions.xDelete(instance); }
  tokenizer(const tokenizer&) = delete;
  tokenizer& operator=(const tokenizer&) = delete;

  // Calls visit(word, where it begins in the text) for each word.
  template <class Visit>
  void for_each(std::string_view text, Visit visit) {
    const auto on_token = [](void* context, int, const char* word, int size, int begin, int) noexcept -> int {
      if (static_cast<std::size_t>(size) > longest_word) return SQLITE_OK;
      try {
        (*static_cast<Visit*>(context))(std::string_view{word, static_cast<std::size_t>(size)}, static_cast<std::size_t>(begin));
      } catch (const std::bad_alloc&) {
        return SQLITE_NOMEM;
      }
      return SQLITE_OK;
    };
    const int rc =
        functions.xTokenize(instance, &visit, FTS5_TOKENIZE_DOCUMENT, text.data(), static_cast<int>(text.size()), on_token);
    if (rc != SQLITE_OK) throw std::bad_alloc{};  // its one failure
  }

  database connection{":memory:"};
  fts5_tokenizer functions{};
  Fts5Tokenizer* instance = nullptr;
};

word_splitter::word_splitter() : tokenizer_{std::make_unique<tokenizer>()} {}
word_splitter::~word_splitter() = default;

std::string word_splitter::fold_lines(std::string_view text) {
  std::string folded;
  folded.reserve(text.size());
  words_of_line seen;
  std::size_t passed = 0;  // so far the lines are counted
  tokenizer_->for_each(text, [&](std::string_view word, std::size_t begin) {
    const std::string_view between = text.substr(passed, begin - passed);
    passed = begin;
    if (const auto lines = static_cast<std::size_t>(std::count(between.begin(), between.end(), '\n')); lines > 0) {
      folded.append(lines, '\n');
      seen.next_line();
    }
    const bool first = folded.empty() || folded.back() == '\n';
    if (!seen.insert(folded, word, folded.size() + (first ? 0 : 1))) return;
    if (!first) folded.push_back(' ');
    folded.append(word);
  });
  return folded;
}

std::vector<std::string> word_splitter::words(std::string_view text) {
  std::vector<std::string> found;
  tokenizer_->for_each(text, [&](std::string_view word, std::size_t) {
    if (std::find(found.begin(), found.end(), word) == found.end()) found.emplace_back(word);
  });
  return found;
}

}  // namespace fulltext
