// Catch2, whichever version is installed: 2.13 is one header, 3 has many.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;  // 2.13 has it in the global namespace
namespace Catch {
using Matchers::Predicate;  // 2.13 has it here
}
#else
#include <catch2/catch.hpp>
#endif
