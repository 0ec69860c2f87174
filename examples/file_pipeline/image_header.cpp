#include "image_header.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "facts.hpp"
#include "input_file.hpp"

namespace files {

namespace {

// The beginning of a file, buffered: a JPEG's size comes after whatever its camera had to say.
class bytes_of {
 public:
  explicit bytes_of(const std::string& path) : file_{path} {}

  std::int64_t next() {
    if (at_ == size_) {
      size_ = file_.read(buffer_);
      at_ = 0;
      if (size_ == 0) throw broken_file{"the file ends before its header does"};
    }
    return static_cast<unsigned char>(buffer_[at_++]);
  }
  /// So many bytes, the most significant one first.
  std::int64_t number(int bytes) {
    std::int64_t n = 0;
    for (int i = 0; i < bytes; ++i) n = n << 8 | next();
    return n;
  }
  void skip(std::int64_t n) {
    for (; n > 0; --n) static_cast<void>(next());
  }

 private:
  input_file file_;
  std::array<char, 4096> buffer_;
  std::size_t at_ = 0;
  std::size_t size_ = 0;
};

image_header png(bytes_of& b) {
  if (b.number(3) != 0x504E47 || b.number(4) != 0x0D0A1A0A) throw broken_file{"this is neither PNG nor JPEG"};
  b.skip(4);  // the length of IHDR, which is always the first chunk
  if (b.number(4) != 0x49484452) throw broken_file{"a PNG without a header"};
  image_header h{.of = image_header::format::png, .width = b.number(4), .height = b.number(4)};
  b.skip(4);
  h.several_passes = b.next() != 0;
  return h;
}

image_header jpeg(bytes_of& b) {
  if (b.next() != 0xD8) throw broken_file{"this is neither PNG nor JPEG"};
  for (;;) {
    if (b.next() != 0xFF) throw broken_file{"a JPEG without a header"};
    std::int64_t marker = b.next();
    while (marker == 0xFF) marker = b.next();  // fill bytes
    if (marker == 0xD9 || marker == 0xDA) throw broken_file{"a JPEG without a header"};
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;  // these have no length
    const std::int64_t length = b.number(2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (!frame) {
      b.skip(length - 2);
      continue;
    }
    b.skip(1);
    image_header h{.of = image_header::format::jpeg};
    h.height = b.number(2);
    h.width = b.number(2);
    h.several_passes = marker == 0xC2 || marker == 0xC6 || marker == 0xCA || marker == 0xCE;
    return h;
  }
}

}  // namespace

image_header read_image_header(const std::string& path) {
  bytes_of b{path};
  const std::int64_t first = b.next();
  if (first != 0x89 && first != 0xFF) throw broken_file{"this is neither PNG nor JPEG"};
  const image_header h = first == 0x89 ? png(b) : jpeg(b);
  if (h.width == 0 || h.height == 0) throw broken_file{"an image without pixels"};
  if (h.width > 1'000'000 || h.height > 1'000'000) throw broken_file{"an image with a side of more than 1,000,000 pixels"};
  return h;
}

std::int64_t eighths_for(const image_header& h, std::size_t longest) noexcept {
  const std::int64_t side = std::max(h.width, h.height);
  const auto wanted = static_cast<std::int64_t>(longest);
  return std::clamp<std::int64_t>((8 * wanted + side - 1) / side, 1, 8);
}

}  // namespace files
