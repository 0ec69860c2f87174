// What main() of the programs here has in common: how they end, and what they say when something is wrong.
#pragma once

#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include "argument_reader.hpp"

namespace command_line {

/// Calls run(words) and returns what it returns, or 2: after it threw (a usage_error is followed by the usage), or if standard output could not be written.
template <class Run>
int run_program(const char* name, const char* usage, int argc, char** argv, Run run) {
  try {
    const int status = run(std::vector<std::string>{argv + 1, argv + argc});
    if (std::fflush(stdout) != 0) throw std::system_error{errno, std::generic_category(), "standard output"};
    return status;
  } catch (const usage_error& error) {
    std::fprintf(stderr, "%s: %s\n\n%s", name, error.what(), usage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
  }
  return 2;
}

}  // namespace command_line
