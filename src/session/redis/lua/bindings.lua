-- Whose each SyncML session is (PROTOCOL section 8.2), step for step as in session/memory/bindings.rs.
--
-- sync:KEY      a SyncML session: its party, whether that owns it, its targets (32 bytes each, oldest first)
-- target:KEY    the SyncML session whose owner it belongs to, or `nobody`
-- held:SID      the SyncML sessions of a sealed session, oldest first
-- plaintext, plaintext-source, syncs, shared: those in plaintext by deadline, from where, all of them, nobody's targets
--
-- A party is a table: kind `anonymous` (sid), `named` (sid and name) or `plaintext` (the source as name).

local function same(a, b)
  if a.kind ~= b.kind then return false end
  if a.kind == 'anonymous' then return a.sid == b.sid end
  return a.kind == 'plaintext' or a.name == b.name
end

local function life(sid)
  local s = load(sid)
  if not s or gone(s) then return 'gone' end
  return s.ending and 'ending' or 'live'
end

-- Whether what a party owns is still its own.
local function is_live(party) return party.kind ~= 'plaintext' and life(party.sid) == 'live' end

local function load_sync(key)
  local v = redis.call('HMGET', at .. 'sync:' .. key,
    'generation', 'kind', 'sid', 'name', 'owned', 'first-target', 'last', 'targets')
  if not v[1] then return nil end
  return { generation = v[1], party = { kind = v[2], sid = v[3], name = v[4] }, owned = v[5] == '1',
    first_target = v[6], last = tonumber(v[7]), targets = v[8] }
end

local function each_target(targets)
  local i = -31
  return function()
    i = i + 32
    if i <= #targets then return targets:sub(i, i + 31) end
  end
end

-- Takes a target from a SyncML session, if it is its.
local function disclaim(key, target)
  if redis.call('GET', at .. 'target:' .. target) == key then redis.call('DEL', at .. 'target:' .. target) end
end

local function unbind(key)
  local y = load_sync(key)
  redis.call('SREM', at .. 'syncs', key)
  local source = redis.call('HGET', at .. 'plaintext-source', key)
  if source then
    redis.call('HDEL', at .. 'plaintext-source', key)
    redis.call('ZREM', at .. 'plaintext', key)
    tally('plaintext:' .. source, -1)
  end
  if not y then return end
  for target in each_target(y.targets) do disclaim(key, target) end
  if y.party.kind ~= 'plaintext' then redis.call('LREM', at .. 'held:' .. y.party.sid, 0, key) end
  redis.call('DEL', at .. 'sync:' .. key)
end

forget = function(sid)
  for _, key in ipairs(redis.call('LRANGE', at .. 'held:' .. sid, 0, -1)) do unbind(key) end
  redis.call('DEL', at .. 'held:' .. sid)
end

-- The live owner of a target.
local function target_owner(target)
  local holder = redis.call('GET', at .. 'target:' .. target)
  if not holder or holder == 'nobody' then return nil end
  local y = load_sync(holder)
  if y and is_live(y.party) then return y.party end
end

-- Makes room among the SyncML sessions of a sealed session: at the cost of its own oldest that nobody owns yet, or that
-- it has not used for as long as a sealed session may be idle.
local function make_room(sid)
  local held = redis.call('LRANGE', at .. 'held:' .. sid, 0, -1)
  if #held < limits.sync_sessions then return true end
  for _, key in ipairs(held) do
    local y = load_sync(key)
    if not y or not y.owned or now - y.last >= limits.idle then
      unbind(key)
      redis.call('LREM', at .. 'held:' .. sid, 0, key)
      return true
    end
  end
  return false
end

-- Begins a SyncML session, anew if it is there. False if there is no room; then everything is as it was.
local function begin_sync(key, party, target)
  local before = load_sync(key)
  local sealed = party.kind ~= 'plaintext'
  local continued = before and (before.party.kind == 'plaintext') == not sealed
    and (not sealed or before.party.sid == party.sid)
  if not continued then
    if sealed then
      if not make_room(party.sid) then return false end
    elseif redis.call('ZCARD', at .. 'plaintext') >= limits.plaintext_sync_sessions
      or tallied('plaintext:' .. party.name) >= limits.plaintext_sync_sessions_per_source then
      return false
    end
  end
  unbind(key)
  if sealed then
    redis.call('RPUSH', at .. 'held:' .. party.sid, key)
    expire(at .. 'held:' .. party.sid)
  else
    redis.call('ZADD', at .. 'plaintext', now + limits.idle, key)
    redis.call('HSET', at .. 'plaintext-source', key, party.name)
    tally('plaintext:' .. party.name, 1)
    for _, name in ipairs({ 'plaintext', 'plaintext-source', 'tally' }) do expire(at .. name) end
  end
  redis.call('HSET', at .. 'sync:' .. key, 'generation', place(), 'kind', party.kind, 'sid', party.sid,
    'name', party.name, 'owned', '0', 'first-target', target, 'last', now, 'targets', '')
  redis.call('SADD', at .. 'syncs', key)
  for _, name in ipairs({ 'sync:' .. key, 'syncs', 'place' }) do expire(at .. name) end
  return true
end

-- Takes note that a SyncML session is in use.
local function touch(key, y)
  y.last = math.max(y.last, now)
  redis.call('HSET', at .. 'sync:' .. key, 'last', y.last)
  expire(at .. 'sync:' .. key)
  if y.party.kind == 'plaintext' then redis.call('ZADD', at .. 'plaintext', y.last + limits.idle, key) end
end

-- Lets its own party go on with a SyncML session. Under a shared secret that may be another sealed session than before,
-- which then carries it.
local function carry(key, y, party)
  touch(key, y)
  if party.kind == 'plaintext' or y.party.sid == party.sid or life(party.sid) ~= 'live' then return true end
  if not make_room(party.sid) then return false end
  redis.call('LREM', at .. 'held:' .. y.party.sid, 0, key)
  redis.call('RPUSH', at .. 'held:' .. party.sid, key)
  expire(at .. 'held:' .. party.sid)
  redis.call('HSET', at .. 'sync:' .. key, 'kind', party.kind, 'sid', party.sid, 'name', party.name)
  return true
end

-- Makes a target nobody's.
local function share(target)
  local before = redis.call('GET', at .. 'target:' .. target)
  redis.call('SET', at .. 'target:' .. target, 'nobody', 'PX', keep)
  if before == 'nobody' then return end
  redis.call('RPUSH', at .. 'shared', target)
  expire(at .. 'shared')
  if redis.call('LLEN', at .. 'shared') > limits.shared_targets then
    redis.call('DEL', at .. 'target:' .. redis.call('LPOP', at .. 'shared'))
  end
end

-- Makes a target belong to the owner of a SyncML session, unless it turns out to be nobody's.
local function claim(key, target)
  local y = load_sync(key)
  if not y or redis.call('GET', at .. 'target:' .. target) == 'nobody' then return end
  local owner = target_owner(target)
  if owner and not same(owner, y.party) then
    share(target)
  else
    redis.call('SET', at .. 'target:' .. target, key, 'PX', keep)
  end
end

-- Takes note that the server gave a SyncML session a target, `given`, which begins with `bytes`.
local function give(key, given, bytes, accepted)
  local y = load_sync(key)
  if not y then return end
  if y.party.kind == 'plaintext' then
    -- Plaintext owns nothing; but what the server gives to plaintext, too, tells none apart.
    local holder = redis.call('GET', at .. 'target:' .. given)
    if accepted and holder and holder ~= 'nobody' then share(given) end
    return
  end
  -- What lies above the first target is where others begin, as the first target itself is.
  if y.first_target:sub(1, #bytes) == bytes then
    if y.owned then share(given) end
    return
  end
  local known = false
  for target in each_target(y.targets) do known = known or target == given end
  if not known then
    local targets = y.targets .. given
    if #targets > 32 * limits.targets then
      disclaim(key, targets:sub(1, 32))
      targets = targets:sub(33)
    end
    redis.call('HSET', at .. 'sync:' .. key, 'targets', targets)
  end
  if y.owned then claim(key, given) end
end

-- Whether nothing is left of who carried a SyncML session.
local function sync_gone(y)
  if y.party.kind == 'plaintext' then return now > y.last + limits.idle end
  return life(y.party.sid) == 'gone'
end

-- Whether a message may be forwarded. `target_key` names its target, `target` is how that begins.
local function check(kind, sid, name, key, target_key, target, first, has_cred)
  local party = { kind = kind, sid = sid, name = name }
  first, has_cred = first == '1', has_cred == '1'
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', at .. 'plaintext', '-inf', '(' .. now, 'LIMIT', 0, 8)) do
    unbind(old)
  end
  if kind ~= 'plaintext' and life(sid) == 'gone' then return { 'session-unknown' } end
  local holder = target_owner(target_key)
  if holder and not same(holder, party) then return { 'session-bound' } end
  local y = load_sync(key)
  if y and sync_gone(y) then
    unbind(key)
    y = nil
  end
  local room, takeover = true, '0'
  if not y then
    if not (first or has_cred) then return { 'session-bound' } end
    room = begin_sync(key, party, target)
  elseif same(y.party, party) then
    if first and not y.owned then
      room = begin_sync(key, party, target)
    else
      room = carry(key, y, party)
    end
  elseif not y.owned or not is_live(y.party) then
    if not first then return { 'session-bound' } end
    room = begin_sync(key, party, target)
  else
    local idle = now - y.last >= limits.owner_idle
    if kind == 'plaintext' or not (first and has_cred and not holder and idle) then return { 'session-bound' } end
    room, takeover = make_room(sid), '1'
  end
  if not room then return { 'sync-sessions-full' } end
  return { 'pass', load_sync(key).generation, takeover }
end

-- Takes note of the server's answer to a message that was let through.
local function answered(kind, sid, name, key, target, generation, takeover, accepted, given, bytes)
  local party = { kind = kind, sid = sid, name = name }
  accepted = accepted == '1'
  local y = load_sync(key)
  if not y or y.generation ~= generation then return end
  if takeover == '1' then
    -- Without room, or after the sealed session is gone, the owner stays.
    if not accepted or life(sid) == 'gone' or not begin_sync(key, party, target) then return end
    y = load_sync(key)
  end
  touch(key, y)
  if accepted and not y.owned and kind ~= 'plaintext' then
    redis.call('HSET', at .. 'sync:' .. key, 'owned', '1')
    for target_key in each_target(y.targets) do claim(key, target_key) end
  end
  if given ~= '' then give(key, given, bytes, accepted) end
end

steps.check = check

function steps.answered(...)
  answered(...)
  return { 'done' }
end

-- Accepts a request and judges its message, which takes eight arguments, in one step.
local accept, complete = steps.accept, steps.complete
function steps.accept_message(sid, number, digest, attempt, ...)
  local reply = accept(sid, number, digest, attempt)
  if reply[1] == 'accepted' then
    for _, value in ipairs(check(...)) do reply[#reply + 1] = value end
  end
  return reply
end

-- Takes note of the server's answer and completes the request that it answers.
function steps.complete_message(sid, number, attempt, ending, content_type, body, ...)
  answered(...)
  return complete(sid, number, attempt, ending, content_type, body)
end

function steps.counts()
  return { 'counts', redis.call('ZCARD', at .. 'deadlines'), redis.call('ZCARD', at .. 'pending'),
    tonumber(redis.call('HGET', at .. 'sizes', 'total') or 0), math.max(redis.call('ZCARD', at .. 'early') - 1, 0),
    redis.call('SCARD', at .. 'syncs') }
end

return steps[step](unpack(ARGV, 4))
