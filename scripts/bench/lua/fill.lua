-- Makes keys by the command that makes them for everybody, without a reader and a
-- parser for each: of a tag the numbers from one up to another.
local words = { unpack(ARGV, 5) }
for number = ARGV[2], ARGV[3] - 1 do
    redis.call(ARGV[4], string.format('%s:%010d', ARGV[1], number), unpack(words))
end
