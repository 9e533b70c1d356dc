"""The dictionary: what requests are put together from, good and nasty, after the catalogue of attacks (A, B, C).

Pure data. A new trick is a new entry here; every target whose inputs are requests then tries it.
"""

from __future__ import annotations

from pyserve.http.head import METHODS

GOOD_METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", *METHODS)
NASTY_METHODS = (
    b"get", b"Get", b"BREW", b"CONNECT", b"PRI", b"TRACE", b"", b" GET", b"GET ", b"G\tT", b'G":()', b"GET\0",
    b"M" * 33, b"\r\nGET", b"\r\n\r\nGET", b"\nGET", b"\rGET", b"\xffGET", b"SOURCE", b"QUERY", b"0", b"\x16\x03\x01",
)  # fmt: skip

GOOD_TARGETS = (b"/", b"/a", b"/a/b?c=d", b"/%C3%A9", b"/a%20b", b"//x", b"/a/../b", b"/.", b"/a/.", b"/?", b"/a;b=c")
NASTY_TARGETS = (
    b"*", b"", b"a", b"a:80", b"?", b"#", b"/#f", b"/a b", b"/\x00", b"/\xc3\xa9", b"/\x7f", b"/a\tb", b"\\", b"/\\",
    b"/%", b"/%2", b"/%zz", b"/%00", b"/%2F", b"/%2f..", b"/%2e%2e/x", b"/%252e%252e/x", b"/..", b"/../../x",
    b"/%c0%af", b"http://a", b"http://a/", b"http://a?x", b"http://a#x", b"HTTP://A:80/p?q", b"https://[::1]:8/",
    b"http://u@a/", b"http:///", b"http://", b"http:/a", b"ftp://a/", b"http://a:99999/", b"http://a..b/",
    b"/" + b"a" * 300, b'/"<>^`{|}', b"/a?b#c", b"/a??b", b"/%ff%fe", b"/a%0d%0aX:y", b"/a%5c..%5cb",
    b"http://a/%2e%2e", b"http://a%00/", b"https://a\\b/",
)  # fmt: skip

GOOD_VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0")
NASTY_VERSIONS = (
    b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1", b"HTTP/1", b"HTTP/1.10", b"",
    b"HTTP/1.1\t", b"HTTP/ 1.1", b"HTTP/1,1", b"HTTP/2", b"HTTP/3.0", b"XTTP/1.1", b"HTTP/1.\xb2", b"HTTP/-1.1",
    b"RTSP/1.0",
)  # fmt: skip

GOOD_SPACES = (b" ",)
NASTY_SPACES = (b"  ", b"\t", b"", b"\r", b"\x0b", b"\x0c", b"\xa0", b"\x00", b" \r\n ")

GOOD_ENDS = (b"\r\n",)
NASTY_ENDS = (
    b"\n", b"\r", b"\r\r\n", b"\r\n\n", b"\n\r\n", b"\r\n ", b"\r\n\t", b"\r\n\r", b"", b"\x00\r\n", b"\x0b\r\n",
    b"\x85",
)  # fmt: skip

HOSTS = (b"a", b"A.Test", b"a:80", b"a.", b"[::1]", b"[::1]:8080", b"1.2.3.4", b"xn--a", b"a_b", b"[::ffff:1.2.3.4]")
NASTY_HOSTS = (
    b"", b"a, b", b"u@a", b"a/p", b"a:1:2", b"a:99999", b"a:0", b"a:", b"[::1", b"::1", b"a\\b", b"a b", b"-a", b"..",
    b"a..b", b".", b"a\x00.b", b"x" * 64, b"[]", b"[::1]a", b"[fe80::1%25eth0]", b"a:08", b"a:+1", b"\xc3\xa9", b"a#",
    b"a?", b"[:::::::]", b"[1:2:3]", b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7:8:9]", b"[::1.2.3.999]", b"a-.b", b"a-",
    b"%61", b"A" * 262,
)  # fmt: skip

NUMBERS = (
    b"0", b"1", b"2", b"5", b"10", b"a", b"005", b"00", b"+5", b"-5", b"-0", b"5_0", b"0x5", b"5 ", b" 5", b"5,5",
    b"5, 5", b"", b"5;", b"1e3", b"5.0", b"\x0b5", b"\xb2", b"\xef\xbc\x95", b"99999999999999999999",
    b"18446744073709551616", b"9223372036854775807", b"4294967296", b"9999999999999999999", b"FFFFFFFFFFFFFFF0",
    b"fffffffffffffff", b"100", b"300",
)  # fmt: skip

CODINGS = (
    b"chunked", b"Chunked", b"chunked ", b"\tchunked", b"\x0bchunked", b"chunked\x00", b"\xa0chunked", b"\x85chunked",
    b",chunked", b"chunked,", b"chunked;x=1", b"", b"chunked, chunked", b"identity", b"gzip, chunked", b"xchunked",
    b'"chunked"',
)  # fmt: skip

FRAMING_NAMES = (
    b"Content-Length", b"Transfer-Encoding", b"content-length", b"transfer-encoding", b"Content-Length ",
    b"Content_Length", b"Transfer-Encoding\t", b" Content-Length", b"Content-Length\x85", b"Transfer\xa0-Encoding",
    b"TRANSFER-ENCODING", b"Transfer-Encoding\x00", b"Transfer-Encodin\xc4\x9f", b"\xefContent-Length",
    b"Content-Length:", b"Transfer-encoding-",
)  # fmt: skip

GOOD_NAMES = (b"X", b"x-y", b"Accept", b"Cookie", b"User-Agent", b"Referer", b"Content-Type", b"!#$%&'*+-.^_`|~9")
SPECIAL_NAMES = (
    b"Host", b"Connection", b"Expect", b"Upgrade", b"Keep-Alive", b"TE", b"Trailer", b"Proxy-Connection",
    b"Authorization", b"If-Modified-Since", b"If-None-Match", b"If-Unmodified-Since", b"Range", b"X_Y", b"Proxy",
    b"X-Forwarded-For", b"Forwarded", b"HTTP2-Settings", b"Content-Encoding",
)  # fmt: skip
NASTY_NAMES = (
    b"", b" X", b"X ", b"\tX", b"X\t", b"X\x00", b"X\x7f", b"X\x80", b"\xc3\xa9", b"X[", b"X y", b'"X"', b"(X)", b"X,Y",
    b"@", b"X\r", b"X\n", b"X\x0b", b"{X}", b"X/Y", b"X=Y", b"X;", b"X\\Y", b"X" * 300, b"GET / HTTP/1.1\r\nX",
)  # fmt: skip

GOOD_COLONS = (b": ", b": ", b":", b":\t", b":  ")
NASTY_COLONS = (b" : ", b"", b" ", b":\r\n ", b"::", b"\t:", b":\x85", b":\x00", b"=", b":\n ")

GOOD_VALUES = (b"", b"a", b"a b", b"a\tb", b"\x85admin\xa0", b"caf\xe9", b'"q"', b"a, b", b"x" * 40, b"\xff", b":")
SPECIAL_VALUES = (
    b"close", b"keep-alive", b"Close", b"close, keep-alive", b"Keep-Alive, X", b"Upgrade", b"upgrade, http2-settings",
    b"100-continue", b"100-Continue", b"y 100-continue", b"100-continue, x", b"h2c", b"websocket", b"trailers",
    b"\tclose\t", b"X-Forwarded-For, Cookie, Content-Length", b"bytes=0-1", b"\x0bclose", b"close;", b",", b",,close,,",
)  # fmt: skip
NASTY_VALUES = (
    b"\x00", b"a\x00b", b"a\rb", b"a\nb", b"\x7f", b"\x0b", b"\x0c", b"\x1b[2J", b"a\r\n b", b"a\r\n\tb", b"\x01",
    b"x" * 700,
)  # fmt: skip

GOOD_CHUNK_ENDS = (b"\r\n",)
CHUNK_SIZES = (b"5", b"05", b"a", b"A", b"1", b"0005", b"1f")
EXTENSIONS = (b"", b";a", b";a=b", b';a="b"', b";a;b=c", b"; a = b", b" ;a", b"\t;a")
NASTY_EXTENSIONS = (
    b";", b" ", b"\t", b";a=", b";=b", b';a="', b';a="b', b";a\x00", b";a\x0b", b";a\rb", b";a\nb", b';a="\r\n"', b"a;",
    b",a", b";a=b c", b";;", b";a=(", b";\xff", b";" + b"x" * 260, b';a="\\"', b';a="\x80"', b" a", b";a\r", b"\r;a",
    b"\x00",
)  # fmt: skip
TRAILERS = (b"X-Sum: 1", b"X:", b"x-y:  a ", b"X: \xff", b"X:\tz")
NASTY_TRAILERS = (
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: x", b"Trailer: X", b"X", b": v",
    b"X : v", b" X: v", b"X: \x00", b"X: \x7f", b"X: a\rb", b"X: a\nb", b"X\x80: 1", b"GET / HTTP/1.1",
    b"X: " + b"t" * 300, b"Upgrade: x",
)  # fmt: skip
BODIES = (
    b"hello", b"", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"\x00\xff",
    b"5\r\nhello\r\n0\r\n\r\n",
)  # fmt: skip
AFTER = (b"", b"", b"G", b"\r\n", b"\n", b"\x00", b"GET", b"SM\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\r", b"XX")

DICTIONARY: tuple[bytes, ...] = tuple(
    sorted(
        {
            *(*GOOD_METHODS, *NASTY_METHODS, *GOOD_TARGETS, *NASTY_TARGETS, *GOOD_VERSIONS, *NASTY_VERSIONS),
            *(*GOOD_ENDS, *NASTY_ENDS, *NASTY_SPACES, *HOSTS, *NASTY_HOSTS, *NUMBERS, *CODINGS, *FRAMING_NAMES),
            *(*GOOD_NAMES, *SPECIAL_NAMES, *NASTY_NAMES, *GOOD_COLONS, *NASTY_COLONS, *GOOD_VALUES, *SPECIAL_VALUES),
            *(*NASTY_VALUES, *EXTENSIONS, *NASTY_EXTENSIONS, *TRAILERS, *NASTY_TRAILERS, *BODIES, *AFTER),
            *(b"\r\n\r\n", b"\n\n", b"\r\n\r\nX", b"0\r\n\r\n", b"%2e", b"%2f", b"%5c", b"../", b"/./"),
        }
        - {b""}
    )
)
"""For mutations: everything above."""
