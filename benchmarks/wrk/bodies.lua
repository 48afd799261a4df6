-- Posts lines of a file, in random order: wrk -s bodies.lua URL -- FILE SEED. `done` prints JSON.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  bodies = {}
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
  math.randomseed(tonumber(args[2]) + number)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
end

function request()
  return wrk.format(nil, nil, nil, bodies[math.random(#bodies)])
end

dofile((debug.getinfo(1, "S").source:sub(2):match(".*/") or "") .. "done.lua")
