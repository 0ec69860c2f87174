// Random sequences of calls to a channel of every kind are answered as by a sequential reference.
#include <cstdint>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include "support/channel_script.hpp"
#include "support/property.hpp"

int main() {
  test_support::try_cases("seed=1 max_success=3000 max_size=200", "max_success=200000 max_size=400");
  const bool right = rc::check("a channel answers as a queue of that capacity, those rules and reservations",
                               [](const std::vector<std::uint8_t>& bytes) { channel_script::from_bytes(bytes); });
  return right ? 0 : 1;
}
