-- Posts batches of 100 new events of random contacts: wrk -s batches.lua URL -- CONTACTS-FILE SEED.
dofile((debug.getinfo(1, "S").source:sub(2):match(".*/") or "") .. "common.lua")

function init(args)
  contacts = begin(args)
  sent = 0
  event = '{"type":"track","event":"Product Viewed","messageId":"bench-%s-%d-%d","userId":"%s",' ..
    '"properties":{"product_id":"%s","price":3.5,"currency":"USD"},"context":{"library":{"name":"wrk"}}}'
  run = args[2] .. "-" .. tostring(os.time())
end

function request()
  local events = {}
  for i = 1, 100 do
    sent = sent + 1
    events[i] = string.format(event, run, number, sent, contacts[math.random(#contacts)], "viewed-" .. sent % 500)
  end
  return wrk.format(nil, nil, nil, '{"batch":[' .. table.concat(events, ",") .. ']}')
end
