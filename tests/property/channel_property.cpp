// Random sequences of calls to a channel of every kind are answered as by a sequential reference.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include "support/channel_script.hpp"

int main() {
  const char* const tier = std::getenv("PENSTOCK_TIER");
  const bool is_long = tier != nullptr && std::string{tier} == "long";
  if (std::getenv("RC_PARAMS") == nullptr) {
    ::setenv("RC_PARAMS", is_long ? "max_success=200000 max_size=400" : "seed=1 max_success=3000 max_size=200", 1);
  }
  const bool right = rc::check("a channel answers as a queue of that capacity, those rules and reservations",
                               [](const std::vector<std::uint8_t>& bytes) { channel_script::from_bytes(bytes); });
  return right ? 0 : 1;
}
