-- One GCRA decision, atomic, by the server's own clock. The Rust twin is `gcra::decide`.
--
-- KEYS[1]  the client's key; its value is the theoretical arrival time (TAT), in µs
-- ARGV[1]  count: so many equal requests are decided, as if one came right after the other
-- ARGV[2]  cap: the longest that the key is kept, in ms
-- ARGV[3]  increment: µs that a request adds to the TAT; 0 asks without spending
-- ARGV[4]  burst: µs that the TAT may be ahead of now
-- returns  the room in µs that the first request leaves; negative: denied, and short by
--          that much. Each further request finds one increment less, until one is denied,
--          as are all that follow.
--
-- Every number is an integer below 2^53, so Lua's doubles hold it exactly and the server
-- writes it out in full. Concatenation or tostring() would round it to 14 digits.
local increment, burst = tonumber(ARGV[3]), tonumber(ARGV[4])
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
elseif tat > now + burst or tat % 1 ~= 0 then
  -- Not written under this quota: the clock went back, the quota shrank, or it is garbage.
  tat = now + burst
  heal = true
end

local room = now + burst - tat - increment
local spent = 0
if room >= 0 and increment > 0 then
  spent = increment * math.min(tonumber(ARGV[1]), math.floor(room / increment) + 1)
end
-- Healing is the only write of a denial: clamped in memory alone, the value would deny for
-- ever.
if spent > 0 or heal then
  tat = tat + spent
  local life = math.min(math.floor((tat - now) / 1000) + 1, tonumber(ARGV[2]))
  redis.call('SET', KEYS[1], tat, 'PX', life)
end
return room
