"""``pyserve scale APP N``: another number of workers for an application that runs.

I/O: the admin socket, stdout.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyserve.cli import admin, exit_codes


def scale(files: Sequence[str], admin_path: str | None, app: str, count: int) -> int:
    """Return 0 when it is under way. Raises ``NoServer`` if it can't be, with the reason."""
    with admin.find_server(files, admin_path) as connection:
        admin.send(connection, f"scale {app} {count}")
        admin.parse_answer(admin.read_until_closed(connection))
    print(f"pyserve: app {app}: {count} worker{'s' if count != 1 else ''} from now on, until the server's next start")
    return exit_codes.STOPPED
