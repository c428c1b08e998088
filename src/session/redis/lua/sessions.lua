-- Sealed sessions: lifetimes, caps, numbers, stored responses (PROTOCOL sections 3.4, 3.6, 8.1).
--
-- session:SID   its record, phase (reserved, pending, established), numbers, and the state of its latest answer
-- progress:SID  by number, who makes the answer (replica:attempt) and how many retransmissions have waited
-- answer:SID    the stored response; late:SID:NUMBER one that only a waiter is to have
-- deadlines, pending, whose, answers, sizes: every session's place in the orders, and what its end gives back

local REPEATS, OVERHEAD = 5, 128
local forget -- what a session carried; see bindings

local function load(sid)
  local v = redis.call('HMGET', at .. 'session:' .. sid,
    'phase', 'owner', 'begun', 'last', 'ending', 'highest', 'accepted', 'digest', 'latest', 'repeats')
  if not v[1] then return nil end
  return { sid = sid, key = at .. 'session:' .. sid, phase = v[1], owner = v[2], begun = tonumber(v[3]),
    last = tonumber(v[4]), ending = v[5] == '1', highest = tonumber(v[6]), accepted = tonumber(v[7]), digest = v[8],
    latest = v[9], repeats = tonumber(v[10]) }
end

local function progress(sid, number)
  local value = redis.call('HGET', at .. 'progress:' .. sid, number)
  if value then return value:match('^(%x+):(%d+):(%d+)$') end
end

-- Whether a replica that lives is making an answer of this session.
local function busy(sid)
  for _, value in ipairs(redis.call('HVALS', at .. 'progress:' .. sid)) do
    if alive(value:match('^%x+')) then return true end
  end
  return false
end

-- The last second in which it is known, if nothing of it is in progress.
local function deadline(s)
  local idle = s.phase == 'pending' and limits.second_request or limits.idle
  if s.ending then idle = math.min(idle, limits.idle_after_end) end
  return math.min(s.begun + limits.age, s.last + idle)
end

local function gone(s)
  if now > s.begun + limits.age then return true end
  if s.phase == 'reserved' then return not alive(s.owner) end
  return now > deadline(s) and not busy(s.sid)
end

-- The session, if a request can be about it.
local function find(sid)
  local s = load(sid)
  if s and s.phase ~= 'reserved' and not gone(s) then return s end
end

local function drop_answer(sid)
  local size = redis.call('HGET', at .. 'sizes', sid)
  if not size then return end
  redis.call('HDEL', at .. 'sizes', sid)
  redis.call('HINCRBY', at .. 'sizes', 'total', -tonumber(size))
  redis.call('ZREM', at .. 'answers', sid)
  redis.call('DEL', at .. 'answer:' .. sid)
end

local function remove(sid)
  redis.call('ZREM', at .. 'deadlines', sid)
  redis.call('ZREM', at .. 'pending', sid)
  drop_answer(sid)
  redis.call('DEL', at .. 'session:' .. sid)
  local whose = redis.call('HGET', at .. 'whose', sid)
  if whose then
    redis.call('HDEL', at .. 'whose', sid)
    local source, kid = whose:match('^(%x+) (%x+)$')
    tally('source:' .. source, -1)
    tally('kid:' .. kid, -1)
  end
  forget(sid)
end

-- Puts a session where its deadline now is. While an answer is made, only the sweep finds out that its replica died.
local function schedule(s)
  redis.call('ZADD', at .. 'deadlines', deadline(s), s.sid)
  local lasts = (deadline(s) - now + 60) * 1000
  if s.phase == 'reserved' or s.latest == 'progress' then lasts = keep end
  redis.call('PEXPIRE', s.key, math.max(lasts, 60000))
end

local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', at .. 'deadlines', '-inf', '(' .. now, 'LIMIT', 0, most)
  for _, sid in ipairs(due) do
    local s = load(sid)
    if not s or gone(s) then
      remove(sid)
    else
      redis.call('ZADD', at .. 'deadlines', math.min(s.begun + limits.age, now + limits.idle), sid)
    end
  end
end

-- Takes note that there will be no response, or, if nothing came of the request yet, that it may come again.
local function give_up(s, number, latest)
  redis.call('HDEL', at .. 'progress:' .. s.sid, number)
  if s.highest == tonumber(number) and s.latest == 'progress' then
    s.latest = latest
    redis.call('HSET', s.key, 'latest', latest)
  end
  schedule(s)
end

-- What a request's number and digest say. A retransmission that is answered or waits is counted.
local function judge(s, number, digest)
  local n = tonumber(number)
  if n > s.highest then
    if s.accepted >= limits.requests then return { 'session-unknown' } end
    return nil
  end
  if n < s.highest or s.digest ~= digest then return { 'replayed' } end
  if s.latest == 'undone' then return nil end
  if s.latest == 'progress' then
    local owner, attempt, waits = progress(s.sid, number)
    if not owner or not alive(owner) then
      give_up(s, number, 'lost')
      return { 'replayed' }
    end
    if s.repeats >= REPEATS then return { 'replayed' } end
    redis.call('HINCRBY', s.key, 'repeats', 1)
    waits = tonumber(waits) + 1
    redis.call('HSET', at .. 'progress:' .. s.sid, number, owner .. ':' .. attempt .. ':' .. waits)
    return { 'wait', waits }
  end
  if s.latest == 'stored' and s.repeats < REPEATS then
    local answer = redis.call('HMGET', at .. 'answer:' .. s.sid, 'type', 'body')
    if answer[1] then
      redis.call('HINCRBY', s.key, 'repeats', 1)
      return { 'repeat', answer[1], answer[2] }
    end
  end
  return { 'replayed' }
end

-- Stores the response to the highest number, at the cost of the oldest ones where it must be. True if it is kept.
local function store(s, content_type, body)
  local size = #content_type + #body + OVERHEAD
  redis.call('HSET', at .. 'answer:' .. s.sid, 'type', content_type, 'body', body)
  redis.call('PEXPIRE', at .. 'answer:' .. s.sid, (deadline(s) - now + 60) * 1000)
  redis.call('HSET', at .. 'sizes', s.sid, size)
  redis.call('ZADD', at .. 'answers', place(), s.sid)
  expire(at .. 'sizes')
  expire(at .. 'answers')
  s.latest = 'stored'
  local total = redis.call('HINCRBY', at .. 'sizes', 'total', size)
  while total > limits.stored_responses do
    local oldest = redis.call('ZRANGE', at .. 'answers', 0, 0)[1]
    if not oldest then break end
    drop_answer(oldest)
    if oldest == s.sid then
      s.latest = 'lost'
    elseif redis.call('EXISTS', at .. 'session:' .. oldest) == 1 then
      redis.call('HSET', at .. 'session:' .. oldest, 'latest', 'lost')
    end
    total = tonumber(redis.call('HGET', at .. 'sizes', 'total'))
  end
  return s.latest == 'stored'
end

local steps = {}

-- The cap under its kid is an argument, for there are two. Tells who was pushed out, if somebody was.
function steps.reserve(sid, source, kid, per_kid)
  local function refusal()
    if redis.call('EXISTS', at .. 'session:' .. sid) == 1 then return 'sid-taken' end
    if tallied('source:' .. source) >= limits.sessions_per_source then return 'source-full' end
    if tallied('kid:' .. kid) >= tonumber(per_kid) then return 'kid-full' end
  end
  sweep(8)
  if redis.call('ZCARD', at .. 'deadlines') >= limits.sessions or refusal() then sweep(256) end
  local refused = refusal()
  if refused then return { refused } end
  local oldest = ''
  if redis.call('ZCARD', at .. 'deadlines') >= limits.sessions then
    oldest = redis.call('ZRANGE', at .. 'pending', 0, 0)[1]
    if not oldest then return { 'sessions-full' } end
    remove(oldest)
  end
  show_life()
  redis.call('HSET', at .. 'session:' .. sid, 'phase', 'reserved', 'owner', me, 'begun', now, 'last', now,
    'ending', '0', 'highest', 0, 'accepted', 0, 'digest', '', 'latest', 'none', 'repeats', 0)
  redis.call('HSET', at .. 'whose', sid, source .. ' ' .. kid)
  tally('source:' .. source, 1)
  tally('kid:' .. kid, 1)
  schedule(load(sid))
  for _, key in ipairs({ 'deadlines', 'pending', 'whose', 'tally', 'place' }) do expire(at .. key) end
  return { 'done', oldest }
end

function steps.release(sid)
  local s = load(sid)
  if s and s.phase == 'reserved' then remove(sid) end
  return { 'done' }
end

function steps.begin(sid, record, ending)
  local s = load(sid)
  if not s or s.phase ~= 'reserved' then return { 'session-unknown' } end
  s.phase, s.begun, s.last, s.ending = 'pending', now, now, ending == '1'
  redis.call('HSET', s.key, 'phase', s.phase, 'record', record, 'begun', now, 'last', now, 'ending', ending)
  redis.call('ZADD', at .. 'pending', place(), sid)
  expire(at .. 'pending')
  schedule(s)
  return { 'done', deadline(s) }
end

function steps.find(sid)
  sweep(8)
  local s = find(sid)
  if not s then return { 'session-unknown' } end
  return { 'found', redis.call('HGET', s.key, 'record'), deadline(s), s.highest }
end

function steps.probe(sid, number, digest)
  local s = find(sid)
  if not s then return { 'session-unknown' } end
  return judge(s, number, digest) or { 'higher' }
end

function steps.accept(sid, number, digest, attempt)
  local s = find(sid)
  if not s then return { 'session-unknown' } end
  local known = judge(s, number, digest)
  if known then return known end
  if s.phase == 'pending' then redis.call('ZREM', at .. 'pending', sid) end
  drop_answer(sid)
  s.phase, s.latest, s.last = 'established', 'progress', math.max(s.last, now)
  redis.call('HSET', s.key, 'phase', s.phase, 'highest', number, 'accepted', s.accepted + 1, 'digest', digest,
    'latest', s.latest, 'repeats', 0, 'last', s.last)
  redis.call('HSET', at .. 'progress:' .. sid, number, me .. ':' .. attempt .. ':0')
  expire(at .. 'progress:' .. sid)
  show_life()
  schedule(s)
  return { 'accepted', deadline(s) }
end

function steps.complete(sid, number, attempt, ending, content_type, body)
  local owner, made_by, waits = progress(sid, number)
  if owner ~= me or made_by ~= attempt then return { 'done', 0 } end
  redis.call('HDEL', at .. 'progress:' .. sid, number)
  local s, kept = load(sid), false
  if s then
    s.last, s.ending = math.max(s.last, now), s.ending or ending == '1'
    if s.highest == tonumber(number) and s.latest == 'progress' then kept = store(s, content_type, body) end
    redis.call('HSET', s.key, 'last', s.last, 'ending', s.ending and '1' or '0', 'latest', s.latest)
    schedule(s)
  end
  if tonumber(waits) > 0 and not kept then
    local late = at .. 'late:' .. sid .. ':' .. number
    redis.call('HSET', late, 'type', content_type, 'body', body)
    redis.call('PEXPIRE', late, brief)
  end
  return { 'done', s and deadline(s) or 0 }
end

-- Of an attempt that will not be completed: its answer is lost, or, if nothing was made of it, it is undone.
function steps.abandon(sid, number, attempt, latest)
  local owner, made_by = progress(sid, number)
  if owner ~= me or made_by ~= attempt then return { 'done' } end
  local s = load(sid)
  if s then give_up(s, number, latest) else redis.call('HDEL', at .. 'progress:' .. sid, number) end
  return { 'done' }
end

-- Asks for the answer on behalf of the retransmission that was the `ticket`th to wait for it.
function steps.poll(sid, number, ticket)
  local owner, _, waits = progress(sid, number)
  local s = load(sid)
  if owner then
    if waits ~= ticket then return { 'overtaken' } end
    if alive(owner) then return { 'waiting' } end
    if s then give_up(s, number, 'lost') else redis.call('HDEL', at .. 'progress:' .. sid, number) end
    return { 'replayed' }
  end
  local late = redis.call('HMGET', at .. 'late:' .. sid .. ':' .. number, 'type', 'body')
  if late[1] then return { 'repeat', late[1], late[2] } end
  if s and s.highest == tonumber(number) then
    if s.latest == 'undone' then return { 'overtaken' } end
    local answer = redis.call('HMGET', at .. 'answer:' .. sid, 'type', 'body')
    if s.latest == 'stored' and answer[1] then return { 'repeat', answer[1], answer[2] } end
  end
  return { 'replayed' }
end
