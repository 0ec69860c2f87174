// penstock/ext/detail/redis_semaphore_scripts.hpp: leases on the server.
//
// KEYS: 1 a sorted set of who holds a permit, by when the lease ends, in µs of the server's clock; 2 the last fencing token.
// ARGV: 1 who, 2 how many permits there are, 3 the length of a lease in µs.
#pragma once

#include <string>

#include <penstock/ext/redis_commands.hpp>

namespace penstock::inline v0_1::detail {

// What has ended is gone before anybody counts.
inline const std::string redis_semaphore_state = R"lua(
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local function keep()
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ARGV[3] / 1000) * 2))
end
local function is_room() return redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) end
)lua";

/// 4 when the server began to run. {1, the fencing token}, or {0, how long it is in µs until there may be a permit}. A server that began less than a
/// lease ago may have forgotten who holds one: they say so until then. The token is greater than any before, also than those that a restart made it
/// forget, unless its clock was set back meanwhile. May be asked twice for the same: it is entered once.
inline const redis_script& redis_semaphore_acquire() {
  static const redis_script script{redis_semaphore_state + R"lua(
local silence = ARGV[4] + ARGV[3] - now
if silence > 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return {0, silence}
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and not is_room() then return {0, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now} end
local fence = math.max(now, (redis.call('GET', KEYS[2]) or 0) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', fence))
keep()
return {1, fence}
)lua"};
  return script;
}

/// Whether the lease goes on from now. One that the server has forgotten is entered again if there is room.
inline const redis_script& redis_semaphore_renew() {
  static const redis_script script{redis_semaphore_state + R"lua(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and not is_room() then return 0 end
keep()
return 1
)lua"};
  return script;
}

/// {how many are held, whether so many hold them because the server has just begun: 4 as above}
inline const redis_script& redis_semaphore_look() {
  static const redis_script script{redis_semaphore_state + R"lua(
return {redis.call('ZCARD', KEYS[1]), math.max(0, ARGV[4] + ARGV[3] - now)}
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
