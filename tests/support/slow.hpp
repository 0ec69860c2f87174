// Whether what runs here takes many times as long as it would elsewhere: under a sanitizer, or on an emulated processor.
#pragma once

namespace test_support {

#if defined(PENSTOCK_TEST_SLOW)
inline constexpr bool slow = true;
#else
inline constexpr bool slow = false;
#endif

}  // namespace test_support
