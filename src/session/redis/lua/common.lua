-- One run of this script is one step of the store: nothing that it reads changes under it, and no other step comes
-- between. KEYS[1] is the fleet's namespace; ARGV: the step, the time in seconds, the replica that asks, then what the
-- step takes. `limits` stands above. It runs on Redis 6 and Valkey, and uses no command but those that they share.

-- The epoch: what this process has been master of, without a break. A promotion changes master_replid, a restart run_id.
-- All keys are named by it, so that nothing that was written in another epoch is ever read: whatever a master forgot
-- when it took over, or brought back from a file, belongs to sessions that are unknown from then on.
local run_id = redis.call('INFO', 'server'):match('run_id:(%x+)')
local replication = redis.call('INFO', 'replication')
local replid = replication:match('master_replid:(%x+)')
if not run_id or not replid then return redis.error_reply('EPOCH this server does not tell run_id and master_replid') end
if replication:match('role:(%a+)') ~= 'master' then return redis.error_reply('READONLY this server is not the master') end
local at = KEYS[1] .. ':' .. redis.sha1hex(run_id .. replid):sub(1, 24) .. ':'

local step, now, me = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- Milliseconds after which a key goes by itself that nobody needs any more: later than any session ends.
local keep = (limits.age + 3600) * 1000
-- The same for a replica's sign of life, and for an answer that only a waiter can still ask for.
local lease, brief = 6000, 30000

local function expire(key) redis.call('PEXPIRE', key, keep) end

local function place() return redis.call('INCR', at .. 'place') end

-- Counts by name; one at zero takes no room.
local function tally(name, by)
  if redis.call('HINCRBY', at .. 'tally', name, by) <= 0 then redis.call('HDEL', at .. 'tally', name) end
end

local function tallied(name) return tonumber(redis.call('HGET', at .. 'tally', name) or 0) end

-- Whether a replica shows signs of life.
local function alive(replica) return redis.call('EXISTS', at .. 'replica:' .. replica) == 1 end

local function show_life() redis.call('SET', at .. 'replica:' .. me, 1, 'PX', lease) end
