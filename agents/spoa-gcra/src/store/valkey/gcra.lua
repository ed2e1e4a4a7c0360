-- One GCRA decision, atomic, by the server's own clock. The Rust twin is `gcra::decide`.
--
-- KEYS[1]  the client's key; its value is the theoretical arrival time (TAT), in µs
-- ARGV[1]  increment: µs that this request adds to the TAT; 0 asks without spending
-- ARGV[2]  burst: µs that the TAT may be ahead of now
-- ARGV[3]  cap: the longest that the key is kept, in ms
-- returns  the room left in µs; negative: denied, and short by that much
--
-- Every number is an integer below 2^53, so Lua's doubles hold it exactly and the server
-- writes it out in full. Concatenation or tostring() would round it to 14 digits.
local increment, burst, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- A value of another type counts as no value: SET replaces it. Any other error is real.
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' and not string.find(stored.err, '^WRONGTYPE') then
  return stored
end

-- "not (tat > now)", because a NaN compares false with everything and must count as none.
local tat = tonumber(stored)
local heal = false
if not tat or not (tat > now) then
  tat = now
elseif tat > now + burst then
  -- Not written under this quota: the clock went back, the quota shrank, or it is garbage.
  tat = now + burst
  heal = true
end

local used = tat + increment - now
local room = burst - used
if room >= 0 and increment > 0 then
  redis.call('SET', KEYS[1], tat + increment, 'PX', math.min(math.floor(used / 1000) + 1, cap))
elseif heal then
  -- The only write of a denial: clamped in memory alone, the value would deny for ever.
  redis.call('SET', KEYS[1], tat, 'PX', math.min(math.floor(burst / 1000) + 1, cap))
end
return room
