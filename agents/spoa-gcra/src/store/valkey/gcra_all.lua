-- gcra.lua for the several limits of one client: decided together, all or nothing. The Rust
-- twin is `gcra::Budget`.
--
-- KEYS       a key for each limit, all in one hash slot
-- ARGV[1,2]  count and cap, as there
-- ARGV[3..]  increment and burst of each key
-- returns    a list of rooms as there, one for each key: denied if any is negative, and then
--            nothing is spent from any
local granted, cap = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tats, heal, rooms = {}, {}, {}

for i, key in ipairs(KEYS) do
  local increment, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local stored = redis.pcall('GET', key)
  if type(stored) == 'table' and not string.find(stored.err, '^WRONGTYPE') then
    return stored
  end
  local tat = tonumber(stored)
  if not tat or not (tat > now) then
    tat = now
  elseif tat > now + burst or tat % 1 ~= 0 then
    tat = now + burst
    heal[i] = true
  end
  local room = now + burst - tat - increment
  if room < 0 then
    granted = 0
  elseif increment > 0 then
    granted = math.min(granted, math.floor(room / increment) + 1)
  end
  tats[i], rooms[i] = tat, room
end

for i, key in ipairs(KEYS) do
  local spent = granted * tonumber(ARGV[2 * i + 1])
  if spent > 0 or heal[i] then
    local tat = tats[i] + spent
    redis.call('SET', key, tat, 'PX', math.min(math.floor((tat - now) / 1000) + 1, cap))
  end
end
return rooms
