"""Where things lie that the file does not say: the admin socket, the spool folder.

I/O: looks at the environment and at folders, makes nothing. A running server and the commands that look for it must
come to the same answer, so everything is derived from the configuration's real path.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterable, Sequence

from pyserve.config.model import Listener
from pyserve.config.units import MAX_UNIX_PATH_BYTES

_IN_MEMORY = ("tmpfs", "ramfs")
_KEEP_NOTHING = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "securityfs", "debugfs", "tracefs")
"""Root is told that it may write to their folders, and yet no file can be made there."""


def temporary_folder() -> str:
    """As ``tempfile.gettempdir``, whose import costs more than reading the whole configuration."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = os.environ.get(name, "")
        if os.path.isabs(folder) and os.access(folder, os.W_OK | os.X_OK):
            return os.path.normpath(folder)
    return "/tmp"


def spool_folder() -> str:
    """The system's temporary folder, or /var/tmp if that one is in memory: what is spooled is there to save memory."""
    folder = temporary_folder()
    if sys.platform == "linux" and _is_in_memory(folder) and os.access("/var/tmp", os.W_OK | os.X_OK):
        return "/var/tmp"
    return folder


def state_folder() -> str:
    """Return where to keep what has to outlive the process, if the file does not say: systemd's folder for it, root's,
    or the user's."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(given):
        return os.path.normpath(given)
    if os.geteuid() == 0:
        return "/var/lib/pyserve"
    state = os.environ.get("XDG_STATE_HOME", "")
    return f"{state if os.path.isabs(state) else os.path.expanduser('~/.local/state')}/pyserve"


def why_not_made(folder: str) -> str:
    """Return what keeps a folder from being made at the start, with those above it, and from being written to; "" =
    nothing."""
    here = folder
    while not os.path.lexists(here) and here != "/":
        here = os.path.dirname(here)
    if not os.path.isdir(here):
        reason = f"{here} is not a folder"
    elif _system_of(here) in _KEEP_NOTHING:
        reason = f"no files can be kept in {here}"
    elif not os.access(here, os.W_OK | os.X_OK):
        reason = f"the folder {here} is not writable"
    else:
        return ""
    return f"{reason}; name another folder" if here == folder else f"{folder} can't be made: {reason}; name another one"


def _is_in_memory(folder: str) -> bool:
    return _system_of(folder) in _IN_MEMORY


def _system_of(folder: str) -> str:
    """Return the type of the file system that a folder is in, "" = nobody tells."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    return mount_type(os.path.realpath(folder), lines)


def mount_type(folder: str, lines: Iterable[str]) -> str:
    """Return the file system type of ``folder`` by lines of /proc/mounts; of several on one point the last counts."""
    best, found = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        if (folder == point or folder.startswith(point + "/")) and len(point) >= best:
            best, found = len(point), fields[2]
    return found


def server_name(paths: Sequence[str], http: Sequence[Listener] = ()) -> str:
    """Return the name of a server's admin socket: from its files' real paths, without files from its first address."""
    if paths:
        real = "\0".join(os.path.realpath(path) for path in paths)
        stem = os.path.splitext(os.path.basename(paths[0].rstrip("/")))[0]
        return f"{_plain(stem)}-{_checksum(real)}"
    if not http:
        return "port-8000"
    if http[0].unix_path:
        return f"unix-{_checksum(http[0].unix_path)}"
    # Port 0 is a new port each time: two such servers must not be taken for one.
    return f"port-{http[0].port}" if http[0].port else f"process-{os.getpid()}-{os.urandom(4).hex()}"


def _plain(stem: str) -> str:
    return "".join(
        character for character in stem if character.isascii() and (character.isalnum() or character in "-_")
    )[:24]


def _checksum(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    # Not against malice (the folder is the user's own), only against two files sharing a name by chance.
    return f"{zlib.crc32(data):08x}{zlib.adler32(data[::-1]):08x}"


def admin_socket(name: str) -> str:
    """Return where a server listens for commands, if its file does not say."""
    return _usable(_own_folders(), name)[0]


def admin_candidates(name: str) -> list[str]:
    """Return where such a server may be listening, seen from another environment (systemd's, another login's)."""
    import glob  # only the commands that look for a server need it

    folders = _own_folders()
    folders.append(f"/run/user/{os.getuid()}/pyserve")
    folders += sorted(glob.glob("/run/*/admin"))
    return list(dict.fromkeys(_usable(folders, name)))


def _own_folders() -> list[str]:
    """Folders that are, or will be made, with mode 0700; the first that fits is taken."""
    folders = []
    # systemd's own folder is often 0755 and may be a list.
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        folders.append(f"{runtime}/admin")
    user_runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(user_runtime) and os.path.isdir(user_runtime):
        folders.append(f"{user_runtime}/pyserve")
    folders.append(f"{temporary_folder()}/pyserve-{os.getuid()}")
    folders.append(f"/tmp/pyserve-{os.getuid()}")
    return folders


def _usable(folders: list[str], name: str) -> list[str]:
    paths = [f"{folder}/{name}.sock" for folder in folders]
    return [path for path in paths if len(os.fsencode(path)) <= MAX_UNIX_PATH_BYTES]
