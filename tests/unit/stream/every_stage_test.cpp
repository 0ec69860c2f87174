// A file of its own, for its one type takes the compiler a while.
#include "every_stage.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <penstock/stream/generator.hpp>
#include <penstock/stream/pipeline.hpp>

#include "../../support/until.hpp"

namespace stream_testing {

using namespace penstock;
using namespace std::chrono_literals;

static auto everything(worker_pool& pool, channel<counted>& side, stage_hook hook) {
  // Counts its own calls; several threads may call those of parallel_map.
  const auto at = [hook](int stage) {
    return [hook, stage, calls = std::make_shared<std::atomic<int>>(0)] { hook(stage, ++*calls); };
  };
  const auto numbers = [](auto trip) -> generator<counted> {
    for (int i = 0; i < 200; ++i) {
      trip();
      counted c{i};
      co_yield std::move(c);
    }
  };
  return from([trip = at(0), i = 0]() mutable -> std::optional<counted> {
           trip();
           return i < 200 ? std::optional<counted>{std::in_place, i++} : std::nullopt;
         }) |
         map([trip = at(1)](counted c) { return trip(), c; }) | filter([trip = at(2)](const counted&) { return trip(), true; }) |
         flat_map([trip = at(3)](counted c) {
           trip();
           return std::vector<counted>(2, c);
         }) |
         buffer(40) | tee([trip = at(4)](const counted&) { trip(); }) |
         parallel_map(pool, 3, [trip = at(5)](counted c) { return trip(), c; }) |
         merge(from(numbers(at(6))) | map([trip = at(7)](counted c) { return trip(), c; })) | tee(side) |
         parallel_map(
             pool, 5, [trip = at(8)](counted c) { return trip(), c; }, delivery::unordered) |
         batch(7) | map([trip = at(9)](std::vector<counted> b) { return trip(), b; }) | buffer(2) | batch(2, 1h) |
         flat_map([trip = at(10)](std::vector<std::vector<counted>> b) { return trip(), b; }) |
         to([trip = at(11)](std::vector<counted>) { trip(); });
}

result<void> run_everything(worker_pool& pool, channel<counted>& side, stage_hook hook, const wait_limits& limits) {
  auto p = everything(pool, side, std::move(hook));
  struct no_item_left {  // when whoever empties `side` has come to its end
    ~no_item_left() {
      test_support::until([] { return counted::living == 0; });
    }
  } check;
  return p.run(limits);
}

}  // namespace stream_testing
