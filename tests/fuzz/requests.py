"""The grammar of HTTP/1 request streams: mostly right, with one thing wrong here and there.

Pure. A stream that is wrong everywhere is refused at its first byte and tests nothing; so framing that fits its body is
the rule, and each choice goes astray one time in a dozen or more.
"""

from __future__ import annotations

from tests.fuzz import fragments as f
from tests.fuzz.chance import Chance, mostly, pick, repeat, some_bytes


def make_stream(chance: Chance) -> bytes:
    """Return one to three requests, perhaps with something behind them, perhaps cut short."""
    data = b"".join([make_request(chance) for _ in range(1 + chance.below(1 + chance.below(3)))])
    if chance.below(6) == 5:
        data += pick(chance, f.AFTER)
    if chance.below(12) == 11 and data:
        data = data[: chance.below(len(data))]
    return data


def make_request(chance: Chance) -> bytes:
    body, framing = make_body(chance)
    end = mostly(chance, f.GOOD_ENDS, f.NASTY_ENDS, 40)
    lines = [host_line(chance), *[field_line(chance) for _ in range(chance.below(1 + chance.below(5)))]]
    if framing:
        lines.insert(chance.below(len(lines) + 1), framing)
    head = request_line(chance) + b"".join(lines)
    if chance.below(30) == 29:
        head = b"\r\n" + head
    return head + end + body


def request_line(chance: Chance) -> bytes:
    return b"".join(
        (
            mostly(chance, f.GOOD_METHODS, f.NASTY_METHODS, 40),
            mostly(chance, f.GOOD_SPACES, f.NASTY_SPACES, 50),
            mostly(chance, f.GOOD_TARGETS, f.NASTY_TARGETS, 10),
            mostly(chance, f.GOOD_SPACES, f.NASTY_SPACES, 50),
            mostly(chance, f.GOOD_VERSIONS, f.NASTY_VERSIONS, 40),
            mostly(chance, f.GOOD_ENDS, f.NASTY_ENDS, 50),
        )
    )


def host_line(chance: Chance) -> bytes:
    if chance.below(30) == 29:
        return b""
    return b"Host: " + mostly(chance, f.HOSTS, f.NASTY_HOSTS) + mostly(chance, f.GOOD_ENDS, f.NASTY_ENDS, 50)


def field_line(chance: Chance) -> bytes:
    kind = chance.below(32)
    if kind < 16:
        name = pick(chance, f.GOOD_NAMES)
    elif kind < 30:
        name = pick(chance, f.SPECIAL_NAMES)
    elif kind == 30:
        name = pick(chance, f.NASTY_NAMES)
    else:
        name = pick(chance, f.FRAMING_NAMES)
    kind = chance.below(12)
    if kind < 5:
        value = pick(chance, f.GOOD_VALUES)
    elif kind < 10:
        value = pick(chance, f.SPECIAL_VALUES)
    elif kind == 10:
        value = mostly(chance, f.NUMBERS, f.NASTY_VALUES, 4)
    else:
        value = some_bytes(chance, 6)
    colon = mostly(chance, f.GOOD_COLONS, f.NASTY_COLONS, 30)
    return name + colon + value + mostly(chance, f.GOOD_ENDS, f.NASTY_ENDS, 60)


def make_body(chance: Chance) -> tuple[bytes, bytes]:
    """Return a body and the field line that frames it, mostly in agreement."""
    kind = chance.below(8)
    if kind < 3:
        return b"", b""
    if kind < 5:
        body = pick(chance, f.BODIES)
        number = b"%d" % len(body) if chance.below(8) < 7 else pick(chance, f.NUMBERS)
        return body, mostly(chance, (b"Content-Length",), f.FRAMING_NAMES) + b": " + number + b"\r\n"
    coding = mostly(chance, (b"chunked",), f.CODINGS)
    line = mostly(chance, (b"Transfer-Encoding",), f.FRAMING_NAMES) + b": " + coding + b"\r\n"
    if chance.below(20) == 19:
        line += b"Content-Length: " + pick(chance, f.NUMBERS) + b"\r\n"
    return make_chunks(chance), line


def make_chunks(chance: Chance) -> bytes:
    trailers = b""
    if chance.below(4) == 3:
        trailers = repeat(chance, 4, trailer_line)
    last = mostly(chance, (b"0", b"0", b"000"), f.NUMBERS, 20) + extension(chance)
    return repeat(chance, 4, make_chunk) + last + line_end(chance) + trailers + line_end(chance)


def make_chunk(chance: Chance) -> bytes:
    data = pick(chance, f.BODIES[:1] * 3 + f.BODIES[1:]) or b"x"
    size = (b"%x" % len(data)) if chance.below(12) < 11 else mostly(chance, f.CHUNK_SIZES, f.NUMBERS, 2)
    return size + extension(chance) + line_end(chance) + data + line_end(chance)


def extension(chance: Chance) -> bytes:
    return mostly(chance, f.EXTENSIONS, f.NASTY_EXTENSIONS, 20) if chance.below(3) == 2 else b""


def line_end(chance: Chance) -> bytes:
    return mostly(chance, f.GOOD_CHUNK_ENDS, f.NASTY_ENDS, 40)


def trailer_line(chance: Chance) -> bytes:
    return mostly(chance, f.TRAILERS, f.NASTY_TRAILERS, 10) + line_end(chance)
