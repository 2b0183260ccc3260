-- Charges all windows or none.
--
-- KEYS: the reservation, then each window.
-- ARGV: the time or nothing, the cost in requests and in tokens, then of each window: microseconds
-- of a slot, slots, and its limits, of which nothing is none.
--
-- Answers {0, window, dimension, used, wait} or {1} or {2}: denied, granted, given back before it
-- was asked for. To the first two it adds for each window what is used of requests and of tokens,
-- and when all of either will be free again. Times are microseconds from now; a wait of -1 is for
-- ever.
local name = KEYS[1]:sub(-NAME)
local now = clock(ARGV[1])
local cost = {tonumber(ARGV[2]), tonumber(ARGV[3])}

-- Who asks twice for one reservation has not heard the first answer.
local before = redis.call('GET', KEYS[1])
if before == '' then return {2} end

-- Until a charge in this slot does not count any more.
local function until_past(w, slot)
  return math.max(0, (slot + w.n + 1) * w.g - now)
end

local function until_at_most(w, d, room)
  local used = w.used[d]
  for at = 1, #w.slots, SLOT do
    local slot = {struct.unpack('<ddd', w.slots, at)}
    used = math.max(0, used - slot[d + 1])
    if used <= room then return until_past(w, slot[1]) end
  end
  return 0
end

local function until_unused(w, d)
  for at = newest(w), 1, -SLOT do
    local slot = {struct.unpack('<ddd', w.slots, at)}
    if slot[d + 1] > 0 then return until_past(w, slot[1]) end
  end
  return 0
end

local windows, answer, longest = {}, {1}, -1
for i = 2, #KEYS do
  local arg = 4 * i - 4
  local w = load(KEYS[i], ARGV[arg], ARGV[arg + 1], name)
  w.current = advance(w, now, name)
  windows[i - 1] = w
  for d = 1, 2 do
    local limit = tonumber(ARGV[arg + 1 + d])
    -- A dimension in which nothing is asked cannot be the reason to refuse.
    if limit and cost[d] > 0 and w.used[d] > limit - cost[d] then
      local wait = math.huge
      if cost[d] <= limit then wait = until_at_most(w, d, limit - cost[d]) end
      if wait > longest then
        longest = wait
        answer = {0, i - 2, d - 1, w.used[d], wait == math.huge and -1 or wait}
      end
    end
  end
end
if before then answer = {1} end

if answer[1] == 1 and not before then
  local record, life = '', 0
  for _, w in ipairs(windows) do
    add(w, w.current, cost[1], cost[2])
    record = record .. w.name .. struct.pack('<d', w.current)
    life = math.max(life, math.ceil((w.n + 2) * w.g / 1000))
  end
  -- What has left all windows has nothing to be given back from.
  redis.call('SET', KEYS[1], record, 'PX', math.max(1, life))
  for _, w in ipairs(windows) do store(w) end
end

for _, w in ipairs(windows) do
  for d = 1, 2 do answer[#answer + 1] = w.used[d] end
  for d = 1, 2 do answer[#answer + 1] = until_unused(w, d) end
end
return answer
