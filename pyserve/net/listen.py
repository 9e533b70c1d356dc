"""Steps 1 and 2 of the request path: the sockets that clients connect to.

I/O: binds TCP and Unix sockets; the master does it once, all fronts inherit the same socket per address. Invariant: a
socket that somebody answers on is never taken away from them. Every failure is a ``CannotStart`` that says address,
reason and what to do. Accepts nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyserve.config.model import Listener
from pyserve.errors import CannotStart

_WANTED_BACKLOG = 2048
_LOCK_WAIT_S = 1.0


def bind_all(listeners: Sequence[Listener]) -> list[socket.socket]:
    """Bind every address or none; return listening, non-blocking sockets in the same order. The caller closes them."""
    bound: list[socket.socket] = []
    try:
        bound.extend(bind(listener) for listener in listeners)  # kept one by one: what is bound gets closed
    except BaseException:
        close_all(bound)
        raise
    return bound


def bind(listener: Listener) -> socket.socket:
    """Return a listening, non-blocking socket for one address; raise ``CannotStart``."""
    if listener.unix_path:
        # Who may connect is decided by the folder that it lies in, as with every web server's socket.
        return bind_unix(listener.unix_path, 0o666)
    return _bind_tcp(listener)


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close listening sockets that this process bound, and remove the paths of Unix ones."""
    for sock in sockets:
        try:
            if sock.family == socket.AF_UNIX:
                os.unlink(sock.getsockname())
        except OSError:
            pass  # gone already, or its folder is
        sock.close()


def address_words(sock: socket.socket, *, is_tls: bool = False) -> str:
    """Return how a client would write the address: ``http://127.0.0.1:8000`` or ``unix:/path``."""
    scheme = "https" if is_tls else "http"
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[0], name[1]
    if host in ("0.0.0.0", "::"):
        host = "*"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def backlog() -> int:
    """Return the longest queue of unaccepted connections that is wanted and that the system allows."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return min(_WANTED_BACKLOG, int(file.read()))
    except (OSError, ValueError):
        return min(_WANTED_BACKLOG, socket.SOMAXCONN) if os.uname().sysname != "Linux" else _WANTED_BACKLOG


def _bind_tcp(listener: Listener) -> socket.socket:
    family, address, is_dual = _resolve(listener)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotStart(f"cannot listen on {listener}: {error.strerror}") from None
    try:
        # A restarted server may bind while connections of the old one are still in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_dual else 1)
        sock.bind(address)
        sock.listen(backlog())
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise CannotStart(f"cannot listen on {listener}: {_reason(listener, error)}") from None
    return sock


def _resolve(listener: Listener) -> tuple[socket.AddressFamily, tuple[str, int], bool]:
    """Return family, address, and whether one IPv6 socket is to take IPv4 too."""
    if not listener.host:
        if socket.has_ipv6 and _ipv6_works():
            return socket.AF_INET6, ("::", listener.port), True
        return socket.AF_INET, ("0.0.0.0", listener.port), False
    # The codec for international names takes 3 ms to be imported; a str would go through it in any case.
    host = listener.host.encode() if listener.host.isascii() else listener.host
    try:
        found = socket.getaddrinfo(host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CannotStart(f"cannot listen on {listener}: no such host: {listener.host!r} ({why})") from None
    # A name with both kinds of address (localhost): IPv4, which every client tries.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _type, _protocol, _name, address = found[0]
    return family, (str(address[0]), listener.port), False


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def _reason(listener: Listener, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(listener.port)
        who = f"it is taken by {holder}" if holder else "another program has it"
        return f"the port is busy: {who}; stop that one, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM) and 0 < listener.port < 1024:
        return (
            f"no permission: ports below 1024 are for root; start as root with [server] user set, give the interpreter "
            f"cap_net_bind_service, or choose a port from 1024 up (port {listener.port})"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {listener.host}; leave the host out to listen on all it has"
    return error.strerror or str(error)


def _holder(port: int) -> str:
    """Return "command (pid N)" of who listens on a TCP port, "" where that can't be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        inodes |= {
            f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
        }
    if not inodes:
        return ""
    holders = [pid for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int) if _holds(pid, inodes)]
    if not holders:
        return ""
    try:
        with open(f"/proc/{holders[0]}/cmdline", "rb") as file:
            command = file.read(200).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        command = ""
    return f"{command or 'a process'} (pid {holders[0]})"


def _holds(pid: str, inodes: set[str]) -> bool:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                return True
        except OSError:
            continue
    return False


def bind_unix(path: str, mode: int) -> socket.socket:
    """Return a listening, non-blocking Unix socket with these permissions; raise ``CannotStart``.

    A stale socket (nobody answers) is replaced; one that is answered, or anything that is no socket, is left alone.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _folder_lock(path):
            _clear_stale(path)
            old_mask = os.umask(0o777 & ~mode)
            try:
                sock.bind(path)
            finally:
                os.umask(old_mask)
            sock.listen(backlog())
        sock.setblocking(False)
    except CannotStart:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        why = error.strerror or str(error)
        if error.errno == errno.ENOENT:
            why = f"no such folder: {os.path.dirname(path)}; make it first"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = f"no permission to make a socket in {os.path.dirname(path)}"
        raise CannotStart(f"cannot listen on unix:{path}: {why}") from None
    return sock


def _clear_stale(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise CannotStart(f"cannot listen on unix:{path}: there is something else of that name; remove or rename it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            # EAGAIN or a time-out: its queue is full, so somebody has it open.
            why = error.strerror or str(error)
            raise CannotStart(f"cannot listen on unix:{path}: it is in use ({why})") from None
    raise CannotStart(f"cannot listen on unix:{path}: another server answers there; stop it first")


@contextmanager
def _folder_lock(path: str) -> Iterator[None]:
    """Keep two servers that start together from taking each other's new socket for a stale one.

    Best effort: a shared folder may be locked by strangers, who must not keep us from starting.
    """
    import fcntl

    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.01)
        yield
    finally:
        os.close(folder)
