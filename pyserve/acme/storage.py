"""The folder that keeps accounts, keys and certificates, perhaps for several machines.

I/O: files. Invariants: folders are made with mode 0700 and files with 0600; a file is there whole or not at all,
because it is written beside its place and renamed. Layout (see also ``config.acme``)::

    accounts/NAME/key.pem, account.json     one for each authority and address
    certificates/HOST.pem, HOST.json        key and chain; what is remembered of attempts
    challenges/TOKEN, alpn/HOST.pem         while an authority looks
    locks/NAME                              who works on what
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable

from pyserve.errors import CannotStart

MAX_FILE_BYTES = 1024 * 1024
LEFT_OVER_S = 24 * 3600.0
"""A challenge's answer that is older was left by a process that died."""
_BESIDE = re.compile(r"^\.|\.[0-9a-f]{32}$")
"""Names of files that were on their way to their place."""
_FOLDERS = ("accounts", "certificates", "challenges", "challenges/alpn", "locks")


class Storage:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._is_swept = False
        self._temporary: set[str] = set()
        self.at_close: set[Callable[[], None]] = set()
        """Called when this process ends, perhaps in the middle of something."""

    def prepare(self) -> None:
        """Make what is missing; the first time, remove what was left over. Raises ``CannotStart``."""
        try:
            os.makedirs(self.folder, 0o700, exist_ok=True)
            info = os.stat(self.folder)
            if info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) & 0o077:
                os.chmod(self.folder, 0o700)
            for name in _FOLDERS:
                os.makedirs(f"{self.folder}/{name}", 0o700, exist_ok=True)
            if not self._is_swept:
                self._sweep()
                self._is_swept = True
        except OSError as error:
            inner = f" {error.filename}:" if error.filename and error.filename != self.folder else ""
            raise CannotStart(f"the storage of certificates {self.folder}:{inner} {error.strerror}") from None

    def _sweep(self) -> None:
        oldest_s = time.time() - LEFT_OVER_S
        for name in ("challenges", "challenges/alpn", "certificates", "locks"):
            for entry in os.scandir(f"{self.folder}/{name}"):
                is_left_over = name.startswith("challenges") or bool(_BESIDE.search(entry.name))
                try:
                    if is_left_over and entry.is_file() and entry.stat().st_mtime < oldest_s:
                        os.unlink(entry.path)
                except FileNotFoundError:
                    pass  # another machine was first

    def make_folder(self, folder: str) -> None:
        os.makedirs(folder, 0o700, exist_ok=True)

    def read(self, path: str) -> bytes | None:
        """Return a file's content, None if there is none. Raises ``OSError`` for any other reason."""
        try:
            with open(path, "rb") as file:
                return file.read(MAX_FILE_BYTES)
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Put a file in its place, durably: a key whose certificate was paid for with a limit must not be lost."""
        folder, name = os.path.split(path)
        beside = f"{folder}/.{name}.{os.getpid()}-{os.urandom(4).hex()}"
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(beside, path)
        except BaseException:
            remove(beside)
            raise
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)

    def write_temporary(self, path: str, data: bytes) -> None:
        self._temporary.add(path)
        self.write(path, data)

    def remove_temporary(self, path: str) -> None:
        remove(path)
        self._temporary.discard(path)

    def close(self) -> None:
        """Remove what must not outlive this process."""
        for path in list(self._temporary):
            remove(path)
        for call in list(self.at_close):
            call()


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone already, or it can't be helped: it is swept up later
