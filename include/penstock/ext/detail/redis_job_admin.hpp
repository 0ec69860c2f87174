// penstock/ext/detail/redis_job_admin.hpp: what redis_store does by hand, in Lua: looking, pausing, removing, promoting, redriving, cleaning.
//
// As in redis_job_scripts.hpp. What goes over many jobs takes up to 1000 a call, so that others get a turn in between.
#pragma once

#include <string>

#include <penstock/ext/detail/redis_job_scripts.hpp>

namespace penstock::inline v0_1::detail {

// locate(id): the name of the state. Waiting and active ones are looked for in a list: O(n), to look and not to work with.
inline constexpr const char* redis_job_state = R"lua(
local function locate(id)
  if call('ZSCORE', completed, id) then return 'completed' end
  if call('ZSCORE', failed, id) then return 'failed' end
  if call('ZSCORE', delayed, id) then return 'delayed' end
  if call('ZSCORE', prioritized, id) then return 'prioritized' end
  if call('ZSCORE', parents, id) then return 'waiting-children' end
  if call('LPOS', active, id) then return 'active' end
  if call('LPOS', wait, id) then return 'wait' end
  if call('LPOS', legacy, id) then return 'paused' end
  return ''
end
local function take_out(id, state)
  -- From the right, where the next ones stand: drain() begins there, and each is found at once.
  if state == 'wait' then call('LREM', wait, -1, id)
  elseif state == 'active' then call('LREM', active, -1, id)
  elseif state == 'paused' then call('LREM', legacy, -1, id)
  elseif state ~= '' then call('ZREM', P .. state, id) end
end
local function drop(id, state)
  local key = call('HGET', P .. id, 'deid')
  if key then
    local guard = P .. 'de:' .. key
    if call('GET', guard) == id then call('DEL', guard) end
  end
  forget(id)
end
)lua";

// ARGV: prefix, now, then ids; or a state, the first place and the last one. Gives, of each that is there: id, state, the fields of its hash that
// redis_store::info_of() names, what is left of its lock in ms, its score.
inline constexpr const char* redis_job_look = R"lua(
local function look(id, state)
  local job = P .. id
  local f = call('HMGET', job, 'name', 'timestamp', 'priority', 'processedOn', 'finishedOn', 'failedReason', 'returnvalue', 'atm', 'stc',
    'progress', 'parentKey')
  if not f[2] then return false end
  local left, score = -1, false
  if state == 'active' then left = call('PTTL', job .. ':lock') end
  if state == 'delayed' then score = string.format('%.0f', math.floor(call('ZSCORE', delayed, id) / 4096)) end
  local open = state == 'waiting-children' and call('SCARD', job .. ':dependencies') or 0
  return {id, state, f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], left, score, open}
end
)lua";

template <class = void>
const redis_script& redis_find_job() {
  static const redis_script script{std::string{redis_job_base} + redis_job_state + redis_job_look + R"lua(
if call('TYPE', P .. ARGV[3]).ok ~= 'hash' then return false end  -- one of the queue's own keys
return look(ARGV[3], locate(ARGV[3]))
)lua"};
  return script;
}

// ARGV: prefix, now, state, first, count.
template <class = void>
const redis_script& redis_list_jobs() {
  static const redis_script script{std::string{redis_job_base} + redis_job_state + redis_job_look + R"lua(
local state, first, count = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local answers = {}
local function tell(all, s)
  for _, id in ipairs(all) do
    local j = look(id, s)
    if j then answers[#answers + 1] = j end
  end
end
local function from_right(list, s)
  local n = call('LLEN', list)
  local skipped = math.min(first, n)
  local all = count > 0 and call('LRANGE', list, -(skipped + count), -(skipped + 1)) or {}
  if skipped == n then all = {} end
  local turned = {}
  for i = #all, 1, -1 do turned[#turned + 1] = all[i] end
  tell(turned, s)
  first = first - skipped
  count = count - #turned
end
local function from_set(set, s)
  if count > 0 then tell(call('ZRANGE', set, first, first + count - 1), s) end
end
if state == 'wait' then
  from_right(wait, 'wait')
  from_set(prioritized, 'prioritized')
elseif state == 'active' then
  from_right(active, 'active')
else
  from_set(P .. state, state)
end
return answers
)lua"};
  return script;
}

// ARGV: prefix, now, what, and what it needs: see the branches. Gives a number; -1: there is none; -2: it is active; -3: it belongs to a flow or a scheduler.
template <class = void>
const redis_script& redis_manage_jobs() {
  static const redis_script script{std::string{redis_job_base} + redis_job_state + R"lua(
local what, id = ARGV[3], ARGV[4]
-- Without it its parent would wait for ever, or its scheduler add no other. (Of those that have completed neither is so.)
local function is_tied(one, over)
  return call('HEXISTS', P .. one, 'parentKey') == 1 or call('EXISTS', P .. one .. ':dependencies') == 1 or
    (not over and call('HEXISTS', P .. one, 'rjk') == 1)
end
local function redrive(one)
  local job = P .. one
  call('ZREM', failed, one)
  call('HDEL', job, 'atm', 'stc', 'progress', 'failedReason', 'stacktrace', 'finishedOn', 'processedOn', 'returnvalue', 'defa')
  put(one, priority_of(one), false)
  event('waiting', 'jobId', one, 'prev', 'failed')
end
if what == 'pause' then
  call('HSET', meta, 'paused', 1)
  call('DEL', marker)
  if not paused then event('paused') end
  return 1
elseif what == 'resume' then
  call('HDEL', meta, 'paused')
  local rested = paused
  paused = false
  if call('EXISTS', legacy) == 1 then
    while call('RPOPLPUSH', legacy, wait) do end
  end
  if ready() then mark() end
  mark_delayed()
  if rested then event('resumed') end
  return 1
elseif what == 'remove' then
  local state = locate(id)
  if call('TYPE', P .. id).ok ~= 'hash' or call('HEXISTS', P .. id, 'timestamp') == 0 then return -1 end  -- none, or a key of the queue's own
  if state == 'active' or call('EXISTS', P .. id .. ':lock') == 1 then return -2 end
  if is_tied(id, state == 'completed' or state == 'failed') then return -3 end
  take_out(id, state)
  drop(id)
  event('removed', 'jobId', id, 'prev', state)
  return 1
elseif what == 'promote' then
  if call('ZREM', delayed, id) == 0 then return -1 end
  put(id, priority_of(id), false)
  call('HSET', P .. id, 'delay', 0)
  event('waiting', 'jobId', id, 'prev', 'delayed')
  mark()
  return 1
elseif what == 'redrive' then
  if not call('ZSCORE', failed, id) then return -1 end
  if call('HEXISTS', P .. id, 'parentKey') == 1 then return -3 end
  redrive(id)
  mark()
  return 1
elseif what == 'redrive_all' then
  local n, most, passed = 0, tonumber(id), 0
  while n < most do
    local some = call('ZRANGE', failed, passed, passed + most - n - 1)
    if #some == 0 then break end
    for _, one in ipairs(some) do
      if call('HEXISTS', P .. one, 'parentKey') == 1 then
        passed = passed + 1
      else
        redrive(one)
        n = n + 1
      end
    end
  end
  if n > 0 then mark() end
  return n
elseif what == 'drain' then
  local n, stuck = 0, false
  local function each(all, state)
    for _, one in ipairs(all) do
      stuck = stuck or is_tied(one)
      if stuck then return end
      take_out(one, state)
      drop(one)
      n = n + 1
    end
  end
  local function from_right(list)
    local all, turned = call('LRANGE', list, -1000, -1), {}
    for i = #all, 1, -1 do turned[#turned + 1] = all[i] end
    return turned
  end
  each(from_right(wait), 'wait')
  if n < 1000 then each(from_right(legacy), 'paused') end
  if n < 1000 then each(call('ZRANGE', prioritized, 0, 999 - n), 'prioritized') end
  if n < 1000 and id == '1' then each(call('ZRANGE', delayed, 0, 999 - n), 'delayed') end
  return stuck and n == 0 and -3 or n
elseif what == 'clean' then
  local n, most, passed = 0, tonumber(ARGV[6]), 0
  while n < most do
    local some = call('ZRANGEBYSCORE', P .. id, '-inf', ARGV[5], 'LIMIT', passed, most - n)
    if #some == 0 then break end
    for _, one in ipairs(some) do
      if id == 'failed' and is_tied(one, true) then
        passed = passed + 1
      else
        call('ZREM', P .. id, one)
        drop(one)
        n = n + 1
      end
    end
  end
  if n > 0 then event('cleaned', 'count', n) end
  return n
elseif what == 'look_before' then  -- from the id-th on: is there what obliterating is not to take?
  if ARGV[5] ~= '1' and call('LLEN', active) > 0 then return -2 end
  if call('ZCARD', parents) > 0 then return -3 end
  local n, skip = 0, tonumber(id)
  for i, key in ipairs({wait, legacy, active, prioritized, delayed, failed}) do
    local size = call(i <= 3 and 'LLEN' or 'ZCARD', key)
    local some = skip < size and n < 1000 and call(i <= 3 and 'LRANGE' or 'ZRANGE', key, skip, skip + 999 - n) or {}
    for _, one in ipairs(some) do
      if is_tied(one, key == failed) then return -3 end
    end
    n = n + #some
    skip = math.max(skip - size, 0)
  end
  return n
elseif what == 'obliterate' then
  if id ~= '1' and call('LLEN', active) > 0 then return -2 end
  local n = 0
  for _, list in ipairs({wait, legacy, active}) do
    while n < 1000 do
      local one = call('RPOP', list)
      if not one then break end
      if is_tied(one) then
        call('RPUSH', list, one)
        return n > 0 and n or -3
      end
      drop(one)
      n = n + 1
    end
  end
  for _, set in ipairs({prioritized, delayed, parents, failed, completed}) do
    local some = n < 1000 and call('ZRANGE', set, 0, 999 - n) or {}
    for _, one in ipairs(some) do
      if set ~= completed and is_tied(one, set == failed) then return n > 0 and n or -3 end
      call('ZREM', set, one)
      drop(one)
      n = n + 1
    end
  end
  if n == 0 then call('DEL', marker, stalled, checked, limiter, pc) end
  return n
end
return redis.error_reply('unknown: ' .. what)
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
