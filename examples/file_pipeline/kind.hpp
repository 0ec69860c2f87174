// What kinds of files there are: each has its own pool of threads, its own limit, and its own way to be read.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace files {

enum class kind : unsigned char { image, text, archive };

inline constexpr std::array kinds{kind::image, kind::text, kind::archive};

[[nodiscard]] constexpr std::size_t index_of(kind k) noexcept { return static_cast<std::size_t>(k); }
[[nodiscard]] constexpr const char* name_of(kind k) noexcept {
  return k == kind::image ? "image" : k == kind::text ? "text" : "archive";
}

/// The name without its folder, in lower case.
[[nodiscard]] inline std::string lower_name(std::string_view path) {
  std::string name{path.substr(path.rfind('/') + 1)};
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

/// By the ending of the name, so that a file whose content is broken is still of its kind. None: it is left alone.
[[nodiscard]] inline std::optional<kind> kind_of(std::string_view path) {
  constexpr std::pair<std::string_view, kind> endings[] = {
      {".png", kind::image},      {".jpg", kind::image},   {".jpeg", kind::image},      {".txt", kind::text},
      {".md", kind::text},        {".log", kind::text},    {".zip", kind::archive},     {".tar", kind::archive},
      {".tar.gz", kind::archive}, {".tgz", kind::archive}, {".tar.bz2", kind::archive}, {".tar.xz", kind::archive}};
  const std::string name = lower_name(path);
  for (const auto& [ending, k] : endings) {
    if (name.size() > ending.size() && name.ends_with(ending)) return k;
  }
  return std::nullopt;
}

}  // namespace files
