"""The scripts that the engine runs. Each uses one key."""

from __future__ import annotations

TAKE_SLOT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""Returns 0 if the owner has no free slot. Slots expire, because a dead worker cannot free them."""

END = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last then
    return 0
end
for i = 1, #last[2], 2 do
    if last[2][i] == 'status' then
        return 0
    end
end
redis.call('XADD', KEYS[1], ARGV[1], 'events', ARGV[2], 'status', ARGV[3], 'by', ARGV[4])
return 1
"""
"""Writes the end of a lost stream, unless it has an end. Ids must rise, so the lost worker cannot append any more."""

BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local server = redis.pcall('INFO', 'server')
local run = type(server) == 'string' and string.match(server, 'run_id:(%w+)') or ''
return {
    redis.call('ZRANGEBYSCORE', KEYS[1], now + 1, '+inf'), redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now), run
}
"""
"""Renews a lease by the engine's clock. Returns the workers with a lease, those with an expired one, and the run id."""

RETIRE = """
local now = redis.call('TIME')[1] * 1000
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0') <= now then
    redis.call('ZREM', KEYS[1], ARGV[1])
    return 1
end
return 0
"""
"""Forgets a worker, unless it has renewed its lease meanwhile. Returns 1 if the worker is forgotten."""
