-- A sliding window as people write it for Redis: one member of a sorted set a
-- grant, scored by the server's clock.
-- KEYS[1] · ARGV: count, period in milliseconds
local count, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - period * 1000)
local used = redis.call('ZCARD', KEYS[1])
if used >= count then
    return { 0, 0 }
end
redis.call('ZADD', KEYS[1], now, now)
redis.call('PEXPIRE', KEYS[1], period)
return { 1, count - used - 1 }
