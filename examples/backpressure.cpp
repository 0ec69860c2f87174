// A producer that could make millions a second, a consumer that takes a thousand: the producer is made to wait, and memory does not grow.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include <penstock/stream/pipeline.hpp>

int main() {
  using namespace std::chrono_literals;
  std::atomic<int> made{0};
  int taken = 0;
  int most_ahead = 0;
  auto p = penstock::from([&]() -> std::optional<int> { return made < 300 ? std::optional{++made} : std::nullopt; })  //
           | penstock::buffer(8)                                                                                      //
           | penstock::named("slow consumer", penstock::to([&](int) {
                               std::this_thread::sleep_for(1ms);
                               ++taken;
                               most_ahead = made - taken > most_ahead ? made - taken : most_ahead;
                             }));
  p.run().value();
  std::printf("%d made, %d taken, never more than %d in between\n%s", made.load(), taken, most_ahead,
              to_string(p.report()).c_str());
  return taken == 300 && most_ahead <= 10 ? 0 : 1;
}
