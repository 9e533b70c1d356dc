"""``acme``: certificates that the server gets by itself. ``[server] acme`` has the account, a site's ``tls.acme`` may
differ from it; and what lies where in the folder that keeps them.

Pure. The folder may be shared by several machines, so a name in it says nothing of the machine: a certificate is named
after the first host of its site.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Literal, cast
from urllib.parse import urlsplit

from pyserve.config.apps import Expectation
from pyserve.config.model import Acme
from pyserve.config.problems import show
from pyserve.config.table import Table

KEYS = ("email", "directory", "challenge", "storage", "key", "renew_before", "profile", "ca", "external_account")
_EXTERNAL_ACCOUNT = ("id", "key")
CHALLENGES = ("http-01", "tls-alpn-01")
CHALLENGE_PATH = "/.well-known/acme-challenge/"
"""RFC 8555 §8.3."""
MAX_NAMES = 100
"""In one certificate; the public authorities take no more."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""RFC 8555 §8.1: the base64url alphabet. What is no token is never part of a path."""
_BASE64 = re.compile(r"[A-Za-z0-9_-]+=*")
_EMAIL = re.compile(r"[!#-&*-.0-9A-Z^-~]{1,64}@[A-Za-z0-9.-]{1,253}")
_PROFILE = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Whose certificates every browser takes; they know only names that everybody can look up.
_PUBLIC = (".letsencrypt.org", ".pki.goog", ".zerossl.com", ".buypass.com", ".buypass.no", ".ssl.com", ".sectigo.com")
_NOT_PUBLIC_NAMES = ("localhost", "local", "internal", "test", "example", "invalid", "home.arpa", "lan")


def certificate_path(storage: str, hosts: Sequence[str]) -> str:
    """Return the file of a site's certificate: its private key, then its certificate and the chain, all in one, so
    that a change of both is the one rename of a file."""
    return f"{storage}/certificates/{_file_name(hosts[0])}.pem"


def token_path(storage: str, token: str) -> str:
    """Return the file with the answer to an http-01 challenge. ``token`` must match ``TOKEN``."""
    return f"{storage}/challenges/{token}"


def challenge_certificate_path(storage: str, host: str) -> str:
    """Return the file with the key and certificate that answer a tls-alpn-01 challenge for a host (RFC 8737)."""
    return f"{storage}/challenges/alpn/{_file_name(host)}.pem"


def _file_name(host: str) -> str:
    return host.strip("[]")


def is_public(directory: str) -> bool:
    """Does this authority issue for the public web?"""
    host = urlsplit(directory).hostname or ""
    return host.endswith(_PUBLIC)


def decode_server_acme(server: Table, state_dir: str, expectations: list[Expectation]) -> Acme:
    """Return what sites begin with."""
    base = Acme(storage=f"{state_dir}/acme")
    table = server.table("acme", KEYS)
    return base if table is None else _decode(table, base, expectations)


def decode_site_acme(tls: Table, base: Acme, hosts: Sequence[str], expectations: list[Expectation]) -> Acme | None:
    """Return how a site gets its certificate, None = not by itself. ``tls``: its table; ``base``: of ``[server]``."""
    value = tls.values.get("acme", False)
    if isinstance(value, bool):
        if not value:
            return None
        acme: Acme | None = base
        place = tls.place("acme")
    else:
        table = tls.table("acme", KEYS)
        acme = None if table is None else _decode(table, base, expectations)
        place = tls.place("acme")
    if acme is None:
        return None
    for key in ("cert", "key", "local_ca"):
        if key in tls:
            tls.problem("has no place beside acme, which gets the certificate itself", key, other=place)
    if not hosts:
        tls.problem("expected hosts: a certificate is for names, so a site for any name can't have one", "acme")
    if len(hosts) > MAX_NAMES:
        tls.problem(
            f"a certificate is for at most {MAX_NAMES} names, and hosts has {len(hosts)}: make two sites", "acme"
        )
    for host in hosts:
        if wrong := _wrong_name(host, acme.directory):
            tls.problem(f"no certificate can be had for the host {show(host)}: {wrong}", "acme")
    if any(_is_address(host) for host in hosts) and "http-01" not in acme.challenges:
        tls.problem('expected "http-01": an address is proved by nothing else here', "acme", "challenge")
    expectations.append(Expectation("storage", acme.storage, place))
    return acme


def _wrong_name(host: str, directory: str) -> str:
    """Return why an authority gives no certificate for a host without DNS being changed; "" = it may."""
    if host.startswith("~"):
        return "it is a pattern, not a name; list the names, or give cert and key"
    if host.startswith("*."):
        return "wildcards need the dns-01 challenge, which pyserve does not do; list the names, or give cert and key"
    if not is_public(directory):
        return ""
    name = str(host)
    if _is_address(name):
        return "a public authority takes names; for tests set directory to an authority of your own"
    if name.endswith(tuple(f".{last}" for last in _NOT_PUBLIC_NAMES)) or "." not in name:
        return (
            "no public authority can reach such a name; pyserve cert self-signed makes a certificate for it, "
            "or set directory to an authority of your own"
        )
    if "_" in name:
        return "names with an underscore get no certificates"
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(_file_name(host))
    except ValueError:
        return False
    return True


def _decode(table: Table, base: Acme, expectations: list[Expectation]) -> Acme:
    ca = table.file_path("ca")
    if ca:
        expectations.append(Expectation("file", ca, table.place("ca")))
    account_id, account_key = _external_account(table, base)
    key = table.choice("key", base.key, ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096"))
    return Acme(
        directory=_directory(table, base.directory),
        email=_email(table, base.email),
        challenges=_challenges(table, base.challenges),
        storage=table.file_path("storage") or base.storage,
        key=cast(Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096"], key),
        renew_before_s=table.duration_s("renew_before", base.renew_before_s),
        profile=_profile(table, base.profile),
        ca=ca or base.ca,
        external_id=account_id,
        external_key=account_key,
    )


def _directory(table: Table, default: str) -> str:
    text = table.text("directory", default)
    try:
        parts = urlsplit(str(text))
        is_right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or not text.isascii() or not text.isprintable() or " " in text:
        table.problem(
            f'expected a URL that begins with https://, as "{Acme().directory}", not {show(text)}', "directory"
        )
        return default
    return str(text)


def _email(table: Table, default: str) -> str:
    text = table.text("email", default)
    if text and not _EMAIL.fullmatch(str(text)):
        table.problem(f'expected an address, as "admin@example.com", not {show(text)}', "email")
        return default
    return str(text)


def _challenges(table: Table, default: tuple[str, ...]) -> tuple[str, ...]:
    if "challenge" not in table:
        return default
    return (table.choice("challenge", CHALLENGES[0], CHALLENGES),)


def _profile(table: Table, default: str) -> str:
    text = table.text("profile", default)
    if text and not _PROFILE.fullmatch(str(text)):
        table.problem(f'expected the name of a profile of the authority, as "shortlived", not {show(text)}', "profile")
        return default
    return str(text)


def _external_account(table: Table, base: Acme) -> tuple[str, str]:
    """The account at the authority that the new one is bound to (RFC 8555 §7.3.4); its key is a secret."""
    inner = table.table("external_account", _EXTERNAL_ACCOUNT)
    if inner is None:
        return base.external_id, base.external_key
    for key in _EXTERNAL_ACCOUNT:
        if key not in inner:
            inner.problem("missing; the authority gives both, id and key", key)
    account_id, key = inner.text("id"), inner.text("key")
    if key and not _BASE64.fullmatch(str(key).strip()):
        inner.problem("expected the key as the authority shows it, in base64url", "key")
    return str(account_id), str(key).strip()
