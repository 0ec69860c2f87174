# What a header says before #pragma once is about the file, and laid out by hand: doxygen takes it as it is. Friends, details, the inline namespaces and
# what is specialised of others' behind them are nobody's business.
1i /** @file\n@verbatim
1,/^#pragma once/s,^// \?,,
/^#pragma once/i @endverbatim */
/^ *friend /d
/^namespace detail {$/,/^}  \/\/ namespace detail$/d
s/^namespace penstock::inline v0_1 {/namespace penstock {/
/^namespace detail::inline PENSTOCK_DETAIL_[A-Z]* {$/,/^}  \/\/ namespace detail::inline PENSTOCK_DETAIL_[A-Z]*$/d
/^inline namespace PENSTOCK_DETAIL_[A-Z]* {$/d
/^}  \/\/ namespace PENSTOCK_DETAIL_[A-Z]*$/d
/^}  \/\/ namespace penstock::inline v0_1$/q
