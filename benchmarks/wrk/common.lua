-- What the scripts here share: threads have numbers, lines are read into memory, `done` prints one line of JSON.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

-- Read FILE and begin chance with SEED, both of the command line, another for each thread; JSON is posted.
function begin(args)
  local lines = {}
  for line in io.lines(args[1]) do lines[#lines + 1] = line end
  math.randomseed(tonumber(args[2]) + number)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  return lines
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read +
    summary.errors.write + summary.errors.timeout
  print(string.format(
    'measured {"requests": %d, "seconds": %.6f, "failures": %d, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
