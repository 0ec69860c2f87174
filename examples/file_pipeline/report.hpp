// What a run did, for people and for programs.
#pragma once

#include <string>

#include "work.hpp"

namespace files {

struct run_report {
  const pipeline& of;
  const run_options& options;
  double seconds = 0;
  bool interrupted = false;
};

[[nodiscard]] std::string as_table(const run_report& r);
[[nodiscard]] std::string as_json(const run_report& r);

}  // namespace files
