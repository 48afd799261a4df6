-- Posts lines of a file, in random order: wrk -s bodies.lua URL -- FILE SEED.
dofile((debug.getinfo(1, "S").source:sub(2):match(".*/") or "") .. "common.lua")

function init(args)
  bodies = begin(args)
end

function request()
  return wrk.format(nil, nil, nil, bodies[math.random(#bodies)])
end
