-- For prometheus-redis-exporter (-script): RL.METRICS as names and values. What
-- carries a label comes as name:label; prometheus.yml makes labels of them.
local flat = {}
local function put(name, value)
    flat[#flat + 1] = name
    flat[#flat + 1] = string.format('%.17g', value)
end
local metrics = redis.call('RL.METRICS')
for i = 1, #metrics, 2 do
    local name, value = metrics[i], metrics[i + 1]
    if type(value) == 'number' then
        put(name, value)
    elseif type(value) == 'table' then
        for j = 1, #value, 2 do
            if type(value[j + 1]) == 'number' then put(name .. ':' .. value[j], value[j + 1]) end
        end
    end
end
return flat
