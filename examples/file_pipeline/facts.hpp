// What is found out about a file, and how it is said that nothing can be.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "kind.hpp"

namespace files {

/// The file itself is wrong: to read it again would not help. Anything else that is thrown may pass.
struct broken_file : std::runtime_error {
  using runtime_error::runtime_error;
};

struct image_facts {
  std::string format = {};  ///< PNG, JPEG
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::string taken = {};      ///< as the camera has it; may be empty
  std::string thumbnail = {};  ///< a JPEG
};
struct text_facts {
  std::int64_t lines = 0;
  std::int64_t words = 0;
  std::int64_t characters = 0;
  std::string language = {};     ///< en, de, fr, es, it, pt, nl; empty: not known
  std::uint64_t words_hash = 0;  ///< the same for texts that differ in spaces, punctuation and the case of ASCII only
};
struct archive_member {
  std::string name;
  std::int64_t bytes = 0;
  std::uint32_t crc32 = 0;
};
struct archive_facts {
  std::vector<archive_member> members = {};  ///< that are files
};
using facts = std::variant<image_facts, text_facts, archive_facts>;  // in the order of kinds

struct finished_file {
  std::string path;
  std::int64_t bytes = 0;
  std::int64_t modified_ns = 0;  ///< since 1970; with `bytes` it says whether a file has changed
  double seconds = 0;            ///< that reading it took
  facts what;
  [[nodiscard]] kind of() const noexcept { return static_cast<kind>(what.index()); }
  /// What it takes in memory, about.
  [[nodiscard]] std::size_t weight() const noexcept {
    std::size_t n = sizeof *this + path.size();
    if (const auto* i = std::get_if<image_facts>(&what)) n += i->thumbnail.size();
    if (const auto* a = std::get_if<archive_facts>(&what)) {
      n += a->members.capacity() * sizeof(archive_member);
      for (const archive_member& m : a->members) n += m.name.size();
    }
    return n;
  }
};

}  // namespace files
