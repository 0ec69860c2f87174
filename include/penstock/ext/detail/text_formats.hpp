// penstock/ext/detail/text_formats.hpp: what fmt's formatters and the standard's have in common, which is all but their names.
//
// `Text` is the library's formatter of a string_view. A formatter's parse() is given the specification from behind the colon on, with whatever follows.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/detail/clean_text.hpp>
#include <penstock/observe/metric_table.hpp>
#include <penstock/observe/metric_text.hpp>

namespace penstock::inline v0_1::detail {

/// What of a specification means the same for all types: [[fill]align][sign][#][0][width].
struct text_padding {
  std::array<char, 4> fill{' '};  ///< a code point
  std::size_t fill_length = 1;
  char align = '<';
  std::size_t width = 0;

  static constexpr text_padding of(std::string_view spec) noexcept {
    text_padding p;
    if (spec.empty() || spec.front() == '}') return p;
    const auto aligns = [&](std::size_t at) {
      return at < spec.size() && (spec[at] == '<' || spec[at] == '>' || spec[at] == '^');
    };
    if (const std::size_t length = code_point_length(spec); length != 0 && aligns(length)) {
      p.fill_length = spec.copy(p.fill.data(), length);
      p.align = spec[length];
      spec.remove_prefix(length + 1);
    } else if (aligns(0)) {
      p.align = spec.front();
      spec.remove_prefix(1);
    }
    const auto skip = [&](std::string_view some) {
      while (!spec.empty() && some.find(spec.front()) != some.npos) spec.remove_prefix(1);
    };
    skip("+- ");
    skip("#");
    // Of what is too great for it the sum makes anything: the library refuses that.
    while (!spec.empty() && spec.front() >= '0' && spec.front() <= '9') {
      p.width = p.width * 10 + static_cast<std::size_t>(spec.front() - '0');
      spec.remove_prefix(1);
    }
    return p;
  }

  template <class Out>
  Out write(std::string_view text, Out out) const {
    const std::size_t missing = width - std::min(width, width_of(text));
    const std::size_t before = align == '<' ? 0 : align == '>' ? missing : missing / 2;
    const auto fills = [&](std::size_t n) {
      while (n-- != 0) out = std::copy_n(fill.begin(), fill_length, out);
    };
    fills(before);
    out = std::copy(text.begin(), text.end(), out);
    fills(missing - before);
    return out;
  }
};

[[nodiscard]] inline std::string error_text(const std::error_code& error) { return "error: " + error.message(); }

/// What describes itself as a registry's components do and is a plain value, as the stats() of components, and no component.
template <class T>
concept described_value = described<const T> && std::is_aggregate_v<T>;

template <class T>
concept histogram_value = requires(const T& t) {
  { t.distribution() } -> std::same_as<metric_distribution>;
};

template <class T>
concept formatted_as_text =
    std::same_as<T, component_snapshot> || std::same_as<T, registry_snapshot> || std::same_as<T, component_interval> ||
    std::same_as<T, registry_interval> || std::same_as<T, metric_distribution> || histogram_value<T> || described_value<T>;

template <formatted_as_text T>
[[nodiscard]] std::string text_of(const T& value, bool zeros) {
  if constexpr (requires { to_string(value); }) {
    return to_string(value);  // a pipeline's report, which has a form of its own
  } else if constexpr (std::same_as<T, registry_interval>) {
    return to_table(value);
  } else if constexpr (std::same_as<T, component_interval>) {
    return to_table(registry_interval{value.elapsed, {value}});
  } else if constexpr (std::same_as<T, metric_distribution>) {
    return to_text(value);
  } else if constexpr (histogram_value<T>) {
    return to_text(value.distribution());
  } else {
    return to_text(value, {.zeros = zeros});
  }
}

template <class Text>
class errc_formatter {
 public:
  template <class Context>
  constexpr auto parse(Context& c) {
    return text_.parse(c);
  }
  template <class Context>
  auto format(errc e, Context& c) const -> decltype(c.out()) {
    return text_.format(make_error_code(e).message(), c);
  }

 private:
  Text text_;
};

/// Stats and snapshots: [#] and what a string takes.
template <formatted_as_text T, class Text>
class text_formatter {
 public:
  template <class Context>
  constexpr auto parse(Context& c) {
    const auto second = c.begin() == c.end() || *c.begin() != '#' ? c.end() : c.begin() + 1;
    // "#" before an alignment is the fill.
    if (second != c.end() && *second != '<' && *second != '>' && *second != '^') {
      zeros_ = true;
      c.advance_to(second);
    }
    return text_.parse(c);
  }
  template <class Context>
  auto format(const T& value, Context& c) const -> decltype(c.out()) {
    return text_.format(text_of(value, zeros_), c);
  }

 private:
  Text text_;
  bool zeros_ = false;
};

/// A value as its own formatter does it; an error as a text, in the same width.
template <class T, class Value>
class result_formatter {
 public:
  template <class Context>
  constexpr auto parse(Context& c) {
    const auto length = static_cast<std::size_t>(c.end() - c.begin());
    padding_ = text_padding::of(length == 0 ? std::string_view{} : std::string_view{std::to_address(c.begin()), length});
    return value_.parse(c);
  }
  template <class Context>
  auto format(const result<T>& r, Context& c) const -> decltype(c.out()) {
    return r ? value_.format(*r, c) : padding_.write(error_text(r.error()), c.out());
  }

 private:
  Value value_;
  text_padding padding_;
};

template <class Text>
class result_formatter<void, Text> {
 public:
  template <class Context>
  constexpr auto parse(Context& c) {
    return text_.parse(c);
  }
  template <class Context>
  auto format(const result<void>& r, Context& c) const -> decltype(c.out()) {
    return text_.format(r ? std::string{"ok"} : error_text(r.error()), c);
  }

 private:
  Text text_;
};

}  // namespace penstock::inline v0_1::detail
