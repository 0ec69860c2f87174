// penstock/ext/std_execution.hpp: what stdexec.hpp is, with the std::execution of a C++26 standard library that has it.
//
//   #include <penstock/ext/std_execution.hpp>
//   auto [order] = *std::execution::sync_wait(orders.async_pop());
//
// A source file includes this, stdexec.hpp or beman_execution.hpp, and does so before the headers that stdexec.hpp is made of. All sources of a program that
// include one of the three include the same one.
#pragma once

#include <version>

#if !defined(__cpp_lib_senders)
#error "penstock: this standard library has no senders as yet: take penstock/ext/stdexec.hpp"
#elif defined(PENSTOCK_DETAIL_EXECUTION) && !defined(PENSTOCK_STD_EXECUTION)
#error "penstock: this file has included the headers for another implementation of std::execution before"
#else

#if !defined(PENSTOCK_STD_EXECUTION)
#define PENSTOCK_STD_EXECUTION
#endif

#include <penstock/ext/stdexec.hpp>

#endif
