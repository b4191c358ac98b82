-- Each connection in turn is another visitor, with the cookie of its own session.
local cookies = {}
for cookie in (os.getenv("BENCH_COOKIES") or ""):gmatch("[^\n]+") do
  cookies[#cookies + 1] = { ["Cookie"] = cookie }
end
local turn = 0

function request()
  if #cookies == 0 then return wrk.format("GET") end
  turn = turn % #cookies + 1
  return wrk.format("GET", nil, cookies[turn])
end

function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
