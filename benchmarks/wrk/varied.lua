-- Browser-like requests: one of many paths each time in random order, the head of one of five browsers, a Referer that
-- varies a little, and a cookie that never comes twice.
-- Arguments after "--":  HOST FILE      FILE has a line "PATH [HEADER LINE]" for each path
local starts, total = {}, 0
local number = 0

-- What stands before the Referer, between it and the cookie, and behind the cookie; each in its browser's own order.
local browsers = {
   {  -- Chrome, Linux
      "Connection: keep-alive\r\n" ..
      'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: "Linux"\r\n' ..
      "Upgrade-Insecure-Requests: 1\r\n" ..
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" ..
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" ..
      "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n",
      "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n",
      "",
   },
   {  -- Edge, Windows
      "Connection: keep-alive\r\n" ..
      'sec-ch-ua-platform: "Windows"\r\n' ..
      "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36 Edg/129.0.0.0\r\n" ..
      'sec-ch-ua: "Microsoft Edge";v="129", "Not=A?Brand";v="8", "Chromium";v="129"\r\nsec-ch-ua-mobile: ?0\r\n' ..
      "Accept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
      "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de,de-DE;q=0.9,en;q=0.8,en-GB;q=0.7,en-US;q=0.6\r\n",
      "",
   },
   {  -- Firefox, Linux
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n" ..
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.8\r\n" ..
      "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n",
      "Connection: keep-alive\r\n",
      "Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n" ..
      "Sec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n",
   },
   {  -- Safari, iPhone
      "Sec-Fetch-Dest: document\r\n" ..
      "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1\r\n" ..
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
      "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nAccept-Language: fr-FR,fr;q=0.9\r\n" ..
      "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n",
      "",
   },
   {  -- Chrome, Android
      "Connection: keep-alive\r\n" ..
      'sec-ch-ua-platform: "Android"\r\n' ..
      "User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile Safari/537.36\r\n" ..
      'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24", "Google Chrome";v="128"\r\nsec-ch-ua-mobile: ?1\r\n' ..
      "Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8\r\n" ..
      "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
      "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: es-ES,es;q=0.9,en;q=0.8\r\n",
      "",
   },
}
local pages = {"", "news/", "products/?page=2", "about.html"}

function init(args)
   local host = args[1]
   for line in io.lines(args[2]) do
      local path, field = line:match("^(%S+) (.*)$")
      starts[total] = string.format("GET %s HTTP/1.1\r\nHost: %s\r\n", path, host) .. (field ~= "" and field .. "\r\n" or "")
      total = total + 1
   end
   -- All pairs of a browser and a Referer in one table: less to put together for each request.
   local pairs_of = {}
   for _, browser in ipairs(browsers) do
      for _, page in ipairs(pages) do
         pairs_of[#pairs_of + 1] = {
            browser[1] .. "Referer: http://" .. host .. "/" .. page .. "\r\n" .. browser[2] .. "Cookie: theme=dark; session=",
            "\r\n" .. browser[3] .. "\r\n",
         }
      end
   end
   browsers = pairs_of
   math.randomseed(os.time())
   number = math.random(0, 1000000000)
end

function request()
   number = number + 1
   local browser = browsers[math.random(#browsers)]
   return starts[math.random(0, total - 1)] .. browser[1] .. string.format("%016x", number) .. browser[2]
end
