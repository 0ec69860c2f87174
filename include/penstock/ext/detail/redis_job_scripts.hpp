// penstock/ext/detail/redis_job_scripts.hpp: the steps of redis_store, each one script in Lua that happens wholly.
//
// What lies where is BullMQ's layout of its major version 6; the code is our own. All scripts get the same KEYS, in the order of redis_job_keys, and
// begin with ARGV[1], what the keys of single jobs begin with ("bull:mails:"), and ARGV[2], the time in ms. Keys of single jobs are made in the
// scripts, as BullMQ makes them: on a cluster the prefix or the queue's name has to hold a {tag}.
//
// Refused        an error reply whose first word is PENSTOCK_MAJOR (the queue's metadata is of another version) or PENSTOCK_FLOWS; then nothing was
//                changed.
// One batch      costs one call; each job in it some fifteen commands inside of the server: that is what limits jobs per second.
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

// ARGV: prefix, now, count, then each job. Gives nothing if ARGV[4] is 0, else for each its id, 0 or 1, and the place.
inline const redis_script& redis_add_jobs() {
  static const redis_script script{std::string{redis_job_base} + redis_job_add + R"lua(
local answers, wanted, at = {}, ARGV[4], 5
number = call('INCRBY', ids, ARGV[3]) - tonumber(ARGV[3])
for _ = 1, tonumber(ARGV[3]) do
  local id, duplicate, place
  id, duplicate, at, place = add(at)
  if wanted ~= '0' then
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
// it is due). Fences are numbers of the queue, greater each time; where there is none yet, or none any more, they go on from the server's time. Gives: a text with 1 for each stale settlement and 0 for the others; more; next due or -1; 1 if a job of a flow stands first; then each job.
inline const redis_script& redis_turn() {
  static const redis_script script{std::string{redis_job_base} + redis_job_add + redis_job_finish + R"lua(
local most, lease, token, worker, settlements = tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local at, stale, settled, any_ended = 8, {}, 0, false
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
      any_ended = true
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

local function next_fence()
  local fence = call('INCR', fences)
  if fence == 1 then
    local t = call('TIME')
    fence = (tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)) * 4096
    call('SET', fences, string.format('%.0f', fence))
  end
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
    local j = call('HMGET', job, 'name', 'data', 'opts', 'atm', 'ats', 'deid', 'defa', 'parentKey', 'rjk')
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
        local fence = next_fence()
        call('SET', job .. ':lock', token .. ':' .. string.format('%.0f', fence), 'PX', lease)
        if max and call('INCR', limiter) == 1 then call('PEXPIRE', limiter, tonumber(m[5]) or 1000) end
        jobs[#jobs + 1] = {id, fence, j[1] or '', j[2], tonumber(j[4]) or 0, j[6] or '', o}
        room = room - 1
        if many then begun[#begun + 1] = id end
      end
    end
  end
  if taken > 0 then call('LTRIM', wait, 0, -taken - 1) end
  for first = 1, many and #begun or 0, 1000 do call('LPUSH', active, unpack(begun, first, math.min(first + 999, #begun))) end
  if max and #jobs > 0 and tonumber(call('GET', limiter) or '0') >= max then next_due = now + math.max(call('PTTL', limiter), 1) end
end
retain()
local more = ready()
if any_ended and #jobs == 0 and not more and call('LLEN', active) == 0 then event('drained') end
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

// ARGV: prefix, now, token, lease in ms, then id and fence of each. Gives a text with 1 for each that is lost.
inline const redis_script& redis_extend_leases() {
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
inline const redis_script& redis_take_back() {
  static const redis_script script{std::string{redis_job_base} + R"lua(
call('SREM', stalled, '')  -- first, as in redis_turn(): without memory, too, what stalled is taken back
if not call('SET', checked, stamp, 'PX', ARGV[3], 'NX') then return {0, 0} end
local most, back, dead = tonumber(ARGV[4]), 0, 0
local suspects = call('SMEMBERS', stalled)
call('DEL', stalled)
for _, id in ipairs(suspects) do
  local job = P .. id
  if call('EXISTS', job .. ':lock') == 0 and call('LREM', active, 1, id) > 0 and call('EXISTS', job) == 1 then
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
inline const redis_script& redis_say() {
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
