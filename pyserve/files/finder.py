"""Find the file that a path means, and make it ready.

I/O: the file system, through ``opening``. It runs on the front's loop with ``in_memory`` (and then never waits for a
disk: ``BlockingIOError``), else in a helper thread; so it touches nothing that others change. The invariants: nothing
outside the folder, nothing hidden (a segment that begins with a dot, but ``.well-known``), nothing that is not a
regular file.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyserve.config.model import Compress, Files
from pyserve.files import disks
from pyserve.files.entry import FileEntry, Key, Signature, is_settled, signature_of
from pyserve.files.media_types import MediaTypes
from pyserve.files.opening import (
    open_below,
    open_folder_below,
    open_root,
    open_single,
)

if TYPE_CHECKING:
    from pyserve.files.listing import Item

MAX_LISTED = 10_000
SUFFIXES = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""Content codings and what the names of files with them end in; the server's favourite first."""
_CODED_ENDINGS = tuple(SUFFIXES.values())
FOLDER_FRESH_S = 0.2
MAX_FOLDERS = 4096
_STALE_NS = 60_000_000_000
"""A coded file that is so much older than its original was forgotten when that was changed. Unpacking an archive, or
copying a folder, makes them in any order, but not minutes apart."""
_CHANGED: Signature = (0, 0, 0, 0, 0)
"""Of no folder: what was seen there is to be looked for again."""
_numbers = itertools.count(1)

Known = Callable[[Key], FileEntry | None]


class IsFolder(Exception):
    """The path names a folder but has no slash at its end."""


class IsListing(Exception):
    """The path names a folder without an index, and folders are listed."""


class IsStatus(Exception):
    """The last entry of ``try`` is a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Folder(NamedTuple):
    """A folder as it was seen. ``coded``: the names in it that end as those of coded files do."""

    looked_s: float
    signature: Signature
    coded: frozenset[bytes]


class Finder:
    """One ``files`` of the config. ``compress``: what is compressed on the fly, for what depends on that."""

    __slots__ = (
        "_cache",
        "_clock",
        "_codings",
        "_compress",
        "_device",
        "_files",
        "_folders",
        "_root",
        "_types",
        "is_local",
        "number",
    )

    def __init__(
        self, files: Files, compress: Compress | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._root = os.fsencode(os.path.dirname(files.path) if files.is_single else files.path)
        self._cache = files.cache.encode()
        self._types = MediaTypes(dict(files.types), files.charset)
        self._compress = compress
        self._clock = clock
        codings = compress.codings if compress is not None else ()
        # What is compressed here comes in the config's order, before what only lies there.
        order = [coding.encode() for coding in codings] + [
            coding for coding in SUFFIXES if coding.decode() not in codings
        ]
        self._codings = tuple(order)
        self._device = -1
        self._folders: dict[bytes, _Folder] = {}
        self.is_local = False
        """Its folder was seen to be on a disk of this machine."""
        self.number = next(_numbers)  # never used twice, so an entry of a handler that is gone can't be found

    def find(self, rest: str, wall_ns: int, *, in_memory: bool, known: Known) -> FileEntry:
        """Return the entry of the first candidate that is a file, as it is now. ``known``: entries that are good still.

        Raises ``IsFolder``, ``IsListing``, ``IsStatus``, ``RootMissing``, and what the last candidate met.
        """
        folder = open_root(self._root, in_memory=in_memory)
        try:
            if not in_memory:
                self._judge(folder)
            if self._files.is_single:
                name = os.path.basename(os.fsencode(self._files.path))
                return self._open(folder, (self.number, rest), name, wall_ns, is_quick=True, in_memory=in_memory)
            return self._first(folder, rest, wall_ns, in_memory, known)
        finally:
            os.close(folder)

    def find_again(self, rest: str, wall_ns: int, entry: FileEntry | None) -> FileEntry:
        """In a thread: the same, but the entry that is known if it is as it was."""
        if entry is not None and self.is_unchanged(entry, wall_ns):
            return entry
        return self.find(rest, wall_ns, in_memory=False, known=lambda key: None)

    def find_coded(self, original: FileEntry, coding: bytes, wall_ns: int, *, in_memory: bool) -> FileEntry:
        """Return the entry of the file with ``coding`` beside a file; raise ``OSError`` if there is none any more."""
        folder = open_root(self._root, in_memory=in_memory)
        try:
            name = original.name + SUFFIXES[coding]
            entry = FileEntry(coded_key(original, coding), name, os.path.join(self._root, name), is_quick=True)
            fd = open_below(
                folder,
                self._root,
                name,
                follows_links=self._files.symlinks or self._files.is_single,
                in_memory=in_memory,
            )
            entry.load(fd, original.content_type, wall_ns, coding=coding, in_memory=in_memory)
        finally:
            os.close(folder)
        entry.is_local = original.is_local
        entry.original = original
        entry.varies = True
        entry.write_heads(self._cache, coding)
        return entry

    def code(self, original: FileEntry, body: bytes, coding: bytes) -> FileEntry:
        """Return the entry of what was compressed here."""
        entry = FileEntry(made_key(original, coding), original.name, original.path, is_quick=True)
        entry.become(original, body)
        entry.varies = True
        entry.write_heads(self._cache, coding)
        return entry

    def is_unchanged(self, entry: FileEntry, wall_ns: int) -> bool:
        """Two looks at most: at the file, and at its folder for what may have come to lie beside it."""
        if not entry.is_quick or not entry.is_settled:
            return False
        try:
            if signature_of(os.stat(entry.path)) != entry.signature:
                return False
            if entry.folder is None:
                return True
            path, signature = entry.folder
            return self._folder_signature(path) == signature
        except OSError:
            return False

    def _folder_signature(self, path: bytes) -> Signature:
        """One look serves all the files in it for a moment."""
        looked_s = self._clock()
        seen = self._folders.get(path)
        if seen is not None and looked_s - seen.looked_s < FOLDER_FRESH_S:
            return seen.signature
        signature = signature_of(os.stat(path))
        if seen is not None and seen.signature == signature:
            self._folders[path] = seen._replace(looked_s=looked_s)
        return signature

    def _look_at_folder(self, path: bytes, wall_ns: int, in_memory: bool) -> _Folder:
        """Return how a folder looks and which coded files are in it; ``BlockingIOError`` if it has to be read."""
        looked_s = self._clock()
        seen = self._folders.get(path)
        if seen is not None and looked_s - seen.looked_s < FOLDER_FRESH_S:
            return seen
        status = os.stat(path)
        signature = signature_of(status)
        if seen is not None and seen.signature == signature:
            seen = seen._replace(looked_s=looked_s)
        elif in_memory:
            raise BlockingIOError
        else:
            # What changes again within the same moment would not show: so it counts as changed already.
            signature = signature if is_settled(status, wall_ns) else _CHANGED
            with os.scandir(path) as entries:
                coded = frozenset(entry.name for entry in entries if entry.name.endswith(_CODED_ENDINGS))
            seen = _Folder(looked_s, signature, coded)
        if len(self._folders) >= MAX_FOLDERS:
            self._folders.clear()  # LIMIT: bounded; looked at again
        self._folders[path] = seen
        return seen

    def list_folder(self, rest: str) -> tuple[list[Item], bool]:
        """In a thread: what stands in a folder, and whether there is more. Raises as ``find`` does."""
        from pyserve.files.folder import scan  # 3 ms that most fronts never pay

        folder = open_root(self._root)
        try:
            name = rest.encode("utf-8", "surrogateescape").removesuffix(b"/")
            fd = open_folder_below(folder, self._root, name, follows_links=self._files.symlinks)
            try:
                return scan(
                    fd,
                    most=MAX_LISTED,
                    shows_hidden=self._files.dotfiles,
                    is_allowed=lambda link: self._leads_inside(folder, name, link),
                )
            finally:
                os.close(fd)
        finally:
            os.close(folder)

    def _leads_inside(self, folder: int, name: bytes, link: bytes) -> bool:
        path = name + b"/" + link if name else link
        for opened in (open_below, open_folder_below):
            try:
                os.close(opened(folder, self._root, path, follows_links=self._files.symlinks))
            except OSError:
                continue
            return True
        return False

    def _judge(self, folder: int) -> None:
        device = os.fstat(folder).st_dev
        if device != self._device:
            self.is_local = disks.is_local(folder)
            self._device = device

    def _first(self, folder: int, rest: str, wall_ns: int, in_memory: bool, known: Known) -> FileEntry:
        missing = FileNotFoundError(errno.ENOENT, "not found")
        is_first = True
        for name, is_from_path, is_index, needs_slash in self._candidates(rest):
            # Fallbacks have a key space of their own: one entry, however many paths fall back to it.
            key = (self.number, rest) if is_from_path else (-self.number, name)
            try:
                fallback = None if is_from_path else known(key)
                if fallback is not None:
                    return fallback
                raw_name = name.encode("utf-8", "surrogateescape")  # not the locale's: the bytes that stood in the URL
                if needs_slash:
                    fd = open_below(
                        folder, self._root, raw_name, follows_links=self._files.symlinks, in_memory=in_memory
                    )
                    os.close(fd)
                    raise IsFolder
                is_quick = is_first or not is_from_path
                return self._open(folder, key, raw_name, wall_ns, is_quick=is_quick, in_memory=in_memory)
            except IsADirectoryError:
                if not self._files.tries and is_from_path and not is_index:
                    raise IsFolder from None
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
                    raise
            is_first = False
        if self._files.autoindex and (not rest or rest.endswith("/")) and self._is_servable(rest):
            raise IsListing
        raise missing

    def _candidates(self, rest: str) -> Iterator[tuple[str, bool, bool, bool]]:
        """Yield (relative name, made from the path?, of an index?, needs a slash at the path's end?) in the order of
        ``try``.

        ``{path}/`` stands for a folder: asked for without its slash it is redirected, since relative links need that.
        """
        is_servable = self._is_servable(rest)
        for template in self._files.tries or ("{path}",):
            if template.startswith("="):
                raise IsStatus(int(template[1:]))
            is_from_path = "{path}" in template
            if is_from_path and not is_servable:
                continue
            name = template.replace("{path}", rest).replace("//", "/").removeprefix("/")
            if name and not name.endswith("/"):
                yield name, is_from_path, name != rest, False
            else:
                needs_slash = is_from_path and bool(rest) and not rest.endswith("/")
                for index in self._files.index:
                    yield name + index, is_from_path, True, needs_slash

    def _is_servable(self, rest: str) -> bool:
        """May a client name this: no empty segment but the last, none that is hidden or leads out?"""
        if rest.startswith(("/", ".")) or "//" in rest or "/." in rest:
            shows_hidden = self._files.dotfiles
            segments = rest.removesuffix("/").split("/")
            return all(
                segment and (segment[0] != "." or shows_hidden or segment == ".well-known") for segment in segments
            )
        return True

    def _open(self, folder: int, key: Key, name: bytes, wall_ns: int, *, is_quick: bool, in_memory: bool) -> FileEntry:
        files = self._files
        path = os.path.join(self._root, name)
        if files.is_single:
            fd = open_single(path, in_memory=in_memory)
        else:
            fd = open_below(folder, self._root, name, follows_links=files.symlinks, in_memory=in_memory)
        entry = FileEntry(key, name, path, is_quick=is_quick)
        content_type, is_packed = self._types.of(name)
        entry.load(fd, content_type, wall_ns, in_memory=in_memory)
        entry.is_local = self.is_local and entry.signature[0] == self._device
        try:
            if files.precompressed and not is_packed:
                entry.beside = self._find_beside(folder, entry, wall_ns, in_memory)
            entry.offered = self._offered(entry) if self._compress is not None else entry.beside
            entry.varies = bool(entry.offered)
        except BaseException:
            entry.close()
            raise
        entry.write_heads(self._cache)
        return entry

    def _offered(self, entry: FileEntry) -> tuple[bytes, ...]:
        from pyserve.http.codings import is_compressible  # for fronts that compress

        compress = self._compress
        assert compress is not None
        if entry.size < compress.min_bytes or not is_compressible(compress, entry.content_type):
            return entry.beside
        ours = {coding.encode() for coding in compress.codings}
        return tuple(coding for coding in self._codings if coding in ours or coding in entry.beside)

    def _find_beside(self, folder: int, entry: FileEntry, wall_ns: int, in_memory: bool) -> tuple[bytes, ...]:
        """Return the codings that lie beside a file, and note how its folder looked before anybody looked."""
        path = os.path.dirname(entry.path)
        folder_seen = self._look_at_folder(path, wall_ns, in_memory)
        entry.folder = (path, folder_seen.signature)
        if not folder_seen.coded:
            return ()
        found = []
        own_name = os.path.basename(entry.name)
        for coding in self._codings:
            if own_name + SUFFIXES[coding] not in folder_seen.coded:
                continue
            try:
                fd = open_below(
                    folder,
                    self._root,
                    entry.name + SUFFIXES[coding],
                    follows_links=self._files.symlinks or self._files.is_single,
                    in_memory=in_memory,
                )
            except BlockingIOError:
                raise
            except (FileNotFoundError, IsADirectoryError):
                continue
            except OSError:
                entry.folder = (path, _CHANGED)  # no descriptor, no permission: the folder won't say when that is over
                continue
            try:
                if os.fstat(fd).st_mtime_ns + _STALE_NS >= entry.signature[3]:
                    found.append(coding)
                else:
                    entry.folder = (path, _CHANGED)  # nor when it is written anew in its place
            finally:
                os.close(fd)
        return tuple(found)


def coded_key(original: FileEntry, coding: bytes) -> Key:
    """Of a coded file beside another. No path has a NUL in it, so this is the key of no other file."""
    number, name = original.key
    return number, f"{name}\0{coding.decode()}"


def made_key(original: FileEntry, coding: bytes) -> Key:
    """Of what was compressed here: a coded file may come to lie beside it, and takes precedence."""
    number, name = original.key
    return number, f"{name}\0\0{coding.decode()}"
