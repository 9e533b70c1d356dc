"""Words with units, as tables."""

from __future__ import annotations

import pytest

from pyserve.config.model import Listener
from pyserve.config.units import check_unix_path, parse_duration_s, parse_listener, parse_size_bytes

DURATIONS = {"500ms": 0.5, "10s": 10, "5m": 300, "2h": 7200, "30d": 2_592_000, "1h30m": 5400, "1.5s": 1.5, "0s": 0}
SIZES = {
    "0B": 0,
    "32KiB": 32768,
    "100MiB": 104_857_600,
    "1GiB": 1 << 30,
    "10KB": 10_000,
    "2MB": 2_000_000,
    "1.5 KiB": 1536,
}
LISTENERS = {
    ":80": Listener("", 80),
    "*:80": Listener("", 80),
    "127.0.0.1:0": Listener("127.0.0.1", 0),
    "LocalHost:8000": Listener("localhost", 8000),
    "[::1]:8000": Listener("::1", 8000),
    "unix:run/web.sock": Listener(unix_path="run/web.sock"),
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "10 s", "s", "-1s", "10S", "1h 30m", "\u0663s", "1e3s", "99999999999d", "10sec"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration_s(text)


@pytest.mark.parametrize(("text", "count"), SIZES.items())
def test_a_size_is_read(text: str, count: int) -> None:
    assert parse_size_bytes(text) == count


@pytest.mark.parametrize("text", ["", "10", "10K", "10kb", "iB", "-1KiB", "1 PiB", "999999999999TiB", "100 megabytes"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_size_bytes(text)


@pytest.mark.parametrize(("text", "listener"), LISTENERS.items())
def test_an_address_is_read(text: str, listener: Listener) -> None:
    assert parse_listener(text) == listener


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        "localhost",
        ":",
        ":65536",
        ":-1",
        ":\uff18\uff10",
        "::1:80",
        "[]:80",
        "[a]:80",
        "http://a:80",
        "unix:",
        "a b:80",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_listener(text)


def test_a_unix_path_may_have_a_hundred_bytes_but_no_more() -> None:
    assert check_unix_path("/" + "ä" * 49 + "x") == "/" + "ä" * 49 + "x"
    with pytest.raises(ValueError, match="101 bytes"):
        check_unix_path("/" + "ä" * 50)
