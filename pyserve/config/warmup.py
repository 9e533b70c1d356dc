"""Whom an application's warmup asks: the host and mount of the first site that uses it.

Pure.
"""

from __future__ import annotations

from pyserve.config.model import Config, RunApp


def warmup_at(config: Config, app: str) -> tuple[str, str]:
    """Return the Host that a warmup request has, so that an application which checks it is content, and its mount.

    Host: the first exact one of the site, "localhost" where it has none.
    """
    for site in config.sites:
        for handler in (site.handler, *(route.handler for route in site.routes)):
            if isinstance(handler, RunApp) and handler.app == app:
                exact = [host for host in site.hosts if not host.startswith(("*", "~"))]
                return (exact[0] if exact else "localhost"), handler.mount
    return "localhost", ""
