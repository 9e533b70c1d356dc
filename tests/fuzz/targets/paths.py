"""A target's path is decoded once: as ``urllib`` and RFC 3986 §5.2.4 say, with no dot segment and no NUL left in it."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from pyserve.errors import RequestError
from pyserve.http.target import decode_path, parse_host, parse_target
from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, pick, repeat
from tests.fuzz.reading import check_refusal

SEGMENTS = (b"a", b".", b"..", b"", b"%2e", b"%2E%2e", b".%2e", b"...", b"%20", b"%C3%A9", b"~", b"a.b", b".a", b"a%2e")
NASTY = (
    b"%00", b"%2f", b"%2F", b"%5c", b"\\", b"%252e", b"%25", b"%", b"%f", b"%g0", b"%ff", b"%c0%ae", b"?", b"#", b"%0a",
)  # fmt: skip
DICTIONARY = (*SEGMENTS[:3], *SEGMENTS[4:], *NASTY, b"/", b"/../", b"/./", b"//", b"http://a", *f.GOOD_TARGETS)
_VISIBLE = bytes(range(0x21, 0x7F))


def make(chance: Chance) -> bytes:
    if chance.below(5) == 4:
        return pick(chance, f.GOOD_TARGETS + f.NASTY_TARGETS)
    return repeat(chance, 8, lambda _: b"/" + mostly(chance, SEGMENTS, NASTY)) or b"/"


def seeds() -> tuple[bytes, ...]:
    return f.GOOD_TARGETS + f.NASTY_TARGETS


def check(data: bytes) -> None:
    if not data or data.translate(None, _VISIBLE):
        return  # no request line lets such a target through
    for method in ("GET", "OPTIONS"):
        try:
            raw_path, path, query, authority = parse_target(method, data)
            if authority is not None:
                parse_host(authority)  # as ``head`` does; it also stops a fragment behind the authority
        except RequestError as error:
            check_refusal(error)
            continue
        if path == "*":
            assert (method, data, raw_path, query, authority) == ("OPTIONS", b"*", b"*", b"", None)
            continue
        check_path(raw_path, path)
        assert b"?" not in raw_path, "the path goes beyond its query"
        assert b"#" not in data, "a fragment got through"
        assert data.endswith(query), "the query is none of the target's"
        if data[:1] == b"/":
            assert authority is None
            assert raw_path + (b"?" + query if b"?" in data else b"") == data, "path and query are not the target"


def check_path(raw_path: bytes, path: str) -> None:
    assert path[:1] == "/", "no slash at the beginning"
    assert not {".", ".."} & set(path.split("/")), "a dot segment is left"
    assert "\0" not in path, "a NUL is left"
    assert path.count("/") <= raw_path.count(b"/"), "a slash was decoded"
    wanted = remove_dot_segments(unquote_to_bytes(raw_path).decode("utf-8", "surrogateescape"))
    assert path == wanted, f"{path!r} where RFC 3986 has {wanted!r}"
    assert decode_path(raw_path) == path


def remove_dot_segments(rest: str) -> str:
    """RFC 3986 §5.2.4, step by step as it stands there."""
    output: list[str] = []
    while rest:
        if rest.startswith("../"):
            rest = rest[3:]
        elif rest.startswith(("./", "/./")):
            rest = rest[2:]
        elif rest == "/.":
            rest = "/"
        elif rest.startswith("/../") or rest == "/..":
            rest = "/" + rest[4:]
            if output:
                output.pop()
        elif rest in (".", ".."):
            rest = ""
        else:
            end = rest.find("/", 1)
            end = len(rest) if end < 0 else end
            output.append(rest[:end])
            rest = rest[end:]
    return "".join(output)
