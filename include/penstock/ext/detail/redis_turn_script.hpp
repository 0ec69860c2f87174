// penstock/ext/detail/redis_turn_script.hpp: of redis_store, the step that settles jobs and fetches others.
//
// As in redis_job_scripts.hpp. One batch costs one call; each job in it some fifteen commands inside of the server, fewer where there are many: that is what
// limits jobs per second.
#pragma once

#include <string>

#include <penstock/ext/detail/redis_job_scripts.hpp>
#include <penstock/ext/redis_commands.hpp>

namespace penstock::inline v0_1::detail {

// finish(...): what becomes of a job that is over. Retention is each finisher's, for all that are over, as in BullMQ; once a call for equal rules.
inline constexpr const char* redis_job_finish = R"lua(
local retention, ended = {}, nil  -- ended: of many, by their set
local function finish(id, how, made, text, count, age, limit, key)
  local job, over = P .. id, how == 'completed' and completed or failed
  if key ~= '' then unguard(id, key) end
  if count == 0 then
    forget(id)
  else
    if ended then
      local some = ended[over]
      some[#some + 1] = stamp
      some[#some + 1] = id
      if #some >= 2000 then
        call('ZADD', over, unpack(some))
        ended[over] = {}
      end
    else
      call('ZADD', over, stamp, id)
    end
    if how == 'completed' then
      call('HSET', job, 'atm', made, 'returnvalue', text, 'finishedOn', stamp)
    else
      call('HSET', job, 'atm', made, 'failedReason', text, 'finishedOn', stamp)
      call('HDEL', job, 'defa')
    end
    if count > 0 or age > 0 then retention[over .. ' ' .. count .. ' ' .. age] = {over, count, age, limit} end
  end
  event(how, 'jobId', id, how == 'completed' and 'returnvalue' or 'failedReason', text, 'prev', 'active')
end
local function retain()
  for over, some in pairs(ended or {}) do
    if #some > 0 then call('ZADD', over, unpack(some)) end
  end
  for _, rule in pairs(retention) do
    local over, count, age, limit = unpack(rule)
    local gone = {}
    if age > 0 then gone = call('ZRANGEBYSCORE', over, '-inf', now - age, 'LIMIT', 0, limit > 0 and limit or 1000) end
    local extra = count > 0 and call('ZCARD', over) - count or 0
    if #gone == 0 and extra > 0 then gone = call('ZRANGE', over, 0, math.min(1000, extra) - 1) end
    for _, id in ipairs(gone) do
      if over == completed or call('HEXISTS', P .. id, 'parentKey') == 0 then  -- a parent may wait for it still
        forget(id)
        call('ZREM', over, id)
      end
    end
  end
end
)lua";

// ARGV: prefix, now, most, lease in ms, token, worker, settlements, then each of these: id, fence, attempt, how, text, stack, count, age, limit, key,
// additions and the jobs that are added. `how`: completed, failed, exhausted, retry, retry_first, released (for these three `count` is the time when
// it is due). Fences are numbers of the queue, greater each time, and not behind the server's clock (four for each µs). Gives: a text with 1
// for each stale settlement and 0 for the others; more; next due or -1; 1 if a job of a flow stands first; then each job.
template <class = void>
const redis_script& redis_turn() {
  static const redis_script script{std::string{redis_job_base} + redis_job_add + redis_job_finish + R"lua(
local most, lease, token, worker, settlements = tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local at, stale, settled, some_over = 8, {}, 0, false
local locks, done  -- of several: looked up, and let go, together
if settlements > 1 then
  locks, done, ended = {}, {}, {[completed] = {}, [failed] = {}}
  local names, n = {}, 0
  for i = 1, settlements do
    n = n + 1
    names[n] = P .. ARGV[at] .. ':lock'
    local additions = tonumber(ARGV[at + 10])
    at = at + 11
    for _ = 1, additions do at = at + (ARGV[at + 3] == '1' and 11 or 4) end
    if n == 1000 or i == settlements then
      for _, lock in ipairs(call('MGET', unpack(names, 1, n))) do locks[#locks + 1] = lock end
      n = 0
    end
  end
  at = 8
end
for i = 1, settlements do
  local id, fence, made, how, text, stack = unpack(ARGV, at, at + 5)
  local additions, next_at = tonumber(ARGV[at + 10]), at + 11
  local job = P .. id
  local lock
  if locks then lock = locks[i] else lock = call('GET', job .. ':lock') end
  local counts = lock == token .. ':' .. fence and call('LREM', active, '-1', id) > 0
  stale[i] = counts and '0' or '1'
  if counts then
    settled = settled + 1
    if done then
      done[settled] = id
    else
      call('DEL', job .. ':lock')
      call('SREM', stalled, id)
    end
    if how == 'completed' or how == 'failed' or how == 'exhausted' then
      if how ~= 'completed' then
        call('HSET', job, 'stacktrace', stack)
      elseif text ~= 'null' and not pcall(cjson.decode, text) then
        text = cjson.encode(text)  -- or BullMQ's QueueEvents would fail of it
      end
      local count, age, limit = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
      finish(id, how == 'completed' and how or 'failed', made, text, count, age, limit, ARGV[at + 9])
      some_over = true
      if how == 'exhausted' then event('retries-exhausted', 'jobId', id, 'attemptsMade', made) end
    else
      local due = tonumber(ARGV[at + 6])
      if how ~= 'released' then
        call('HSET', job, 'atm', made, 'failedReason', text, 'stacktrace', stack)
      end
      if due > now then
        call('HSET', job, 'delay', due - now)
        put_delayed(id, due)
        event('delayed', 'jobId', id, 'delay', due)
        some_delayed = true
      else
        put(id, priority_of(id), how ~= 'retry')
        event('waiting', 'jobId', id, 'prev', 'active')
        some_ready = true
      end
    end
    if additions > 0 then number = call('INCRBY', ids, additions) - additions end
    for _ = 1, additions do _, _, next_at = add(next_at) end
  elseif additions > 0 then
    for _ = 1, additions do next_at = next_at + (ARGV[next_at + 3] == '1' and 11 or 4) end
  end
  at = next_at
end
-- Before any of them is fetched again.
for first = 1, done and settled or 0, 1000 do
  local last = math.min(first + 999, settled)
  call('SREM', stalled, unpack(done, first, last))
  for i = first, last do done[i] = P .. done[i] .. ':lock' end
  call('DEL', unpack(done, first, last))
end

local fence  -- the newest one: not behind the clock, so that none comes again where the server has lost its latest writes
local function next_fence()
  if not fence then
    local t = call('TIME')
    local since = math.floor((t[1] * 1000000 + t[2]) * 4.096)  -- exact in a double until 2039
    fence = math.max(tonumber(call('GET', fences) or '0'), since)
  end
  fence = fence + 1
  return fence
end
local jobs, refused, next_due = {}, 0, -1
-- A server without memory refuses a script whose first write may need some, but none that only goes on with it: what is there can be worked off.
if settled == 0 then call('SREM', stalled, '') end
local head = most > 0 and call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if most > 0 then
  if head[2] and tonumber(head[2]) < (now + 1) * 4096 then
    local due = call('ZRANGEBYSCORE', delayed, 0, (now + 1) * 4096 - 1, 'LIMIT', 0, 1000)
    call('ZREM', delayed, unpack(due))
    head = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    for _, id in ipairs(due) do
      put(id, priority_of(id), false)
      call('HSET', P .. id, 'delay', 0)
      event('waiting', 'jobId', id, 'prev', 'delayed')
    end
    some_ready = true
  end
  local room, max = most, tonumber(m[4])
  if max then
    local used = tonumber(call('GET', limiter) or '0')
    if used >= max then next_due = now + math.max(call('PTTL', limiter), 1) end
    room = math.min(room, max - used)
  end
  if concurrency then room = math.min(room, concurrency - call('LLEN', active)) end
  if paused then room = 0 end
  -- Several are read from the line, and taken out and put to the active ones together; one alone is moved.
  local seen, many, line, taken, begun = {}, room > 1, nil, 0, nil
  if many then line, begun = {}, {} end
  while room > 0 do
    local id, score = nil, nil
    if many then
      if taken == #line then
        if taken > 0 then call('LTRIM', wait, 0, -taken - 1) end
        line, taken = call('LRANGE', wait, -math.min(room, 1000), -1), 0
      end
      id = line[#line - taken]
      if id then taken = taken + 1 end
    else
      id = call('RPOPLPUSH', wait, active)
    end
    if not id then
      id, score = unpack(call('ZPOPMIN', prioritized))
      if not id then
        if settlements == 0 then call('DEL', pc) end
        break
      end
      if not many then call('LPUSH', active, id) end
    end
    local job = P .. id
    local j = call('HMGET', job, 'name', 'data', 'opts', 'atm', 'ats', 'deid', 'defa', 'parentKey', 'rjk', 'timestamp')
    if j[8] or j[9] or (j[3] and string.find(j[3], 'keepLastIfActive', 1, true)) then
      refused = 1
      if not many then call('LPOP', active) end
      if score then
        call('ZADD', prioritized, score, id)
      elseif many then
        taken = taken - 1
      else
        call('RPUSH', wait, id)
      end
      break
    end
    if not j[2] then
      if not many then call('LPOP', active) end
    else
      local o = false
      if j[3] and j[3] ~= '{}' then
        o = seen[j[3]]
        if not o then
          local ok, t = pcall(cjson.decode, j[3])
          if not ok or type(t) ~= 'table' then t = {} end
          local b = t.backoff
          if type(b) == 'number' then b = {type = 'fixed', delay = b} end
          if type(b) ~= 'table' then b = {type = ''} end
          local function text(v)
            if v == nil or v == cjson.null then return '' end
            return type(v) == 'number' and string.format('%.17g', v) or tostring(v)
          end
          local function rule(r)
            if r == true then return '0', '0', '0' end
            if r == false then return '-1', '0', '0' end
            if type(r) == 'number' then return text(r), '0', '0' end
            if type(r) ~= 'table' then return '', '0', '0' end
            local age = tonumber(r.age) or 0
            return text(tonumber(r.count) or -1), text(age * 1000), text(tonumber(r.limit) or 0)
          end
          local c1, c2, c3 = rule(t.removeOnComplete)
          local f1, f2, f3 = rule(t.removeOnFail)
          o = {text(t.attempts), text(b.type), text(b.delay), text(b.jitter), text(b.cap), text(t.timeout), text(t.kl)}
          o[8], o[9], o[10], o[11] = t.lifo == true and '1' or '', c1, c2, c3
          o[12], o[13], o[14] = f1, f2, f3
          o.delay = tonumber(t.delay)  -- for below; no part of the answer
          seen[j[3]] = o
        end
      end
      local starts = (tonumber(j[5]) or 0) + 1
      local starts_text = starts == 1 and '1' or tostring(starts)
      if worker ~= '' then
        call('HSET', job, 'processedOn', stamp, 'ats', starts_text, 'pb', worker)
      else
        call('HSET', job, 'processedOn', stamp, 'ats', starts_text)
      end
      event('active', 'jobId', id, 'prev', 'waiting')
      if j[7] then
        local count, age, limit = -1, 0, 0
        if o and o[12] ~= '' then count, age, limit = tonumber(o[12]), tonumber(o[13]), tonumber(o[14]) end
        if not many then call('LPOP', active) end
        call('HSET', job, 'stacktrace', cjson.encode({j[7]}))
        finish(id, 'failed', (tonumber(j[4]) or 0) + 1, j[7], count, age, limit, j[6] or '')
      else
        next_fence()
        call('SET', job .. ':lock', token .. ':' .. string.format('%d', fence), 'PX', lease)
        if max and call('INCR', limiter) == 1 then call('PEXPIRE', limiter, tonumber(m[5]) or 1000) end
        -- Since when it was due is known of a first run only: of others BullMQ keeps no time.
        local since = starts == 1 and tonumber(j[10])
        jobs[#jobs + 1] = {id, fence, j[1] or '', j[2], tonumber(j[4]) or 0, j[6] or '', since and since + (o and o.delay or 0) or -1, o}
        room = room - 1
        if many then begun[#begun + 1] = id end
      end
    end
  end
  if taken > 0 then call('LTRIM', wait, 0, -taken - 1) end
  for first = 1, many and #begun or 0, 1000 do call('LPUSH', active, unpack(begun, first, math.min(first + 999, #begun))) end
  if fence then call('SET', fences, string.format('%.0f', fence)) end
  if max and #jobs > 0 and tonumber(call('GET', limiter) or '0') >= max then next_due = now + math.max(call('PTTL', limiter), 1) end
end
retain()
local more = ready()
if some_over and #jobs == 0 and not more and call('LLEN', active) == 0 then event('drained') end
if some_delayed then mark_delayed() end
local limited = next_due >= 0
if more and refused == 0 and not limited and (some_ready or #jobs > 0 or concurrency) then mark() end
if refused == 1 then
  mark()
  if settlements == 0 and #jobs == 0 then return redis.error_reply('PENSTOCK_FLOWS ' .. P) end
end
if most > 0 then
  if head[2] then
    local due = math.floor(head[2] / 4096)
    next_due = limited and math.min(next_due, due) or due
  end
end
local answers = {table.concat(stale), (more and refused == 0 and not limited and not held()) and 1 or 0, next_due, refused}
for _, j in ipairs(jobs) do answers[#answers + 1] = j end
return answers
)lua"};
  return script;
}

}  // namespace penstock::inline v0_1::detail
