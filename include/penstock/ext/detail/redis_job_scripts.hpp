// penstock/ext/detail/redis_job_scripts.hpp: the steps of redis_store, each one script in Lua that happens wholly. Here: what they begin with, and adding.
//
// The others are in redis_turn_script.hpp (settling and fetching), redis_lease_scripts.hpp (leases of jobs that run) and redis_job_admin.hpp (by hand).
// What lies where is BullMQ's layout of its major version 6; the code is our own. All scripts get the same KEYS, in the order of redis_job_keys, and
// begin with ARGV[1], what the keys of single jobs begin with ("bull:mails:"), and ARGV[2], the time in ms. Keys of single jobs are made in the
// scripts, as BullMQ makes them: on a cluster the prefix or the queue's name has to hold a {tag}.
//
// Refused        an error reply whose first word is PENSTOCK_MAJOR (the queue's metadata is of another version) or PENSTOCK_FLOWS; then nothing was
//                changed.
#pragma once

#include <array>
#include <string>

#include <penstock/ext/redis_commands.hpp>

namespace penstock::inline v0_1::detail {

inline constexpr std::array<const char*, 17> redis_job_keys{"wait",
                                                            "active",
                                                            "prioritized",
                                                            "delayed",
                                                            "marker",
                                                            "completed",
                                                            "failed",
                                                            "stalled",
                                                            "stalled-check",
                                                            "limiter",
                                                            "meta",
                                                            "events",
                                                            "id",
                                                            "pc",
                                                            "paused",
                                                            "waiting-children",
                                                            "penstock:fence"};  // the last one is ours: the newest fence. A job's id has no ':' in it

// What all of them need: the queue's metadata, and how a job gets into a line.
inline constexpr const char* redis_job_base = R"lua(
local wait, active, prioritized, delayed, marker, completed, failed, stalled, checked = unpack(KEYS, 1, 9)
local limiter, meta, events, ids, pc, legacy, parents, fences = unpack(KEYS, 10, 17)
local call = redis.call
local P, now, stamp = ARGV[1], tonumber(ARGV[2]), ARGV[2]  -- numbers that are texts already need not be written down again
local m = call('HMGET', meta, 'version', 'paused', 'concurrency', 'max', 'duration', 'opts.maxLenEvents')
if m[1] and string.sub(m[1], 1, 9) ~= 'bullmq:6.' then return redis.error_reply('PENSTOCK_MAJOR ' .. m[1]) end
local paused, concurrency, keep_events = m[2], tonumber(m[3]), m[6] or '10000'

local trimmed = false  -- the first event of a script makes room for all of them
local function event(...)
  if trimmed then return call('XADD', events, '*', 'event', ...) end
  trimmed = true
  return call('XADD', events, 'MAXLEN', '~', keep_events, '*', 'event', ...)
end
local function held() return paused or (concurrency and call('LLEN', active) >= concurrency) end
local function ready() return call('LLEN', wait) > 0 or call('ZCARD', prioritized) > 0 end
local function mark() if not held() then call('ZADD', marker, '0', '0') end end
local function mark_delayed()
  local head = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if head[2] then call('ZADD', marker, math.floor(head[2] / 4096), '1') end
end
local function put(id, priority, first)
  if priority > 0 then
    local n = first and 0 or call('INCR', pc)
    call('ZADD', prioritized, priority * 4294967296 + n % 4294967296, id)
  else
    call(first and 'RPUSH' or 'LPUSH', wait, id)
  end
end
local function put_delayed(id, due)
  local first = due * 4096
  local last = call('ZREVRANGEBYSCORE', delayed, first + 4095, first, 'WITHSCORES', 'LIMIT', 0, 1)
  call('ZADD', delayed, first + (last[2] and math.min(last[2] - first + 1, 4095) or 0), id)
end
local function priority_of(id) return tonumber(call('HGET', P .. id, 'priority') or '0') or 0 end
local function unguard(id, key)
  local guard = P .. 'de:' .. key
  if call('GET', guard) == id and call('PTTL', guard) == -1 then call('DEL', guard) end
end
local function forget(id)
  local job = P .. id
  call('DEL', job, job .. ':lock', job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed', job .. ':unsuccessful')
end
)lua";

// add(at): the job whose arguments begin there; gives its id, whether it was there already, where the next one begins, and the place of this in the
// stream of events: its own are behind it, those of who had the id before are not. `number` is the last one that was given. Jobs of Node's flows and
// schedulers are not replaced.
inline constexpr const char* redis_job_add = R"lua(
local some_ready, some_delayed, number = false, false, 0
local function add(at)
  local name, data, opts = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local id, delay, priority, first, key = '', '0', '0', false, ''
  local next_at = at + 4
  if ARGV[at + 3] == '1' then
    id, delay, priority, first, key = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7] == '1', ARGV[at + 8]
    next_at = at + 11
  end
  number = number + 1
  if id == '' then
    id = string.format('%d', number)
  elseif call('EXISTS', P .. id) == 1 then
    return id, true, next_at, event('duplicated', 'jobId', id)
  end
  local job = P .. id
  if key ~= '' then
    local ttl, how, guard = tonumber(ARGV[at + 9]), ARGV[at + 10], P .. 'de:' .. key
    local extend, replace = how == 'e' or how == 'b', how == 'r' or how == 'b'
    local there = call('GET', guard)
    local tied = there and replace and (call('HEXISTS', P .. there, 'parentKey') == 1 or call('HEXISTS', P .. there, 'rjk') == 1)
    if there and replace and not tied and call('ZREM', delayed, there) > 0 then
      forget(there)
      event('removed', 'jobId', there, 'prev', 'delayed')
      some_delayed = true
      if ttl > 0 and extend then
        call('SET', guard, id, 'PX', ttl)
      else
        call('SET', guard, id, 'KEEPTTL')
      end
    elseif there then
      if ttl > 0 and extend then call('PEXPIRE', guard, ttl) end
      return there, true, next_at, event('deduplicated', 'jobId', there, 'deduplicationId', key, 'deduplicatedJobId', id)
    elseif ttl > 0 then
      call('SET', guard, id, 'PX', ttl)
    else
      call('SET', guard, id)
    end
    call('HSET', job, 'name', name, 'data', data, 'opts', opts, 'timestamp', stamp, 'delay', delay, 'priority', priority, 'deid', key)
  else
    call('HSET', job, 'name', name, 'data', data, 'opts', opts, 'timestamp', stamp, 'delay', delay, 'priority', priority)
  end
  local place = event('added', 'jobId', id, 'name', name)
  if delay ~= '0' then
    local due = now + tonumber(delay)
    put_delayed(id, due)
    event('delayed', 'jobId', id, 'delay', due)
    some_delayed = true
  else
    put(id, tonumber(priority), first)
    event('waiting', 'jobId', id)
    some_ready = true
  end
  return id, false, next_at, place
end
)lua";

// ARGV: prefix, now, count, then each job. Gives nothing if ARGV[4] is 0, else of each its id, 0 or 1, and its place.
template <class = void>
const redis_script& redis_add_jobs() {
  static const redis_script script{std::string{redis_job_base} + redis_job_add + R"lua(
local answers, wanted, at = {}, ARGV[4] == '1', 5
number = call('INCRBY', ids, ARGV[3]) - tonumber(ARGV[3])
for _ = 1, tonumber(ARGV[3]) do
  local id, duplicate, place
  id, duplicate, at, place = add(at)
  if wanted then
    answers[#answers + 1] = id
    answers[#answers + 1] = duplicate and 1 or 0
    answers[#answers + 1] = place
  end
end
if some_ready then mark() end
if some_delayed then mark_delayed() end
return answers
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
