-- For prometheus-redis-exporter (-script): RL.METRICS as names and values. What
-- carries labels comes as name:label or name:label:label; prometheus.yml makes
-- labels of them.
local flat = {}

-- A label of any bytes, such as the name of a key, as printable ASCII; two are
-- never the same.
local function label(bytes)
    return (bytes:gsub('[%c\\\128-\255]', function(byte) return string.format('\\x%02x', byte:byte()) end))
end

local function put(name, value)
    if type(value) == 'number' then
        flat[#flat + 1] = name
        flat[#flat + 1] = string.format('%.17g', value)
    elseif type(value) == 'table' then
        for i = 1, #value, 2 do put(name .. ':' .. label(value[i]), value[i + 1]) end
    end
end

local metrics = redis.call('RL.METRICS')
for i = 1, #metrics, 2 do
    -- The latency of all commands together is the sum of each.
    if metrics[i]:find('_by_command$') or not metrics[i]:find('^command_latency') then
        put(metrics[i], metrics[i + 1])
    end
end
return flat
