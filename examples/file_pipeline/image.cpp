// Images are decoded by ImageMagick (Magick++), each on one thread, from a copy of the file in memory: no name of a file reaches ImageMagick, which would
// see patterns in it, and no other decoder than the one that the file's first bytes ask for.
#include <Magick++.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

#include "image_header.hpp"
#include "input_file.hpp"
#include "readers.hpp"

namespace files {

namespace {

constexpr std::size_t pixel_bytes = sizeof(MagickCore::PixelPacket);

std::size_t pixels(std::int64_t width, std::int64_t height) noexcept {
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
}

Magick::Blob contents_of(const std::string& path) {
  input_file file{path};
  const auto size = static_cast<std::size_t>(file.stat().bytes);
  void* const bytes = MagickCore::AcquireMagickMemory(std::max<std::size_t>(size, 1));
  if (bytes == nullptr) throw std::bad_alloc{};
  Magick::Blob all;
  all.updateNoCopy(bytes, size, Magick::Blob::MallocAllocator);  // it is the blob's now
  if (file.read({static_cast<char*>(bytes), size}) != size) throw std::runtime_error{"the file became shorter meanwhile"};
  return all;
}

// "ImageMagick: reason `file' @ error/png.c/MagickPNGErrorHandler/1641": only the reason is of use.
std::string reason_of(const Magick::Exception& e) {
  std::string text = e.what();
  if (const std::size_t colon = text.find(": "); colon != std::string::npos) text.erase(0, colon + 2);
  text.erase(std::min({text.find(" @ "), text.find(" `'"), text.size()}));
  return text;
}

void decode(Magick::Image& image, const Magick::Blob& bytes) {
  try {
    image.read(bytes);
  } catch (const Magick::WarningCorruptImage& e) {
    throw broken_file{reason_of(e)};
  } catch (const Magick::Warning& e) {
    // An odd colour profile, or the like; but also "No image was loaded", which is all that is told of a PNG with a bad checksum.
    if (!image.isValid() || image.columns() == 0) throw broken_file{"damaged, or cut off: " + reason_of(e)};
  } catch (const Magick::ErrorResourceLimit& e) {
    throw std::runtime_error{"no room for the pixels: " + reason_of(e)};
  } catch (const Magick::ErrorCache& e) {
    throw std::runtime_error{"no room for the pixels: " + reason_of(e)};
  } catch (const Magick::Exception& e) {
    throw broken_file{reason_of(e)};
  }
}

// Shows a progress monitor's answer to ImageMagick: false ends the decoding.
MagickCore::MagickBooleanType not_stopped(const char*, MagickCore::MagickOffsetType, MagickCore::MagickSizeType, void* stop) {
  return static_cast<const std::stop_token*>(stop)->stop_requested() ? MagickCore::MagickFalse : MagickCore::MagickTrue;
}

}  // namespace

void prepare_images(const reading_options& o) {
  Magick::InitializeMagick(nullptr);
  Magick::ResourceLimits::thread(1);  // the pool has the threads
  Magick::ResourceLimits::map(0);     // what does not fit into memory does not go to the disk either
  Magick::ResourceLimits::disk(0);
  if (o.max_memory != 0) Magick::ResourceLimits::memory(o.max_memory);
}

std::size_t image_weight(const std::string& path, const reading_options& o) {
  const image_header h = read_image_header(path);
  const auto file_size = static_cast<std::size_t>(input_file{path}.stat().bytes);
  const bool is_jpeg = h.of == image_header::format::jpeg;
  const std::int64_t eighths = is_jpeg ? eighths_for(h, 2 * o.thumbnail) : 8;
  const auto part = [eighths](std::int64_t side) { return (side * eighths + 7) / 8; };
  std::size_t n = file_size + pixels(part(h.width), part(h.height)) * pixel_bytes;
  n += pixels(static_cast<std::int64_t>(2 * o.thumbnail), part(std::max(h.width, h.height))) *
       pixel_bytes;  // between the two passes of scaling
  // A progressive JPEG has all its coefficients in memory, an interlaced PNG all its pixels once more.
  if (h.several_passes) n += pixels(h.width, h.height) * (is_jpeg ? 6 : pixel_bytes);
  return n + (std::size_t{1} << 20);
}

image_facts read_image(const std::string& path, const reading_options& o) {
  const image_header h = read_image_header(path);
  const bool is_jpeg = h.of == image_header::format::jpeg;
  image_facts f{.format = is_jpeg ? "JPEG" : "PNG", .width = h.width, .height = h.height};
  const std::string side = std::to_string(o.thumbnail);
  Magick::Image image;
  image.magick(f.format);
  if (is_jpeg) {
    const std::string hint = std::to_string(2 * o.thumbnail);
    image.defineValue("jpeg", "size", hint + "x" + hint);
  }
  std::stop_token stop = o.stop;
  MagickCore::SetImageInfoProgressMonitor(image.imageInfo(), not_stopped, &stop);
  decode(image, contents_of(path));
  go_on(o);
  try {
    f.taken = image.attribute("EXIF:DateTimeOriginal");
    image.thumbnail(Magick::Geometry{side + "x" + side + ">"});
    image.strip();
    image.magick("JPEG");
    image.quality(80);
    Magick::Blob small;
    image.write(&small);
    f.thumbnail.assign(static_cast<const char*>(small.data()), small.length());
  } catch (const Magick::Exception& e) {
    throw std::runtime_error{reason_of(e)};  // nothing that the file could be blamed for
  }
  return f;
}

}  // namespace files
