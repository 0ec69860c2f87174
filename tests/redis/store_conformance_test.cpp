// What every store of jobs does, of redis_store: PENSTOCK_REDIS_SOCKET says where the server is; run_store.py makes one.
#include <chrono>
#include <cstdlib>
#include <string>

#include <penstock/ext/redis_store.hpp>

#include "support/catch.hpp"
#include "support/store_conformance.hpp"

using namespace penstock;
using namespace std::chrono_literals;

namespace {

struct bench {
  // What BullMQ's layout has no place for, or does in its own way. redis_store_test.cpp has the errors.
  static constexpr bool families = false;
  static constexpr bool groups = false;
  static constexpr bool schedules = false;
  static constexpr bool lifo_with_priority = false;
  static constexpr bool bounded = false;
  static constexpr bool tells_later = true;
  static constexpr bool fails_stalled_later = true;
  static constexpr bool first_dues_only = true;

  static redis_options server() {
    const char* const socket = std::getenv("PENSTOCK_REDIS_SOCKET");
    return {.unix_path = socket != nullptr ? socket : "/nowhere"};
  }
  static std::string fresh_queue() {
    static int n = 0;
    return "conformance" + std::to_string(++n);
  }
  static std::chrono::nanoseconds begin() {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()).time_since_epoch();
  }
  redis_store<int>& store() { return store_; }
  /// Locks and deduplication run out by the server's clock, which nobody can set: they are shortened instead. Whole seconds, so that what the test itself
  /// takes does not count.
  void pass(std::chrono::nanoseconds d) {
    static const redis_script shorten{R"lua(
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local left = redis.call('PTTL', key)
  if left >= 0 then
    left = math.ceil(left / 1000) * 1000 - ARGV[2]
    if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
  end
end
)lua"};
    const std::string keys = "bull:" + queue + ":*";
    redis.eval(shorten, {}, {{keys, static_cast<std::int64_t>(d / 1ms)}}).value();
  }
  void look_again() { redis.command("DEL", "bull:" + queue + ":stalled-check").value(); }

  redis_connection redis{server()};
  const std::string queue = fresh_queue();
  redis_store<int> store_{server(), {.queue = queue, .keep_completed = {.count = 2}, .keep_failed = {.count = 3}}};
};

}  // namespace

TEST_CASE("redis_store: does what every store does, but for what its bench names", "[redis_store][hazard-32]") {
  store_conformance::order<bench>();
  store_conformance::delays<bench>();
  store_conformance::due_times<bench>();
  store_conformance::settling<bench>();
  store_conformance::fencing<bench>();
  store_conformance::names<bench>();
  store_conformance::deduplication<bench>();
  store_conformance::bounds<bench>();
  store_conformance::by_hand<bench>();
  store_conformance::telling<bench>();
  store_conformance::families<bench>();
  store_conformance::groups<bench>();
  store_conformance::schedules<bench>();
}
