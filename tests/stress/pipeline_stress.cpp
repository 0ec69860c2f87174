// Pipelines of random shape with real threads: to their end, stopped, failing, late, closed under their hands; no item is lost, invented or leaked.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/pipeline.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;

std::atomic<int> living{0};

// Some of it lies on the heap, so that an item that is lost or destroyed twice is the sanitizer's business, too.
class item {
 public:
  explicit item(std::uint64_t v) : value{v}, text_(20, 'x') { ++living; }
  item(const item& other) : value{other.value}, text_{other.text_} { ++living; }
  item(item&& other) noexcept : value{other.value}, text_{std::move(other.text_)} { ++living; }
  item& operator=(const item&) = default;
  item& operator=(item&&) = default;
  ~item() { --living; }

  std::uint64_t value;

 private:
  std::string text_;
};

struct fault : std::runtime_error {
  fault() : std::runtime_error{"on purpose"} {}
};

enum class ending { regular, stopped, late, fails, closed };

auto source(std::uint64_t first, std::uint64_t n) {
  return penstock::from([i = first, end = first + n]() mutable -> std::optional<item> {
    if (i == end) return std::nullopt;
    return item{i++};
  });
}

void one_pipeline(stress::context& c, stress::random& r, penstock::worker_pool& pool) {
  const auto how = static_cast<ending>(r.below(5));
  const std::uint64_t n = 1 + r.below(how == ending::regular ? 100U : 400U);
  const int trip_in = r.below(4);  // the first two see the items of one source, the third those of the other, the last one all
  const std::uint64_t trip_item = trip_in < 2 ? r.below(n) : trip_in == 2 ? n + r.below(n) : r.below(2 * n);
  const std::uint64_t trip_at = how == ending::fails ? trip_item : ~std::uint64_t{0};
  const auto order = r.one_in(2) ? penstock::delivery::ordered : penstock::delivery::unordered;
  std::vector<unsigned char> seen(2 * n, 0);
  std::atomic<int> beside{0};
  penstock::channel<item> side{1 + r.below(std::size_t{8})};
  std::stop_source stop;
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> passed{0};
  const std::uint64_t act_at = r.below(2 * n);

  const auto trip = [&](int where, const item& i) {
    c.check(!over, "a stage runs on after run()");
    if (where == trip_in && i.value == trip_at) throw fault{};
  };
  auto p = source(0, n) | penstock::filter([&](const item& i) { return trip(0, i), true; }) |
           penstock::buffer(1 + r.below(std::size_t{50})) |
           penstock::parallel_map(
               pool, 1 + r.below(std::size_t{6}), [&](item i) { return trip(1, i), i; }, order) |
           penstock::merge(source(n, n) | penstock::map([&](item i) { return trip(2, i), i; })) | penstock::tee(side) |
           penstock::buffer(1 + r.below(std::size_t{200})) | penstock::batch(1 + r.below(std::size_t{9}), 100us) |
           penstock::flat_map([](std::vector<item> b) { return b; }) | penstock::to([&](const item& i) {
             trip(3, i);
             ++seen[i.value];
             if (passed.fetch_add(1) != act_at) return;
             if (how == ending::stopped) stop.request_stop();
             if (how == ending::closed) side.close();
           });
  std::jthread taker{[&] {
    try {
      while (side.pop()) ++beside;
    } catch (const fault&) {  // as run() does
    }
  }};
  bool failed = false;
  penstock::result<void> ended;
  try {
    penstock::wait_limits limits{.stop = stop.get_token()};
    if (how == ending::late) limits.deadline = penstock::deadline::after(std::chrono::microseconds{r.below(3000)});
    ended = p.run(limits);
  } catch (const fault&) {
    failed = true;
  }
  over = true;
  if (!ended) taker.request_stop();
  taker.join();  // run() has closed the channel

  c.check(living == 0, "an item was leaked, or destroyed twice");
  std::uint64_t delivered = 0;
  for (const unsigned char times : seen) {
    c.check(times <= 1, "an item came twice");
    delivered += times;
  }
  c.check(static_cast<std::uint64_t>(beside) >= delivered, "the tee saw less than the sink");
  c.check(failed == (how == ending::fails), "a failure was lost, or invented");
  if (how == ending::regular) c.check(ended.has_value(), "an error out of nothing");
  if (how == ending::stopped && !ended) c.check(ended.error() == penstock::errc::cancelled, "stopped, but another error");
  if (how == ending::late && !ended) c.check(ended.error() == penstock::errc::timeout, "late, but another error");
  if (how == ending::closed && !ended) c.check(ended.error() == penstock::errc::closed, "closed, but another error");
  if (ended && !failed) c.check(delivered == 2 * n, "an item was lost");
}

}  // namespace

int main() {
  stress::run run{"pipeline"};
  run.scenario("random pipelines, endings and faults", 1500ms, [](stress::context& c) {
    stress::random r = c.generator(1);
    penstock::worker_pool pool{{.threads = 1 + r.below(std::size_t{3}), .queue_capacity = 1 + r.below(std::size_t{8})}};
    int rounds = 0;
    for (; c.time_left() && !c.failed(); ++rounds) one_pipeline(c, r, pool);
    c.check(rounds > 0, "nothing ran");
    std::printf("stress %s: %d pipelines\n", c.name().c_str(), rounds);
  });
  run.scenario("two pipelines on one pool", 700ms, [](stress::context& c) {
    stress::random r = c.generator(2);
    penstock::worker_pool pool{{.threads = 2, .queue_capacity = 2}};
    while (c.time_left() && !c.failed()) {
      std::atomic<std::uint64_t> sum{0};
      {
        std::vector<std::jthread> both;
        for (int t = 0; t < 2; ++t) {
          both.emplace_back([&, n = 1 + r.below(std::size_t{20})] {
            auto p = penstock::from([i = std::uint64_t{0}]() mutable { return i < 200 ? std::optional{i++} : std::nullopt; }) |
                     penstock::parallel_map(pool, n, [](std::uint64_t i) { return i; }) |
                     penstock::parallel_map(
                         pool, n, [](std::uint64_t i) { return i; }, penstock::delivery::unordered) |
                     penstock::to([&](std::uint64_t i) { sum += i; });
            p.run().value();
          });
        }
      }
      c.check(sum == 2 * 199 * 100, "an item was lost");
    }
  });
  run.again_on_one_processor();
  return run.finish();
}
