// penstock/ext/detail/redis_lease_scripts.hpp: of redis_store, the steps about jobs that run: their leases, what they say, and those whose lease ran out.
//
// As in redis_job_scripts.hpp.
#pragma once

#include <string>

#include <penstock/ext/detail/redis_job_scripts.hpp>
#include <penstock/ext/redis_commands.hpp>

namespace penstock::inline v0_1::detail {

// ARGV: prefix, now, token, lease in ms, then id and fence of each. Gives a text with 1 for each that is lost.
template <class = void>
const redis_script& redis_extend_leases() {
  static const redis_script script{std::string{redis_job_base} + R"lua(
local lost = {}
for at = 5, #ARGV, 2 do
  local lock, value = P .. ARGV[at] .. ':lock', ARGV[3] .. ':' .. ARGV[at + 1]
  local counts = call('GET', lock) == value
  if counts then
    call('PEXPIRE', lock, ARGV[4])
    call('SREM', stalled, ARGV[at])
  end
  lost[#lost + 1] = counts and '0' or '1'
end
return table.concat(lost)
)lua"};
  return script;
}

// ARGV: prefix, now, interval in ms, how often a job may stall. Gives how many are back, and how many of them will fail.
template <class = void>
const redis_script& redis_take_back() {
  static const redis_script script{std::string{redis_job_base} + R"lua(
call('SREM', stalled, '')  -- first, as in redis_turn(): without memory, too, what stalled is taken back
if not call('SET', checked, stamp, 'PX', ARGV[3], 'NX') then return {0, 0} end
local most, back, dead = tonumber(ARGV[4]), 0, 0
local suspects = {}
for _, id in ipairs(call('SMEMBERS', stalled)) do suspects[id] = true end
call('DEL', stalled)
-- Each goes before all others: so the one that was fetched last comes first.
for _, id in ipairs(next(suspects) and call('LRANGE', active, 0, -1) or {}) do
  local job = P .. id
  if suspects[id] and call('EXISTS', job .. ':lock') == 0 and call('LREM', active, 1, id) > 0 and call('EXISTS', job) == 1 then
    if call('HINCRBY', job, 'stc', 1) > most and call('HEXISTS', job, 'rjk') == 0 then
      call('HSET', job, 'defa', 'job stalled more than allowable limit')
      dead = dead + 1
    else
      back = back + 1
    end
    call('RPUSH', wait, id)
    event('waiting', 'jobId', id, 'prev', 'active')
    event('stalled', 'jobId', id)
  end
end
if back + dead > 0 then mark() end
local first = 0
repeat
  local some = call('LRANGE', active, first, first + 999)
  if #some > 0 then call('SADD', stalled, unpack(some)) end
  first = first + 1000
until #some < 1000
return {back, dead}
)lua"};
  return script;
}

// ARGV: prefix, now, token, id, fence, what: progress or log, its text, how many lines are kept. Gives 0 if the lease is lost.
template <class = void>
const redis_script& redis_say() {
  static const redis_script script{std::string{redis_job_base} + R"lua(
local id, job = ARGV[4], P .. ARGV[4]
if call('GET', job .. ':lock') ~= ARGV[3] .. ':' .. ARGV[5] then return 0 end
if ARGV[6] == 'progress' then
  call('HSET', job, 'progress', ARGV[7])
  event('progress', 'jobId', id, 'data', ARGV[7])
elseif ARGV[8] ~= '0' then
  call('RPUSH', job .. ':logs', ARGV[7])
  call('LTRIM', job .. ':logs', -tonumber(ARGV[8]), -1)
end
return 1
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
