// A limit for each user: the busy ones are told when to come again, one has a limit of its own, and inventing names brings nothing.
#include <chrono>
#include <cstdio>
#include <string>

#include <penstock/core/manual_clock.hpp>
#include <penstock/rate/keyed_limiter.hpp>

using namespace std::chrono_literals;

namespace {

using limiter = penstock::keyed_limiter<std::string>;

void serve(limiter& per_user, const std::string& user) {
  if (per_user.try_acquire(user)) {
    std::printf("%-8s served\n", user.c_str());
  } else {
    const auto wait = std::chrono::ceil<std::chrono::seconds>(per_user.retry_after(user));
    std::printf("%-8s 429 Too Many Requests, Retry-After: %lld\n", user.c_str(), static_cast<long long>(wait.count()));
  }
}

}  // namespace

int main() {
  penstock::manual_clock clock;  // so that this prints the same each time; without it the steady clock is used
  limiter per_user{penstock::rate{1, 2s}, 3, {.max_keys = 1000, .clock = clock}};
  per_user.set_limit("partner", penstock::rate{100, 1s}, 100).value();

  for (int i = 0; i < 4; ++i) serve(per_user, "ann");
  for (int i = 0; i < 4; ++i) serve(per_user, "partner");
  clock.advance(2s);
  serve(per_user, "ann");

  for (int i = 0; i < 1'000'000; ++i) static_cast<void>(per_user.try_acquire("bot-" + std::to_string(i)));
  const penstock::keyed_limiter_stats stats = per_user.stats();
  std::printf("after a million invented names: %zu keys, %llu requests without a place\n", stats.keys,
              static_cast<unsigned long long>(stats.overflowed));
  serve(per_user, "ann");  // has used up her limit, and nobody has made that forgotten

  std::printf("heaviest:\n");
  for (const auto& user : per_user.heaviest(2)) {
    std::printf("  %-8s granted %u, refused %u, has %lld now\n", user.key.c_str(), user.granted, user.refused,
                static_cast<long long>(user.available));
  }
  return 0;
}
