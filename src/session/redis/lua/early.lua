-- The memory of early messages (PROTOCOL section 3.5): one sorted set, so that it is there as a whole or not at all.
--
-- early  each SHA-256(H) by the last second in which it is remembered; and, at infinity, `began:latest`, when the memory
--        began and the latest time seen

local function early_memory()
  local key = at .. 'early'
  local marks = redis.call('ZRANGEBYSCORE', key, '+inf', '+inf')[1]
  local began, latest
  if marks then
    began, latest = marks:match('^(%d+):(%d+)$')
    began, latest = tonumber(began), tonumber(latest)
  end
  return key, marks, began, latest
end

local function mark(key, before, began, latest)
  local marks = string.format('%.0f:%.0f', began, latest)
  if before == marks then return end
  if before then redis.call('ZREM', key, before) end
  redis.call('ZADD', key, '+inf', marks)
end

local function early(digest, issued, remember)
  local key, marks, began, latest = early_memory()
  issued, began, latest = tonumber(issued), began or now, math.max(latest or now, now)
  mark(key, marks, began, latest)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. latest)
  expire(key)
  if issued > now + limits.early_window or issued + limits.early_window < latest then
    return { 'early-out-of-window' }
  elseif issued <= began then
    return { 'early-before-memory' }
  elseif redis.call('ZSCORE', key, digest) then
    return { 'early-seen' }
  elseif redis.call('ZCARD', key) > limits.early_messages then
    return { 'early-memory-full' }
  end
  if remember then redis.call('ZADD', key, latest + 2 * limits.early_window, digest) end
  return { 'done' }
end

function steps.probe_early(digest, issued) return early(digest, issued, false) end

function steps.remember_early(digest, issued) return early(digest, issued, true) end

-- A replica's sign of life, now and then. The memory begins with the first one of an epoch.
function steps.beat()
  show_life()
  local key, marks = early_memory()
  if not marks then mark(key, marks, now, now) end
  expire(key)
  return { 'done' }
end
