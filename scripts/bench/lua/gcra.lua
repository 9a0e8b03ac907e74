-- The generic cell rate algorithm as people write it for Redis: one key holds
-- the theoretical arrival time; the server's clock decides.
-- KEYS[1] · ARGV: burst, count, period in seconds, cost
local burst, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local period, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
local interval = period / count
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
if tat < now then
    tat = now
end
local new_tat = tat + interval * cost
local room = burst * interval - (new_tat - now)
if room < 0 then
    return { 0, math.floor((burst * interval - (tat - now)) / interval), tostring(-room), tostring(tat - now) }
end
redis.call('SET', KEYS[1], string.format('%.6f', new_tat), 'EX', math.ceil(new_tat - now))
return { cost, math.floor(room / interval), '-1', tostring(new_tat - now) }
