// penstock/ext/detail/redis_bucket_scripts.hpp: GCRA on the server.
//
// The key holds "us rem run": the theoretical arrival time, us + rem / den microseconds of the server's clock, and the run of the server in which it
// was written. All arithmetic is on integers below 2^53, in units of 1 / den µs, and so exact: a token is `num` of them.
//
// ARGV: 1 run, 2 num, 3 den, 4 burst, 5 what an unknown bucket is ("full" or "empty"), 6 how many ms a full one is kept; and the script's own from 7
// on.
#pragma once

#include <string>

#include <penstock/ext/redis_commands.hpp>

namespace penstock::inline v0_1::detail {

// `debt` is what is used up now. A bucket that this run of the server has not written may be out of date, or gone: it is empty, or what it says.
inline const std::string redis_bucket_state = R"lua(
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local num, den, full = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[2] * ARGV[4]
local us, rem, run = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) (%w+)$')
local debt = us and math.max(0, (us - now) * den + math.min(rem, den - 1)) or 0
local function whole(units) return (units - units % den) / den end
local function rounded_up(units) return whole(units) + (units % den > 0 and 1 or 0) end
local function keep(units)
  debt, us, rem = units, now + whole(units), units % den
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %s', us, rem, ARGV[1]), 'PX', string.format('%.0f', math.ceil(units / den / 1000) + ARGV[6]))
end
if run ~= ARGV[1] then keep(ARGV[5] == 'empty' and math.max(debt, full) or debt) end
)lua";

/// 7 n, 8 the longest wait in µs. {1, wait in µs, us, rem} if they are taken, to be used after the wait; else {0, wait}.
inline const redis_script& redis_bucket_take() {
  static const redis_script script{redis_bucket_state + R"lua(
local after = debt + ARGV[7] * num
local wait = math.max(0, rounded_up(after - full))
if wait > tonumber(ARGV[8]) or after > 9007199254740991 then return {0, wait} end
keep(after)
return {1, wait, string.format('%.0f', us), string.format('%.0f', rem)}
)lua"};
  return script;
}

/// 7 n. {how many there are, how long until there are n in µs}
inline const redis_script& redis_bucket_look() {
  static const redis_script script{redis_bucket_state + R"lua(
local missing = debt + ARGV[7] * num - full
return {math.floor((full - debt) / num), math.max(0, rounded_up(missing))}
)lua"};
  return script;
}

/// 7 n. Not while somebody waits: who waits has been told when, and those who come would have the same time.
inline const redis_script& redis_bucket_refund() {
  static const redis_script script{redis_bucket_state + R"lua(
if debt > full then return 0 end
keep(math.max(0, debt - ARGV[7] * num))
return 1
)lua"};
  return script;
}

/// 7 n, 8 us, 9 rem of redis_bucket_take(). Only if nobody has taken anything since, for the same reason.
inline const redis_script& redis_bucket_cancel() {
  static const redis_script script{redis_bucket_state + R"lua(
if run ~= ARGV[1] or us ~= ARGV[8] or rem ~= ARGV[9] then return 0 end
keep(math.max(0, debt - ARGV[7] * num))
return 1
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
