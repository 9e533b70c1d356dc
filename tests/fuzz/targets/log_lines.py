"""Whatever a client sends, a request is one line of the log that gives back what was sent, and no terminal obeys it."""

from __future__ import annotations

import json
import re
import tempfile

from pyserve.observe.access_log import CombinedLog, JsonLog
from pyserve.observe.error_log import ErrorLog, printable
from tests.fuzz import parts
from tests.fuzz.chance import Chance

DICTIONARY = (*parts.NASTY_TEXTS[1:], *parts.PLAIN_TEXTS, parts.MARK)
# As whoever reads such logs does it: RFC 3339 dates and addresses never need quotes, the rest is quoted.
_COMBINED = re.compile(
    rb'(\S+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET ([^"]*) HTTP/1\.1" '
    rb'200 5 "([^"]*)" "([^"]*)" 0\.250000\n'
)
_SPECIAL = re.compile(rb"\\x([0-9A-F]{2})")
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CLIENTS = (b"127.0.0.1", b"::1", b"-", b"fe80::1%eth0", b"fe80::1%25b")


class Logged:
    """What a line needs of a request; ``method`` and ``version`` are one of few, ``authority`` a checked Host."""

    method = "GET"
    version = "1.1"
    authority = "a.test"

    def __init__(self, raw_target: bytes, referer: bytes, user_agent: bytes) -> None:
        self.raw_target, self.referer, self.user_agent = raw_target, referer, user_agent
        self.memo: dict[str, object] = {}
        self.line_memo: dict[str, object] = {}
        self.rest_memo: dict[str, object] = {}


def make(chance: Chance) -> bytes:
    return parts.join([parts.some_text(chance) for _ in range(3)])


def seeds() -> tuple[bytes, ...]:
    return tuple(parts.join((text, text, text)) for text in parts.NASTY_TEXTS)


def check(data: bytes) -> None:
    target, referer, user_agent = parts.split(data, 3)
    client = _CLIENTS[len(data) % len(_CLIENTS)]
    combined = CombinedLog()
    request = Logged(target, referer, user_agent)
    line = combined.line(client, request, 200, 5, 0.25)
    match = _COMBINED.fullmatch(line)
    assert match, f"not one line of the combined format: {line!r}"
    assert not re.search(rb"[^\x20-\x7e]", line[:-1]), "a byte that is not printable"
    assert [_SPECIAL.sub(lambda hit: bytes.fromhex(hit[1].decode()), text) for text in match.groups()] == [
        *(client, target, referer, user_agent)
    ], "the line does not give back what was sent"
    assert combined.repeated(client, request.line_memo, request, b"200 5", 250_000) == line, (
        "a prepared line is another"
    )
    check_json(client, target, referer, user_agent)
    check_error_log(data.decode("utf-8", "surrogateescape"))
    check_error_log(data.decode("latin-1"))


def check_json(client: bytes, target: bytes, referer: bytes, user_agent: bytes) -> None:
    line = JsonLog().line(client, Logged(target, referer, user_agent), 200, 5, 0.25)
    assert line.endswith(b"}\n")
    assert not re.search(rb"[^\x20-\x7e]", line[:-1]), "not one printable line"
    said = json.loads(line, object_pairs_hook=lambda pairs: assert_unique([name for name, _ in pairs]) or dict(pairs))
    assert (said["client"], said["status"], said["bytes"]) == (client.decode(), 200, 5)
    texts = [said[name].encode("latin-1") for name in ("target", "referer", "user_agent")]
    assert texts == [target, referer, user_agent], "the line does not give back what was sent"


def assert_unique(names: list[str]) -> None:
    assert len(set(names)) == len(names), "a key twice"


def check_error_log(text: str) -> None:
    assert not _OBEYED.search(printable(text)), "a terminal would obey it"
    with tempfile.TemporaryFile() as file:  # a pipe would be full
        ErrorLog(file.fileno(), "debug", "front 0").error(text)
        file.seek(0)
        line = file.read().decode("utf-8")
    assert line.endswith("\n")
    first, *others = line[:-1].split("\n")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z error \[front 0\] ", first)
    assert all(other.startswith("    ") for other in others), "a line that looks like ours but is a client's"
    assert not _OBEYED.search(line.replace("\t", ""))
