-- Replaces a reservation by what was really used: less is given back to the slots that were
-- charged, more is charged to the slots of now.
--
-- KEYS: the reservation, then each window, in the order in which they were charged.
-- ARGV: the time or nothing, how long to remember that it was done in milliseconds, the cost in
-- requests and in tokens, what was used of either, then of each window: microseconds of a slot,
-- slots.
--
-- Answers 1 if the reservation was still known, otherwise 0.
local name = KEYS[1]:sub(-NAME)
local record = redis.call('GET', KEYS[1])
if record == '' then return 0 end

local cost = {tonumber(ARGV[3]), tonumber(ARGV[4])}
local actual = {tonumber(ARGV[5]), tonumber(ARGV[6])}
local unused, debt = {}, {}
for d = 1, 2 do
  unused[d], debt[d] = math.max(0, cost[d] - actual[d]), math.max(0, actual[d] - cost[d])
end

local function give_back(w, slot)
  for at = newest(w), 1, -SLOT do
    local found, requests, tokens = struct.unpack('<ddd', w.slots, at)
    if found == slot then
      requests, tokens = math.max(0, requests - unused[1]), math.max(0, tokens - unused[2])
      local changed = struct.pack('<ddd', found, requests, tokens)
      w.slots = w.slots:sub(1, at - 1) .. changed .. w.slots:sub(at + SLOT)
      w.used[1] = math.max(0, w.used[1] - unused[1])
      w.used[2] = math.max(0, w.used[2] - unused[2])
      return true
    end
    if found < slot then return false end
  end
  return false
end

local gives, owes = record and unused[1] + unused[2] > 0, debt[1] + debt[2] > 0
if gives or owes then
  local now = clock(ARGV[1])
  for i = 2, #KEYS do
    local arg = 2 * i + 3
    local w = load(KEYS[i], ARGV[arg], ARGV[arg + 1], name)
    local changed = owes
    if gives then
      local from = (NAME + 8) * (i - 2) + 1
      -- A window that began anew knows nothing of what was charged before.
      if w.name == record:sub(from, from + NAME - 1) then
        changed = give_back(w, struct.unpack('<d', record, from + NAME)) or changed
      end
    end
    if owes then add(w, advance(w, now, name), debt[1], debt[2]) end
    if changed then store(w) end
  end
end

local memory = tonumber(ARGV[2])
if memory > 0 then
  redis.call('SET', KEYS[1], '', 'PX', memory)
elseif record then
  redis.call('DEL', KEYS[1])
end
return record and 1 or 0
