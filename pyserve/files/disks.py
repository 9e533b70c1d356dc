"""Which disks answer by themselves, and which may let a caller wait for a network.

I/O: reads what the system says of a descriptor and of its mounts, which it has in memory.
"""

from __future__ import annotations

import os
import time

# What the kernel reads from a disk of this machine, or has in memory. Anything else may hang as long as its server.
_LOCAL = frozenset(
    b"ext2 ext3 ext4 xfs btrfs bcachefs zfs f2fs jfs reiserfs tmpfs ramfs overlay aufs squashfs erofs iso9660 vfat "
    b"exfat ntfs3 hfsplus ufs".split()
)


_BELIEVED_S = 10.0  # a device number may come to mean another disk
_known: dict[int, tuple[float, bool]] = {}


def is_local(fd: int) -> bool:
    """Is an open file or folder on a disk of this machine? False where the system does not say."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
            mount = next(line.split()[1] for line in info if line.startswith(b"mnt_id:"))
        with open("/proc/self/mountinfo", "rb") as mounts:
            words = next(words for words in (line.split() for line in mounts) if words[0] == mount)
        return words[words.index(b"-") + 1] in _LOCAL  # proc_pid_mountinfo(5)
    except (OSError, StopIteration, ValueError, IndexError):
        return False


def was_local(fd: int) -> bool:
    """The same, as it was lately: for those who ask often."""
    device = os.fstat(fd).st_dev
    now_s = time.monotonic()
    known = _known.get(device)
    if known is None or now_s - known[0] > _BELIEVED_S:
        if len(_known) >= 1024:
            _known.clear()  # LIMIT: bounded; asked again
        known = _known[device] = (now_s, is_local(fd))
    return known[1]
