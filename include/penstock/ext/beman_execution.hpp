// penstock/ext/beman_execution.hpp: what stdexec.hpp is, with Beman's implementation of std::execution (C++23), of which the include folder must be known.
//
//   #include <penstock/ext/beman_execution.hpp>
//   auto [order] = *beman::execution::sync_wait(orders.async_pop());
//
// A source file includes this, stdexec.hpp or std_execution.hpp, and does so before the headers that stdexec.hpp is made of. All sources of a program that
// include one of the three include the same one.
#pragma once

#if defined(PENSTOCK_DETAIL_EXECUTION) && !defined(PENSTOCK_BEMAN_EXECUTION)
#error "penstock: this file has included the headers for another implementation of std::execution before those for Beman's"
#endif
#if !defined(PENSTOCK_BEMAN_EXECUTION)
#define PENSTOCK_BEMAN_EXECUTION
#endif

#include <penstock/ext/stdexec.hpp>
