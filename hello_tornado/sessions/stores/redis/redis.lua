-- Everything that a store does in more than one step, each call of it atomic.
--
-- All names of a call begin with the same hash tag, so that a cluster has them on one node. The tag
-- is the prefix; on a cluster there are 64 (see masters.py), and each has an index of its own:
--   {tag}:record:KEY    the record: a line of facts, then its data
--   {tag}:handle:HANDLE the key of the record that has this handle
--   {tag}:user:USER     a sorted set: the keys of a user's records, by their expiry
--   {tag}:expiries      a sorted set: the keys of all records, by their expiry
--
-- KEYS[1] is {tag}:expiries, ARGV[1] the verb, and the rest is the verb's. On a cluster KEYS[2] is
-- a name that never exists: with such a name among the KEYS no script runs while their slot is being
-- moved, when some of the names are on one node and some on another.

local EXPIRIES = KEYS[1]
local PREFIX = EXPIRIES:sub(1, -#'expiries' - 1)
local FACTS = '^(%S+) (%S+) (%S+) (%S+) (%S+) ([^\n]*)\n()'
local FACTS_BYTES = 4096 -- more than the line takes: a user's id has at most 255 characters
local NOBODY = 'null'
-- The manager's clock says when a session is over, not that of Redis; and that it is over, and why,
-- can be told for an hour.
local GRACE_MS = 61 * 60 * 1000

local function record_name(key) return PREFIX .. 'record:' .. key end
local function handle_name(handle) return PREFIX .. 'handle:' .. handle end
local function user_name(user) return PREFIX .. 'user:' .. user end

local function parse(value)
  local version, created, accessed, expires, handle, user, data = value:match(FACTS)
  return {
    value = value, version = version, created = created, accessed = accessed, expires = expires,
    handle = handle, user = user, data = data,
  }
end

local function read(key)
  local value = redis.call('GET', record_name(key))
  return value and parse(value)
end

-- An index keeps the entries of records that ended by their time to live, with no purge at work.
-- What expires before 1970 is no session, stands in front, and may stay for longer.
local function sweep(index)
  for _, from in ipairs({'-inf', '(0'}) do
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', index, from, '+inf', 'LIMIT', 0, 2)) do
      if redis.call('EXISTS', record_name(key)) == 0 then redis.call('ZREM', index, key) end
    end
  end
end

local function write(key, record)
  local life = tonumber(record.expires) - tonumber(record.accessed)
  local ttl = math.ceil(math.max(life / 1000, 0)) + GRACE_MS
  redis.call('SET', record_name(key), record.value, 'PX', ttl)
  redis.call('SET', handle_name(record.handle), key, 'PX', ttl)
  redis.call('ZADD', EXPIRIES, record.expires, key)
  if record.user ~= NOBODY then
    local index = user_name(record.user)
    redis.call('ZADD', index, record.expires, key)
    if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, ttl) end
  end
end

local function forget(key, record)
  redis.call('DEL', record_name(key), handle_name(record.handle))
  redis.call('ZREM', EXPIRIES, key)
  if record.user ~= NOBODY then redis.call('ZREM', user_name(record.user), key) end
end

local function with_records(keys)
  local found = {}
  for _, key in ipairs(keys) do
    local value = redis.call('GET', record_name(key))
    if value then found[#found + 1] = {key, value} end
  end
  return found
end

-- The line of facts alone, and the bytes of the data: a list of sessions needs no more.
local function facts_of(key)
  local name = record_name(key)
  local line = redis.call('GETRANGE', name, 0, FACTS_BYTES - 1):match('^[^\n]*\n')
  return line and {key, line, redis.call('STRLEN', name) - #line}
end

local function create(key, value)
  local standing = redis.call('GET', record_name(key))
  if standing then return {key, standing} end
  local record = parse(value)
  sweep(EXPIRIES)
  if record.user ~= NOBODY then sweep(user_name(record.user)) end
  write(key, record)
  return 1
end

local function swap(old_key, old_version, key, value)
  local standing = read(old_key)
  if not standing then return false end
  if standing.version ~= old_version then return {old_key, standing.value} end
  if key ~= old_key then
    local stranger = redis.call('GET', record_name(key))
    if stranger then return {key, stranger} end
  end
  local record = parse(value)
  if key ~= old_key or record.handle ~= standing.handle or record.user ~= standing.user then
    forget(old_key, standing)
  end
  write(key, record)
  return 1
end

local function touch(key, version, accessed, expires)
  local record = read(key)
  if record and record.version == version
    and tonumber(record.accessed) < tonumber(accessed)
    and tonumber(record.expires) <= tonumber(expires) then
    local facts = {version, record.created, accessed, expires, record.handle, record.user}
    record.value = table.concat(facts, ' ') .. '\n' .. record.value:sub(record.data)
    record.accessed, record.expires = accessed, expires
    write(key, record)
  end
end

local verbs = {}

function verbs.save(args)
  local outcomes = {}
  for i = 1, #args, 4 do
    local old_key, old_version, key, value = unpack(args, i, i + 3)
    if old_key == '' then
      outcomes[#outcomes + 1] = create(key, value)
    else
      outcomes[#outcomes + 1] = swap(old_key, old_version, key, value)
    end
  end
  return outcomes
end

function verbs.touch(args)
  for i = 1, #args, 4 do touch(unpack(args, i, i + 3)) end
end

function verbs.delete(keys)
  local deleted = {}
  for _, key in ipairs(keys) do
    local record = read(key)
    if record then
      forget(key, record)
      deleted[#deleted + 1] = key
    end
  end
  return deleted
end

function verbs.find_by_user(args)
  local found = {}
  for _, key in ipairs(redis.call('ZRANGE', user_name(args[1]), 0, -1)) do
    found[#found + 1] = facts_of(key) or nil
  end
  return found
end

function verbs.find_by_handle(handles)
  local keys = {}
  for _, handle in ipairs(handles) do
    keys[#keys + 1] = redis.call('GET', handle_name(handle)) or nil
  end
  return with_records(keys)
end

function verbs.page(args)
  local limit, expires, key = tonumber(args[1]), args[2], args[3]
  local first = 0
  if key then
    local place = key .. '\0' -- the next name there could be
    redis.call('ZADD', EXPIRIES, expires, place)
    first = redis.call('ZRANK', EXPIRIES, place)
    redis.call('ZREM', EXPIRIES, place)
  end
  -- Nothing but the end may look like the end: a page that has less than it may have does.
  local found = {}
  repeat
    local keys = redis.call('ZRANGE', EXPIRIES, first, first + limit - #found - 1)
    for _, key in ipairs(keys) do
      local facts = facts_of(key)
      if facts then
        found[#found + 1] = facts
        first = first + 1
      else
        redis.call('ZREM', EXPIRIES, key)
      end
    end
  until #keys == 0 or #found >= limit
  return found
end

function verbs.purge(args)
  local now, limit = unpack(args)
  -- The caller's clock may be wrong: nothing is deleted that lives by ours.
  local seconds, microseconds = unpack(redis.call('TIME'))
  now = math.min(tonumber(now), tonumber(seconds) * 1000000 + tonumber(microseconds))
  now = string.format('%.0f', now)
  local expired = redis.call('ZRANGEBYSCORE', EXPIRIES, '(0', now, 'LIMIT', 0, limit)
  for _, key in ipairs(expired) do
    local record = read(key)
    if record then forget(key, record) else redis.call('ZREM', EXPIRIES, key) end
  end
  return #expired
end

local verb = table.remove(ARGV, 1)
return verbs[verb](ARGV)
