// Texts are read in pieces of a fixed size, so that memory does not depend on the file.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <penstock/route/hash.hpp>

#include "input_file.hpp"
#include "readers.hpp"

namespace files {

namespace {

constexpr std::size_t piece = std::size_t{64} << 10;

struct language {
  const char* name;
  std::array<std::string_view, 10> words;  // the most frequent ones that are not as frequent elsewhere
};
constexpr std::array<language, 7> languages{{
    {"en", {"the", "and", "of", "to", "is", "that", "it", "with", "was", "for"}},
    {"de", {"der", "die", "und", "das", "nicht", "ist", "ein", "mit", "von", "zu"}},
    {"fr", {"le", "les", "et", "des", "est", "dans", "pour", "que", "une", "qui"}},
    {"es", {"el", "los", "y", "que", "las", "por", "con", "para", "una", "del"}},
    {"it", {"il", "che", "di", "e", "per", "non", "con", "una", "sono", "gli"}},
    {"pt", {"o", "os", "e", "que", "do", "da", "em", "uma", "não", "para"}},
    {"nl", {"de", "het", "een", "van", "en", "niet", "dat", "op", "te", "zijn"}},
}};

bool in_word(unsigned char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80;
}

class reader {
 public:
  void take(std::string_view bytes) {
    for (const char ch : bytes) {
      const auto c = static_cast<unsigned char>(ch);
      if (c == 0) throw broken_file{"this is no text: it has a zero byte"};
      if ((c & 0xC0) != 0x80) ++all_.characters;  // all bytes of UTF-8 but those that go on with a character
      if (c == '\n') ++all_.lines;
      if (in_word(c)) {
        ++length_;
        if (word_.size() < longest) word_.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : ch);
      } else if (length_ != 0) {
        end_word();
      }
    }
  }
  text_facts end(bool whole_line) {
    if (length_ != 0) end_word();
    if (!whole_line) ++all_.lines;
    // Two of a hundred words, or it is a list of something.
    const auto best = std::max_element(seen_.begin(), seen_.end());
    if (*best >= 3 && *best * 50 >= all_.words) all_.language = languages[static_cast<std::size_t>(best - seen_.begin())].name;
    return all_;
  }

 private:
  static constexpr std::size_t longest = 256;  // what is beyond counts for nothing: memory stays bounded

  void end_word() {
    ++all_.words;
    all_.words_hash = penstock::stable_hash(word_, all_.words_hash);
    for (std::size_t i = 0; word_.size() <= 5 && i < languages.size(); ++i) {
      const auto& words = languages[i].words;
      if (std::find(words.begin(), words.end(), word_) != words.end()) ++seen_[i];
    }
    word_.clear();
    length_ = 0;
  }

  text_facts all_;
  std::string word_;
  std::size_t length_ = 0;  // of the word
  std::array<std::int64_t, languages.size()> seen_{};
};

}  // namespace

text_facts read_text(const std::string& path, const reading_options& o) {
  input_file file{path};
  const auto buffer = std::make_unique<char[]>(piece);
  reader r;
  char last = '\n';
  while (const std::size_t n = file.read({buffer.get(), piece})) {
    go_on(o);
    r.take({buffer.get(), n});
    last = buffer[n - 1];
  }
  return r.end(last == '\n');
}

}  // namespace files
