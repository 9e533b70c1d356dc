"""``[site.NAME] tls``: one table to one ``Tls``.

Pure. Whether certificate and key are there, belong together and are fit for use is found out by ``net.certificate``:
a site whose are not is refused on https and served by nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from pyserve.config.apps import Expectation
from pyserve.config.model import Acme, Tls
from pyserve.config.problems import show
from pyserve.config.table import Table

TLS_KEYS = ("acme", "cert", "key", "local_ca", "client_ca", "client_auth", "min_version", "redirect", "hsts")
_HSTS_KEYS = ("max_age", "subdomains", "preload")
_EXPECTED = 'a table, as { cert = "a.pem", key = "a.key" } or { acme = true }'
_PRELOAD_LEAST_S = 365 * 86400.0
"""What browsers ask for before they take a site into their lists (hstspreload.org)."""


def decode_tls(
    site: Table, base: Acme, hosts: Sequence[str], expectations: list[Expectation]
) -> tuple[Tls | None, Acme | None]:
    """Return what the key ``tls`` of a site says, and how it gets its certificate by itself if it does; None (and
    problems) where that is nothing to go by. ``base``: what ``acme`` begins with."""
    if not isinstance(site.values["tls"], Mapping):
        site.wrong_type(site.values["tls"], _EXPECTED, "tls")
        return None, None
    table = site.table("tls", TLS_KEYS)
    assert table is not None
    acme = None
    if "acme" in table:
        from pyserve.config.acme import certificate_path, decode_site_acme  # for few, and 5 ms to import

        acme = decode_site_acme(table, base, hosts, expectations)
    local_ca = _local_ca(table, site)
    if "cert" not in table and "local_ca" not in table and table.values.get("acme", False) is False:
        table.problem(
            'missing; expected a file in PEM format, as "a.pem", or acme = true (or, for development, local_ca = true)',
            "cert",
        )
    elif "cert" in table and "local_ca" in table:
        table.problem("give one of cert and local_ca, not both", "local_ca", other=table.place("cert"))
    cert, key = table.file_path("cert"), table.file_path("key")
    if acme is not None and hosts:
        cert = key = certificate_path(acme.storage, hosts)
    client_ca = table.file_path("client_ca")
    client_auth = table.choice("client_auth", "required" if client_ca else "none", ("required", "optional"))
    if client_auth != "none" and "client_ca" not in table:
        table.problem("needs client_ca: the authorities whose certificates are let in", "client_auth")
    redirect, redirect_port = _redirect(table)
    tls = Tls(
        cert=cert,
        key=key or cert,
        client_ca=client_ca,
        client_auth=cast(Literal["none", "optional", "required"], client_auth),
        min_version=cast(Literal["1.2", "1.3"], table.choice("min_version", "1.2", ("1.2", "1.3"))),
        redirect=redirect,
        redirect_port=redirect_port,
        local_ca=local_ca,
        hsts=_hsts(table),
        is_awaited=acme is not None,
    )
    return tls, acme


def _local_ca(table: Table, site: Table) -> str:
    value = table.values.get("local_ca", False)
    if type(value) is bool:
        folder = "~" if value else ""
    else:
        folder = table.file_path("local_ca")
    hosts = site.values.get("hosts", ())
    if folder and isinstance(hosts, (list, tuple)) and all(str(host).startswith("~") for host in hosts):
        table.problem(
            'a certificate is for names, and hosts has none: add one, as "a-site.localhost", or give cert and key',
            "local_ca",
        )
    return folder


def _redirect(table: Table) -> tuple[bool, int]:
    value = table.values.get("redirect", True)
    if type(value) is bool:
        return value, 0
    if type(value) is int:
        return True, table.integer("redirect", 0, 1, 65535)
    table.wrong_type(value, "true, false, or the port that clients reach https at", "redirect")
    return True, 0


def _hsts(table: Table) -> str:
    """Return the field's value (RFC 6797 §6.1)."""
    if "hsts" not in table:
        return ""
    value = table.values["hsts"]
    subdomains = preload = False
    if isinstance(value, Mapping) and not set(value) <= {"file", "env"}:
        inner = table.table("hsts", _HSTS_KEYS)
        assert inner is not None
        if "max_age" not in inner:
            inner.problem('missing; expected a duration, as "365d"', "max_age")
        max_age_s = inner.duration_s("max_age", 0.0, may_be_zero=True)
        subdomains, preload = inner.flag("subdomains"), inner.flag("preload")
        if preload and (not subdomains or max_age_s < _PRELOAD_LEAST_S):
            inner.problem('needs subdomains = true and a max_age of "365d" at least: browsers ask for that', "preload")
    elif type(value) is bool:
        table.problem(f"expected a duration, as {show('365d')}, not {str(value).lower()}", "hsts")
        return ""
    else:
        max_age_s = table.duration_s("hsts", 0.0, may_be_zero=True)
    words = [f"max-age={int(max_age_s)}", *["includeSubDomains"] * subdomains, *["preload"] * preload]
    return "; ".join(words)
