"""Real sockets on loopback: what is bound, what is refused and how that is said."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pyserve.config.model import Listener
from pyserve.errors import CannotStart
from pyserve.net import listen


def test_port_zero_is_given_a_port_and_accepts() -> None:
    sock = listen.bind(Listener("127.0.0.1", 0))
    assert listen.address_words(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
    with socket.create_connection(sock.getsockname()), sock:
        connection, _ = sock.accept()
        connection.close()


def test_the_socket_does_not_block_and_is_not_inherited_by_accident() -> None:
    with listen.bind(Listener("127.0.0.1", 0)) as sock:
        assert not sock.getblocking()
        assert not sock.get_inheritable()


@pytest.mark.skipif(not listen._ipv6_works(), reason="this machine has no IPv6")
def test_no_host_takes_both_kinds_of_address() -> None:
    with listen.bind(Listener("", 0)) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()
        assert listen.address_words(sock) == f"http://*:{port}" or "[*]" in listen.address_words(sock)


@pytest.mark.skipif(not listen._ipv6_works(), reason="this machine has no IPv6")
def test_an_ipv6_address_leaves_ipv4_to_others() -> None:
    with listen.bind(Listener("::", 0)) as six:
        port = six.getsockname()[1]
        with listen.bind(Listener("0.0.0.0", port)) as four:
            assert four.getsockname()[1] == port


def test_a_busy_port_names_who_has_it() -> None:
    with listen.bind(Listener("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(CannotStart) as caught:
            listen.bind(Listener("127.0.0.1", port))
    words = str(caught.value)
    assert words.startswith(f"cannot listen on 127.0.0.1:{port}: the port is busy")
    if os.path.exists("/proc/net/tcp"):
        assert f"(pid {os.getpid()})" in words


def test_an_address_of_another_machine_is_refused_with_a_hint() -> None:
    with pytest.raises(CannotStart, match=r"this machine has no address 192\.0\.2\.1"):
        listen.bind(Listener("192.0.2.1", 0))


def test_a_name_that_does_not_exist_is_said() -> None:
    with pytest.raises(CannotStart, match="no such host"):
        listen.bind(Listener("no such host.invalid", 0))


def test_a_port_for_root_alone_says_what_to_do() -> None:
    error = PermissionError(13, "Permission denied")
    assert "below 1024 are for root" in listen._reason(Listener("", 80), error)


def test_all_or_none_are_bound() -> None:
    with listen.bind(Listener("127.0.0.1", 0)) as busy, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        with pytest.raises(CannotStart):
            listen.bind_all([Listener("127.0.0.1", free), Listener("127.0.0.1", busy.getsockname()[1])])
        listen.bind(Listener("127.0.0.1", free)).close()


def test_a_unix_socket_is_made_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    sock = listen.bind(Listener(unix_path=str(path)))
    assert path.stat().st_mode & 0o777 == 0o666
    assert listen.address_words(sock) == f"unix:{path}"
    listen.close_all([sock])
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    listen.bind_unix(path, 0o600).close()  # its path stays, as after a crash
    with listen.bind_unix(path, 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_live_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    with listen.bind_unix(path, 0o600) as first:
        with pytest.raises(CannotStart, match="another server answers there"):
            listen.bind_unix(path, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            first.accept()[0].close()  # the probe
            first.accept()[0].close()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    path.write_text("precious")
    with pytest.raises(CannotStart, match="something else of that name"):
        listen.bind_unix(str(path), 0o600)
    assert path.read_text() == "precious"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=f"no such folder: {tmp_path}/nowhere"):
        listen.bind_unix(str(tmp_path / "nowhere" / "web.sock"), 0o600)
