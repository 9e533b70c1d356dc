"""Inputs that are several values: a target's bytes are cut at a mark. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz.chance import Chance, mostly, some_bytes

MARK = b"|~|"
NASTY_TEXTS = (
    b"", b"\n", b"\r\n", b"\r", b"\x00", b"\x1b[31m", b"\x1b]0;x\x07", b'"', b"\\", b"\\n", b"\\x0a", b"%s", b"%",
    b"%%", b"%b", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xff", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xed\xa0\x80",
    b"\xc2\x9b31m", b"\xef\xbb\xbf", b"</script>", b"{}", b'","status":200', b'" 200 5 "-" "-" 0.1\n', b"\t",
    b"x" * 300, b"\xc3\xa9", b"\xf0\x9f\x90\x8d",
)  # fmt: skip
PLAIN_TEXTS = (b"a", b"/a?b=c", b"Mozilla/5.0 (X11)", b"https://a.test/x", b"127.0.0.1", b"::1", b"-")


def split(data: bytes, count: int) -> list[bytes]:
    """Return ``count`` values: what stands between marks, empty ones for marks that are missing."""
    values = data.split(MARK, count - 1)
    return values + [b""] * (count - len(values))


def join(values: Sequence[bytes]) -> bytes:
    return MARK.join(values)


def some_text(chance: Chance) -> bytes:
    return b"".join(
        mostly(chance, PLAIN_TEXTS, NASTY_TEXTS, 3) if chance.below(4) else some_bytes(chance, 5)
        for _ in range(chance.below(4))
    )
