// penstock/observe/terminal_view.hpp: text that is shown again and again in the same place.
//
//   penstock::terminal_view view{stderr};
//   for (;;) view.show(table());                           // over the last one if that is a terminal; elsewhere one after the other
//
// Thread safety  one thread at a time, and nobody else writes to the stream between two calls.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace penstock::inline v0_1 {

class terminal_view {
 public:
  /// Throws nothing; what cannot be written is lost.
  explicit terminal_view(std::FILE* to) noexcept : terminal_view{to, is_terminal(to)} {}
  /// Says itself whether it draws over the last text.
  terminal_view(std::FILE* to, bool in_place) noexcept : to_{to}, in_place_{in_place} {}

  /// Whole lines, none longer than the terminal is wide.
  void show(std::string_view text) {
    std::string out;
    if (in_place_ && lines_ != 0)
      out = "\x1b[" + std::to_string(lines_) + "F\x1b[J";  // up to the beginning of the last text, and all below erased
    out += text;
    std::fwrite(out.data(), 1, out.size(), to_);
    std::fflush(to_);
    lines_ = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }

 private:
  static bool is_terminal([[maybe_unused]] std::FILE* to) noexcept {
#if __has_include(<unistd.h>)
    return ::isatty(::fileno(to)) != 0;
#else
    return false;
#endif
  }

  std::FILE* to_;
  bool in_place_;
  std::size_t lines_ = 0;  // of what was shown last
};

}  // namespace penstock::inline v0_1
