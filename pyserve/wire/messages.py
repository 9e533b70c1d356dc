"""Messages on the channels that pass descriptors: master with front, template and worker.

Pure. On the wire: ``length u32, kind u8, descriptors u8``, then ``length`` bytes. Descriptors travel beside the bytes
(SCM_RIGHTS); each message says how many are its own, so they are matched in order whatever way the bytes were cut.
What the master says is a marshal version 2 tuple (it is trusted by all); what is said to the master is a fixed struct
and, for the few texts, plain bytes: the master never unmarshals.
"""

from __future__ import annotations

import marshal
import struct
from collections import deque
from typing import Any

from .frames import WireError

_HEADER = struct.Struct("<IBB")
MAX_MESSAGE = 1024 * 1024
MAX_TEXT_BYTES = 64 * 1024

# Master to front.
SNAPSHOT = 1  # (front number, fronts, slots) + descriptors: snapshot file, board, access log, error log, listeners...
WORKER_ADDED = 2  # (app index, worker, slot, pid) + descriptors: data, control, scoreboard
WORKER_DRAIN = 3  # (worker,): give it nothing new; answer WORKER_IDLE when nothing of ours runs there
WORKER_GONE = 4  # (worker, how): it was waited for; `how` says it in words
APP_STATE = 5  # (app index, reason): "" = booting or serving, else why it can't
DRAIN = 6  # (grace seconds,): close listeners, finish what runs, then exit
STATUS = 7  # (facts dict,) + descriptor: an admin connection to answer on
LOGS = 8  # () + descriptors: access log, error log (reopened)
STARTED = 9  # (): embedded only: every pool has a ready worker or has failed its first start
ASK = 11  # ("top" | "stack" | "cancel", app index, stream) + descriptor: an admin connection to answer on
CERTIFICATES = 12  # ([(site index, offset, lengths of chain, key, client_ca)...],) + descriptor: the file they lie in
CERTIFICATE_MISSING = 13  # (site index, reason, waiting): refused on https until it has one; waiting = one is asked for
START_FAILED = 10  # text: embedded only, instead of SNAPSHOT: why the master can't start

# Front to master.
FRONT_READY = 32  # no payload: listeners accept
WORKER_READY = 33  # worker u32: its HELLO was read
WORKER_IDLE = 34  # worker u32
WORKER_STUCK = 35  # worker u32: a request passed its deadline; replace it
WORKER_BROKE = 36  # worker u32: it broke the rules of the wire; kill it
WORKER_MUTE = 38  # worker u32, then text: it does not say where this late request of its stands; have the system look
WORKER_LEFT = 39  # worker u32, then text: it is buried here, and this is what it ran
APP_WANTED = 37  # app index u32: requests wait and no worker can take them

# Master to template.
SPEC = 63  # (dict,): see pyserve/master/README.md; the first message
FORK = 64  # (worker, slot, number of fronts) + descriptors: master pair, scoreboard, (data, control) per front
SIGNAL = 65  # (worker, signal number)

# Master to prover.
PROVE = 72  # ([(site index, its config.model.Tls as a tuple, its hosts)...],)

# Prover to master.
PROVED = (
    88  # site u32, offset u32, lengths of chain, key and client_ca u32, notBefore i64, notAfter i64, then text: names
)
NOT_FOR = 91  # site u32, then text: for what the certificate that is proved next is, and for which hosts it is not
UNPROVED = 89  # site u32, then text: why not
PROVED_FILE = 90  # no payload + descriptor: where everything said since the last one lies

# Template to master.
TEMPLATE_READY = 80  # no payload
FORKED = 81  # worker u32, pid u32
EXITED = 82  # worker u32, wait status i32, the most memory that it had in use u64
PRELOAD_DROPPED = 83  # text: why this template can't be forked from with the application loaded
PRELOAD_FAILED = 84  # text: traceback

# Master to worker, on their own pair.
NEW_FRONT = 96  # (front number,) + descriptors: data, control
STOP = 97  # (): finish what runs, then exit

# Worker to master.
BOOTED = 112  # interface u8
BOOT_FAILED = 113  # text: traceback
WARMUP_FAILED = 120  # text: what is wrong with an answer to a target of the warmup; it becomes ready all the same

# Master to the process that gets certificates.
ACME_TASKS = 128  # () + descriptors: tasks (pickled), error log; the first message. LOGS with one: the error log

# That process to the master.
ACME_STATE = 136  # site u32, state u8, its certificate's end and the next attempt f64 (0 = none), reason text
ACME_STATES = ("waiting", "ordering", "valid", "failed")

_U32 = struct.Struct("<I")
_U32X2 = struct.Struct("<II")
_EXITED = struct.Struct("<IiQ")
_PROVED = struct.Struct("<5I2q")
_ACME_STATE = struct.Struct("<IBdd")


def pack_values(kind: int, values: tuple[Any, ...], descriptors: int = 0) -> bytes:
    """Return a message of the master's: a tuple of plain values."""
    return pack_bytes(kind, marshal.dumps(values, 2), descriptors)


def pack_bytes(kind: int, payload: bytes = b"", descriptors: int = 0) -> bytes:
    return _HEADER.pack(len(payload), kind, descriptors) + payload


def pack_number(kind: int, number: int) -> bytes:
    return pack_bytes(kind, _U32.pack(number))


def pack_forked(worker: int, pid: int) -> bytes:
    return pack_bytes(FORKED, _U32X2.pack(worker, pid))


def pack_exited(worker: int, status: int, peak_bytes: int = 0) -> bytes:
    """``peak_bytes``: resident, shared pages with it; 0 = not known."""
    return pack_bytes(EXITED, _EXITED.pack(worker, status, peak_bytes))


def values(payload: bytes) -> tuple[Any, ...]:
    """Read what the master said. Never call it on anything that came from another process."""
    result = marshal.loads(payload)
    assert isinstance(result, tuple)
    return result


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise WireError(f"a message of {len(payload)} bytes where {layout.size} were due")
    return layout.unpack(payload)


def number(payload: bytes) -> int:
    return _unpack(_U32, payload)[0]


def pack_number_text(kind: int, number: int, text: str) -> bytes:
    return pack_bytes(kind, _U32.pack(number) + text.encode("utf-8", "backslashreplace")[:MAX_TEXT_BYTES])


def number_text(payload: bytes) -> tuple[int, bytes]:
    """Return the number that a message begins with, and the text behind it as it came."""
    if not 4 <= len(payload) <= 4 + MAX_TEXT_BYTES:
        raise WireError(f"a message of {len(payload)} bytes where a number and a text were due")
    return _U32.unpack_from(payload)[0], payload[4:]


def forked(payload: bytes) -> tuple[int, int]:
    """Return ``(worker, pid)`` of FORKED."""
    worker, pid = _unpack(_U32X2, payload)
    return worker, pid


def exited(payload: bytes) -> tuple[int, int, int]:
    """Return ``(worker, wait status, peak bytes)`` of EXITED."""
    worker, status, peak_bytes = _unpack(_EXITED, payload)
    return worker, status, peak_bytes


def pack_proved(numbers: tuple[int, int, int, int, int, int, int], text: str) -> bytes:
    """``numbers``: site, offset, lengths of chain, key and client_ca, and the dates in seconds since 1970."""
    return pack_bytes(PROVED, _PROVED.pack(*numbers) + text.encode("utf-8", "backslashreplace")[:MAX_TEXT_BYTES])


def proved(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the numbers of PROVED, and the text behind them as it came."""
    if not _PROVED.size <= len(payload) <= _PROVED.size + MAX_TEXT_BYTES:
        raise WireError(f"a message of {len(payload)} bytes where numbers and a text were due")
    return _PROVED.unpack_from(payload), payload[_PROVED.size :]


def pack_acme_state(site: int, state: str, not_after_s: float, next_s: float, reason: str) -> bytes:
    text = reason.encode("utf-8", "backslashreplace")[:MAX_TEXT_BYTES]
    return pack_bytes(ACME_STATE, _ACME_STATE.pack(site, ACME_STATES.index(state), not_after_s, next_s) + text)


def acme_state(payload: bytes) -> tuple[int, str, float, float, bytes]:
    """Return ``(site, state, end, next attempt, reason)`` of ACME_STATE."""
    if not _ACME_STATE.size <= len(payload) <= _ACME_STATE.size + MAX_TEXT_BYTES:
        raise WireError(f"a message of {len(payload)} bytes where the state of a certificate was due")
    site, state, not_after_s, next_s = _ACME_STATE.unpack_from(payload)
    if state >= len(ACME_STATES) or not (0 <= not_after_s < 1e12 and 0 <= next_s < 1e12):
        raise WireError(f"the state {state} of a certificate with the times {not_after_s} and {next_s}")
    return site, ACME_STATES[state], not_after_s, next_s, payload[_ACME_STATE.size :]


class MessageSplitter:
    """Received bytes and descriptors to messages."""

    __slots__ = ("_descriptors", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._descriptors: deque[int] = deque()

    def feed(self, data: bytes, descriptors: list[int]) -> list[tuple[int, bytes, list[int]]]:
        """Return ``(kind, payload, descriptors)`` of each complete message; the caller owns the descriptors."""
        self._descriptors.extend(descriptors)
        data = self._rest + data
        messages = []
        at = 0
        while len(data) - at >= 6:
            length, kind, count = _HEADER.unpack_from(data, at)
            if length > MAX_MESSAGE:
                raise WireError(f"message of {length} bytes, kind {kind}")
            if at + 6 + length > len(data):
                break
            if count > len(self._descriptors):
                # They arrive with the message's first byte; missing ones were cut off (out of descriptors).
                raise WireError(f"message {kind} came without its descriptors")
            own = [self._descriptors.popleft() for _ in range(count)]
            messages.append((kind, data[at + 6 : at + 6 + length], own))
            at += 6 + length
        self._rest = data[at:]
        return messages

    def leftover_descriptors(self) -> list[int]:
        """Return descriptors of messages that will never be complete, to be closed."""
        rest = list(self._descriptors)
        self._descriptors.clear()
        return rest
