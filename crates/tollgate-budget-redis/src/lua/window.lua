-- What both scripts know of windows. The arithmetic is that of tollgate-budget's window.rs, in
-- microseconds.
--
-- A window is stored as a string: 32 bytes that tell it from earlier ones of its name, the sums of
-- requests and of tokens, and then, oldest first, each slot that was charged: its number, its
-- requests, its tokens. All numbers are doubles that hold integers below 2^53, so that the ends of
-- the string are read and written without the rest of it.
local NAME, HEAD, SLOT, MOST = 32, 48, 24, 9007199254740991

-- The time in microseconds: the server's, which is the same for all who ask. Tests bring theirs.
local function clock(given)
  local now = tonumber(given)
  if now then return now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A window of `n` slots of `g` microseconds. One that is not there is empty, and gets this `name`.
local function load(key, g, n, name)
  local w = {key = key, g = tonumber(g), n = tonumber(n), name = name, used = {0, 0}, slots = ''}
  local stored = redis.call('GET', key)
  if stored then
    w.name = stored:sub(1, NAME)
    w.used[1], w.used[2] = struct.unpack('<dd', stored, NAME + 1)
    w.slots = stored:sub(HEAD + 1)
  end
  return w
end

local function store(w)
  local value = w.name .. struct.pack('<dd', w.used[1], w.used[2]) .. w.slots
  redis.call('SET', w.key, value, 'PX', math.ceil((w.n + 2) * w.g / 1000))
end

-- Where the newest slot is; not positive if there is none.
local function newest(w)
  return #w.slots - SLOT + 1
end

-- Drops what has left, and says which slot is current. A clock that stepped back by at most the
-- window's length finds time standing still; one that stepped back further begins anew.
local function advance(w, now, name)
  local current = (now - math.fmod(now, w.g)) / w.g
  if newest(w) < 1 then return current end
  local back = struct.unpack('<d', w.slots, newest(w)) - current
  if back > 0 then
    if back <= w.n + 1 then return current + back end
    w.name, w.used, w.slots = name, {0, 0}, ''
    return current
  end
  local at = 1
  while at <= #w.slots do
    local slot, requests, tokens = struct.unpack('<ddd', w.slots, at)
    if current - slot <= w.n then break end
    w.used[1] = math.max(0, w.used[1] - requests)
    w.used[2] = math.max(0, w.used[2] - tokens)
    at = at + SLOT
  end
  w.slots = w.slots:sub(at)
  return current
end

-- Charges the current slot. A window never holds more than MOST.
local function add(w, current, requests, tokens)
  requests = math.min(requests, MOST - w.used[1])
  tokens = math.min(tokens, MOST - w.used[2])
  w.used[1], w.used[2] = w.used[1] + requests, w.used[2] + tokens
  local at = newest(w)
  if at >= 1 then
    local slot, more_requests, more_tokens = struct.unpack('<ddd', w.slots, at)
    if slot == current then
      w.slots = w.slots:sub(1, at - 1)
      requests, tokens = requests + more_requests, tokens + more_tokens
    end
  end
  w.slots = w.slots .. struct.pack('<ddd', current, requests, tokens)
end
