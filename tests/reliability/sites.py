"""The site of every check: a WSGI application with two workers, an ASGI one, a folder of files, a few odd paths."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"
FILES = 20
LARGE = 5_000_000
"""Bytes of ``/large.bin``, and what slow readers ask of applications."""

TEXT = """
[app.wsgi]
entry = "normal_wsgi:application"
root = "{apps}"
workers = {wsgi_workers}
{wsgi}

[app.asgi]
entry = "normal_asgi:application"
root = "{apps}"
workers = {asgi_workers}
{asgi}

[site.f]
hosts = ["f"]
files = "public"

[[site.f.route]]
path = "/gone"
respond = {{ status = 404, body = "gone" }}

[site.w]
hosts = ["w"]
app = "wsgi"

[site.a]
hosts = ["a"]
app = "asgi"

[site.s]
hosts = ["s"]
max_body = "1MiB"
app = "wsgi"
{more}
"""

# One worker that can be kept busy, and room for all who wait for it.
QUEUE = """
[app.slow]
entry = "normal_wsgi:application"
root = "{apps}"
workers = 1
queue = { size = 5000, timeout = "60s" }

[site.q]
hosts = ["q"]
app = "slow"
"""


def file_content(index: int) -> bytes:
    """Return what is in ``/INDEX.bin``: 1 to 4 KiB that no other file has."""
    return (hashlib.sha256(str(index).encode()).hexdigest().encode() * 64)[: 1024 * (1 + index % 4)]


def make(
    folder: Path, *, wsgi: str = "", asgi: str = "", more: str = "", wsgi_workers: int = 2, asgi_workers: int = 1
) -> str:
    """Write the applications and files into a folder and return the tables of the site's file.

    ``wsgi``, ``asgi``: further lines of these applications; ``more``: further tables, with ``{apps}`` for the folder.
    """
    apps, public = folder / "apps", folder / "public"
    apps.mkdir()
    public.mkdir()
    for source in APPS.glob("*.py"):
        shutil.copy(source, apps)
    for index in range(FILES):
        (public / f"{index}.bin").write_bytes(file_content(index))
    (public / "large.bin").write_bytes((b"0123456789abcdef" * (LARGE // 16 + 1))[:LARGE])
    return TEXT.format(
        apps=apps,
        wsgi=wsgi,
        asgi=asgi,
        more=more.replace("{apps}", str(apps)),
        wsgi_workers=wsgi_workers,
        asgi_workers=asgi_workers,
    )
