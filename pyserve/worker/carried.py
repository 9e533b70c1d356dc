"""Our code without our folder: for an application whose user can't enter where pyserve lies (D13, D14).

I/O: reads the sources of ``wire`` and ``worker``; in the application's interpreter an import hook that has them in
memory. The boot line executes this module's own source before there is any package, so it imports nothing of ours.
Tracebacks name the files and show their lines as ever: the hook is asked for the source.

Bytecode is not carried, because the application may run on another CPython: a template's start takes some 15 ms more.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

Sources = dict[str, tuple[str, bool, str]]
"""Name below the private package, ``wire.frames`` -> path, is it a package, source."""

_PACKAGES = ("wire", "worker")


def pack() -> bytes:
    """Return the sources of ``wire`` and ``worker`` as ``marshal`` of every CPython reads them."""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources: Sources = {}
    for package in _PACKAGES:
        for file in sorted(os.listdir(os.path.join(top, package))):
            stem, suffix = os.path.splitext(file)
            if suffix == ".py":
                path = os.path.join(top, package, file)
                with open(path, encoding="utf-8") as source:
                    name = package if stem == "__init__" else f"{package}.{stem}"
                    sources[name] = (path, stem == "__init__", source.read())
    return marshal.dumps(sources, 2)


class Finder:
    """Finds and loads what is below one private package, and nothing else."""

    def __init__(self, name: str, sources: Sources) -> None:
        self._prefix = name + "."
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = self._sources.get(fullname[len(self._prefix) :]) if fullname.startswith(self._prefix) else None
        if found is None:
            return None
        spec = ModuleSpec(fullname, self, origin=found[0], is_package=found[1])  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As any module is made."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> CodeType:
        path, _, source = self._of(fullname)
        code: CodeType = compile(source, path, "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str:
        return self._of(fullname)[2]

    def is_package(self, fullname: str) -> bool:
        return self._of(fullname)[1]

    def _of(self, fullname: str) -> tuple[str, bool, str]:
        try:
            return self._sources[fullname[len(self._prefix) :]]
        except KeyError:
            raise ImportError(f"no module {fullname}", name=fullname) from None

    def packed(self) -> bytes:
        return marshal.dumps(self._sources, 2)


def install(name: str, sources: Sources) -> None:
    """Make the private package, and have its modules come from memory. Called by the boot line."""
    package = ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
    # Last: what an application imports passes by only when nobody else has it.
    sys.meta_path.append(Finder(name, sources))


def again() -> int:
    """Return a descriptor with the same code for this process's successor, -1 where ours comes from its folder."""
    for finder in sys.meta_path:
        if isinstance(finder, Finder):
            import tempfile  # it happens once in a template's life, if ever

            with tempfile.TemporaryFile() as file:
                file.write(finder.packed())
                file.flush()
                return os.dup(file.fileno())
    return -1
