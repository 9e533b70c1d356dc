"""``pyserve cert self-signed``: certificates for development, from an authority of one's own that is trusted once.

I/O: the authority's folder, and two files where they are wanted. Invariant: what is replaced there was made here.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from pyserve.cli import exit_codes
from pyserve.cli.arguments import UsageError
from pyserve.errors import CannotStart
from pyserve.net.local_authority import default_folder, general_name, has_issued, issue, open_authority, write_file

_MOST_DAYS = 825
"""Longer ones are refused by Apple's systems, also from authorities of one's own."""


def self_signed(hosts: Sequence[str], out: str, days: int, ca_folder: str | None) -> int:
    """Write ``OUT/HOST.pem`` and ``.key`` for all hosts together; return 0. Raises ``UsageError``, ``CannotStart``."""
    try:
        names = [general_name(host) for host in hosts]
    except ValueError as error:
        raise UsageError(f"cert: {error}") from None
    if not 1 <= days <= _MOST_DAYS:
        raise UsageError(f"cert: expected --days from 1 to {_MOST_DAYS}: browsers believe no longer ones")
    stem = os.path.join(out, hosts[0].replace("*", "_").strip("[]").replace(":", "-"))
    try:
        authority = open_authority(os.path.abspath(ca_folder or default_folder()))
        if (os.path.lexists(f"{stem}.pem") or os.path.lexists(f"{stem}.key")) and not has_issued(
            authority, f"{stem}.pem", f"{stem}.key"
        ):
            raise CannotStart(
                f"{stem}.pem and {stem}.key are not replaced: they are not a pair of the local authority "
                f"{authority.cert_path}; move them away, or name another folder with --out"
            )
        cert, key = issue(authority, names, days)
        os.makedirs(out, exist_ok=True)
        write_file(f"{stem}.key", key, 0o600)
        write_file(f"{stem}.pem", cert, 0o644)
    except OSError as error:
        raise CannotStart(f"{error.filename or out}: {error.strerror}") from None
    print(f"{stem}.pem and {stem}.key: for {', '.join(hosts)}; {days} days\n")
    print(f'In site.toml:\n  tls = {{ cert = "{stem}.pem", key = "{stem}.key" }}\n')
    print(how_to_trust(authority.cert_path), end="")
    sys.stdout.flush()
    return exit_codes.STOPPED


def how_to_trust(ca: str) -> str:
    ca = shlex.quote(ca)
    return f"""\
To trust the local authority once, for all its certificates (only on your own machine; keep its key to yourself):
  curl       curl --cacert {ca} https://…
  Python     SSL_CERT_FILE={ca}
  Debian     sudo cp {ca} /usr/local/share/ca-certificates/pyserve-local.crt && sudo update-ca-certificates
  Fedora     sudo cp {ca} /etc/pki/ca-trust/source/anchors/pyserve-local.pem && sudo update-ca-trust
  macOS      sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}
  Chromium   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n pyserve-local -i {ca}    (on Linux)
  Firefox    Settings, Privacy & Security, View Certificates, Authorities, Import
"""
