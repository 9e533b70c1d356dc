"""Ask a server before it is measured whether it gives what the others give: status, header fields, every byte.

What is right is known from the files, so servers that pass give equal bytes.
"""

from __future__ import annotations

import hashlib
import http.client
from typing import NamedTuple

from benchmarks.servers import Running, StackError

PIECE_BYTES = 1024 * 1024
Fields = dict[str, str]


class WrongAnswer(StackError):
    """A server answered otherwise than what is to be measured; the message says how."""


class Expected(NamedTuple):
    """The right answer; ``digest`` is that of its body (SHA-256)."""

    digest: bytes
    size_bytes: int
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    """Name in lower case and value, "" = must be absent."""


def expected(body: bytes, status: int = 200, **fields: str) -> Expected:
    """Underscores in names stand for hyphens."""
    wanted = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Expected(hashlib.sha256(body).digest(), len(body), status, wanted)


def check_answer(running: Running, path: str, right: Expected, fields: Fields | None = None) -> Fields:
    """Ask for a path and return the fields of the answer (names in lower case). Raises ``WrongAnswer``."""
    connection = running.stack.connect(20)
    try:
        # Given in full, so that http.client adds no Accept-Encoding of its own.
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": running.stack.host, "Connection": "close", **(fields or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        digest, size = hashlib.sha256(), 0
        while piece := response.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{path}: {error!r}") from None
    finally:
        connection.close()
    answer = {name.lower(): value for name, value in response.getheaders()}
    if response.status != right.status:
        raise WrongAnswer(f"{path}: status {response.status} in place of {right.status}")
    for name, value in right.fields:
        if answer.get(name, "") != value:
            raise WrongAnswer(f"{path}: {name} {answer.get(name, '')!r} in place of {value!r}")
    if (size, digest.digest()) != (right.size_bytes, right.digest):
        raise WrongAnswer(f"{path}: {size:,} bytes that are not the {right.size_bytes:,} that were expected")
    return answer
