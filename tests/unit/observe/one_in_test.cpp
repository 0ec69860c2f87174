// Which events are picked: by chance, each for itself, and the same ones in each thread.
#include <penstock/observe/detail/one_in.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"

namespace {

using penstock::detail::one_in;

// In a thread of its own, so that it does not matter what was picked before.
std::vector<bool> picks(std::uint32_t every, std::size_t n) {
  std::vector<bool> picked(n);
  std::jthread{[&] {
    const one_in choice{every};
    for (std::size_t i = 0; i < n; ++i) picked[i] = choice.picked();
  }}.join();
  return picked;
}

}  // namespace

TEST_CASE("one_in: every event is picked, if one in one is", "[observe]") {
  CHECK(picks(1, 1000) == std::vector<bool>(1000, true));
}

TEST_CASE("one_in: as many are picked as were asked for, in every phase of any short rhythm", "[observe]") {
  const std::uint32_t every = GENERATE(2U, 7U, 16U, 100U);
  constexpr std::size_t n = 1'000'000;
  const std::vector<bool> picked = picks(every, n);
  CHECK(picked == picks(every, n));
  for (std::size_t period = 1; period <= 20; ++period) {
    std::array<std::size_t, 20> in_phase{};
    for (std::size_t i = 0; i < n; ++i) in_phase[i % period] += picked[i] ? 1U : 0U;
    for (std::size_t phase = 0; phase < period; ++phase) {
      const double expected = static_cast<double>(n) / static_cast<double>(period * every);
      const double off = static_cast<double>(in_phase[phase]) - expected;
      CHECK(off * off < 20 * expected);  // four and a half standard deviations
    }
  }
}
