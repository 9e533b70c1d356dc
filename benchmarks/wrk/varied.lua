-- Browser-like requests: one of COUNT paths each time, and a cookie that never comes twice.
-- Arguments after "--":  HOST PREFIX COUNT SUFFIX      for example  bench.localhost /f/ 1000 .txt
local heads, tail = {}, nil
local number, total = 0, 0

function init(args)
   local host, prefix, count, suffix = args[1], args[2], tonumber(args[3]), args[4] or ""
   for i = 0, count - 1 do
      heads[i] = string.format("GET %s%04d%s HTTP/1.1\r\nHost: %s\r\n", prefix, i, suffix, host) ..
         "Connection: keep-alive\r\n" ..
         'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"\r\n' ..
         "sec-ch-ua-mobile: ?0\r\n" ..
         'sec-ch-ua-platform: "Linux"\r\n' ..
         "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" ..
         "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" ..
         "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" ..
         "Referer: http://" .. host .. "/\r\n" ..
         "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" ..
         "Cookie: theme=dark; session="
   end
   tail = "\r\n\r\n"
   total = count
   math.randomseed(os.time())
   number = math.random(0, 1000000000)
end

function request()
   number = number + 1
   -- 7 and 1,000 have no common factor, so that the paths come in no order that a disk or a cache would like.
   return heads[(number * 7) % total] .. string.format("%016x", number) .. tail
end
