// What an outside project does first: one thread passes items to another, and a semaphore counts them.
#include <penstock/channel/channel.hpp>
#include <penstock/sync/semaphore.hpp>

#include <thread>

#if defined(WITH_ASIO)
bool with_asio();
bool with_boost_asio();
#endif

int main() {
#if defined(WITH_ASIO)
  if (!with_asio() || !with_boost_asio()) return 2;
#endif
  penstock::channel<int> items{2};
  penstock::semaphore done{0};
  int sum = 0;
  std::jthread consumer{[&] {
    while (auto item = items.pop()) sum += *item;
    done.release();
  }};
  for (int i = 1; i <= 10; ++i) {
    if (!items.push(i)) return 1;
  }
  items.close();
  return done.acquire() && sum == 55 ? 0 : 1;
}
