// A payload that cannot always be written down. In a header: test files that are compiled together lie in namespaces, and a job_codec may not.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <penstock/job/job_codec.hpp>

namespace job_test {
struct note {
  int number;
};
}  // namespace job_test

template <>
struct penstock::job_codec<job_test::note> {
  static std::string encode(const job_test::note& n) {
    if (n.number < 0) throw std::range_error{"no number of a note"};
    return std::to_string(n.number);
  }
  static result<job_test::note> decode(std::string_view) { return job_test::note{0}; }
};
