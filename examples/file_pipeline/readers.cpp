#include "readers.hpp"

#include <chrono>
#include <stdexcept>

#include "input_file.hpp"

namespace files {

namespace {

facts facts_of(kind k, [[maybe_unused]] const std::string& path, [[maybe_unused]] const reading_options& o) {
  switch (k) {
#if defined(PENSTOCK_FILES_IMAGES)
    case kind::image:
      return read_image(path, o);
#endif
#if defined(PENSTOCK_FILES_ARCHIVES)
    case kind::archive:
      return read_archive(path, o);
#endif
    case kind::text:
      return read_text(path, o);
    default:
      throw std::logic_error{"a kind that this program cannot read"};
  }
}

}  // namespace

bool can_read(kind k) noexcept {
#if !defined(PENSTOCK_FILES_IMAGES)
  if (k == kind::image) return false;
#endif
#if !defined(PENSTOCK_FILES_ARCHIVES)
  if (k == kind::archive) return false;
#endif
  return k == kind::image || k == kind::text || k == kind::archive;
}

void prepare_readers([[maybe_unused]] const reading_options& o) {
#if defined(PENSTOCK_FILES_IMAGES)
  prepare_images(o);
#endif
}

std::size_t weight_of(kind k, [[maybe_unused]] const std::string& path, [[maybe_unused]] const reading_options& o) {
#if defined(PENSTOCK_FILES_IMAGES)
  if (k == kind::image) return image_weight(path, o);
#endif
#if defined(PENSTOCK_FILES_ARCHIVES)
  if (k == kind::archive) return archive_weight(path);
#endif
  return std::size_t{128} << 10;  // a text: the piece that is looked at
}

finished_file read(kind k, const std::string& path, const reading_options& o) {
  const input_file::state before = input_file{path}.stat();
  if (before.bytes == 0 && k != kind::text) throw broken_file{"the file is empty"};
  const auto begin = std::chrono::steady_clock::now();
  finished_file f{.path = path, .bytes = before.bytes, .modified_ns = before.modified_ns, .what = facts_of(k, path, o)};
  f.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return f;
}

void go_on(const reading_options& o) {
  if (o.stop.stop_requested()) throw std::runtime_error{"took too long, or was stopped"};
}

}  // namespace files
