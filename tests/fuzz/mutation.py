"""Raw changes to inputs that were good: what no grammar would write.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz.chance import Chance, pick

MAX_BYTES = 20_000
"""More than any line may have, so that what costs more than its length shows."""


def mutate(chance: Chance, data: bytes, dictionary: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """Return ``data`` with one to four changes; ``others``: inputs to take parts from."""
    for _ in range(1 + chance.below(1 + chance.below(4))):
        data = change(chance, data, dictionary, others)
    return data[:MAX_BYTES]


def change(chance: Chance, data: bytes, dictionary: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start = chance.below(len(data) + 1)
    stop = min(len(data), start + chance.below(1 + chance.below(16)))
    if chance.below(200) == 199:  # very often: what is looked at again for each byte takes long now
        piece = data[start:stop]
        return data[:start] + piece * (MAX_BYTES // max(1, len(piece))) + data[stop:]
    kind = chance.below(9)
    if kind < 2:  # a fragment in place of some bytes
        return data[:start] + pick(chance, dictionary) + data[stop:]
    if kind == 2:
        return data[:start] + bytes([chance.below(256)]) + data[start + 1 :]
    if kind == 3:
        return data[:start] + data[stop:]
    if kind == 4:  # once more
        return data[:stop] + data[start:stop] + data[stop:]
    if kind == 5:  # the end of another input
        other = pick(chance, others) if others else b""
        return data[:start] + other[chance.below(len(other) + 1) :]
    if kind == 6:  # two lines change places
        lines = data.split(b"\r\n")
        one, two = chance.below(len(lines)), chance.below(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
        return b"\r\n".join(lines)
    if kind == 7:  # a line end becomes another
        at = data.find(b"\r\n", start)
        return (
            data if at < 0 else data[:at] + pick(chance, (b"\n", b"\r", b"\r\r\n", b"", b"\r\n\r\n")) + data[at + 2 :]
        )
    if not data or start == len(data):
        return data + bytes([chance.below(256)])
    return data[:start] + bytes([data[start] ^ (1 << chance.below(8))]) + data[start + 1 :]
