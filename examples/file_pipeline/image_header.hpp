// What the first bytes of an image say about its size, before anything is decoded: so it is known what memory decoding takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace files {

struct image_header {
  enum class format : unsigned char { png, jpeg };
  format of = format::png;
  std::int64_t width = 0;
  std::int64_t height = 0;
  bool several_passes = false;  ///< interlaced, progressive: decoders hold all of it at a time
};

/// Throws broken_file if the file is neither PNG nor JPEG, or ends before its size, and std::system_error.
[[nodiscard]] image_header read_image_header(const std::string& path);

/// A JPEG may be decoded in 1/8 to 8/8 of its size: into how many eighths, so that its longest side keeps at least `longest` pixels.
[[nodiscard]] std::int64_t eighths_for(const image_header& h, std::size_t longest) noexcept;

}  // namespace files
