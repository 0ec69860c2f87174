// penstock/core/version.hpp: which penstock this is.
//
// Semantic versioning; before 1.0 a minor version may change the interface. Everything lives in an inline namespace named
// after the part of the version that the interface depends on (v0_1), so that versions whose interfaces differ can meet in
// one program.
#pragma once

#include <string_view>

namespace penstock::inline v0_1 {

inline constexpr int version_major = 0;
inline constexpr int version_minor = 1;
inline constexpr int version_patch = 0;

/// "major.minor.patch"
inline constexpr std::string_view version_string = "0.1.0";

}  // namespace penstock::inline v0_1
