// How a file of each kind is read: what memory that takes, said beforehand, and then the reading itself. These are plain functions that know nothing of
// pools, queues and limits; `penstock-files one` calls them without any.
#pragma once

#include <cstddef>
#include <limits>
#include <stop_token>
#include <string>

#include "facts.hpp"

namespace files {

struct reading_options {
  std::size_t thumbnail = 256;  ///< its longest side, in pixels
  std::stop_token stop = {};    ///< a requested stop makes the reading throw
  std::size_t max_memory = 0;   ///< of all images at a time, as a second bound behind weight_of(); 0: none
  /// Bytes that what is found may take, where that is not known beforehand: the members of an archive, with their names.
  std::size_t most_result = std::numeric_limits<std::size_t>::max();
};

/// It would take more than most_result.
struct longer_result {};

/// Whether this program was built with what reads files of this kind.
[[nodiscard]] bool can_read(kind k) noexcept;
/// Before any other function here, once, on the first thread.
void prepare_readers(const reading_options& o);

/// The bytes that read() will have at a time, at the most, besides what it gives. Looks at the beginning of the file.
[[nodiscard]] std::size_t weight_of(kind k, const std::string& path, const reading_options& o);
/// Throws broken_file, longer_result, and std::system_error where the file cannot be opened or read.
[[nodiscard]] finished_file read(kind k, const std::string& path, const reading_options& o);

// What is behind these; each in its own file, that of images and that of archives only where their libraries are.
void prepare_images(const reading_options& o);
[[nodiscard]] std::size_t image_weight(const std::string& path, const reading_options& o);
[[nodiscard]] image_facts read_image(const std::string& path, const reading_options& o);
[[nodiscard]] text_facts read_text(const std::string& path, const reading_options& o);
[[nodiscard]] std::size_t archive_weight(const std::string& path);
[[nodiscard]] archive_facts read_archive(const std::string& path, const reading_options& o);

/// Throws if stop was requested.
void go_on(const reading_options& o);

}  // namespace files
