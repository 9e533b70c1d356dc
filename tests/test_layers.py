"""Who may import whom, which packages are pure, who forks: the rules of the layout, read from the source.

A change to a table here is a design decision: give its reason beside it.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pyserve"

# Layer (a folder, or a module of the top folder) -> the layers it may import beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "wire": set(),
    "worker": {"wire"},
    "errors": set(),
    "config": {"errors"},
    "http": {"errors"},
    "balance": {"errors"},
    "routing": {"errors", "config", "http"},
    # What the handler for files needs beside the file itself; it knows no exchange.
    "files": {"errors", "config", "http"},
    "handlers": {"errors", "config", "http", "balance", "wire", "routing", "files"},
    # Channels carry `wire.messages`.
    "net": {"errors", "config", "wire"},
    "observe": {"errors", "config"},
    "front": {"errors", "config", "http", "files", "balance", "wire", "routing", "handlers", "net", "observe"},
    "master": {"errors", "config", "net", "wire", "observe"},
    # A process of its own, as front and master are: it meets them in `wire.messages` and in files.
    "acme": {"errors", "config", "net", "wire", "observe"},
}
# The composition roots may import everything.
COMPOSE = {"cli", "embed", "__init__", "__main__"}

# Edges outside of the table: (importing module, imported module) -> reason.
ALLOWED_EDGES: dict[tuple[str, str], str] = {
    ("master.main", "worker.boot"): "how a template is started belongs to the worker's code; the default of `run`",
    ("master.isolation", "worker.carried"): "what another user's template reads of ours belongs to the worker's code",
}

# What is pure takes bytes, events, chance and `now` as arguments.
IMPURE = {
    "asyncio",
    "socket",
    "ssl",
    "os",
    "signal",
    "subprocess",
    "threading",
    "time",
    "random",
    "select",
    "selectors",
}
PURE = [
    "errors",
    "config.model",
    "config.decode",
    "http",
    "routing",
    "balance",
    "wire",
    "files.listing",
    "handlers.interface",
    "handlers.modifiers",
    "handlers.nothing",
    "handlers.disposition",
    "handlers.redirect",
    "handlers.respond",
    "handlers.options",
    "handlers.https_gate",
    "master.expiry",
    "front.realm",
    "front.pace",
    "acme.schedule",
    "acme.record",
    "acme.claim",
]
# Pure but for one thing: (module, what it imports) -> reason.
ALLOWED_IMPURITIES: dict[tuple[str, str], str] = {}

# Who starts, replaces and waits for processes.
STARTS = {"fork", "forkpty", "execv", "execve", "execvp", "execvpe", "execl", "posix_spawn", "Popen", "wait", "waitpid"}
STARTS |= {"waitid", "wait3", "wait4"}
MAY_START_PROCESSES = {
    "master": "it starts fronts and templates and waits for them",
    "worker.template": "it forks the workers of its release",
    "cli": "check asks the application's own interpreter to import it",
    "config": "check asks the application's own interpreter to import it",
    "embed": "it starts the one master that runs the pools",
}


def module_name(path: Path) -> str:
    """Return the dotted name below ``pyserve``: ``http.head``, ``errors``, ``wire`` for the package itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(), str(MODULES[module]))


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without what only type checkers see (``if TYPE_CHECKING:``)."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield child
        yield from runtime_nodes(child)


def imports(module: str, *, at_run_time: bool) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of each import: ``os.path``, ``pyserve.http.head``."""
    tree = tree_of(module)
    for node in runtime_nodes(tree) if at_run_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["pyserve", *module.split(".")]
                if MODULES[module].name != "__init__.py":
                    package.pop()
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                is_module = f"{base}.{alias.name}".removeprefix("pyserve.") in MODULES
                yield node.lineno, f"{base}.{alias.name}" if is_module else base


def layer_of(module: str) -> str:
    return module.split(".")[0]


def test_every_folder_is_a_layer_with_a_rule() -> None:
    assert {layer_of(module) for module in MODULES} - COMPOSE == set(MAY_IMPORT)


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) not in COMPOSE])
def test_a_module_imports_only_the_layers_below_it(module: str) -> None:
    allowed = MAY_IMPORT[layer_of(module)] | {layer_of(module)}
    wrong = []
    for line, name in imports(module, at_run_time=False):
        if name == "pyserve" or not name.startswith("pyserve."):
            # `from pyserve import __version__` is the package itself, not a layer.
            continue
        target = name.removeprefix("pyserve.")
        if layer_of(target) not in allowed and (module, target) not in ALLOWED_EDGES:
            wrong.append(f"line {line}: {target}")
    assert not wrong


@pytest.mark.parametrize(
    "module", [name for name in MODULES if any(name == pure or name.startswith(pure + ".") for pure in PURE)]
)
def test_a_pure_module_touches_neither_clock_nor_system(module: str) -> None:
    wrong = [
        f"line {line}: {name}"
        for line, name in imports(module, at_run_time=True)
        if name.split(".")[0] in IMPURE and (module, name.split(".")[0]) not in ALLOWED_IMPURITIES
    ]
    assert not wrong


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) in ("wire", "worker")])
def test_code_that_runs_in_the_apps_interpreter_needs_only_the_standard_library(module: str) -> None:
    """uvloop is taken if the application's own environment has it, never required."""
    names = {name.split(".")[0] for _, name in imports(module, at_run_time=True)}
    assert names <= set(sys.stdlib_module_names) | {"pyserve", "uvloop", ""}
    assert "pyserve" not in {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ImportFrom) and node.level == 0
    }


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) not in ("wire", "worker")])
def test_imports_are_absolute_outside_of_wire_and_worker(module: str) -> None:
    relative = [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative


def started_processes(module: str) -> Iterator[str]:
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id="os" | "subprocess" | "multiprocessing"), attr=name) if (
                name in STARTS or name in ("run", "check_output", "check_call", "call", "Process")
            ):
                yield f"line {node.lineno}: {name}"
            case ast.Attribute(attr="create_subprocess_exec" | "create_subprocess_shell" as name):
                yield f"line {node.lineno}: {name}"
            case ast.Name(id="Popen" as name):
                yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not any((name + ".").startswith(who + ".") for who in MAY_START_PROCESSES)]
)
def test_only_master_and_template_start_processes(module: str) -> None:
    assert not list(started_processes(module))


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not [name for name in MODULES if vague & set(name.split("."))]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    tree = tree_of(module)
    assert not tree.body or ast.get_docstring(tree)


def test_there_are_no_import_cycles() -> None:
    """Modules of a package may know each other, in one direction; what only type checkers read does not count."""
    edges = {
        module: {
            name.removeprefix("pyserve.")
            for _, name in module_level_imports(module)
            if name.removeprefix("pyserve.") in MODULES and name.removeprefix("pyserve.") != module
        }
        for module in MODULES
    }
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for target in sorted(edges[module]):
            visit(target, [*path, module])
        done.add(module)

    for module in MODULES:
        visit(module, [])


def module_level_imports(module: str) -> Iterator[tuple[int, str]]:
    """Yield the imports that run when the module is loaded."""
    inside = {
        node.lineno
        for function in ast.walk(tree_of(module))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    return ((line, name) for line, name in imports(module, at_run_time=True) if line not in inside)
