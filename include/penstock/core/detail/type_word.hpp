// penstock/core/detail/type_word.hpp: the name of a type, without its namespaces and arguments, for people: "semaphore" for basic_semaphore<std_sync>.
#pragma once

#include <cstddef>
#include <string_view>

namespace penstock::inline v0_1::detail {

template <class T>
[[nodiscard]] constexpr std::string_view type_word() noexcept {
  std::string_view text = __PRETTY_FUNCTION__;  // "… [with T = penstock::basic_semaphore<…>; …]", of clang "… [T = …]"
  const std::size_t at = text.find("T = ");
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + 4);
  std::size_t begin = 0;
  std::size_t end = std::string_view::npos;  // of the last component
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (depth == 0 && (c == ';' || c == ']')) {
      if (end == std::string_view::npos) end = i;
      break;
    }
    if (c == '<' || c == '(') {
      if (depth++ == 0 && end == std::string_view::npos) end = i;
    } else if (c == '>' || c == ')') {
      --depth;
    } else if (depth == 0 && c == ':') {
      begin = i + 1;
      end = std::string_view::npos;
    }
  }
  text = text.substr(begin, end - begin);
  if (text.starts_with("basic_")) text.remove_prefix(6);
  for (const std::string_view common : {std::string_view{"_node"}, std::string_view{"_waiter"}, std::string_view{"_core"}}) {
    if (text.size() > common.size() && text.ends_with(common)) text.remove_suffix(common.size());
  }
  return text;
}

}  // namespace penstock::inline v0_1::detail
