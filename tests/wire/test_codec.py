"""Heads as payloads, and the golden bytes on every CPython that is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyserve.wire import codec, frames
from pyserve.wire.frames import WireError
from tests.support import tools
from tests.wire import golden_request

PACKAGE = Path(codec.__file__).resolve().parent.parent


def test_the_golden_bytes_are_what_this_python_writes_and_reads() -> None:
    packed = codec.pack_request(
        codec.HAS_BODY,
        codec.pack_peer(codec.Peer(*golden_request.PEER)),
        codec.pack_head(codec.Head(*golden_request.HEAD)),
    )
    assert packed.hex() == golden_request.GOLDEN
    assert codec.unpack_request(packed) == (codec.HAS_BODY, golden_request.PEER, golden_request.HEAD)


@pytest.mark.parametrize(
    "version",
    [pytest.param(v, marks=pytest.mark.needs(f"python{v}")) for v in ("3.10", "3.11", "3.12", "3.13", "3.14")],
)
def test_the_golden_bytes_are_the_same_on_every_other_python(version: str) -> None:
    python = tools.find(f"python{version}")
    assert python is not None
    script = Path(golden_request.__file__)
    done = subprocess.run([python, "-I", str(script), str(PACKAGE)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.startswith(f"read and written by {version}.")) == (0, True), done.stderr


def test_the_wire_imports_nothing_but_itself_and_the_standard_library() -> None:
    code = (
        "import sys; m = type(sys)('_p'); m.__path__ = [sys.argv[1]]; sys.modules['_p'] = m\n"
        "from _p.wire import board, codec, credit, frames, messages, scoreboard\n"
        "import _p.worker.main, _p.worker.asgi_main, _p.worker.template, _p.worker.check\n"
        "assert 'pyserve' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(PACKAGE)], check=True, timeout=30)


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_an_answer_comes_out_as_it_went_in(body: bytes) -> None:
    flags = codec.COMPLETE | codec.HAS_DATE
    payload = codec.pack_answer(206, flags, 5, b"a: b\r\n", body)
    assert codec.unpack_answer(payload) == (206, flags, 5, b"a: b\r\n", body)


def test_an_answer_frame_is_the_frame_of_the_answer() -> None:
    values = (404, codec.CLOSE, codec.UNKNOWN_LENGTH, b"x: y\r\n", b"gone")
    assert codec.answer_frame(77, *values) == frames.frame(frames.ANSWER, 77, codec.pack_answer(*values))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 14,
        codec.pack_answer(199, 0, 0, b""),
        codec.pack_answer(600, 0, 0, b""),
        codec.pack_answer(200, 0, -2, b""),
        codec.pack_answer(200, 0, 0, b"a: b\r\n")[:-1],
    ],
)
def test_an_answer_that_can_t_be_right_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        codec.unpack_answer(payload)
