-- Pieces of one file at random places, each beginning at a multiple of its size.
-- Arguments after "--":  HOST PATH PIECE_BYTES PIECES      for example  bench.localhost /1g.bin 65536 16384
local head, size, total

function init(args)
   head = string.format("GET %s HTTP/1.1\r\nHost: %s\r\nRange: bytes=", args[2], args[1])
   size, total = tonumber(args[3]), tonumber(args[4])
   math.randomseed(os.time())
end

function request()
   local first = math.random(0, total - 1) * size
   return head .. string.format("%d-%d\r\n\r\n", first, first + size - 1)
end
